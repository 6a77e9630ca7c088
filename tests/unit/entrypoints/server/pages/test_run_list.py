"""The list of flow runs: filters in the address, sorting, pages that begin at a row."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from urllib.parse import quote, urlencode

import pytest
from starlette.datastructures import QueryParams

from prefect.agent.entrypoints.server.pages import flow_runs, run_list
from prefect.agent.entrypoints.server.pages.addresses import changed, position, position_text
from support.embedded import Embedded
from support.page_browser import Browser, Shown

LIST = "/default/flow-runs"
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def names(shown: Shown) -> list[str]:
    """Names of the runs on a page."""
    return [one.text for one in shown.all("a", inside="runs") if "/flow-run/" in one.attrs["href"]]


def pages(browser: Browser, address: str) -> Iterator[list[str]]:
    """Names on each page, along the links to the next one."""
    for _ in range(50):
        shown = browser.get(address)
        yield names(shown)
        following = shown.all("a", rel="next")
        if not following:
            return
        address = f"{LIST}{following[0].attrs['href']}"
    raise AssertionError("the list does not end")


@pytest.fixture
def flow(cloud: Embedded) -> str:
    """A flow without tasks."""
    return cloud.flow(cloud.project(), "first")


def test_filters_are_those_of_the_address(cloud: Embedded, browser: Browser, flow: str) -> None:
    """State (several), name, label, flow and project, alone and together."""
    other_project = cloud.project("other")
    other = cloud.flow(other_project, "second")
    group = cloud.row("flow", other, "flow_group_id")["flow_group_id"]
    cloud.run(flow, flow_run_name="Plain-100%")
    cloud.set_state(cloud.run(flow, flow_run_name="bad", labels=["gpu", "eu"]), "Failed")
    cloud.set_state(cloud.run(other, flow_run_name="good", labels=["gpu"]), "Success")

    def found(**query: str | list[str]) -> set[str]:
        shown = browser.get(f"{LIST}?{urlencode(query, doseq=True)}")
        assert shown.status == 200
        return set(names(shown))

    assert found() == {"Plain-100%", "bad", "good"}
    assert found(state="Failed") == {"bad"}
    assert found(state=["Failed", "Success"]) == {"bad", "good"}
    assert found(name="pLAIN") == {"Plain-100%"}
    assert found(name="0%") == {"Plain-100%"}
    assert found(name="_") == set()
    assert found(label="gpu") == {"bad", "good"}
    assert found(label="gpu, eu") == {"bad"}
    assert found(label="g") == set()
    cloud.run(flow, flow_run_name="odd", labels=['süd \\ "x"'])
    assert found(label='süd \\ "x"') == {"odd"}
    assert found(flow=group) == found(project=other_project) == {"good"}
    assert found(flow=group, state="Failed") == set()


def test_a_form_that_says_no_order_keeps_the_newest_first(cloud: Embedded, browser: Browser, flow: str) -> None:
    """An empty field of a form is not a way to sort."""
    for name in ("old", "new"):
        cloud.run(flow, flow_run_name=name)

    assert names(browser.get(f"{LIST}?sort=&way=")) == ["new", "old"]


def test_a_click_on_the_head_of_a_column_sorts(cloud: Embedded, browser: Browser, flow: str) -> None:
    """A second one turns the order around; filters stay, and the list begins anew."""
    for name in ("b", "a"):
        cloud.run(flow, flow_run_name=name)

    def sorted_by_name(address: str) -> Shown:
        [head] = [one for one in browser.get(address).all("a", class_="sort") if one.text.startswith("Flow run")]
        return browser.get(f"{LIST}{head.attrs['href']}")

    once = sorted_by_name(f"{LIST}?state=Scheduled&after=x~y")
    twice = sorted_by_name(f"{LIST}?sort=name&way=asc")

    assert names(once) == ["a", "b"]
    assert [one.text.strip(" ▴") for one in once.all("th") if "aria-sort" in one.attrs] == ["Flow run"]
    assert names(twice) == ["b", "a"]


@pytest.mark.parametrize(
    "query",
    ["state=Nothing", "sort=state_result", "way=sideways", "after=x", "after=~", "before=a~b", "from=tomorrow",
     "span=1y", "time=x&span=24h", "flow='", "name=%00", "name=" + "%25" * 900, "label=,,", "to=0001-01-01T00:00:00Z"],
)  # fmt: skip
def test_an_address_that_was_made_up_shows_a_list(cloud: Embedded, browser: Browser, flow: str, query: str) -> None:
    """What is not understood is left out, or matches nothing."""
    cloud.run(flow)

    assert browser.get(f"{LIST}?{query}").status == 200


@pytest.mark.parametrize("few", [0, 2000], ids=["along the index", "sorted"])
@pytest.mark.parametrize(
    "query", ["", "sort=name", "sort=changed&way=asc", "state=Scheduled", "name=run", "sort=name&way=desc"]
)
def test_pages_hold_every_run_once_in_order(
    cloud: Embedded, browser: Browser, flow: str, monkeypatch: pytest.MonkeyPatch, query: str, few: int
) -> None:
    """Whichever way the rows are found, with equal values of what is sorted by."""
    monkeypatch.setattr(run_list, "PAGE_SIZE", 3)
    monkeypatch.setattr(run_list, "FEW", few)
    made = [cloud.run(flow, flow_run_name=f"run {number:02}") for number in range(10)]
    cloud.database._connection.execute(
        "UPDATE flow_run SET created = ?, state_timestamp = ? WHERE id IN (?, ?, ?, ?)",
        ["2026-01-01", "2026-01-01", *made[2:6]],
    )

    found = list(pages(browser, f"{LIST}?{query}"))

    assert [len(page) for page in found] == [3, 3, 3, 1]
    flat = [name for page in found for name in page]
    assert sorted(flat) == [f"run {number:02}" for number in range(10)]
    if "sort=name" in query:
        assert flat == sorted(flat, reverse="desc" in query)


def test_a_page_leads_back(cloud: Embedded, browser: Browser, flow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link to the page before shows the same rows as before."""
    monkeypatch.setattr(run_list, "PAGE_SIZE", 2)
    for number in range(5):
        cloud.run(flow, flow_run_name=f"run {number}")
    first = browser.get(f"{LIST}?sort=name&name=run")
    second = browser.get(LIST + first.one("a", rel="next").attrs["href"])

    back = browser.get(LIST + second.one("a", rel="prev").attrs["href"])

    assert names(first) == names(back) == ["run 0", "run 1"]
    assert names(second) == ["run 2", "run 3"]
    assert "name=run" in second.one("a", rel="prev").attrs["href"]


@pytest.mark.parametrize(
    ("time", "found"), [("created", {"new"}), ("start", {"new"}), ("end", {"new"}), ("changed", {"new"})]
)
def test_a_span_is_about_the_time_that_is_named(
    cloud: Embedded, browser: Browser, flow: str, time: str, found: set[str]
) -> None:
    """Creation, start, end, or the last change."""
    for name, back in (("new", timedelta(minutes=5)), ("old", timedelta(days=2))):
        run = cloud.run(flow, flow_run_name=name)
        moment = (datetime.now(timezone.utc) - back).isoformat(timespec="microseconds")
        cloud.database._connection.execute(
            "UPDATE flow_run SET created = :at, start_time = :at, end_time = :at, state_timestamp = :at WHERE id = :id",
            {"at": moment, "id": run},
        )

    assert set(names(browser.get(f"{LIST}?span=24h&time={time}"))) == {"new"}
    start = quote((datetime.now(timezone.utc) - timedelta(hours=1)).isoformat())
    assert set(names(browser.get(f"{LIST}?from={start}&time={time}"))) == {"new"}
    assert set(names(browser.get(f"{LIST}?to={start}&time={time}"))) == {"old"}


def test_a_filter_that_was_set_is_shown_as_set(cloud: Embedded, browser: Browser, flow: str) -> None:
    """A reload and the back button show what is filtered by."""
    shown = browser.get(f"{LIST}?state=Failed&state=Success&name=x&label=a&sort=name&span=7d")

    assert {one.attrs["value"] for one in shown.all("input", name="state") if "checked" in one.attrs} == {
        "Failed",
        "Success",
    }
    assert [shown.one("input", name=name).attrs["value"] for name in ("name", "label")] == ["x", "a"]
    assert "No flow run matches" in shown.body


# --- addresses ---


def test_a_query_keeps_what_is_not_changed() -> None:
    """One value is replaced, one is taken away, the others stay, several of a name too."""
    query = QueryParams("state=Failed&state=Success&name=a%26b&after=x")

    assert changed(query, after=None, sort="name") == "?state=Failed&state=Success&name=a%26b&sort=name"
    assert changed(QueryParams("a=1"), a=None) == "?"


@pytest.mark.parametrize("value", ["2026-01-01T00:00:00.000000+00:00", "name ~ with ~ signs", ""])
def test_a_place_is_read_as_it_was_written(value: str) -> None:
    """Whatever is sorted by may hold the sign itself."""
    assert position(position_text(value, "id")) == (value, "id")


def test_the_chosen_flow_is_among_the_choices(
    cloud: Embedded, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: else another look at the filters would drop it."""
    monkeypatch.setattr(flow_runs, "_MOST_CHOICES", 1)
    project = cloud.project()
    groups = [cloud.row("flow", cloud.flow(project, name), "flow_group_id")["flow_group_id"] for name in "abc"]

    for group in groups:
        options = browser.get(f"/default/flow-runs?flow={group}").all("option")
        assert [one.attrs["value"] for one in options if "selected" in one.attrs] == [group]
