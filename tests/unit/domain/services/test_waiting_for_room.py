"""Flow runs whose platform answers, but has no room for them: they wait, their logs say so, and they cost no others."""

import re

import pytest

from prefect.agent.domain.errors import CreateBlocked
from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.reports import entry_of, read_entry
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.services.reporting import SendReports
from prefect.agent.domain.services.waits import MOST, SAY_AGAIN, Waits
from prefect.agent.domain.wait_kinds import WaitKind
from support.submission_harness import SubmissionHarness
from support.sweep_harness import SweepHarness

FULL = CreateBlocked("the quota is full", patience=6 * 3600, needs_room=True, retry_after=5)


@pytest.fixture
def harness() -> SubmissionHarness:
    """An empty platform."""
    return SubmissionHarness()


def full(harness: SubmissionHarness, error: CreateBlocked = FULL) -> None:
    """Let the platform take nothing."""
    for method in ("create", "check"):
        harness.platform.fail_next(method, error, times=10_000)


def test_a_log_says_at_once_what_its_run_waits_for(harness: SubmissionHarness) -> None:
    """Once, and again only after a long time; what takes room is asked to go."""
    full(harness)
    said: list[str] = []
    asked: list[bool] = []
    harness.create.note = lambda _, message, _level: said.append(message)
    harness.work.wake_sweep = lambda: asked.append(True)
    start, _ = harness.starting()

    assert not start(harness.claims())

    assert said == ["The flow run waits to be started: the quota is full"]
    assert asked
    assert harness.work.take_need_of_room()


def test_a_run_that_waits_is_handed_back_and_that_costs_nothing(harness: SubmissionHarness) -> None:
    """However often: it is no recovery, and nothing is claimed until there is room."""
    start, outbox = harness.starting()
    run_id = harness.cloud.add_flow_run()
    for _ in range(8):
        full(harness)
        assert not start(harness.claims(run_id))
        assert not harness.gate.is_open
        SendReports(cloud=harness.cloud, outbox=outbox, tell=harness.heard)()
        assert harness.cloud.flow_run(run_id).state == "Scheduled"
        harness.platform.fail_next("check", FULL, times=0)
        harness.clock.advance(61)

    harness.platform.fail_next("create", FULL, times=0)
    harness.platform.fail_next("check", FULL, times=0)
    claimed = harness.claims(run_id)
    assert claimed.record.recoveries == 0


def test_a_run_does_not_wait_for_ever(harness: SubmissionHarness) -> None:
    """The time of all its claims counts."""
    start, outbox = harness.starting()
    run_id = harness.cloud.add_flow_run()
    full(harness, CreateBlocked("the quota is full", patience=300, wait_kind=WaitKind.QUOTA))
    for _ in range(3):
        start(harness.claims(run_id))
        SendReports(cloud=harness.cloud, outbox=outbox, tell=harness.heard)()
        if harness.cloud.flow_run(run_id).state == "Failed":
            break
        harness.clock.advance(61)

    found = harness.cloud.flow_run(run_id)
    assert found.state == "Failed"
    lacking = r"The flow run could not be started for lack of room in a quota: it waited for 3\d\d s: the quota is full"
    assert re.fullmatch(lacking, found.message or "")


def test_what_is_known_of_waits() -> None:
    """Said at once and again after half an hour; the oldest are forgotten."""
    waits, run = Waits(), FlowRunId("a")
    assert [waits.is_to_be_said(run, at) for at in (0, 1, SAY_AGAIN - 1, SAY_AGAIN)] == [True, False, False, True]
    assert waits.seconds(run, 50) == 50
    for number in range(MOST):
        waits.seconds(FlowRunId(str(number)), 60)
    assert waits.seconds(run, 70) == 0


@pytest.mark.parametrize("counts", [True, False])
def test_a_report_keeps_whether_it_counts(counts: bool) -> None:
    """Beyond the process, too; reports of older agents count."""
    end = End(run_id=FlowRunId("a"), unit="u", kind=EndKind.HANDED_BACK, message="m", counts=counts)
    assert read_entry(end.run_id, entry_of(end)) == end
    assert ("counts" in entry_of(end)) is not counts


@pytest.mark.parametrize(("keep", "is_removed"), [(300, True), (None, False)])
def test_ended_units_make_room(keep: float | None, is_removed: bool) -> None:
    """Before their time, once their ends are reported, but not if they are to be kept for ever."""
    sweeping = SweepHarness(settings=AgentSettings(keep_ended=keep))
    _, name = sweeping.started("Success")
    sweeping.platform.end(name)
    sweeping.turn()
    assert sweeping.platform.unit(name) is not None

    sweeping.work.ask_for_room()
    sweeping.turn()

    assert (sweeping.platform.unit(name) is None) is is_removed
