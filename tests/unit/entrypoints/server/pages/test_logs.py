"""The log of a run: pages, filters, the download, and the lines that a stream sends."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
from starlette.datastructures import QueryParams
from starlette.responses import StreamingResponse
from starlette.types import Message

from prefect.agent.entrypoints.server.pages import logs
from prefect.agent.entrypoints.server.pages.changes import MAX_OF_KEY, MAX_STREAMS, ChangeBell, Watch, watch_changes
from prefect.agent.entrypoints.server.pages.view import KeyNeeded, NotThere, View
from prefect.agent.entrypoints.server.storage.ids import first_id_of
from prefect.agent.entrypoints.server.storage.scopes import ANYONE
from prefect.agent.entrypoints.server.testing import running_server
from support.embedded import Embedded, task_run
from support.page_browser import Browser, Shown
from support.waiting import wait_until


@pytest.fixture
def run(cloud: Embedded) -> str:
    """A run of a flow with one task."""
    return cloud.run(cloud.flow(cloud.project(), tasks=1))


def write(cloud: Embedded, run: str, *messages: str, level: str = "INFO", second: int = 0) -> None:
    """Log lines, one a second."""
    same = {"flow_run_id": run, "name": "prefect", "level": level}
    lines = [
        {**same, "message": message, "timestamp": f"2026-01-01T00:00:{second + n:02}Z"}
        for n, message in enumerate(messages)
    ]
    cloud.change("write_run_logs", "success", logs=lines)


def messages(shown: Shown) -> list[str]:
    """What the lines of a page say."""
    return [one.text for one in shown.all("span", inside="lines")]


def address(run: str, query: str = "") -> str:
    """The log's address."""
    return f"/default/flow-run/{run}/logs{query}"


def test_the_last_lines_come_first_and_lead_to_the_older_ones(
    cloud: Embedded, browser: Browser, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page is a stretch of the log; following the links shows every line once."""
    monkeypatch.setattr(logs, "LINES", 4)
    write(cloud, run, *(str(n) for n in range(10)))

    last = browser.get(address(run))
    middle = browser.get(address(run) + last.one("a", id="older").attrs["href"])
    first = browser.get(address(run) + middle.one("a", id="older").attrs["href"])

    assert [messages(one) for one in (first, middle, last)] == [["0", "1"], ["2", "3", "4", "5"], ["6", "7", "8", "9"]]
    assert not first.all("a", id="older")
    assert messages(browser.get(address(run) + first.one("a", id="newer").attrs["href"])) == ["2", "3", "4", "5"]


def test_the_top_and_the_end_are_one_step_away(
    cloud: Embedded, browser: Browser, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a log of any length; only the end is live."""
    monkeypatch.setattr(logs, "LINES", 3)
    write(cloud, run, *(str(n) for n in range(10)))
    shown = browser.get(address(run))
    top = browser.get(address(run) + next(a for a in shown.all("a") if a.text == "To the top").attrs["href"])
    end = browser.get(address(run) + top.one("a", id="to-end").attrs["href"])

    assert messages(top) == ["0", "1", "2"]
    assert "data-stream" not in top.one("section", id="log").attrs
    assert messages(end) == ["7", "8", "9"]
    assert "data-stream" in end.one("section", id="log").attrs


def test_filters(cloud: Embedded, browser: Browser, run: str) -> None:
    """A level means that one and worse ones; a text is looked for whatever its case, and is no pattern."""
    write(cloud, run, "Starting 100%", "other")
    write(cloud, run, "Boom_1", level="ERROR", second=5)

    assert messages(browser.get(address(run, "?level=WARNING"))) == ["Boom_1"]
    assert messages(browser.get(address(run, "?level=INFO"))) == ["Starting 100%", "other", "Boom_1"]
    assert messages(browser.get(address(run, "?text=sTARTING"))) == ["Starting 100%"]
    assert messages(browser.get(address(run, "?text=%25"))) == ["Starting 100%"]
    assert messages(browser.get(address(run, "?text=_1&level=INFO"))) == ["Boom_1"]
    assert messages(browser.get(address(run, "?task_run=x"))) == []


def test_commands_of_terminals_are_taken_out(cloud: Embedded, browser: Browser, run: str) -> None:
    """Colours vanish, other control characters are shown as what they are."""
    write(cloud, run, "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x08 \u202e end\nnext")

    assert messages(browser.get(address(run))) == ["red  \\x08 \\u202e end\nnext"]


def test_the_download_holds_every_line(
    cloud: Embedded, browser: Browser, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: they are read a part at a time; filters count."""
    monkeypatch.setattr(logs, "CHUNK", 3)
    write(cloud, run, *(f"line {n}" for n in range(7)))

    answer = browser.get(f"{address(run)}/download")
    filtered = browser.get(f"{address(run)}/download?text=line%203")

    assert answer.headers["content-disposition"] == f'attachment; filename="flow-run-{run}.log"'
    assert answer.headers["content-type"].startswith("text/plain")
    assert [line.rpartition(": ")[2] for line in answer.body.splitlines()] == [f"line {n}" for n in range(7)]
    assert filtered.body.count("\n") == 1


# --- the stream ---


def watching(cloud: Embedded, run: str, query: str, changes: ChangeBell) -> Watch:
    """What a stream of a run's log is made from."""

    @contextmanager
    def look() -> Iterator[View]:
        with cloud.database.read() as tx:
            tenant = tx.all("SELECT id, name, slug FROM tenant")[0]
            path, params = {"run_id": run}, QueryParams(query)
            yield View(tx=tx, caller=ANYONE, tenant=tenant, now=cloud.now(), path=path, query=params)

    return Watch(look=look, changes=changes)


def heard(cloud: Embedded, run: str, query: str, steps: Sequence[Callable[[], object]]) -> list[str]:
    """What a stream says after each of several changes, and that it ends when the server closes."""

    async def listen() -> list[str]:
        changes = ChangeBell()
        answer = logs.follow(watching(cloud, run, query, changes))
        assert isinstance(answer, StreamingResponse)
        parts = aiter(answer.body_iterator)
        assert await anext(parts) == ": hello\n\n"
        found = []
        for step in steps:
            step()
            changes.ring()
            found.append(str(await asyncio.wait_for(anext(parts), 30)))
        changes.close()
        assert [part async for part in parts] == []
        return found

    return asyncio.run(listen())


def said(part: str) -> list[str]:
    """Messages in an event."""
    html = json.loads(part.partition("data: ")[2])["html"]
    return [one.text for one in Shown(200, {}, f'<ol id="lines">{html}</ol>').all("span", inside="lines")]


def test_a_stream_sends_each_new_line_once(cloud: Embedded, run: str) -> None:
    """Also lines whose own times lie before those that were there already, and none from before it began."""
    write(cloud, run, "before", second=30)
    since = first_id_of(time.time_ns() + 1_000_000)
    wait_until(lambda: first_id_of(time.time_ns()) >= since)

    found = heard(cloud, run, f"since={since}", [
        lambda: write(cloud, run, "one", "two", second=10),
        lambda: write(cloud, run, "three", second=0),
    ])  # fmt: skip

    assert [said(part) for part in found] == [["one", "two"], ["three"]]


def test_a_stream_sends_what_the_filters_leave(cloud: Embedded, run: str) -> None:
    """And nothing of other runs."""
    other = cloud.run(cloud.flow(cloud.project("other")))

    def both() -> None:
        write(cloud, other, "wanted")
        write(cloud, run, "wanted <b>", "not this")

    assert [said(part) for part in heard(cloud, run, "text=wanted", [both])] == [["wanted <b>"]]


def test_of_more_lines_than_one_can_follow_the_last_are_sent(
    cloud: Embedded, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With how many were left out; the next event goes on after them, once there was time to read."""
    monkeypatch.setattr(logs, "NEWS", 3)
    start = time.monotonic()

    found = heard(cloud, run, "", [
        lambda: write(cloud, run, *(str(n) for n in range(10))),
        lambda: write(cloud, run, "next"),
    ])  # fmt: skip

    assert [said(part) for part in found] == [["7", "8", "9"], ["next"]]
    assert ['"left_out":7' in part for part in found] == [True, False]
    assert time.monotonic() - start >= logs.REST


def test_a_silent_run_costs_nothing_while_others_write(cloud: Embedded, run: str) -> None:
    """Each look begins where the last one ended, also if there was nothing."""
    other = cloud.run(cloud.flow(cloud.project("other")))
    tail = logs._Tail(first_id_of(0))
    write(cloud, other, *(str(n) for n in range(50)))

    with watching(cloud, run, "", ChangeBell()).look() as view:
        before = time.time_ns()
        assert tail.read(view) == ([], 0)

    assert tail.since >= first_id_of(before)


def test_streams_are_bounded() -> None:
    """One more is refused until another one ends, and one key may have a part of them only."""
    changes = ChangeBell()
    with ExitStack() as streams:
        of_key = [streams.enter_context(changes.place("key")) for _ in range(MAX_OF_KEY + 1)]
        others = [streams.enter_context(changes.place(None)) for _ in range(MAX_STREAMS - MAX_OF_KEY + 1)]
        assert of_key == [True] * MAX_OF_KEY + [False]
        assert others == [True] * (MAX_STREAMS - MAX_OF_KEY) + [False]
        assert changes.open == MAX_STREAMS
    assert changes.open == 0
    with changes.place("key") as has_room:
        assert has_room


def test_a_page_learns_that_its_run_changed(cloud: Embedded, browser: Browser, run: str) -> None:
    """Also of what changed after the page was made and before it could listen; another run's change is no news."""
    page = browser.get(f"/default/flow-run/{run}").one("header", id="head").attrs
    other = cloud.run(cloud.flow(cloud.project("other")))
    assert page["data-live"] == f"/default/-/changes?run={run}"

    async def first_words(query: str) -> list[str]:
        changes = ChangeBell()
        answer = watch_changes(watching(cloud, run, query, changes))
        assert isinstance(answer, StreamingResponse)
        parts = aiter(answer.body_iterator)
        await anext(parts)
        news = asyncio.ensure_future(anext(parts, None))
        await asyncio.sleep(0)
        changes.close()
        found = await asyncio.wait_for(news, 30)
        return [str(found)] if found is not None else []

    changed = ['event: changed\ndata: ""\n\n']
    query = f"run={run}&seen={page['data-seen']}"
    cloud.set_state(other, "Running")
    assert asyncio.run(first_words(query)) == []
    cloud.set_state(run, "Running")
    assert asyncio.run(first_words(query)) == changed
    assert asyncio.run(first_words(f"run={run}")) == []
    assert asyncio.run(first_words("seen=old")) == changed


def test_a_client_that_goes_away_ends_its_stream() -> None:
    """Nothing is read for it any more."""
    looks = 0

    async def visit() -> int:
        changes = ChangeBell()
        begun = asyncio.Event()

        def news() -> list[str]:
            nonlocal looks
            looks += 1
            begun.set()
            return []

        async def receive() -> Message:
            await begun.wait()
            return {"type": "http.disconnect"}

        async def send(_message: Message) -> None:
            """Take everything."""

        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "asgi": {"spec_version": "2.3"}}
        await asyncio.wait_for(changes.stream(news)(scope, receive, send), 30)
        return changes.open

    assert asyncio.run(visit()) == 0
    assert looks == 1


@pytest.mark.parametrize("problem", [KeyNeeded(), NotThere("gone"), RuntimeError("a bug")])
def test_a_stream_that_cannot_go_on_ends_in_order(problem: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """A key was revoked, or the run deleted: the client asks again and is refused. A bug is logged."""

    def news() -> list[str]:
        raise problem

    async def listen() -> tuple[list[object], int]:
        changes = ChangeBell()
        answer = changes.stream(news)
        assert isinstance(answer, StreamingResponse)
        return [part async for part in answer.body_iterator], changes.open

    assert asyncio.run(listen()) == ([": hello\n\n"], 0)
    assert ("a bug" in caplog.text) == isinstance(problem, RuntimeError)


def test_an_open_stream_does_not_hold_the_server_up(tmp_path: Path) -> None:
    """It ends in order when the server does: a stream that was cut off would be an error to its reader."""
    with requests.Session() as http:
        http.trust_env = False
        with running_server(tmp_path / "cloud.db") as url:
            answer = http.get(f"{url}/default/-/changes", stream=True, timeout=60)
            parts = answer.iter_lines()
            first = next(parts)
        rest = list(parts)

    assert first == b": hello"
    assert not [one for one in rest if one.startswith(b"event")]


def test_the_chosen_task_run_is_among_the_choices(
    cloud: Embedded, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: else another look at the filters would drop it."""
    monkeypatch.setattr(logs, "CHOICES", 1)
    run = cloud.run(cloud.flow(cloud.project(), tasks=3))
    ids = [task_run(cloud, run, f"t-{number}") for number in range(3)]

    chosen = [
        [
            one.attrs["value"]
            for one in browser.get(address(run, f"?task_run={task}")).all("option")
            if "selected" in one.attrs
        ]
        for task in ids
    ]

    assert chosen == [[task] for task in ids]
