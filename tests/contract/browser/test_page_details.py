"""Times of the viewer's zone, forms that were not right, a part of a timeline, a first page that notices silence."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect

from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.pages.flow_run import TASK_RUNS_SHOWN
from support.embedded import task_run
from support.remote_cloud import RemoteCloud

from .conftest import PATIENCE, Windows, set_columns

pytestmark = pytest.mark.browser

Open = Callable[..., Page]
expect.set_options(timeout=PATIENCE)

REFUSED = "error: Failed to load resource: the server responded with a status of 422"
"""What the browser says when a form is answered with what was wrong in it."""


def test_a_span_is_typed_in_the_viewers_zone(remote: RemoteCloud, open_window: Open, tmp_path: Path) -> None:
    """The address has the instant, so a link means the same everywhere; the page says which zone it shows."""
    run = remote.run(remote.flow(remote.project()), flow_run_name="mine")
    set_columns(tmp_path, "flow_run", run, created="2026-01-31T13:30:00.000000+00:00")
    page = open_window("/default/flow-runs", timezone_id="America/New_York", locale="en-US")
    page.get_by_text("Between").click()
    page.get_by_label("From (America/New_York)").fill("2026-01-31T08:00")
    page.get_by_label("To (America/New_York)").fill("2026-01-31T09:00")
    page.get_by_role("button", name="Show").click()

    page.wait_for_url("**/default/flow-runs?time=created&from=2026-01-31T13%3A00%3A00Z&to=2026-01-31T14%3A00%3A00Z")
    expect(page.locator("#between")).to_contain_text("from Jan 31, 2026, 8:00 AM")
    expect(page.get_by_role("link", name="mine")).to_be_visible()
    other = open_window(page.url.removeprefix(remote.url), timezone_id="Asia/Kolkata")
    other.get_by_text("Between").click()
    expect(other.get_by_label("From (Asia/Calcutta)")).to_have_value("2026-01-31T18:30")


def test_a_bar_names_the_viewers_time(remote: RemoteCloud, open_window: Open) -> None:
    """A full hour of India is a half one of UTC; the runs behind a bar are the same."""
    remote.set_state(remote.run(remote.flow(remote.project()), flow_run_name="mine"), "Success")
    page = open_window("/default", timezone_id="Asia/Kolkata", locale="en-GB")
    bar = page.get_by_role("link", name=re.compile(": 1 run$"))

    expect(bar).to_have_attribute("aria-label", re.compile(r"\d\d:00"))
    expect(page.locator("#home")).to_contain_text("Asia/Calcutta")
    bar.click()
    expect(page.get_by_role("link", name="mine")).to_be_visible()


def test_bars_of_days_are_the_viewers(remote: RemoteCloud, open_window: Open, tmp_path: Path) -> None:
    """From the first look on; a click narrows to that day of the zone, and the way back keeps both."""
    flow = remote.flow(remote.project())
    midnight = datetime.now(ZoneInfo("Asia/Kolkata")).replace(hour=0, minute=0, second=0, microsecond=0)
    for name, moment in (("evening", midnight - timedelta(seconds=1)), ("morning", midnight)):
        set_columns(tmp_path, "flow_run", remote.run(flow, flow_run_name=name), state_timestamp=iso(moment))
    page = open_window("/default?span=30d", timezone_id="Asia/Kolkata", locale="en-GB")

    expect(page.locator("[data-days-of]")).to_have_text("Asia/Calcutta")
    bars = page.get_by_role("link", name=re.compile(": 1 run$"))
    expect(bars).to_have_count(2)
    expect(bars.last).to_have_attribute("aria-label", re.compile(f"^{midnight.day} .*00:00"))
    bars.last.click()
    expect(page.locator("#between")).to_contain_text(f"from {midnight.day} ")
    expect(page.get_by_role("link", name="morning")).to_be_visible()
    expect(page.get_by_role("link", name="evening")).to_have_count(0)
    page.go_back()
    expect(page.locator("[data-days-of]")).to_have_text("Asia/Calcutta")


def test_without_javascript_days_are_those_of_utc(remote: RemoteCloud, open_window: Open) -> None:
    """And the page says so."""
    page = open_window("/default?span=30d", timezone_id="Asia/Kolkata", java_script_enabled=False)

    expect(page.locator("#home")).to_contain_text("Each bar is a day in the time zone UTC")
    assert {
        edge[11:] for edge in page.locator("a[data-start]").evaluate_all("all => all.map(x => x.dataset.start)")
    } == {"00:00:00+00:00"}


def test_task_runs_lead_on_and_back(remote: RemoteCloud, open_window: Open) -> None:
    """Also after a reload, with the filter that was chosen."""
    run = remote.run(remote.flow(remote.project(), tasks=TASK_RUNS_SHOWN + 1))
    page = open_window(f"/default/flow-run/{run}/task-runs?state=Pending")
    rows = page.locator("#task-runs tbody tr")
    expect(rows).to_have_count(TASK_RUNS_SHOWN)
    expect(page.get_by_role("link", name="Previous")).to_have_count(0)
    page.get_by_role("link", name="Next").click()
    expect(rows).to_have_count(1)
    expect(page.get_by_role("link", name="Next")).to_have_count(0)
    page.reload()
    page.get_by_role("link", name="Previous").click()
    expect(rows).to_have_count(TASK_RUNS_SHOWN)
    expect(page.locator(".filters").get_by_label("State")).to_have_value("Pending")


def test_home_notices_that_an_agent_fell_silent(remote: RemoteCloud, open_window: Open, tmp_path: Path) -> None:
    """Nothing is said by an agent that is gone: the page must notice by itself."""
    remote.run(remote.flow(remote.project()))
    agent = remote.change("register_agent", "id", type="DockerAgent", name="ann", labels=[])["id"]
    page = open_window("/default")
    expect(page.get_by_text("Nothing: no run failed")).to_be_visible()

    set_columns(tmp_path, "agent", agent, last_queried=a_minute_ago())

    expect(page.get_by_role("link", name="Agents that have not asked for a minute")).to_be_visible()


def a_minute_ago() -> str:
    """A stored time at which an agent asked that is silent now."""
    return iso(datetime.now(timezone.utc) - timedelta(seconds=61))


def test_a_wrong_clock_is_told_beside_its_field(remote: RemoteCloud, windows: Windows) -> None:
    """What was typed stays; the page has its own address again, so that it follows changes and can be reloaded."""
    windows.expected.append(REFUSED)
    flow = remote.flow(remote.project(), "daily")
    page = windows.open(f"/default/flow/{flow}")
    page.get_by_text("Set clocks").first.click()
    page.get_by_label("Cron expressions").fill("at nine")
    page.get_by_label("Every so many minutes").fill("5")
    page.get_by_role("button", name="Set clocks").click()

    expect(page.locator("#cron-wrong")).to_contain_text("at nine")
    expect(page.get_by_label("Cron expressions")).to_be_focused()  # it may be out of sight otherwise
    expect(page.get_by_label("Cron expressions")).to_have_value("at nine")
    expect(page.get_by_label("Every so many minutes")).to_have_value("5")
    expect(page).to_have_url(re.compile(f"/default/flow/{flow}$"))
    remote.run(flow, flow_run_name="made meanwhile")
    expect(page.get_by_role("link", name="made meanwhile").first).to_be_attached()
    expect(page.get_by_text("The Cloud does not answer")).to_be_hidden()


def test_a_refused_change_is_told_on_the_page(remote: RemoteCloud, windows: Windows) -> None:
    """A run that was deleted meanwhile, or ended, is no blank page with an error."""
    windows.expected.append(REFUSED)
    run = remote.run(remote.flow(remote.project()), flow_run_name="mine")
    page = windows.open(f"/default/flow-run/{run}")
    page.locator("summary", has_text="Rename").click()
    name = page.get_by_label("Name")
    name.evaluate("field => field.removeAttribute('required')")
    name.fill("")
    page.get_by_role("button", name="Rename").click()

    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("heading", name="mine")).to_be_visible()
    expect(page).to_have_url(re.compile(f"/default/flow-run/{run}$"))


def test_a_stretch_of_the_timeline_is_dragged_out(remote: RemoteCloud, open_window: Open, tmp_path: Path) -> None:
    """It fills the width; the address has it; a click is still a click."""
    run = remote.run(remote.flow(remote.project(), tasks=1))
    task = task_run(remote, run)
    ends = {"start_time": "2026-01-01T00:00:00+00:00", "end_time": "2026-01-01T00:01:40+00:00"}
    set_columns(tmp_path, "task_run", task, state="Success", **ends)
    page = open_window(f"/default/flow-run/{run}/timeline")
    track = page.locator(".track")
    box = track.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 5, steps=4)
    page.mouse.up()

    expect(page).to_have_url(re.compile(r"since=(49\.\d+|50\.\d+)&until=(74\.\d+|75\.\d+)"))
    expect(page.locator(".axis span").first).to_have_text(re.compile("^(49|50) s$"))
    page.get_by_role("link", name="Whole run").click()
    expect(page.locator(".axis span").last).to_have_text("1 min 40 s")
    page.locator(".track").click()
    expect(page).to_have_url(re.compile("/logs"))


def test_a_number_is_checked_while_it_is_typed(remote: RemoteCloud, open_window: Open) -> None:
    """Beside the field; another kind of value is another choice."""
    parameters = [{"name": "limit", "slug": "limit", "required": False, "default": 10}]
    flow = remote.flow(remote.project(), "sums", parameters=parameters)
    page = open_window(f"/default/flow/{flow}/run")
    field = page.get_by_label("limit", exact=True)
    field.fill("many")
    expect(page.get_by_text("This is not a number.")).to_be_visible()
    page.get_by_label("Kind of limit").select_option("text")
    expect(page.get_by_text("This is not a number.")).to_have_count(0)
    page.get_by_role("button", name="Create the run").click()

    page.wait_for_url("**/flow-run/*")
    assert remote.row("flow_run", page.url.rpartition("/")[2], "parameters")["parameters"] == {"limit": "many"}


LINES = 5200
LINE = {"name": "prefect", "level": "INFO", "timestamp": "2026-01-02T00:00:00Z", "message": "new"}


def write_many(remote: RemoteCloud, run: str) -> None:
    """Write lines whose messages are numbers."""
    for start in range(0, LINES, 1000):
        same = {**LINE, "flow_run_id": run, "timestamp": f"2026-01-01T00:00:0{start // 1000}Z"}
        lines = [{**same, "message": str(number)} for number in range(start, min(LINES, start + 1000))]
        remote.change("write_run_logs", "success", logs=lines)


def scroll_to(page: Page, end: str, number: int) -> list[int]:
    """Scroll to an end of the log until its line there is *number*; return the numbers of all lines in the page."""
    place, line = ("0", "first") if end == "top" else ("log.scrollHeight", "last")
    page.wait_for_function(
        f"""() => {{
            const log = document.getElementById("log"), lines = document.getElementById("lines");
            if (!lines?.lastElementChild) return false;
            log.scrollTop = {place};
            return lines.{line}ElementChild.querySelector("span").textContent === "{number}";
        }}"""
    )
    return [int(text) for text in page.locator("#lines li span").all_text_contents()]


def test_a_long_log_is_scrolled_through(remote: RemoteCloud, open_window: Open) -> None:
    """From the end to the begin and back: no line is missing, few are in the page, and at the end it is live again."""
    run = remote.run(remote.flow(remote.project()))
    write_many(remote, run)
    page = open_window(f"/default/flow-run/{run}/logs")
    shown = scroll_to(page, "top", 0)
    assert shown == list(range(len(shown)))
    assert len(shown) <= 3000
    expect(page.get_by_role("link", name="Older lines")).to_have_count(0)
    expect(page.get_by_label("Follow")).not_to_be_checked()

    shown = scroll_to(page, "end", LINES - 1)
    assert shown == list(range(LINES - len(shown), LINES))
    assert len(shown) <= 3000
    expect(page.get_by_label("Follow")).to_be_checked()
    remote.change("write_run_logs", "success", logs=[{**LINE, "flow_run_id": run}])
    expect(page.locator("#lines li").last).to_contain_text("new")


def test_the_top_of_a_log_leads_to_the_end(remote: RemoteCloud, open_window: Open) -> None:
    """There is nothing older there, and scrolling is enough."""
    run = remote.run(remote.flow(remote.project()))
    write_many(remote, run)
    page = open_window(f"/default/flow-run/{run}/logs")
    page.get_by_role("link", name="To the top").click()
    expect(page.locator("#lines li span").first).to_have_text("0")
    expect(page.get_by_role("link", name="Older lines")).to_have_count(0)

    shown = scroll_to(page, "end", LINES - 1)
    assert shown == list(range(LINES - len(shown), LINES))
    expect(page.get_by_role("link", name="Newer lines")).to_have_count(0)


LONG = "W" * 1000


@pytest.mark.parametrize("width", [360, 1100])
def test_no_name_pushes_others_off_the_page(remote: RemoteCloud, open_window: Open, width: int) -> None:
    """Names without a space: what stands beside them, and what can be done, is on the page, not over one another."""
    flow = remote.flow(remote.project("P" * 200), LONG)
    run = remote.run(flow, flow_run_name=LONG)
    remote.change("register_agent", "id", type="DockerAgent", name=LONG, labels=["x" * 200])
    page = open_window("/default/flow-runs", viewport={"width": width, "height": 740})
    for path in ("", "/flow-runs", "/flows", "/projects", "/agents", f"/flow-run/{run}", f"/flow/{flow}"):
        page.goto(f"{remote.url}/default{path}")
        boxes = page.locator("td:visible:not(.findings td)").evaluate_all(
            "all => all.map(each => [each.scrollWidth - each.clientWidth, each.getBoundingClientRect().right])"
        )
        assert [box for box in boxes if box[0] > 1 or box[1] > width] == [], path
    page.goto(f"{remote.url}/default/flow-run/{run}")
    actions = page.locator(".head .actions").bounding_box()
    assert actions is not None
    assert actions["y"] < 400


def test_a_broad_graph_opens_at_what_failed(remote: RemoteCloud, open_window: Open, tmp_path: Path) -> None:
    """Else at its first task: never where nothing is drawn."""
    edges = [
        {
            "upstream_task": {"slug": f"t-{number // 2}"},
            "downstream_task": {"slug": f"t-{number}"},
            "key": None,
            "mapped": False,
        }
        for number in range(1, 200)
    ]
    run = remote.run(remote.flow(remote.project(), tasks=200, edges=edges))
    page = open_window(f"/default/flow-run/{run}/graph", viewport={"width": 360, "height": 740})
    expect(page.get_by_role("link", name="t-0: 1 Pending")).to_be_in_viewport()

    set_columns(tmp_path, "task_run", task_run(remote, run, "t-190"), state="Failed")
    page.reload()
    expect(page.get_by_role("link", name="t-190: 1 Failed")).to_be_in_viewport()


def test_the_way_back_ticks_the_same_run(remote: RemoteCloud, open_window: Open) -> None:
    """A browser restores fields by their order: the tick would be on a run that was made meanwhile."""
    flow = remote.flow(remote.project())
    for name in ("older", "chosen"):
        remote.run(flow, flow_run_name=name)
    page = open_window("/default/flow-runs")
    page.get_by_label("Choose chosen").check()
    page.get_by_role("link", name="older").click()
    expect(page.get_by_role("heading", name="older")).to_be_visible()
    remote.run(flow, flow_run_name="made meanwhile")
    page.go_back()

    expect(page.get_by_label("Choose made meanwhile")).not_to_be_checked()
    expect(page.get_by_label("Choose chosen")).to_be_checked()
    page.get_by_role("button", name="Cancel…").click()
    expect(page.locator("main")).to_contain_text("Cancel 1 flow run?")
    expect(page.locator("main")).to_contain_text("chosen")


def test_the_way_back_shows_the_filters_of_its_address(remote: RemoteCloud, open_window: Open) -> None:
    """Else the next look would be narrowed by filters that are not on the page."""
    remote.run(remote.flow(remote.project()), flow_run_name="mine")
    page = open_window("/default/flow-runs")
    page.locator("summary", has_text="State").click()
    page.get_by_label("Scheduled").check()
    page.get_by_role("searchbox", name="Name").fill("mi")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**/flow-runs?state=Scheduled&name=mi&*")
    page.go_back()

    page.wait_for_url("**/default/flow-runs")
    expect(page.get_by_role("searchbox", name="Name")).to_have_value("")
    expect(page.locator("input[name=state]:checked")).to_have_count(0)
