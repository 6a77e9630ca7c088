"""Claims compared with units: the truth table of promises P2 and P7."""

from datetime import timedelta

import attrs
import pytest

from prefect.agent.adapters.phases import named_state
from prefect.agent.domain.model.ends import EndKind
from prefect.agent.domain.model.flow_runs import FlowRun, SimpleAttempt, TaskRun, TaskRunId
from prefect.agent.domain.model.units import Evidence, Owner, Unit, UnitStatus
from prefect.agent.domain.model.verdicts import (
    LookAgain,
    ReportCancelled,
    ReportFailed,
    Settled,
    hopeless,
    is_plausible,
    judge,
    judge_absent,
    judge_hopeless,
    judge_vanished,
    overdue,
    own,
    removable,
    vanished,
    waiting,
    without_unit,
)
from prefect.agent.domain.state_names import FINISHED
from support.builders import NOW, OWNER, a_record, a_run, a_unit, an_id, ids

ALIVE = a_unit()
ENDED_WELL = a_unit(status=UnitStatus.SUCCEEDED, exit_code=0)
ENDED_BADLY = a_unit(status=UnitStatus.FAILED, exit_code=137)


def claimed_run(state: str = "Submitted", *, attempt: str = "1") -> FlowRun:
    """A run claimed at *attempt*; its own attempt is a later one, as backends count on."""
    return attrs.evolve(a_run(state=state, claim=a_record(a_run(attempt=attempt))), attempt=SimpleAttempt("99"))


NEWER = tuple(claimed_run(state, attempt="5") for state in ("Submitted", "Running", "Cancelling"))
"""Runs that were scheduled and claimed again after the unit of attempt 1 was made."""

UNOWNED = tuple(
    attrs.evolve(claimed_run(state), claim=None) for state in ("Submitted", "Running", "Cancelling", "Scheduled")
)
"""Runs whose latest claim is not of this product, or that were scheduled again since."""

RETRYING = attrs.evolve(claimed_run("Running"), tasks_wait=True)
CLAIMED_TASKS = attrs.evolve(
    claimed_run("Running"),
    claimed_task_runs=(TaskRun(id=TaskRunId("t"), attempt=SimpleAttempt("2"), state=named_state("Submitted")),),
)
"""A Running run whose due task runs are claimed for the unit of attempt 1."""


@pytest.mark.parametrize("unit", [ENDED_WELL, ENDED_BADLY], ids=["well", "badly"])
@pytest.mark.parametrize("kind", sorted(FINISHED))
def test_a_finished_run_settles_its_unit(unit: Unit, kind: str) -> None:
    """What the flow itself reported stands, however its process ended."""
    assert judge(unit, claimed_run(kind), seen_before=False) == Settled(unit)


def test_a_deleted_run_settles_its_unit() -> None:
    """There is nobody left to tell."""
    assert judge(ENDED_BADLY, None, seen_before=False) == Settled(ENDED_BADLY)


@pytest.mark.parametrize("unit", [ENDED_WELL, ENDED_BADLY], ids=["well", "badly"])
def test_an_ended_unit_proves_a_cancellation(unit: Unit) -> None:
    """A run is Cancelled once nothing of it executes."""
    verdict = judge(unit, claimed_run("Cancelling"), seen_before=False)

    assert verdict == ReportCancelled(unit)


@pytest.mark.parametrize("unit", [ENDED_WELL, ENDED_BADLY], ids=["well", "badly"])
def test_a_unit_that_ended_before_its_run_reported_fails_the_run(unit: Unit) -> None:
    """A flow that never got going is Failed with the evidence, even if its process ended with 0."""
    verdict = judge(unit, claimed_run(), seen_before=False)

    assert isinstance(verdict, ReportFailed)
    assert str(unit.evidence) in verdict.reason
    assert ENDED_WELL.name in verdict.reason


@pytest.mark.parametrize("unit", [ENDED_WELL, ENDED_BADLY], ids=["well", "badly"])
@pytest.mark.parametrize("run", [*NEWER, *UNOWNED])
def test_a_run_belongs_to_the_unit_of_its_latest_claim(unit: Unit, run: FlowRun) -> None:
    """A unit of an earlier claim, or of a run that another product claimed, says nothing of the run and is done with.

    Before, such a unit was judged by the run's present state, and a Submitted run without a record counted as ours.
    """
    assert judge(unit, run, seen_before=True) == Settled(unit)


def test_a_running_run_whose_unit_died_is_failed_at_once() -> None:
    """OOM, eviction, kill -9: nobody else will report."""
    verdict = judge(ENDED_BADLY, claimed_run("Running"), seen_before=False)

    assert isinstance(verdict, ReportFailed)
    assert "exit code 137" in verdict.reason


def test_a_running_run_whose_unit_ended_well_is_looked_at_twice() -> None:
    """The flow's last report may be on its way; if it does not come by the next sweep, it never will."""
    run = claimed_run("Running")

    assert judge(ENDED_WELL, run, seen_before=False) == LookAgain(ENDED_WELL)
    assert isinstance(judge(ENDED_WELL, run, seen_before=True), ReportFailed)


@pytest.mark.parametrize("unit", [ENDED_WELL, ENDED_BADLY], ids=["well", "badly"])
def test_a_running_run_that_waits_for_a_retry_is_left_alone(unit: Unit) -> None:
    """A process may end while a task waits for its retry: the run is started again when that is due."""
    assert judge(unit, a_run(state="Running", waiting_tasks=1), seen_before=True) is None


@pytest.mark.parametrize("kind", ["Scheduled", "Retrying", "Queued", "Pending", "Daydreaming"])
def test_a_run_that_waits_under_its_claim_is_left_alone(kind: str) -> None:
    """The Cloud let a claimed run wait (a limit), or its state is unknown: the next claim or state decides."""
    assert judge(ENDED_BADLY, claimed_run(kind), seen_before=True) is None


def test_a_unit_that_ended_with_its_claimed_task_runs_fails_the_run() -> None:
    """Task runs that were claimed for the very unit that ended wait for nothing else: the run is not awaited."""
    assert isinstance(judge(ENDED_BADLY, CLAIMED_TASKS, seen_before=False), ReportFailed)
    assert judge(ENDED_WELL, CLAIMED_TASKS, seen_before=False) == LookAgain(ENDED_WELL)
    assert isinstance(judge(ENDED_WELL, CLAIMED_TASKS, seen_before=True), ReportFailed)


def test_no_evidence_is_said_so() -> None:
    """A reason never has a hole in it."""
    verdict = judge(a_unit(status=UnitStatus.FAILED), claimed_run(), seen_before=False)

    assert isinstance(verdict, ReportFailed)
    assert "no evidence" in verdict.reason


def test_a_claim_has_no_unit_if_none_has_its_name() -> None:
    """Alive, ended or not ours: a unit of that name is there. Runs without a claim of ours have none to miss."""
    alive, ended, foreign, absent, no_record, finished = (a_run(n, state="Running") for n in range(1, 7))
    no_record = attrs.evolve(no_record, claim=None)
    units = [a_unit(1), a_unit(2, status=UnitStatus.FAILED), a_unit(3, owner=None), a_unit(4, attempt="7"), a_unit(6)]

    assert without_unit([alive, ended, foreign, absent, no_record, finished], units) == [absent, no_record]


@pytest.mark.parametrize(
    ("run", "expected"), [(claimed_run(), True), (claimed_run("Running"), False), (CLAIMED_TASKS, True)]
)
def test_a_unit_that_was_never_started_counts_as_none_while_its_run_waits(run: FlowRun, expected: bool) -> None:
    """Its maker died between creation and start: creating it again starts it."""
    unit = a_unit(status=UnitStatus.CREATED)

    assert (without_unit([run], [unit]) == [run]) is expected


def test_a_record_whose_unit_has_a_foreign_name_is_not_plausible() -> None:
    """No unit is created from a record that names a unit as this product would not."""
    assert is_plausible(claimed_run())
    assert not is_plausible(a_run())
    assert not is_plausible(a_run(claim=a_record(a_run(5))))


def test_only_units_with_the_mark_of_the_own_cloud_are_own() -> None:
    """Another agent's unit of the same Cloud is; another Cloud's or tenant's and an unmarked one are not."""
    sibling = a_unit(2, owner=Owner(cloud=OWNER.cloud, agent="other"))
    tenant = a_unit(3, owner=Owner(cloud="c2", agent=OWNER.agent))

    assert own([ALIVE, sibling, tenant, a_unit(4, owner=None)], OWNER.cloud) == [ALIVE, sibling]


@pytest.mark.parametrize(
    ("age", "keep", "expected"),
    [(None, 300, True), (299, 300, False), (300, 300, True), (0, 0, True), (None, None, False), (10**6, None, False)],
)
def test_an_ended_unit_is_removed_after_its_keep_time(age: float | None, keep: float | None, expected: bool) -> None:
    """People have the keep time to look at what ended; a unit that nobody can date is old. None is for ever."""
    unit = a_unit(status=UnitStatus.FAILED, ended_at=None if age is None else NOW - timedelta(seconds=age))

    assert removable(unit, NOW, keep) is expected


def test_a_cancelled_run_has_its_grace() -> None:
    """A flow may end by itself first; grace counts from the first sweep that saw the cancellation."""
    runs = [a_run(1, state="Cancelling"), a_run(2, state="Cancelled"), a_run(3, state="Cancelling")]
    since = {an_id(1): 100.0, an_id(2): 159.0}

    assert ids(overdue(runs, since, 160.0, 60.0)) == [an_id(1)]
    assert ids(overdue(runs, since, 160.0, 0.0)) == [an_id(1), an_id(2), an_id(3)]


# --- units that vanished ---


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (claimed_run("Running"), "while the flow run was Running"),
        (CLAIMED_TASKS, "while the flow run was Running"),
        (claimed_run("Submitted"), "before the flow run reported anything"),
    ],
)
def test_a_unit_that_was_seen_and_is_deleted_externally_fails_its_run(run: FlowRun, words: str) -> None:
    """Submitted or not: this agent saw it. Before, a Submitted run got its unit again, without end.

    A run that is Submitted may get its unit again from a new holder of the claim: the end speaks for this one only.
    """
    reason = f"The unit of execution {ALIVE.name} was deleted externally {words}"
    lease = run.claim.lease if run.claim is not None and run.state.is_claimed else ""

    assert judge_vanished(ALIVE, run) == ReportFailed(ALIVE, reason, lease)


@pytest.mark.parametrize(
    "run",
    [
        None,
        a_run(state="Running", waiting_tasks=1),
        RETRYING,
        *NEWER,
        *UNOWNED,
        *(claimed_run(kind) for kind in sorted(FINISHED | {"Scheduled", "Retrying", "Queued", "Daydreaming"})),
    ],
)
def test_a_run_that_does_not_need_its_vanished_unit_forgets_it(run: FlowRun | None) -> None:
    """Deleted, finished, waiting, or claimed again or by others: the absence means nothing."""
    assert judge_vanished(ALIVE, run) == Settled(ALIVE)


def test_a_vanished_unit_proves_a_cancellation() -> None:
    """Nothing of it executes."""
    assert judge_vanished(ALIVE, claimed_run("Cancelling")) == ReportCancelled(ALIVE)


def test_what_has_vanished() -> None:
    """Absent units that lived, each of them: the run's latest claim says which one speaks for it.

    Before, only the last unit of a run counted, by the time of its creation.
    """
    first, second = a_unit(1, name="first"), a_unit(1, name="second", created_at=NOW + timedelta(seconds=1))
    still = a_unit(5, name="still")

    assert vanished([first, still, second], [still, a_unit(1, name="new")]) == [first, second]


# --- runs without a unit ---


@pytest.mark.parametrize(
    ("run", "kind"),
    [
        (claimed_run("Running"), EndKind.FAILED),
        (claimed_run("Cancelling"), EndKind.CANCELLED),
        (RETRYING, None),
        (CLAIMED_TASKS, None),
        (claimed_run("Submitted"), None),
        (claimed_run("Success"), None),
        (claimed_run("Queued"), None),
        *((run, None) for run in UNOWNED),
    ],
)
def test_a_run_whose_unit_is_proven_absent_is_over(run: FlowRun, kind: EndKind | None) -> None:
    """Running becomes Failed and Cancelling Cancelled, with words; a claim that waits for its unit is the lease's."""
    found = judge_absent(run)

    assert (found and found[0]) == kind
    assert found is None or ALIVE.name in found[1]


# --- units that wait ---


@pytest.mark.parametrize(
    ("status", "seconds", "expected"),
    [
        (UnitStatus.PENDING, 0, True),
        (UnitStatus.PENDING, -1, True),
        (UnitStatus.PENDING, 1, False),
        (UnitStatus.PENDING, None, False),
        (UnitStatus.CREATED, 0, False),
        (UnitStatus.RUNNING, 0, False),
        (UnitStatus.FAILED, 0, False),
    ],
)
def test_only_a_pending_unit_whose_time_has_come_is_hopeless(
    status: UnitStatus, seconds: int | None, expected: bool
) -> None:
    """The platform says from when on waiting is pointless, or that it is not."""
    at = None if seconds is None else NOW + timedelta(seconds=seconds)
    unit = attrs.evolve(a_unit(status=status), hopeless_at=at)

    assert hopeless([unit], NOW) == ([unit] if expected else [])


def test_what_is_worth_telling_of_pending_units() -> None:
    """Those that say what they wait for; a hopeless one is about to be failed for the same reason."""
    plain = a_unit(1, status=UnitStatus.PENDING)
    waits = attrs.evolve(a_unit(2, status=UnitStatus.PENDING), evidence=Evidence(reason="Unschedulable"))
    too_late = attrs.evolve(waits, name="late", hopeless_at=NOW)

    assert waiting([plain, waits, too_late, ENDED_BADLY], NOW) == [waits]


HOPELESS = attrs.evolve(
    a_unit(status=UnitStatus.PENDING), evidence=Evidence(reason="InvalidImageName"), hopeless_at=NOW
)


@pytest.mark.parametrize("run", [claimed_run(), claimed_run("Running"), CLAIMED_TASKS])
def test_a_run_whose_unit_cannot_start_is_failed(run: FlowRun) -> None:
    """Claimed, or Running with a retry that cannot start: the reason says what the unit waited for."""
    reason = f"The unit of execution {HOPELESS.name} could not start (InvalidImageName)"

    assert judge_hopeless(HOPELESS, run) == ReportFailed(HOPELESS, reason)


def test_a_cancelled_run_whose_unit_cannot_start_is_over() -> None:
    """Once the unit is stopped; that is no failure."""
    assert judge_hopeless(HOPELESS, claimed_run("Cancelling")) == ReportCancelled(HOPELESS)


@pytest.mark.parametrize(
    "run",
    [
        None,
        *NEWER,
        *UNOWNED,
        *(claimed_run(kind) for kind in sorted(FINISHED | {"Scheduled", "Retrying", "Queued"})),
    ],
)
def test_a_run_that_moved_on_is_not_failed_for_a_unit_that_cannot_start(run: FlowRun | None) -> None:
    """Deleted, finished, waiting, or claimed again or by others."""
    assert judge_hopeless(HOPELESS, run) == Settled(HOPELESS)
