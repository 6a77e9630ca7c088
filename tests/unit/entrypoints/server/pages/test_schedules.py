"""A flow's schedule on its page: clocks with next runs, on and off, other clocks; archiving and deleting the flow."""

from datetime import datetime, timezone
from typing import Any

import pytest

from prefect.agent.entrypoints.server.pages.parameters import NotRight
from prefect.agent.entrypoints.server.pages.schedules import given_clocks, shown_schedule
from support.embedded import Embedded
from support.page_browser import Browser, Shown

NOON = datetime(2026, 1, 31, 12, 0, 30, tzinfo=timezone.utc)
DAILY = {"type": "CronClock", "cron": "0 9 * * *", "start_date": {"dt": "2026-01-01T00:00:00", "tz": "Europe/Berlin"}}


def schedule(*clocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A serialized schedule."""
    return {"clocks": list(clocks), **more}


@pytest.fixture
def flow(cloud: Embedded) -> str:
    """A flow with a clock whose schedule is off."""
    found = cloud.flow(cloud.project(), "daily", schedule=schedule(DAILY))
    cloud.change("set_schedule_inactive", "success", flow_id=found)
    return found


def page(browser: Browser, flow: str) -> Shown:
    """The flow's page."""
    return browser.get(f"/default/flow/{flow}")


def act(browser: Browser, flow: str, what: str, **fields: str) -> Shown:
    """Send one of the page's forms."""
    return browser.submit(page(browser, flow), f"/default/flow/{flow}/{what}", fields)


def planned(cloud: Embedded) -> int:
    """How many runs wait."""
    return len(cloud.ask("query { flow_run { id } }")["flow_run"])


def test_a_schedule_is_switched_on_and_off(cloud: Embedded, browser: Browser, flow: str) -> None:
    """On plans runs, off deletes them; each time the page has the other switch."""
    assert act(browser, flow, "schedule/on").headers["location"] == f"/default/flow/{flow}"
    assert planned(cloud) == 10
    assert "Next runs" in page(browser, flow).texts("th")

    act(browser, flow, "schedule/off")

    assert planned(cloud) == 0
    assert cloud.row("flow", flow, "is_schedule_active") == {"is_schedule_active": False}


def test_a_schedule_that_cannot_be_used_stays_off_and_says_why(cloud: Embedded, browser: Browser) -> None:
    """The reason is the Cloud's own."""
    required = [{"name": "day", "required": True, "default": None}]
    flow = cloud.flow(cloud.project(), schedule=schedule(DAILY), parameters=required)

    answer = act(browser, flow, "schedule/on")

    assert answer.status == 422
    assert "Required parameters were not supplied: day" in answer.one("p", role="alert").text


def test_clocks_are_set_and_the_flows_own_come_back(cloud: Embedded, browser: Browser, flow: str) -> None:
    """The form begins with the clocks that there are."""
    assert page(browser, flow).one("textarea", name="cron").text == "0 9 * * *"

    answer = act(browser, flow, "schedule/clocks", cron="*/5 * * * *\n", minutes="90, 1440", zone="Asia/Tokyo")

    assert answer.status == 303
    assert [text.split(" Asia")[0] for text in page(browser, flow).texts("tr") if "Asia" in text] == [
        "*/5 * * * *", "every 1 h 30 min", "every 1 d",
    ]  # fmt: skip
    act(browser, flow, "schedule/own")
    assert page(browser, flow).one("textarea", name="cron").text == "0 9 * * *"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cron": "every day"}, "every day"),
        ({"cron": "", "minutes": ""}, "at least one clock"),
        ({"minutes": "soon"}, "number of minutes"),
        ({"minutes": "1e999"}, "number of minutes"),
        ({"zone": "Middle Earth"}, "not a time zone"),
    ],
)
def test_clocks_that_are_not_right_stay_in_the_form(
    cloud: Embedded, browser: Browser, flow: str, fields: dict[str, str], words: str
) -> None:
    """With the reason; the schedule is as it was."""
    answer = act(browser, flow, "schedule/clocks", **fields)

    assert answer.status == 422
    assert words in answer.one("p", class_="wrong").text
    for name, value in fields.items():
        [field] = [one for one in answer.elements if one.attrs.get("name") == name]
        assert value in (field.attrs.get("value", ""), field.text)
    assert cloud.row("flow", flow, "flow_group { schedule }") == {"flow_group": {"schedule": None}}


@pytest.mark.parametrize("clock", [DAILY, {"type": "DatesClock", "dates": ["2999-01-01T00:00:00+00:00"]}])
def test_the_form_of_clocks_says_what_it_cannot_keep(cloud: Embedded, browser: Browser, clock: dict[str, Any]) -> None:
    """It has expressions and intervals: dates of the schedule would be gone without a word."""
    flow = cloud.flow(cloud.project(), schedule=schedule(clock))

    notes = " ".join(page(browser, flow).texts("p", class_="note"))

    assert ("its dates and recurrence rules too" in notes) is (clock is not DAILY)


def test_archiving_cancels_what_waits(cloud: Embedded, browser: Browser, flow: str) -> None:
    """The page then offers neither a run nor a schedule."""
    run = cloud.run(flow)

    act(browser, flow, "archive")

    assert cloud.state(run) == "Cancelled"
    shown = page(browser, flow)
    assert "archived" in " ".join(shown.texts("header"))
    assert not shown.all("form", action=f"/default/flow/{flow}/schedule/on")


def test_one_version_or_all_of_a_flow_are_deleted(cloud: Embedded, browser: Browser, flow: str) -> None:
    """A version goes with its runs; the whole flow with all versions."""
    newer = cloud.flow(cloud.row("flow", flow, "project_id")["project_id"], "daily")

    assert act(browser, flow, "delete").headers["location"] == "/default/flows"
    assert page(browser, flow).status == 404
    assert page(browser, newer).status == 200
    act(browser, newer, "delete-all")
    assert page(browser, newer).status == 404
    assert cloud.ask("query { flow_group { id } }")["flow_group"] == []


@pytest.mark.parametrize("what", ["schedule/on", "schedule/off", "schedule/clocks", "archive", "delete", "delete-all"])
def test_a_flow_of_another_tenant_is_not_changed(cloud: Embedded, browser: Browser, flow: str, what: str) -> None:
    """Its id does not help."""
    cloud.change("create_tenant", "id", name="Second", slug="second")
    token = page(browser, flow).all("input", name="form_token")[0].attrs["value"]

    assert browser.post(f"/second/flow/{flow}/{what}", {"form_token": token, "cron": "* * * * *"}).status == 404
    assert cloud.row("flow", flow, "archived") == {"archived": False}


# --- pure parts ---


def test_each_clock_has_its_next_runs_in_its_zone() -> None:
    """Nine o'clock in Berlin is eight in UTC in winter."""
    hourly = {"type": "IntervalClock", "interval": 3_600_000_000, "start_date": {"dt": "2026-01-01T00:00:00", "tz": ""}}
    shown = shown_schedule(None, schedule(DAILY, {**hourly, "start_date": None}), NOON)

    assert [clock.next[0] for clock in shown.clocks] == [
        "2026-02-01T08:00:00.000000+00:00", "2026-01-31T13:00:00.000000+00:00",
    ]  # fmt: skip
    assert (shown.is_of_group, shown.zone, shown.minutes) == (True, "Europe/Berlin", "60")


def test_what_has_begun_within_this_minute_is_not_next() -> None:
    """Times are kept for a minute, and those that are over are left out."""
    shown = shown_schedule(schedule({**DAILY, "cron": "* * * * *"}), None, NOON)

    assert shown.clocks[0].next[0] == "2026-01-31T12:01:00.000000+00:00"


@pytest.mark.parametrize("payload", [None, {}, {"clocks": None}, {"clocks": [1]}, schedule({"type": "NoClock"})])
def test_a_schedule_that_cannot_be_read_breaks_no_page(payload: object) -> None:
    """It says what is wrong, or shows nothing."""
    shown = shown_schedule(payload, None, NOON)

    assert shown.problem or not shown.clocks


def test_a_clock_that_stays_keeps_its_labels_and_parameters() -> None:
    """The form shows neither, so it must not lose them."""
    present = schedule({**DAILY, "labels": ["gpu"], "parameter_defaults": {"n": 1}})

    given = given_clocks(present, "0 9 * * *\n0 10 * * *", "", "")

    assert given["cron_clocks"] == [
        {"cron": "0 9 * * *", "labels": ["gpu"], "parameter_defaults": {"n": 1}}, {"cron": "0 10 * * *"},
    ]  # fmt: skip


def test_no_clock_is_not_a_schedule() -> None:
    """Switching off is another form."""
    with pytest.raises(NotRight):
        given_clocks(None, " \n", " ", "UTC")


def test_each_field_of_a_schedule_is_told_by_itself() -> None:
    """All that is wrong at once, a cron expression with its line."""
    with pytest.raises(NotRight) as refused:
        given_clocks(None, "0 9 * * *\nat nine", "often", "Mars/Base")

    assert set(refused.value.problems) == {"cron", "minutes", "zone"}
    assert refused.value.problems["cron"].startswith("at nine: ")
