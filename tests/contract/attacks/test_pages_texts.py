"""Attacks by texts on the Cloud's pages: whatever people, flows and agents write, a page shows it and stays a page."""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

import pytest

from prefect.agent.domain.texts import escaped_lines
from prefect.agent.entrypoints.server.storage.answer_limits import MAX_ANSWER
from support.embedded import Embedded
from support.full_cloud import LONG, Filled, fill
from support.hostile_texts import HOSTILE
from support.page_browser import Browser, Shown

LARGE: Final = 1_000_000
LARGEST_STATE: Final = LARGE - 1000
"""Characters of the longest message that a state may have, with what else is in it."""

MANY: Final = MAX_ANSWER // LARGE + 2
"""So many large texts are more than one answer may have."""

ROOM: Final = {
    "/flow-run/ID/logs": 1_500_000,
    "/flow-run/ID/artifacts": 400_000,
    "/flow/ID": 2_300_000,
    "/flow/ID/run": 9_000_000,
}
"""Characters that a page with texts of a million may have: logs and artifacts show much, and forms hand back all."""

_FIELDS: Final = re.compile(r'\b(?:value|name)="[^"]*"|<textarea.*?</textarea>', re.DOTALL)


def seconds_apart() -> Callable[[], datetime]:
    """A clock that goes on by a second whenever it is read: what lasts looks alike in two Clouds."""
    seconds = itertools.count()
    return lambda: datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=next(seconds))


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Embedded]:
    """A Cloud that asks for no key."""
    embedded = Embedded(tmp_path / "cloud.db", now=seconds_apart())
    yield embedded
    embedded.database.close()


@pytest.fixture
def harmless(tmp_path: Path) -> Iterator[Embedded]:
    """Another one, in which all texts are harmless."""
    embedded = Embedded(tmp_path / "harmless.db", now=seconds_apart())
    yield embedded
    embedded.database.close()


def shown_pages(cloud: Embedded, filled: Filled) -> dict[str, Shown]:
    """All pages, and the form that is filled with another run's values; by their addresses without ids."""
    browser = Browser(cloud.execute)
    again = f"{filled.page('/flow/{flow_id}/run')}?from={filled.run_id}"
    confirm = f"{filled.page('/flow-runs/confirm')}?do=cancel&id={filled.run_id}"
    addresses = [*filled.pages(), again, confirm, f"{filled.page('/flow-run/{run_id}/timeline')}?open=x"]
    return {re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", address): browser.get(address) for address in addresses}


def structure(shown: Shown) -> list[tuple[str, tuple[str, ...]]]:
    """Elements of a page and the names of their attributes."""
    return [(one.tag, tuple(one.attrs)) for one in shown.elements]


def leads(shown: Shown) -> Sequence[str]:
    """Everything that a page loads, or leads to."""
    names = ("href", "src", "action", "formaction", "data-live", "data-stream", "xlink:href", "poster", "srcset")
    return [one.attrs[name] for one in shown.elements for name in names if name in one.attrs]


@pytest.mark.parametrize("kind", HOSTILE)
def test_texts_are_texts(cloud: Embedded, harmless: Embedded, kind: str) -> None:
    """Attack: markup, scripts, styles, terminal commands, unseen letters in every text. Rule: the page is the same."""
    expected = shown_pages(harmless, fill(harmless))
    found = shown_pages(cloud, fill(cloud, HOSTILE[kind]))

    assert [name for name, one in found.items() if one.status != 200] == []
    for name, one in found.items():
        assert structure(one) == structure(expected[name]), name
        assert [lead for lead in leads(one) if not re.match(r"/(?![/\\])|\?|#", lead)] == [], name
        seen = _FIELDS.sub("", one.body)
        assert escaped_lines(seen) == seen, name


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_form_hands_back_what_it_was_given(cloud: Embedded, kind: str) -> None:
    """No attack: run again with changes, and change nothing. Rule: parameters arrive as they were, letter by letter."""
    text = HOSTILE[kind]
    filled = fill(cloud, text)
    browser = Browser(cloud.execute)
    address = filled.page("/flow/{flow_id}/run")

    done = browser.submit(browser.get(f"{address}?from={filled.run_id}"), f"{address}?from={filled.run_id}")

    assert done.status == 303
    run = cloud.row("flow_run", done.headers["location"].rpartition("/")[2], "parameters labels context")
    assert run["parameters"] == {text: text.replace("\r\n", "\n")}
    assert run["context"] == {text: text}


def test_texts_of_a_million_characters_leave_pages_pages(cloud: Embedded) -> None:
    """Attack: a million characters in every text there is. Rule: pages are answered, and are not large."""
    found = shown_pages(cloud, fill(cloud, "x" * LARGEST_STATE))

    sizes = {name: len(one.body) for name, one in found.items()}
    assert {name: one.status for name, one in found.items() if one.status != 200} == {}
    assert {name: size for name, size in sizes.items() if size > ROOM.get(_page(name), 300_000)} == {}


def _page(address: str) -> str:
    return address.partition("?")[0].removeprefix("/default")


def test_many_large_texts_leave_lists_lists(cloud: Embedded) -> None:
    """Attack: more runs, agents, keys with a million characters than one answer may have. Rule: lists cut each."""
    filled, text = fill(cloud), "x" * LARGEST_STATE
    for number in range(MANY):
        run = cloud.run(filled.flow_id, flow_run_name=f"{number} {text}", labels=[f"{number}{text}"])
        cloud.set_state(run, ("Failed", "Cancelled")[number % 2], message=text)
        cloud.change("set_key_value", "id", key=f"{number} {text}", value=[text[:LONG]])
        cloud.change("register_agent", "id", type="DockerAgent", name=f"{number} {text}", labels=[f"{number}{text}"])
    found = shown_pages(cloud, filled)

    assert {name: one.status for name, one in found.items() if one.status != 200} == {}
    assert max(len(one.body) for one in found.values()) < 300_000


def test_many_large_lines_leave_the_log_a_page(cloud: Embedded) -> None:
    """Attack: hundreds of log lines of a million characters. Rule: the page has a share of each; the download all."""
    filled = fill(cloud)
    same = {"flow_run_id": filled.run_id, "name": "prefect", "level": "INFO", "timestamp": "2026-01-02T00:00:00Z"}
    for _ in range(MANY // 10 + 1):
        cloud.change("write_run_logs", "success", logs=[{**same, "message": "x" * LARGE}] * 10)
    browser, address = Browser(cloud.execute), filled.page("/flow-run/{run_id}/logs")

    page, download = browser.get(address), browser.get(f"{address}/download")

    assert (page.status, len(page.body) < 1_500_000) == (200, True)
    assert "(cut: 1000000 characters" in page.body
    assert len(download.body) > MANY * LARGE


def test_a_downloaded_log_does_nothing_to_a_terminal(cloud: Embedded) -> None:
    """Attack: commands for terminals in names and messages of a log that is downloaded and printed. Rule: text."""
    filled = fill(cloud, HOSTILE["a terminal"] + HOSTILE["directions"])
    body = Browser(cloud.execute).get(filled.page("/flow-run/{run_id}/logs/download")).body

    assert body.count("\n") == 5
    assert escaped_lines(body) == body
