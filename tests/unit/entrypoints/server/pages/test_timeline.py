"""The timeline of a flow run."""

import pytest

from prefect.agent.entrypoints.server.pages import timeline
from support.embedded import Embedded, task_run
from support.page_browser import Browser


@pytest.fixture
def run(cloud: Embedded) -> str:
    """A running flow run with three tasks."""
    made = cloud.run(cloud.flow(cloud.project(), tasks=3))
    cloud.set_state(made, "Running")
    return made


def page_of(run: str) -> str:
    """Its address."""
    return f"/default/flow-run/{run}/timeline"


def set_task(cloud: Embedded, task_run_id: str, *states: str) -> None:
    """Let a task run pass through states."""
    for state in states:
        entry = {"task_run_id": task_run_id, "state": {"type": state, "message": f"{state}."}}
        cloud.change("set_task_run_states", "states { id }", states=[entry])


def children(cloud: Embedded, run: str, count: int) -> str:
    """Map the first task; the id of the task."""
    task_id = str(cloud.row("task_run", task_run(cloud, run), "task_id")["task_id"])
    for number in range(count):
        made = cloud.change("get_or_create_task_run", "id", flow_run_id=run, task_id=task_id, map_index=number)
        set_task(cloud, made["id"], "Running", "Failed" if number == 1 else "Success")
    return task_id


def test_a_task_run_is_a_bar_that_leads_to_its_log(cloud: Embedded, browser: Browser, run: str) -> None:
    """In the colour of its state, with a text for those who do not see it; what has not started has no bar."""
    first = task_run(cloud, run, "t-0")
    set_task(cloud, first, "Running", "Success")

    shown = browser.get(page_of(run))

    [bar] = shown.all("rect")
    link = shown.all("a", class_="track")[0]
    assert bar.attrs["class"] == "state-Success"
    assert link.attrs["href"] == f"/default/flow-run/{run}/logs?task_run={first}"
    assert link.attrs["aria-label"].startswith("t-0: 1 Success, ")
    assert [text.split()[0] for text in shown.texts("th", scope="row")] == ["t-0", "t-1", "t-2"]


def test_retries_are_visible(cloud: Embedded, browser: Browser, run: str) -> None:
    """Each attempt is a bar, with a line between them, and the row says how often it was tried again."""
    set_task(cloud, task_run(cloud, run), "Running", "Retrying", "Running", "Success")

    shown = browser.get(page_of(run))

    assert [bar.attrs["class"] for bar in shown.all("rect")] == ["state-Failed", "state-Retrying", "state-Success"]
    assert "retried 1 time:" in shown.texts("div", class_="tip")[0]


def test_mapped_children_are_folded_until_the_task_is_opened(cloud: Embedded, browser: Browser, run: str) -> None:
    """One row says how many are in which state; opened, each child has a row, and a link folds them again."""
    children(cloud, run, 3)

    folded = browser.get(page_of(run))
    link = folded.all("a", class_="track")[0].attrs
    opened = browser.get(page_of(run) + link["href"])

    assert link["aria-label"].startswith("t-0: 2 Success, 1 Failed, ")
    assert len(folded.all("th", scope="row")) == 3
    assert opened.texts("th", scope="row")[1:4] == ["t-0 [0]", "t-0 [1]", "t-0 [2]"]
    assert opened.all("a", class_="track")[0].attrs["href"] == "?"


def test_a_page_is_bounded(cloud: Embedded, browser: Browser, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows beyond a page come on the next one; what is not read is said."""
    monkeypatch.setattr(timeline, "ROWS", 2)
    monkeypatch.setattr(timeline, "MOST", 3)

    first = browser.get(page_of(run))
    second = browser.get(page_of(run) + first.one("a", rel="next").attrs["href"])

    assert (len(first.all("th", scope="row")), len(second.all("th", scope="row"))) == (2, 1)
    assert "more task runs" not in first.body
    children(cloud, run, 1)
    assert "more task runs; 3 are shown" in browser.get(page_of(run)).body
    assert browser.get(f"{page_of(run)}?skip=x&open=y").status == 200
