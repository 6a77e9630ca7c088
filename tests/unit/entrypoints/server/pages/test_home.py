"""The first page: what needs attention, what comes, what was."""

from datetime import datetime, timedelta, timezone

import pytest

from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.pages import home
from prefect.agent.entrypoints.server.pages.charts import HEIGHT, bars
from prefect.agent.entrypoints.server.pages.rendering import ago, length
from support.embedded import LATER, Embedded, task_run
from support.page_browser import Browser, Shown

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def test_a_new_cloud_says_what_to_do(browser: Browser) -> None:
    """A fresh Cloud is not a blank page."""
    assert "prefect register" in browser.get("/").body


def test_what_needs_attention_comes_first(cloud: Embedded, browser: Browser) -> None:
    """Failed, late and stuck runs, and agents that are silent; what is well is not mentioned."""
    flow = cloud.flow(cloud.project())
    before = {"scheduled_start_time": iso(datetime.now(timezone.utc) - timedelta(minutes=5))}
    cloud.run(flow, flow_run_name="late one", **before)
    cloud.set_state(cloud.run(flow, flow_run_name="bad one"), "Failed", message="Boom.")
    cloud.set_state(cloud.run(flow, flow_run_name="good one"), "Success")
    stuck = cloud.run(flow, flow_run_name="stuck one")
    cloud.set_state(stuck, "Running")
    cloud.database._connection.execute("UPDATE flow_run SET heartbeat = '2026-01-01' WHERE id = ?", [stuck])
    agent = cloud.change("register_agent", "id", type="DockerAgent", name="quiet agent", labels=["gpu"])["id"]
    asked = iso(datetime.now(timezone.utc) - timedelta(minutes=3))
    cloud.database._connection.execute("UPDATE agent SET last_queried = ? WHERE id = ?", [asked, agent])

    [attention] = [one.text for one in browser.get("/").all("section", aria_labelledby="attention")]

    assert all(text in attention for text in ("late one", "bad one", "Boom.", "stuck one", "quiet agent", "gpu"))
    assert "good one" not in attention


def test_its_heads_lead_to_the_same_runs(cloud: Embedded, browser: Browser) -> None:
    """The list behind a head shows what the table shows, however long ago it was made, and nothing else."""
    flow = cloud.flow(cloud.project())
    for name, due in (("late one", "2026-01-01T00:00:00Z"), ("later one", LATER)):
        cloud.run(flow, flow_run_name=name, scheduled_start_time=due)
    failed = cloud.run(flow, flow_run_name="failed one")
    cloud.set_state(failed, "Failed")
    cloud.database._connection.execute("UPDATE flow_run SET created = '2026-01-01T00:00:00.000000+00:00'")
    shown = browser.get("/")

    def behind(head: str) -> list[str]:
        [link] = [one.attrs["href"] for one in shown.all("a") if one.text == head]
        return [one.text for one in browser.get(link).all("a", inside="runs") if one.text.endswith(" one")]

    assert behind("Late") == ["late one"]
    assert behind("Failed in the last 24 hours") == ["failed one"]


def test_a_head_says_how_many_there_are(cloud: Embedded, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """If not all of them are shown; they are counted up to a bound."""
    flow = cloud.flow(cloud.project())
    for number in range(home.SHOWN + 2):
        cloud.set_state(cloud.run(flow), "Failed")
        if number < home.SHOWN:
            cloud.run(flow, scheduled_start_time="2026-01-01T00:00:00Z")

    def heads() -> list[str]:
        return [text for text in browser.get("/").texts("h3") if text.startswith(("Failed", "Late"))]

    assert heads() == ["Failed in the last 24 hours 6 of 8", "Late"]
    monkeypatch.setattr(home, "COUNTED", 7)
    assert heads()[0] == "Failed in the last 24 hours 6 of more than 7"


def test_a_failure_is_told_by_its_first_task(cloud: Embedded, browser: Browser) -> None:
    """The run's own message is that some task failed; which one, and why, is what a person looks for."""
    run = cloud.run(cloud.flow(cloud.project(), tasks=2), flow_run_name="bad one")
    cloud.set_state(run, "Running")
    for slug, message, kind in (("t-0", "Connection refused.", "Failed"), ("t-1", "Trigger.", "TriggerFailed")):
        states = [{"task_run_id": task_run(cloud, run, slug), "state": {"type": kind, "message": message}}]
        cloud.change("set_task_run_states", "states { id }", states=states)
    cloud.set_state(run, "Failed", message="Some reference tasks failed.")

    assert "Some reference tasks failed. t-0: Connection refused." in browser.get("/").body
    failed = browser.get(f"/default/flow-run/{run}").one("section", aria_labelledby="failed").text
    assert "Connection refused." in failed
    assert "Trigger." not in failed


def test_what_is_stuck_says_who_claimed_it(cloud: Embedded, browser: Browser) -> None:
    """With the unit of execution that its agent recorded; the run's page has it, too."""
    run = cloud.run(cloud.flow(cloud.project()), flow_run_name="stuck one")
    record = {"agent_name": "ann", "unit": "prefect-7", "platform": "docker:host", "recoveries": "many", "place": None}
    cloud.set_state(run, "Submitted", context={"prefect_agent": record})
    before = iso(datetime.now(timezone.utc) - timedelta(minutes=10))
    cloud.database._connection.execute("UPDATE flow_run SET state_timestamp = ? WHERE id = ?", [before, run])

    assert "claimed by ann 10 min ago and has not begun. Its unit of execution is prefect-7." in browser.get("/").body
    facts = browser.get(f"/default/flow-run/{run}").one("section", aria_labelledby="facts").text
    assert all(word in facts for word in ("ann", "prefect-7", "docker:host"))


@pytest.mark.parametrize("record", [None, 1, [], {"unit": 3, "agent_name": {}}])
def test_a_record_may_be_anything(cloud: Embedded, browser: Browser, record: object) -> None:
    """Whoever claims a run writes it."""
    run = cloud.run(cloud.flow(cloud.project()))
    cloud.set_state(run, "Submitted", context={"prefect_agent": record})

    assert browser.get(f"/default/flow-run/{run}").status == 200


def test_upcoming_runs_are_in_the_order_of_their_start(cloud: Embedded, browser: Browser) -> None:
    """The next one first."""
    flow = cloud.flow(cloud.project())
    for name, hours in (("second", 2), ("first", 1)):
        when = iso(datetime.now(timezone.utc) + timedelta(hours=hours))
        cloud.run(flow, flow_run_name=name, scheduled_start_time=when)

    [upcoming] = [one.text for one in browser.get("/").all("section", aria_labelledby="upcoming")]

    assert upcoming.index("first") < upcoming.index("second")


def test_a_bar_leads_to_its_runs(cloud: Embedded, browser: Browser) -> None:
    """A click narrows the list down to that time."""
    cloud.set_state(cloud.run(cloud.flow(cloud.project()), flow_run_name="mine"), "Success")
    filled = [one for one in browser.get("/").all("a") if one.attrs.get("aria-label", "").endswith(": 1 run")]

    assert len(filled) == 1
    assert "mine" in browser.get(filled[0].attrs["href"]).body


@pytest.mark.parametrize(("zone", "hour"), [("America/Lima", 5), ("Asia/Kolkata", 18.5), ("", 0), ("Mars/Base", 0)])
def test_bars_of_days_are_days_of_the_viewer(cloud: Embedded, browser: Browser, zone: str, hour: float) -> None:
    """The page says of which zone; each bar leads to exactly the runs that it counts."""
    browser.cookies["prefect-zone"] = zone
    flow = cloud.flow(cloud.project())
    midnight = browser_midnight(hour)
    for name, moment in (("before", midnight - timedelta(microseconds=1)), ("after", midnight)):
        run = cloud.run(flow, flow_run_name=name)
        cloud.database._connection.execute("UPDATE flow_run SET state_timestamp = ? WHERE id = ?", [iso(moment), run])

    shown = browser.get("/?span=30d")
    filled = [one for one in shown.all("a") if one.attrs.get("aria-label", "").endswith(": 1 run")]

    assert f"time zone {zone if hour else 'UTC'}" in shown.body.replace("<span data-days-of>", "")
    assert [one.attrs["data-start"] for one in filled][1] == filled[0].attrs["data-end"] == midnight.isoformat()
    assert [names(browser.get(one.attrs["href"])) for one in filled] == [["before"], ["after"]]


def browser_midnight(hour: float) -> datetime:
    """When a day began some days ago, where it begins at this hour of UTC."""
    return datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(
        days=3, hours=-hour
    )


def names(shown: Shown) -> list[str]:
    """Names of the runs of a list."""
    return [one.text for one in shown.all("a", inside="runs") if "/flow-run/" in one.attrs["href"]]


def test_flows_are_counted_by_kind_of_state(cloud: Embedded, browser: Browser) -> None:
    """Runs of all versions together."""
    project = cloud.project()
    for kind in ("Success", "Failed", "TimedOut"):
        cloud.set_state(cloud.run(cloud.flow(project, "sums", tasks=1)), kind)

    rows = [row for row in browser.get("/").texts("tr") if row.startswith("sums 3")]

    assert len(rows) == 1
    assert "Failed 2" in rows[0]
    assert "Success 1" in rows[0]


# --- pure parts ---


def test_bars_fill_the_drawing_and_lie_upon_each_other() -> None:
    """The highest takes all of the height; each is from one edge to the next."""
    at = [NOON + timedelta(hours=number) for number in range(4)]

    first, second, third = bars([(0, "Success", 3), (1, "Failed", 1), (0, "Failed", 1)], at)

    assert [(one.state, one.height) for one in first.pieces] == [("Success", HEIGHT * 0.75), ("Failed", HEIGHT * 0.25)]
    assert first.pieces[0].y == HEIGHT * 0.25
    assert (first.total, second.total, third.total) == (4, 1, 0)
    assert (first.start, third.end) == (NOON, NOON + timedelta(hours=3))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "now"), (-0.5, "now"), (59, "59 s ago"), (3600, "1 h ago"), (-90, "in 1 min"), (90_000, "1 d ago")],
)
def test_times_are_relative(seconds: float, text: str) -> None:
    """The largest part is enough; the exact time is in the title."""
    assert ago(iso(NOON - timedelta(seconds=seconds)), NOON) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (1.25, "1.2 s"), (59.6, "1 min"), (3700, "1 h 1 min"), (86_400, "1 d"), (-5, "0 s")],
)
def test_lengths_have_two_parts(seconds: float, text: str) -> None:
    """Short ones have a digit after the point."""
    assert length(seconds) == text


def test_an_empty_cloud_says_how_to_begin(cloud: Embedded, browser: Browser) -> None:
    """With its own address; once there is a run, it is told no more."""
    shown = " ".join(browser.get("/default").texts("pre"))
    assert "PREFECT__BACKEND=server PREFECT__SERVER__ENDPOINT=http://localhost:4200" in shown
    assert "prefect-agent start process --api http://localhost:4200" in shown

    cloud.run(cloud.flow(cloud.project()))

    assert browser.get("/default").all("pre") == []


def test_a_locked_cloud_says_where_a_key_goes(cloud: Embedded) -> None:
    """The real client sends one to the backend cloud only."""
    key = str(cloud.change("create_api_key", "key", name="k")["key"])
    browser = Browser(cloud.execute)
    browser.submit(browser.get("/-/sign-in"), "/-/sign-in", key=key)

    shown = " ".join(browser.get("/default").texts("pre"))

    assert "PREFECT__BACKEND=cloud PREFECT__CLOUD__ENDPOINT=http://localhost:4200 PREFECT__CLOUD__API_KEY=KEY" in shown
    assert key not in shown
