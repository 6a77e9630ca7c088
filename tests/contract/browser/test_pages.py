"""The daily job, done in a real browser."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from prefect.agent.entrypoints.server.testing import running_server
from support.embedded import Embedded
from support.remote_cloud import RemoteCloud

from .conftest import PATIENCE, Windows

pytestmark = pytest.mark.browser

Open = Callable[..., Page]
expect.set_options(timeout=PATIENCE)

PARAMETERS = [
    {"name": "day", "slug": "day", "required": True, "default": None},
    {"name": "limit", "slug": "limit", "required": False, "default": 10},
]


def write_lines(cloud: Embedded, run: str, *messages: str, level: str = "INFO") -> None:
    """Write log lines of a run, all of one time."""
    same = {"flow_run_id": run, "name": "prefect", "level": level, "timestamp": "2026-01-01T00:00:00Z"}
    cloud.change("write_run_logs", "success", logs=[{**same, "message": message} for message in messages])


def test_signing_in_and_out(chromium: Browser, tmp_path: Path) -> None:
    """The key opens the page that was asked for; after signing out it asks again."""
    with running_server(tmp_path / "cloud.db", keys=frozenset({"k1"})) as url:
        windows = Windows(
            chromium, url, expected=["error: Failed to load resource: the server responded with a status of 401"]
        )
        page = windows.open("/default/flows")
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("not accepted")
        page.get_by_label("API key").fill("k1")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Flows")).to_be_visible()
        [cookie] = [one for one in page.context.cookies() if "session" in one.get("name", "")]
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        page.goto(f"{url}/default/flows")
        expect(page.get_by_label("API key")).to_be_visible()
        windows.close()

    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert windows.unexpected() == []


def test_a_revoked_key_leads_back_to_the_form(remote: RemoteCloud, windows: Windows) -> None:
    """An open page notices by itself."""
    windows.expected += ["error: Failed to load resource: the server responded with a status of 401"]
    made = remote.change("create_api_key", "id key", name="of a person")
    page = windows.open("/default/flow-runs")
    page.get_by_label("API key").fill(made["key"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Flow runs")).to_be_visible()

    headers = {"Authorization": f"Bearer {made['key']}"}
    remote.change("delete_api_key", "success", headers, key_id=made["id"])

    expect(page.get_by_label("API key")).to_be_visible()


def test_a_run_is_created_and_seen_to_succeed_without_a_reload(remote: RemoteCloud, open_window: Open) -> None:
    """From the list of flows to the end of the run; JSON is checked while it is typed."""
    remote.flow(remote.project(), "sums", tasks=1, parameters=PARAMETERS)
    page = open_window()
    page.get_by_role("link", name="Flows", exact=True).first.click()
    page.get_by_role("link", name="sums", exact=True).click()
    page.get_by_role("link", name="Create a run").click()
    page.get_by_label(re.compile("^day")).fill("{")
    expect(page.get_by_text("This is not JSON")).to_be_visible()
    page.get_by_label(re.compile("^day")).fill('{"n": 1}')
    expect(page.get_by_text("This is not JSON")).to_have_count(0)
    page.get_by_label("Name", exact=True).fill("from the page")
    page.get_by_role("button", name="Create the run").click()
    expect(page.get_by_role("heading", name="from the page")).to_be_visible()
    run = page.url.rpartition("/")[2]
    assert remote.row("flow_run", run, "parameters")["parameters"] == {"day": {"n": 1}, "limit": 10}

    page.evaluate("window.mark = 'not reloaded'")
    for state in ("Running", "Success"):
        remote.set_state(run, state)
        expect(page.locator("#head .state")).to_have_text(state)
    expect(page.locator("#overview .states .state").first).to_have_text("Success")

    assert page.evaluate("window.mark") == "not reloaded"


def test_a_run_is_cancelled(remote: RemoteCloud, open_window: Open) -> None:
    """It is asked for twice; the list shows it without a reload."""
    run = remote.run(remote.flow(remote.project()), flow_run_name="my run")
    listed, page = open_window("/default/flow-runs"), open_window(f"/default/flow-run/{run}")
    page.locator("summary", has_text="Cancel").click()
    page.get_by_role("button", name="Cancel", exact=True).click()

    expect(page.locator("#head .state")).to_have_text("Cancelled")
    expect(listed.locator("#runs .state")).to_have_text("Cancelled")
    assert remote.state(run) == "Cancelled"


def test_a_log_is_followed(remote: RemoteCloud, open_window: Open) -> None:
    """New lines appear at the end without a reload, whatever time they carry; markup and colours are text."""
    run = remote.run(remote.flow(remote.project()))
    write_lines(remote, run, "first")
    page = open_window(f"/default/flow-run/{run}/logs")
    expect(page.locator("#lines li")).to_have_count(1)

    write_lines(remote, run, "second", "<img src=/x onerror=alert(1)>", "\x1b[31mred\x1b[0m")
    write_lines(remote, run, "a failure", level="ERROR")

    expect(page.locator("#lines li span")).to_have_text(
        ["first", "second", "<img src=/x onerror=alert(1)>", "red", "a failure"]
    )
    assert page.locator("#lines img").count() == 0


def test_a_filter_of_a_log_counts_for_what_comes(remote: RemoteCloud, open_window: Open) -> None:
    """The stream sends what the address asks for."""
    run = remote.run(remote.flow(remote.project()))
    page = open_window(f"/default/flow-run/{run}/logs")
    page.get_by_label("Level").select_option("ERROR")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile("level=ERROR"))

    write_lines(remote, run, "not this")
    write_lines(remote, run, "but this", level="ERROR")

    expect(page.locator("#lines li span")).to_have_text(["but this"])


def test_a_long_log_stays_usable(remote: RemoteCloud, open_window: Open) -> None:
    """Only so many lines are in the page, while it is followed as well; the older ones come when they are wanted."""
    run = remote.run(remote.flow(remote.project()))
    for start in range(0, 8000, 1000):
        write_lines(remote, run, *(f"line {n}" for n in range(start, start + 1000)))
    page = open_window(f"/default/flow-run/{run}/logs")
    assert page.locator("#lines li").count() == 500

    for start in range(8000, 13000, 1000):
        write_lines(remote, run, *(f"line {n}" for n in range(start, start + 1000)))
    expect(page.locator("#lines li", has_text="line 12999")).to_be_visible()
    assert page.locator("#lines li").count() <= 3000

    page.get_by_label("Follow").uncheck()
    first = page.locator("#lines li").first.get_attribute("id")
    page.evaluate("document.getElementById('log').scrollTop = 0")
    expect(page.locator("#lines li").first).not_to_have_id(first or "")
    expect(page.locator("#older")).to_be_attached()


def test_a_list_keeps_its_filters(remote: RemoteCloud, open_window: Open) -> None:
    """They are in the address: a reload and the back button keep them."""
    flow = remote.flow(remote.project())
    remote.set_state(remote.run(flow, flow_run_name="bad"), "Failed")
    remote.set_state(remote.run(flow, flow_run_name="good"), "Success")
    page = open_window("/default/flow-runs")
    page.locator("summary", has_text="State").click()
    page.get_by_role("checkbox", name="Failed").check()
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#runs tbody tr")).to_have_count(1)

    page.reload()
    page.get_by_role("link", name="bad").click()
    page.go_back()

    expect(page.locator("#runs tbody tr")).to_have_count(1)
    expect(page.locator("summary", has_text="State")).to_have_text("State (1)")


def test_ticks_stay_while_the_list_changes(remote: RemoteCloud, open_window: Open) -> None:
    """What is chosen for a change of several runs is kept when a newer list takes the place of the old one."""
    flow = remote.flow(remote.project())
    first, second = remote.run(flow, flow_run_name="first"), remote.run(flow, flow_run_name="second")
    page = open_window("/default/flow-runs")
    page.get_by_label("Choose first").check()
    remote.set_state(second, "Running")
    expect(page.get_by_role("row", name="second")).to_contain_text("Running")
    expect(page.get_by_label("Choose first")).to_be_checked()
    page.get_by_label("All of this page").check()
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Cancel 2 flow runs").click()
    expect(page.get_by_role("heading", name="Flow runs")).to_be_visible()

    assert (remote.state(first), remote.state(second)) == ("Cancelled", "Cancelling")


def test_a_view_is_saved_in_this_browser(remote: RemoteCloud, open_window: Open) -> None:
    """Its name leads to its filters, after a reload too, until it is forgotten; a name is text."""
    remote.run(remote.flow(remote.project()))
    page = open_window("/default/flow-runs?state=Failed&name=x&after=a~b")
    page.get_by_text("Saved views").click()
    page.get_by_label("Save these filters as").fill("<b>Bad ones</b>")
    page.get_by_label("Save these filters as").press("Enter")
    page.goto(page.url.partition("?")[0])
    page.get_by_text("Saved views").click()
    page.get_by_role("link", name="<b>Bad ones</b>").click()
    page.wait_for_url("**/default/flow-runs?state=Failed&name=x")
    page.get_by_text("Saved views").click()
    page.get_by_role("button", name="Forget <b>Bad ones</b>").click()
    page.reload()
    page.get_by_text("Saved views").click()

    expect(page.get_by_role("link", name="<b>Bad ones</b>")).to_have_count(0)


def test_a_hidden_tab_catches_up(remote: RemoteCloud, open_window: Open) -> None:
    """While it is hidden nothing is asked; once it is shown it is up to date."""
    run = remote.run(remote.flow(remote.project()))
    page = open_window(f"/default/flow-run/{run}")
    page.evaluate(_HIDDEN, True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    remote.set_state(run, "Running")
    other = open_window(f"/default/flow-run/{run}")
    remote.set_state(run, "Success")
    expect(other.locator("#head .state")).to_have_text("Success")
    assert asked == []

    page.evaluate(_HIDDEN, False)

    expect(page.locator("#head .state")).to_have_text("Success")


_HIDDEN = """(hidden) => {
    Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_without_scripts_the_job_is_done_as_well(remote: RemoteCloud, open_window: Open) -> None:
    """Nothing is live then; creating and cancelling work."""
    flow = remote.flow(remote.project(), "sums", parameters=PARAMETERS)
    page = open_window(f"/default/flow/{flow}/run", java_script_enabled=False)
    page.get_by_label(re.compile("^day")).fill("1")
    page.get_by_role("button", name="Create the run").click()
    page.locator("summary", has_text="Cancel").click()
    page.get_by_role("button", name="Cancel", exact=True).click()

    expect(page.locator("#head .state")).to_have_text("Cancelled")


def test_the_keyboard_is_enough(remote: RemoteCloud, open_window: Open) -> None:
    """The first stop leads past the navigation; Escape closes a menu and returns to what opened it."""
    run = remote.run(remote.flow(remote.project()))
    page = open_window(f"/default/flow-run/{run}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    summary = page.locator("summary", has_text="Cancel")
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_visible()
    page.keyboard.press("Escape")

    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_hidden()
    expect(summary).to_be_focused()
