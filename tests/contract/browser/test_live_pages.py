"""What a person does in a page that changes by itself: none of it is taken away."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from support.embedded import task_run
from support.remote_cloud import RemoteCloud

from .conftest import PATIENCE, Windows, set_columns

pytestmark = pytest.mark.browser

Open = Callable[..., Page]
expect.set_options(timeout=PATIENCE)

SKEWED = """(() => {
    const [ahead, now, origin] = [3600000, Date.now.bind(Date), performance.timeOrigin];
    Date.now = () => now() + ahead;
    Object.defineProperty(performance, "timeOrigin", { get: () => origin + ahead });
})();"""


def test_what_is_scrolled_to_and_selected_stays(remote: RemoteCloud, open_window: Open) -> None:
    """A graph is scrolled, a message is marked to be copied: both outlive the changes of a run that goes on."""
    run = remote.run(remote.flow(remote.project(), tasks=40))
    task = task_run(remote, run)
    graph, overview = open_window(f"/default/flow-run/{run}/graph"), open_window(f"/default/flow-run/{run}")
    graph.evaluate("document.querySelector('.graph').scrollLeft = 200")
    overview.evaluate("getSelection().selectAllChildren(document.querySelector('#overview dl'))")

    remote.change(
        "set_task_run_states", "states { status }", states=[{"task_run_id": task, "state": {"type": "Failed"}}]
    )

    expect(graph.locator(".graph .state-Failed")).to_have_count(1)
    expect(overview.locator("#overview .counts")).to_contain_text("Failed")
    assert graph.evaluate("document.querySelector('.graph').scrollLeft") == 200
    assert run in overview.evaluate("String(getSelection())")


def test_rows_keep_their_ticks_and_the_focus_when_others_come(remote: RemoteCloud, open_window: Open) -> None:
    """A new run pushes the others down: a tick goes with its run, not with its place."""
    flow = remote.flow(remote.project())
    for name in ("first", "second"):
        remote.run(flow, flow_run_name=name)
    page = open_window("/default/flow-runs")
    page.get_by_label("Choose second").check()
    page.get_by_role("link", name="first", exact=True).focus()

    remote.run(flow, flow_run_name="third")

    expect(page.locator("#runs tbody tr")).to_have_count(3)
    ticked = page.locator("input[name=id]:checked")
    expect(ticked).to_have_count(1)
    expect(ticked).to_have_accessible_name("Choose second")
    expect(page.get_by_role("link", name="first", exact=True)).to_be_focused()


def test_a_form_that_is_filled_in_outlives_its_key(remote: RemoteCloud, windows: Windows) -> None:
    """The page says that one is signed out, and stays; signing in hands the form back."""
    windows.expected += [
        f"error: Failed to load resource: the server responded with a status of {n}" for n in (401, 403)
    ]
    flow = remote.flow(remote.project())
    headers = {"Authorization": f"Bearer {remote.change('create_api_key', 'key', name='boss')['key']}"}
    made, other = (remote.change("create_api_key", "id key", headers, name=name) for name in ("one", "other"))
    page = windows.open(f"/default/flow/{flow}")
    page.get_by_label("API key").fill(made["key"])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Set clocks").first.click()
    page.get_by_label("Cron expressions").fill("0 5 * * *")

    remote.change("delete_api_key", "success", headers, key_id=made["id"])

    expect(page.get_by_role("status")).to_contain_text("You are signed out")
    expect(page.get_by_label("Cron expressions")).to_have_value("0 5 * * *")
    page.get_by_role("button", name="Set clocks").click()
    page.get_by_label("API key").fill(other["key"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Not sent yet")).to_be_visible()
    page.get_by_role("button", name="Send it").click()
    expect(page.get_by_role("cell", name=re.compile("0 5 * * *".replace("*", r"\*")))).to_be_visible()


def test_filters_that_are_typed_outlive_their_key(remote: RemoteCloud, windows: Windows) -> None:
    """They are sent, and lead to the narrowed list once one is signed in again."""
    windows.expected.append("error: Failed to load resource: the server responded with a status of 401")
    remote.run(remote.flow(remote.project()), flow_run_name="mine")
    headers = {"Authorization": f"Bearer {remote.change('create_api_key', 'key', name='boss')['key']}"}
    made, other = (remote.change("create_api_key", "id key", headers, name=name) for name in ("one", "other"))
    page = windows.open("/default/flow-runs")
    page.get_by_label("API key").fill(made["key"])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("searchbox", name="Name").fill("mi")

    remote.change("delete_api_key", "success", headers, key_id=made["id"])

    expect(page.get_by_role("status")).to_contain_text("You are signed out")
    page.get_by_role("button", name="Show").click()
    page.get_by_label("API key").fill(other["key"])
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile("name=mi"))
    expect(page.get_by_role("link", name="mine")).to_be_visible()


def test_times_are_told_by_the_clouds_clock(remote: RemoteCloud, open_window: Open) -> None:
    """The viewer's clock is an hour ahead: what was made just now was not made an hour ago."""
    run = remote.run(remote.flow(remote.project()))
    page = open_window()
    page.add_init_script(SKEWED)

    page.goto(f"{remote.url}/default/flow-run/{run}")

    created = page.locator("#overview dd time").first
    expect(created).to_have_attribute("title", re.compile("20"))  # the script has been here
    expect(created).to_have_text(re.compile(r"^(now|\d+ s ago)$"))
    remote.set_state(run, "Running")
    expect(page.locator("#head .state")).to_have_text("Running")
    expect(created).to_have_text(re.compile(r"^(now|\d+ s ago)$"))


def test_whoever_scrolls_up_a_log_is_left_there(remote: RemoteCloud, open_window: Open) -> None:
    """By the wheel, the bar, a finger or a key: it is no longer followed."""
    run = remote.run(remote.flow(remote.project()))
    line = {"flow_run_id": run, "name": "prefect", "level": "INFO", "message": "a line"}
    remote.change("write_run_logs", "success", logs=[line] * 300)
    page = open_window(f"/default/flow-run/{run}/logs")
    page.wait_for_function("log.scrollTop > 1000")

    page.evaluate("log.scrollTop -= 500")

    expect(page.get_by_label("Follow")).not_to_be_checked()
    place = page.evaluate("log.scrollTop")
    remote.change("write_run_logs", "success", logs=[{**line, "message": "the last"}])
    expect(page.locator("#lines li").last).to_contain_text("the last")
    assert page.evaluate("log.scrollTop") == place


def test_what_comes_later_works_as_well(remote: RemoteCloud, open_window: Open, tmp_path: Path) -> None:
    """A list that was empty can be changed at once, a timeline that had no bars can be dragged out."""
    flow = remote.flow(remote.project(), tasks=1)
    listed = open_window("/default/flow-runs")
    run = remote.run(flow, flow_run_name="first")
    timeline = open_window(f"/default/flow-run/{run}/timeline")
    listed.get_by_label("All of this page").check()
    expect(listed.get_by_label("Choose first")).to_be_checked()
    expect(listed.get_by_role("button", name="Cancel…")).to_be_visible()

    remote.set_state(run, "Running")
    ends = {"start_time": "2026-01-01T00:00:00+00:00", "end_time": "2026-01-01T00:01:40+00:00"}
    set_columns(tmp_path, "task_run", task_run(remote, run), state="Success", **ends)
    remote.set_state(run, "Success")

    expect(timeline.get_by_text("Drag across the bars")).to_be_visible()
