"""Many flow runs at once."""

from urllib.parse import urlencode

import attrs
import pytest

from prefect.agent.entrypoints.server.pages import bulk
from prefect.agent.entrypoints.server.pages.view import Form, FormRefused
from support.embedded import Embedded, task_run
from support.page_browser import Browser, Shown

CHANGE = "/default/flow-runs/change"


@pytest.fixture
def runs(cloud: Embedded) -> list[str]:
    """Four runs of a flow: two wait, one has failed, one has succeeded."""
    flow = cloud.flow(cloud.project(), tasks=1)
    made = [cloud.run(flow, flow_run_name=f"run-{number}") for number in range(4)]
    cloud.set_state(made[2], "Failed")
    cloud.set_state(made[3], "Success")
    return made


def ask(browser: Browser, change: str, runs: list[str], **more: str) -> Shown:
    """The page that asks whether it is meant."""
    return browser.get(
        f"/default/flow-runs/confirm?{urlencode([('do', change), *(('id', run) for run in runs), *more.items()])}"
    )


def states(cloud: Embedded, runs: list[str]) -> list[str]:
    """The states of *runs*."""
    return [cloud.state(run) for run in runs]


def test_the_list_offers_a_tick_for_each_run(browser: Browser, runs: list[str]) -> None:
    """Its form leads to the question and keeps the filters."""
    shown = browser.get("/default/flow-runs?state=Failed&state=Success&name=run")

    form = shown.one("form", action="/default/flow-runs/confirm")
    assert form.attrs["method"] == "get"
    assert {one.attrs["value"] for one in shown.all("input", name="id")} == set(runs[2:])
    assert shown.one("input", name="filters").attrs["value"] == "state=Failed&state=Success&name=run"


def test_cancel_says_how_many_and_leaves_out_what_has_ended(cloud: Embedded, browser: Browser, runs: list[str]) -> None:
    """Nothing changes before it is confirmed; after that the list is shown with its filters."""
    asked = ask(browser, "cancel", runs, filters="name=run&way=asc&id=x")
    before = states(cloud, runs)
    answer = browser.submit(asked, CHANGE)

    assert asked.heading == "Cancel 2 flow runs?"
    assert "2 of those chosen are left out" in asked.body
    assert before == ["Scheduled", "Scheduled", "Failed", "Success"]
    assert (answer.status, answer.headers["location"]) == (303, "/default/flow-runs?name=run&way=asc")
    assert states(cloud, runs) == ["Cancelled", "Cancelled", "Failed", "Success"]


def test_restart_keeps_what_succeeded(cloud: Embedded, browser: Browser, runs: list[str]) -> None:
    """As the restart of one run does."""
    entry = {"task_run_id": task_run(cloud, runs[3]), "state": {"type": "Success"}}
    cloud.change("set_task_run_states", "states { id }", states=[entry])
    cloud.set_state(runs[3], "Failed")

    browser.submit(ask(browser, "restart", runs), CHANGE)

    assert states(cloud, runs) == ["Scheduled"] * 4
    assert cloud.row("task_run", task_run(cloud, runs[3]), "state") == {"state": "Success"}


def test_delete_all_that_match(cloud: Embedded, browser: Browser, runs: list[str]) -> None:
    """What the filters name is deleted, and nothing else."""
    asked = ask(browser, "delete", [], all="1", filters="state=Failed")
    browser.submit(asked, CHANGE)

    assert asked.heading == "Delete 1 flow run?"
    assert cloud.row("flow_run", runs[2], "id") is None
    assert states(cloud, [runs[0], runs[1], runs[3]]) == ["Scheduled", "Scheduled", "Success"]


def test_all_that_match_are_changed_a_part_at_a_time(
    cloud: Embedded, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer is the form of the next part; what was made after the question stays as it is."""
    monkeypatch.setattr(bulk, "MOST", 2)
    flow = cloud.flow(cloud.project())
    runs = [cloud.run(flow) for _ in range(5)]
    cloud.set_state(cloud.run(flow), "Failed")
    asked = ask(browser, "cancel", [], all="1")
    later = cloud.run(flow)

    parts = [asked]
    while (answer := browser.submit(parts[-1], CHANGE)).status == 200:
        parts.append(answer)

    assert [one.heading for one in parts] == ["Cancel 5 flow runs?"] * 3
    assert [one.texts("p", role="status")[0] for one in parts[1:]] == ["2 of 5 are done.", "4 of 5 are done."]
    assert ["data-goes-on" in one.one("form", action=CHANGE).attrs for one in parts] == [False, True, True]
    assert answer.headers["location"] == "/default/flow-runs"
    assert states(cloud, runs) == ["Cancelled"] * 5
    assert cloud.state(later) == "Scheduled"


def test_only_so_many_are_counted(
    cloud: Embedded, browser: Browser, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more runs those that were created last are changed, and named in part."""
    monkeypatch.setattr(bulk, "COUNTED", 3)
    monkeypatch.setattr(bulk, "NAMED", 1)

    asked = ask(browser, "delete", [], all="1")
    browser.submit(asked, CHANGE)

    assert "these are the 3 that were created last" in asked.body
    assert "and 2 more" in asked.body
    assert len(asked.texts("li")) == 1
    assert cloud.ask("query { flow_run { id } }")["flow_run"] == [{"id": runs[0]}]


def test_one_form_changes_only_so_many(
    cloud: Embedded, browser: Browser, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ids it names."""
    monkeypatch.setattr(bulk, "MOST", 3)

    browser.submit(ask(browser, "delete", runs[:1]), CHANGE, ids=" ".join(runs))

    assert cloud.ask("query { flow_run { id } }")["flow_run"] == [{"id": runs[3]}]


@pytest.mark.parametrize("fields", [{"total": "x"}, {"done": "-1", "total": "9" * 30}, {"until": "\0"}, {"until": "z"}])
def test_made_up_numbers_change_no_more_than_what_matches(
    cloud: Embedded, browser: Browser, runs: list[str], fields: dict[str, str]
) -> None:
    """The form's own ids are changed; the answer is another form or the list."""
    answer = browser.submit(ask(browser, "cancel", [], all="1", filters="name=run-0"), CHANGE, fields)

    assert answer.status in {200, 303}
    assert states(cloud, runs) == ["Cancelled", "Scheduled", "Failed", "Success"]


@pytest.mark.parametrize("query", ["", "do=cancel", "do=nonsense&all=1", "do=cancel&id=x&id=%00"])
def test_nothing_chosen_is_said(browser: Browser, runs: list[str], query: str) -> None:
    """There is nothing to confirm, only a way back."""
    shown = browser.get(f"/default/flow-runs/confirm?{query}")

    assert (shown.status, shown.heading) == (200, "No flow runs to change")
    assert not shown.all("form", action=CHANGE)


def test_runs_of_another_tenant_stay_as_they_are(cloud: Embedded, browser: Browser, runs: list[str]) -> None:
    """Their ids in a form of this tenant name nothing."""
    tenant = cloud.change("create_tenant", "id", name="Other", slug="other")["id"]
    asked = browser.get(f"/other/flow-runs/confirm?do=delete&id={runs[0]}")
    token = browser.get("/default/flow-runs/confirm?do=delete&all=1").all("input", name="form_token")[0].attrs["value"]
    browser.post("/other/flow-runs/change", {"form_token": token, "do": "delete", "ids": runs[0]})

    assert tenant
    assert asked.heading == "No flow runs to change"
    assert states(cloud, runs[:1]) == ["Scheduled"]


def test_what_is_refused_is_said_and_the_rest_is_done(
    cloud: Embedded, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page comes again with the first reason, for those that were refused."""
    browser = Browser(cloud.execute)
    asked = ask(browser, "restart", runs)
    original = bulk.CHANGES["restart"].apply

    def apply(form: Form, run_id: str) -> None:
        if run_id == runs[2]:
            raise FormRefused("It may not.")
        original(form, run_id)

    changed = {**bulk.CHANGES, "restart": attrs.evolve(bulk.CHANGES["restart"], apply=apply)}
    monkeypatch.setattr(bulk, "CHANGES", changed)
    shown = browser.submit(asked, CHANGE)

    assert (shown.status, shown.heading) == (422, "Restart 1 flow run?")
    assert "1 of them were refused, 1 are done. The first reason: It may not." in shown.texts("p", role="alert")[0]
    assert states(cloud, runs)[2:] == ["Failed", "Scheduled"]
