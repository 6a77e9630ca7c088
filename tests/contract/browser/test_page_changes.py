"""Changes that people make: of many runs, of one run, of a flow, of its schedule and of projects."""

import re
from collections.abc import Callable
from datetime import datetime, timezone

import pytest
from playwright.sync_api import Page, expect

from support.remote_cloud import RemoteCloud

from .conftest import PATIENCE

pytestmark = pytest.mark.browser

Open = Callable[..., Page]
expect.set_options(timeout=PATIENCE)

MANY = 230
CLOCK = {"type": "CronClock", "cron": "0 9 * * *"}


def test_all_that_match_are_cancelled(remote: RemoteCloud, open_window: Open) -> None:
    """One question that says how many; more than one form changes go on by themselves to the end."""
    flow = remote.flow(remote.project())
    for number in range(MANY):
        remote.run(flow, flow_run_name=f"many {number}")
    page = open_window("/default/flow-runs?state=Scheduled&name=many")
    page.get_by_label("All that match").check()
    page.get_by_role("button", name="Cancel…").click()
    expect(page.get_by_role("heading", name=f"Cancel {MANY} flow runs?")).to_be_visible()
    page.get_by_role("button", name=f"Cancel {MANY} flow runs").click()

    page.wait_for_url("**/default/flow-runs?state=Scheduled&name=many")
    expect(page.get_by_text("No flow run matches these filters.")).to_be_visible()
    cancelled = 'query { flow_run_aggregate(where: { state: { _eq: "Cancelled" } }) { aggregate { count } } }'
    assert remote.ask(cancelled)["flow_run_aggregate"]["aggregate"]["count"] == MANY


def test_a_link_never_changes_runs_by_itself(remote: RemoteCloud, open_window: Open) -> None:
    """Whatever its query says: only the answer to a form that was confirmed goes on."""
    run = remote.run(remote.flow(remote.project()), flow_run_name="mine")
    page = open_window("/default/flow-runs/confirm?do=delete&all=1&done=5&total=9&until=2999-01-01T00:00:00Z")

    expect(page.get_by_role("heading", name="Delete 1 flow run?")).to_be_visible()
    page.reload(wait_until="networkidle")
    expect(page.get_by_role("heading", name="Delete 1 flow run?")).to_be_visible()
    assert remote.state(run) == "Scheduled"


def test_a_runs_state_and_name_are_set_and_it_is_deleted(remote: RemoteCloud, open_window: Open) -> None:
    """Each on its page, which shows what holds then."""
    run = remote.run(remote.flow(remote.project()), flow_run_name="mine")
    page = open_window(f"/default/flow-run/{run}")
    page.locator("summary", has_text="Set state").click()
    page.get_by_role("combobox", name="State").select_option("Success")
    page.get_by_label("Message").fill("Done by hand.")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.locator("#head .state")).to_have_text("Success")
    expect(page.locator("#head")).to_contain_text("Done by hand.")
    page.locator("summary", has_text="Rename").click()
    page.get_by_label("Name").fill("yours")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", name="yours")).to_be_visible()
    page.locator("summary", has_text="Delete").click()
    page.get_by_role("button", name="Delete").click()

    page.wait_for_url("**/default/flow-runs")
    assert remote.row("flow_run", run, "id") is None


def test_a_run_is_restarted(remote: RemoteCloud, open_window: Open) -> None:
    """A failed run waits again, and its page says so."""
    run = remote.run(remote.flow(remote.project(), tasks=1))
    remote.set_state(run, "Running")
    remote.set_state(run, "Failed")
    page = open_window(f"/default/flow-run/{run}")
    page.locator("summary", has_text="Restart").click()
    page.get_by_role("button", name="Restart").click()

    expect(page.locator("#head .state")).to_have_text("Scheduled")
    assert remote.state(run) == "Scheduled"


def create_once(page: Page) -> None:
    """Send the form of a new run with a key of one's own."""
    page.locator("summary", has_text="idempotency key").click()
    page.get_by_label(re.compile("^Idempotency key")).fill("only once")
    page.get_by_role("button", name="Create the run").click()


def test_a_run_starts_later_in_the_viewers_zone(remote: RemoteCloud, open_window: Open) -> None:
    """Typing a time chooses it; what is sent twice with one idempotency key is one run."""
    flow = remote.flow(remote.project(), "daily")
    page = open_window(f"/default/flow/{flow}/run", timezone_id="Asia/Kolkata")
    page.get_by_label("At (Asia/Calcutta)").fill("2030-01-31T12:00")
    create_once(page)
    page.wait_for_url("**/flow-run/*")
    first = page.url
    page.go_back()
    create_once(page)
    page.wait_for_url(first)

    run = remote.row("flow_run", first.rpartition("/")[2], "scheduled_start_time")
    assert datetime.fromisoformat(run["scheduled_start_time"]) == datetime(2030, 1, 31, 6, 30, tzinfo=timezone.utc)
    assert len(remote.ask("query { flow_run { id } }")["flow_run"]) == 1


@pytest.mark.parametrize(
    ("typed", "instant"),
    [("2030-03-10T01:30", "06:30"), ("2030-03-10T02:30", "07:30"), ("2030-03-10T03:30", "07:30"),
     ("2030-11-03T01:30", "05:30")],
)  # fmt: skip
def test_a_start_is_understood_while_clocks_change(
    remote: RemoteCloud, open_window: Open, typed: str, instant: str
) -> None:
    """A time that the viewer's zone skips is the one that its clocks show instead; of two, the first counts."""
    page = open_window(f"/default/flow/{remote.flow(remote.project())}/run", timezone_id="America/New_York")
    page.get_by_label("At (America/New_York)").fill(typed)
    page.get_by_role("button", name="Create the run").click()
    page.wait_for_url("**/flow-run/*")

    run = remote.row("flow_run", page.url.rpartition("/")[2], "scheduled_start_time")
    assert run["scheduled_start_time"][:16] == f"{typed[:10]}T{instant}"


def test_a_run_is_made_again_with_changes(remote: RemoteCloud, open_window: Open) -> None:
    """The form has the values of the other run."""
    parameters = [{"name": "limit", "slug": "limit", "required": False, "default": 10}]
    flow = remote.flow(remote.project(), "sums", parameters=parameters)
    run = remote.run(flow, parameters={"limit": 3}, labels=["gpu"], context={"why": "a test"})
    page = open_window(f"/default/flow-run/{run}")
    page.get_by_role("link", name="Run again with changes").click()
    expect(page.get_by_label("limit", exact=True)).to_have_value("3")
    page.get_by_label("limit", exact=True).fill("4")
    page.get_by_role("button", name="Create the run").click()
    page.wait_for_url(re.compile(f"/flow-run/(?!{run})"))

    again = remote.row("flow_run", page.url.rpartition("/")[2], "parameters labels context")
    assert again == {"parameters": {"limit": 4}, "labels": ["gpu"], "context": {"why": "a test"}}


def test_a_schedule_is_switched_and_gets_other_clocks(remote: RemoteCloud, open_window: Open) -> None:
    """The page shows when the next runs would be, and whether there will be any."""
    flow = remote.flow(remote.project(), "daily", schedule={"clocks": [CLOCK]})
    page = open_window(f"/default/flow/{flow}")
    schedule = page.get_by_role("region", name=re.compile("^Schedule"))
    page.get_by_role("button", name="Switch off").click()
    expect(page.get_by_role("columnheader", name="Next, if it were on")).to_be_visible()
    assert remote.row("flow", flow, "is_schedule_active")["is_schedule_active"] is False
    page.get_by_role("button", name="Switch on").click()
    expect(schedule.get_by_role("columnheader", name="Next runs")).to_be_visible()
    page.get_by_text("Set clocks").first.click()
    page.get_by_label("Cron expressions").fill("30 6 * * 1")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_role("button", name="Set clocks").click()

    expect(schedule.locator("code")).to_have_text("30 6 * * 1")
    expect(schedule).to_contain_text("Europe/Berlin")
    [clock] = remote.row("flow", flow, "flow_group { schedule }")["flow_group"]["schedule"]["clocks"]
    assert clock["cron"] == "30 6 * * 1"


def test_a_flow_is_archived_and_deleted(remote: RemoteCloud, open_window: Open) -> None:
    """Each is asked for twice."""
    flow = remote.flow(remote.project(), "daily")
    page = open_window(f"/default/flow/{flow}")
    page.locator("summary", has_text="Archive").click()
    page.get_by_role("button", name="Archive").click()
    expect(page.get_by_text("version 1, archived")).to_be_visible()
    expect(page.get_by_role("link", name="Create a run")).to_have_count(0)
    page.locator("summary", has_text="Delete flow").click()
    page.get_by_role("button", name="Delete flow").click()

    page.wait_for_url("**/default/flows")
    assert remote.row("flow", flow, "id") is None


def test_the_next_version_says_what_changed(remote: RemoteCloud, open_window: Open) -> None:
    """From the flow's page to a version and back to the newest one."""
    project = remote.project()
    first = remote.flow(project, "daily", tasks=1)
    second = remote.flow(project, "daily", tasks=2, run_config={"type": "DockerRun", "labels": []})
    page = open_window(f"/default/flow/{second}")
    page.get_by_role("link", name="Versions").click()

    expect(page.get_by_text("tasks added: t-1")).to_be_visible()
    expect(page.get_by_text('run config: type "UniversalRun" → "DockerRun"')).to_be_visible()
    page.get_by_role("link", name="Version 1").click()
    page.wait_for_url(f"**/default/flow/{first}")
    expect(page.get_by_text("version 1, archived")).to_be_visible()


def test_a_project_is_made_and_deleted(remote: RemoteCloud, open_window: Open) -> None:
    """From the page of flows; deleting says what goes with it."""
    page = open_window("/default/flows")
    page.get_by_role("link", name="Projects").click()
    page.get_by_label("Name").fill("sales")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("link", name="sales")).to_be_visible()
    [project] = remote.ask("query { project { id name } }")["project"]
    remote.flow(project["id"], "sums")
    page.reload()
    page.locator("summary", has_text="Delete").click()
    expect(page.get_by_text("with its 1 flow, their runs and logs")).to_be_visible()
    page.get_by_role("button", name="Delete").click()

    expect(page.get_by_text("No projects.")).to_be_visible()
    assert remote.ask("query { flow { id } }")["flow"] == []
