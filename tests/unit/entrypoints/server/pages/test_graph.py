"""The graph of a flow run."""

import pytest

from prefect.agent.entrypoints.server.pages import graph
from support.embedded import Embedded, task_run
from support.page_browser import Browser


def test_tasks_and_edges_are_drawn_in_the_colours_of_their_states(cloud: Embedded, browser: Browser) -> None:
    """Each task leads to its log; one that was mapped shows the worst state and leads to its rows."""
    run = cloud.run(cloud.flow(cloud.project(), tasks=3))
    cloud.set_state(run, "Running")
    for number in range(2):
        task_id = cloud.row("task_run", task_run(cloud, run, "t-1"), "task_id")["task_id"]
        child = cloud.change("get_or_create_task_run", "id", flow_run_id=run, task_id=task_id, map_index=number)["id"]
        states = [{"task_run_id": child, "state": {"type": ("Failed", "Success")[number]}}]
        cloud.change("set_task_run_states", "states { id }", states=states)
    parent = [{"task_run_id": task_run(cloud, run, "t-1"), "state": {"type": "Mapped"}}]
    cloud.change("set_task_run_states", "states { id }", states=parent)

    shown = browser.get(f"/default/flow-run/{run}/graph")
    links = [one for one in shown.all("a") if one.attrs.get("aria-label", "").startswith("t-")]

    assert len(shown.all("path", class_="edge")) == 2
    assert [one.attrs["aria-label"] for one in links] == [
        "t-0: 1 Pending",
        "t-1: 1 Failed, 1 Success",
        "t-2: 1 Pending",
    ]
    assert links[0].attrs["href"] == f"/default/flow-run/{run}/logs?task_run={task_run(cloud, run, 't-0')}"
    assert links[1].attrs["href"] == f"/default/flow-run/{run}/timeline?open={task_id}"
    assert "Failed, 2 task runs" in shown.texts("text", class_="soft")


def test_what_is_too_large_to_be_drawn_is_said(
    cloud: Embedded, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many tasks are not drawn, too many edges in part; no tasks are no drawing."""
    project = cloud.project()
    run, empty = cloud.run(cloud.flow(project, tasks=4)), cloud.run(cloud.flow(project, "empty"))

    monkeypatch.setattr(graph, "MOST_EDGES", 2)
    some = browser.get(f"/default/flow-run/{run}/graph")
    monkeypatch.setattr(graph, "MOST_TASKS", 3)
    none = browser.get(f"/default/flow-run/{run}/graph")

    assert "more edges; 2 are drawn" in some.body
    assert len(some.all("path", class_="edge")) == 2
    assert "more than 3 tasks" in none.body
    assert "no tasks" in browser.get(f"/default/flow-run/{empty}/graph").body
