"""What the status document says, and that it stays small whatever flow authors call their flows."""

import json
from datetime import timedelta
from typing import Any

import attrs
import pytest

from prefect.agent.domain.model.asked_agents import Start
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.units import Evidence, Unit, UnitStatus
from prefect.agent.domain.services.work_in_hand import Census
from prefect.agent.domain.texts import MAX_NAME
from prefect.agent.domain.wait_kinds import WaitKind
from prefect.agent.entrypoints.runtime.minutes import MINUTES
from prefect.agent.entrypoints.runtime.status import MOST_PROBLEMS, MOST_RUNS, MOST_UNITS, described
from prefect.agent.entrypoints.runtime.stories import MOMENTS, STAGES, remedy_of
from prefect.agent.ports import events
from support.builders import NOW
from support.status_boards import SECRET, BoardHarness, documented, members

HUGE = "\x1b[31m<script>alert(1)</script>\u202e" + "x" * 1_000_000


@pytest.fixture
def agent() -> BoardHarness:
    """An agent that has just started."""
    return BoardHarness()


def unit(name: str, run: str, status: UnitStatus = UnitStatus.RUNNING, evidence: Evidence | None = None) -> Unit:
    """A unit as a platform describes it."""
    return Unit(
        name=name,
        flow_run_id=FlowRunId(run),
        attempt="1",
        status=status,
        info="pid 7",
        created_at=NOW,
        evidence=evidence,
    )


# --- flow runs ---


def test_a_run_has_the_seconds_of_each_phase(agent: BoardHarness) -> None:
    """The lateness is without the create; the execution goes on until the run ends."""
    agent.start("a", late=2.0, create=0.5)
    agent.clock.seconds += 30

    [run] = agent.facts()["runs"]
    assert run["phases"] == {"create_s": 0.5, "late_s": 1.5, "executing_s": 30.0}
    assert run["stage"] == "executing"

    agent.say(events.RUN_ENDED, flow_run_id="a", state="Success", duration_s=12.5)
    agent.clock.seconds += 30
    [run] = agent.facts()["runs"]
    assert run["phases"]["executing_s"] == 12.5
    assert (run["stage"], run["state"]) == ("ended", "Success")


def test_an_end_without_a_duration_is_timed_by_its_events(agent: BoardHarness) -> None:
    """A unit that ended without a report says no seconds: they are counted from its create to its end."""
    agent.start("a")
    agent.clock.seconds += 7
    agent.say(events.UNIT_ENDED, "killed", "WARNING", flow_run_id="a")
    agent.clock.seconds += 100

    assert agent.facts()["runs"][0]["phases"]["executing_s"] == 7.0


def test_phases_that_have_not_begun_are_left_out(agent: BoardHarness) -> None:
    """A claimed run executes nothing."""
    agent.say(events.CLAIMED, flow_run_id="a")

    assert agent.facts()["runs"][0]["phases"] == {}
    assert agent.board.starting() == ["a"]


def test_a_second_claim_begins_a_new_story(agent: BoardHarness) -> None:
    """An attempt is not over because the one before it is."""
    agent.start("a")
    agent.say(events.RUN_ENDED, flow_run_id="a", state="Failed", duration_s=1.0)
    agent.say(events.CLAIMED, flow_run_id="a", flow_run_name="n")

    [run] = agent.facts()["runs"]
    assert (run["stage"], run["phases"], "state" in run) == ("starting", {}, False)
    assert agent.board.starting() == ["n"]


def test_every_event_of_a_story_has_a_stage() -> None:
    """The page has a word for each of them."""
    assert STAGES.keys() == MOMENTS.keys()


# --- units ---


def test_a_unit_has_the_name_of_its_run_and_what_it_waits_for(agent: BoardHarness) -> None:
    """As far as the agent knows the run; a restarted agent does not."""
    agent.start("a")
    waits = Evidence(reason="ImagePullBackOff", message="no such image", wait_kind=WaitKind.IMAGE)
    agent.work.census = Census((unit("u-a", "a", UnitStatus.PENDING, waits), unit("u-b", "b")))

    first, second = agent.facts()["units"]
    assert (first["flow_run_name"], first["flow_name"]) == ("name of a", "f")
    assert first["waits_for"] == "ImagePullBackOff, no such image"
    assert first["wait_kind"] == "image"
    assert (second["flow_run_name"], second["waits_for"], second["wait_kind"]) == (None, None, None)


def test_a_unit_is_there_before_the_next_sweep(agent: BoardHarness) -> None:
    """It is counted once: as the sweep sees it, if it has."""
    agent.work.note_unit(unit("u-a", "a"))
    assert [each["name"] for each in agent.facts()["units"]] == ["u-a"]

    agent.work.census = Census((unit("u-a", "a"), unit("u-b", "b")))
    assert [each["name"] for each in agent.facts()["units"]] == ["u-a", "u-b"]
    assert agent.facts()["slots"]["alive"] == 2


def test_what_the_platform_says_is_shown_without_secrets(agent: BoardHarness) -> None:
    """An engine may repeat a login in its message."""
    waits = Evidence(message=f"cannot log in with {SECRET}")
    shown = unit("u", "a", UnitStatus.PENDING, waits)
    agent.work.census = Census((attrs.evolve(shown, info=f"login {SECRET}"),))

    assert SECRET not in json.dumps(agent.facts())
    assert agent.facts()["units"][0]["waits_for"] == "cannot log in with ********"


@pytest.mark.parametrize(
    ("said", "shown"), [({"wait_kind": "image"}, "image"), ({"wait_kind": "unknown"}, None), ({}, None)]
)
def test_a_run_that_is_started_says_what_its_unit_waits_for(
    agent: BoardHarness, said: dict[str, Any], shown: str | None
) -> None:
    """To whoever asks the agent; once the unit is there it waits for nothing."""
    agent.say(events.UNIT_RETRIED, "no", "WARNING", flow_run_id="a", problem="no image", **said)

    document = json.loads(json.dumps(agent.facts()))
    assert document["runs"][0]["wait_kind"] == shown
    assert described(document, "here").starting == {"a": Start(problem="no image", wait_kind=WaitKind(shown))}
    agent.say(events.UNIT_CREATED, flow_run_id="a")
    assert agent.facts()["runs"][0]["wait_kind"] is None


def test_an_agent_of_an_earlier_version_says_no_kind(agent: BoardHarness) -> None:
    """Its document has no such members."""
    agent.say(events.UNIT_RETRIED, "no", "WARNING", flow_run_id="a", problem="no image", wait_kind="image")
    document = agent.facts()
    del document["runs"][0]["wait_kind"]

    assert described(document, "here").starting == {"a": Start(problem="no image")}


# --- problems ---


def test_a_wait_has_what_to_do(agent: BoardHarness) -> None:
    """By its kind, unless its message says it."""
    agent.say(events.UNIT_WAITS, "u waits for a node: full", "WARNING", wait_kind="node")
    agent.say(events.UNIT_RETRIED, "no room. Do: end runs", "WARNING", wait_kind="quota", flow_run_id="a")

    remedies = {problem["kind"]: problem["remedy"] for problem in agent.facts()["problems"]}
    assert remedies == {events.UNIT_WAITS: "; or ".join(WaitKind.NODE.remedies), events.UNIT_RETRIED: "end runs"}


def test_problems_of_a_kind_are_counted_together_with_their_remedy(agent: BoardHarness) -> None:
    """The latest message stands for all of them."""
    agent.say(events.RUN_LATE, "first", "WARNING")
    agent.clock.seconds += 5
    agent.say(events.RUN_LATE, "The limit is reached. Do: raise --limit", "WARNING")

    [problem] = agent.facts()["problems"]
    assert (problem["count"], problem["remedy"]) == (2, "raise --limit")
    assert problem["last_at"] == (NOW + timedelta(seconds=5)).isoformat()


@pytest.mark.parametrize("name", [events.CLOUD_TROUBLE, events.PLATFORM_TROUBLE])
def test_a_trouble_without_a_remedy_leads_to_doctor(agent: BoardHarness, name: str) -> None:
    """What the message itself says to do comes first."""
    agent.say(name, "Connection refused", "WARNING", loop="poll")
    agent.say(name, "Forbidden. Do: give the role jobs", "WARNING", loop="sweep")

    first, second = sorted(agent.facts()["problems"], key=lambda problem: str(problem["kind"]))
    assert "prefect agent doctor" in first["remedy"]
    assert second["remedy"] == "give the role jobs"


@pytest.mark.parametrize(
    ("message", "remedy"),
    [("It is late. Do: a", "a"), ("Do: a", None), ("nothing", None), ("x Do: a Do: b", "b"), ("x. Do: ", None)],
)
def test_a_remedy_is_what_a_message_says_to_do(message: str, remedy: str | None) -> None:
    """A message without one has none: nothing is guessed."""
    assert remedy_of(message) == remedy


# --- rates ---


def test_rates_are_of_the_last_hour_by_minute(agent: BoardHarness) -> None:
    """The last value is of the minute that is not over; what is older than an hour is forgotten."""
    agent.start("a")
    agent.clock.seconds += 60
    agent.start("b", late=3.0)
    agent.start("c", late=1.0)

    rates = agent.facts()["rates"]
    assert {len(series) for series in rates.values()} == {MINUTES}
    assert (rates["claimed"][-2:], sum(rates["claimed"])) == ([1, 2], 3)
    assert rates["late_s"][-3:] == [None, 0.5, 2.0]

    agent.clock.seconds += 3600
    rates = agent.facts()["rates"]
    assert (sum(rates["claimed"]), set(rates["late_s"])) == (0, {None})


def test_latency_is_of_requests_that_do_not_wait(agent: BoardHarness) -> None:
    """A long poll says nothing about the Cloud's latency, a failed request neither."""
    assert agent.facts()["latency_s"] is None
    agent.meter.request("flow_run", "ok", 0.02)
    agent.meter.request("flow_run", "ok", 0.04)
    agent.meter.request("get_runs_in_queue", "ok", 30.0)
    agent.meter.request("flow_run", "CloudUnavailable", 60.0)

    facts = agent.facts()
    assert facts["latency_s"] == 0.03
    assert (facts["rates"]["requests"][-1], facts["rates"]["requests_failed"][-1]) == (4, 1)


def test_an_hours_memory_does_not_grow(agent: BoardHarness) -> None:
    """Minutes that are over for an hour are dropped."""
    for _ in range(500):
        agent.start("a")
        agent.clock.seconds += 60

    assert len(agent.meter._hour._minutes) <= MINUTES


# --- bounds ---


def test_the_document_is_bounded_whatever_names_are_like(agent: BoardHarness) -> None:
    """Names of a megabyte, in more runs, units and problems than are kept, make a small document without controls."""
    for number in range(MOST_RUNS + 20):
        agent.start(f"{number}", flow_run_name=HUGE[:10_000], flow_name=HUGE[:10_000])
    agent.start("last", flow_run_name=HUGE, flow_name=HUGE)
    agent.say(events.RUN_FAILED, HUGE, "ERROR", flow_run_id="last", state=HUGE)
    for number in range(MOST_PROBLEMS + 20):
        agent.say(events.PLATFORM_TROUBLE, HUGE, "ERROR", loop=f"{number}")
    agent.say(events.PLATFORM_TROUBLE, HUGE, "ERROR", loop="sweep")
    waits = Evidence(message=HUGE)
    units = tuple(unit(f"u{number}", "last", UnitStatus.PENDING, waits) for number in range(MOST_UNITS + 20))
    agent.work.census = Census(units)

    facts = agent.facts()
    text = json.dumps(facts, ensure_ascii=False)
    assert (len(facts["runs"]), len(facts["units"]), len(facts["problems"])) == (MOST_RUNS, MOST_UNITS, MOST_PROBLEMS)
    assert facts["slots"]["alive"] == MOST_UNITS + 20
    assert len(facts["runs"][0]["flow_run_name"]) == MAX_NAME
    assert len(text) < 2_000_000
    assert not {"\x1b", "\u202e", "\\u001b"} & {*text}
    assert "\\\\x1b[31m<script>" in text


def test_a_huge_id_is_cut(agent: BoardHarness) -> None:
    """A Cloud that answers nonsense fills no memory."""
    agent.start("i" * 1_000_000)

    assert len(agent.facts()["runs"][0]["flow_run_id"]) == MAX_NAME


# --- the page about the document ---


def test_the_reference_names_every_member_and_no_other(agent: BoardHarness) -> None:
    """All that an agent can say, once each kind of event has happened."""
    agent.say(events.AGENT_STARTED, platform="process", identity="host", tenant="t")
    agent.board.agent["address"] = None
    agent.start("a", attempt="1")
    for name in MOMENTS:
        if name != events.CLAIMED:
            agent.say(name, flow_run_id="a", state="Failed", duration_s=1.0, late_s=1.0)
    agent.say(events.RUN_LATE, "late. Do: a", "WARNING")
    agent.work.census = Census((unit("u-a", "a"),))
    agent.work.desk.rest(FlowRunId("b"), agent.clock.now(), until=None, first=9, last=9, reason="it is too late")

    assert documented() == members(agent.facts())
