"""One flow run: what its page shows, and what can be done there."""

import pytest

from prefect.agent.entrypoints.server.pages import flow_run
from support.embedded import Embedded, task_run
from support.page_browser import Browser, form_values


@pytest.fixture
def run(cloud: Embedded) -> str:
    """A run of a flow with three tasks."""
    return cloud.run(cloud.flow(cloud.project(), tasks=3), parameters={"day": "monday"}, flow_run_name="first name")


def page_of(run: str) -> str:
    """The address that the real client prints."""
    return f"/default/flow-run/{run}"


def test_the_overview_shows_history_and_what_it_runs_with(cloud: Embedded, browser: Browser, run: str) -> None:
    """States with their messages, the newest first; parameters; labels."""
    cloud.set_state(run, "Submitted", message="Claimed.")
    cloud.set_state(run, "Running", message="Begun.")

    shown = browser.get(page_of(run))

    assert shown.heading == "first name"
    assert [text.split()[0] for text in shown.texts("li", inside="overview") if "ago" in text or "now" in text] == [
        "Running", "Submitted", "Scheduled",
    ]  # fmt: skip
    assert "monday" in shown.all("pre")[0].text


def test_actions_are_those_that_the_state_allows(cloud: Embedded, browser: Browser, run: str) -> None:
    """A run that waits can be cancelled, one that has ended can be restarted."""
    cancel, restart = f"{page_of(run)}/cancel", f"{page_of(run)}/restart"
    waiting = browser.get(page_of(run))
    cloud.set_state(run, "Failed")
    ended = browser.get(page_of(run))

    assert (len(waiting.all("form", action=cancel)), len(waiting.all("form", action=restart))) == (1, 0)
    assert (len(ended.all("form", action=cancel)), len(ended.all("form", action=restart))) == (0, 1)


def test_cancel(cloud: Embedded, browser: Browser, run: str) -> None:
    """The page leads back to the run, which is cancelled as any client would cancel it."""
    answer = browser.submit(browser.get(page_of(run)), f"{page_of(run)}/cancel")

    assert (answer.status, answer.headers["location"]) == (303, page_of(run))
    assert cloud.state(run) == "Cancelled"


def test_a_restart_keeps_what_succeeded(cloud: Embedded, browser: Browser, run: str) -> None:
    """Tasks that did not succeed run again; the run is offered to agents."""
    cloud.set_state(run, "Running")
    for slug, kind in (("t-0", "Success"), ("t-1", "Failed"), ("t-2", "TriggerFailed")):
        states = [{"task_run_id": task_run(cloud, run, slug), "state": {"type": kind}}]
        cloud.change("set_task_run_states", "states { id }", states=states)
    cloud.set_state(run, "Failed")

    browser.submit(browser.get(page_of(run)), f"{page_of(run)}/restart")

    assert cloud.state(run) == "Scheduled"
    found = [cloud.row("task_run", task_run(cloud, run, f"t-{n}"), "state")["state"] for n in range(3)]
    assert found == ["Success", "Pending", "Pending"]
    assert cloud.queue() == [run]


def test_set_state_with_a_message(cloud: Embedded, browser: Browser, run: str) -> None:
    """The message is kept; a state that does not exist is refused with the Cloud's own words."""
    shown = browser.get(page_of(run))
    action = f"{page_of(run)}/set-state"

    browser.submit(shown, action, state="Success", message="Done by hand.")
    refused = browser.submit(shown, action, state="Nonsense", message="")

    assert cloud.row("flow_run", run, "state state_message") == {"state": "Success", "state_message": "Done by hand."}
    assert refused.status == 422
    assert "not a state type" in refused.body


def test_rename_and_delete(cloud: Embedded, browser: Browser, run: str) -> None:
    """An empty name is refused; a deleted run's page says that it is gone."""
    shown = browser.get(page_of(run))

    assert browser.submit(shown, f"{page_of(run)}/rename", name=" ").status == 422
    browser.submit(shown, f"{page_of(run)}/rename", name="second name")
    assert browser.get(page_of(run)).heading == "second name"
    answer = browser.submit(shown, f"{page_of(run)}/delete")
    assert answer.headers["location"] == "/default/flow-runs"
    assert browser.get(page_of(run)).status == 404


def test_task_runs_are_filtered_and_paged(
    cloud: Embedded, browser: Browser, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By state and by the task's name; a page begins where the last one ended."""
    monkeypatch.setattr(flow_run, "TASK_RUNS_SHOWN", 2)
    address = f"{page_of(run)}/task-runs"
    states = [{"task_run_id": task_run(cloud, run, "t-1"), "state": {"type": "Failed", "message": "Boom."}}]
    cloud.set_state(run, "Running")
    cloud.change("set_task_run_states", "states { id }", states=states)

    first = browser.get(address)
    second = browser.get(address + first.one("a", rel="next").attrs["href"])
    failed = browser.get(f"{address}?state=Failed&name=T-1")

    assert (len(first.all("tr")), len(second.all("tr"))) == (3, 2)
    assert first.texts("tr")[1].startswith("Failed t-1 Boom.")
    assert len(failed.all("tr")) == 2
    assert not browser.get(f"{address}?name=nothing").all("tr")


def test_each_task_run_leads_to_its_log(cloud: Embedded, browser: Browser, run: str) -> None:
    """The log's filter is in the address."""
    link = browser.get(f"{page_of(run)}/task-runs").all("a", aria_label="Log of t-0")[0].attrs["href"]

    assert link == f"{page_of(run)}/logs?task_run={task_run(cloud, run, 't-0')}"
    assert browser.get(link).status == 200


def test_a_run_of_an_archived_version_is_repeated_with_the_newest(cloud: Embedded, browser: Browser, run: str) -> None:
    """The archived one gets no runs: who comes to its form by an old link is told so."""
    archived = cloud.row("flow_run", run, "flow { id project_id name }")["flow"]
    newest = cloud.flow(archived["project_id"], archived["name"], tasks=3)

    [again] = [link for link in browser.get(page_of(run)).links() if link.endswith(f"/run?from={run}")]
    [warned] = browser.get(f"/default/flow/{archived['id']}/run?from={run}").all("p", class_="problem")

    assert f"/default/flow/{newest}/run?from={run}" in [one.attrs["action"] for one in browser.get(again).all("form")]
    assert browser.get(again).all("p", class_="problem") == []
    assert "archived" in warned.text


def test_a_refused_state_keeps_its_message(browser: Browser, run: str) -> None:
    """It need not be typed again."""
    filled = {"state": "Nothing", "message": "by hand"}
    shown = browser.submit(browser.get(page_of(run)), f"{page_of(run)}/set-state", filled)

    assert shown.status == 422
    assert shown.one("input", name="message").attrs["value"] == "by hand"


def test_what_another_tab_has_deleted_leads_back(cloud: Embedded, browser: Browser) -> None:
    """A form about it says that it is not there, and leads to the page that it was on."""
    cloud.change("set_key_value", "id", key="a", value=1)
    address = "/default/settings/key-values"
    first = browser.get(address)
    [form] = [one.attrs["action"] for one in first.all("form") if one.attrs.get("action", "").endswith("/delete")]
    browser.submit(first, form)

    again = browser.post(form, form_values(first, form), referer=f"http://localhost:4200{address}?key=a")

    assert again.status == 404
    assert f"{address}?key=a" in again.links()
