"""Claims compared with units: the truth table of promises P2 and P7."""

from datetime import timedelta

import attrs
import pytest

from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.reconciling import (
    LookAgain,
    ReportCancelled,
    ReportFailed,
    Settled,
    decisive,
    hopeless,
    judge,
    judge_hopeless,
    judge_vanished,
    last_ended,
    overdue,
    removable,
    to_recover,
    vanished,
    waiting,
)
from prefect.agent.domain.model.states import FINISHED_TYPES
from prefect.agent.domain.model.units import Evidence, UnitStatus
from unit.builders import NOW, a_record, a_run, a_unit, an_id, ids

ALIVE = a_unit()
ENDED_WELL = a_unit(status=UnitStatus.SUCCEEDED, exit_code=0)
ENDED_BADLY = a_unit(status=UnitStatus.FAILED, exit_code=137)


def claimed_run(**more: str) -> FlowRun:
    """A Submitted run, claimed at version 1; its own attempt is a later one, as backends count on."""
    run = a_run(state="Submitted", **more)  # type: ignore[arg-type]
    return attrs.evolve(run, claim=a_record(run))


@pytest.mark.parametrize("unit", [ENDED_WELL, ENDED_BADLY], ids=["well", "badly"])
@pytest.mark.parametrize("kind", sorted(FINISHED_TYPES))
def test_a_finished_run_settles_its_unit(unit: object, kind: str) -> None:
    """What the flow itself reported stands, however its process ended."""
    assert judge(unit, a_run(state=kind), seen_before=False) == Settled(unit)  # type: ignore[arg-type]


def test_a_deleted_run_settles_its_unit() -> None:
    """There is nobody left to tell."""
    assert judge(ENDED_BADLY, None, seen_before=False) == Settled(ENDED_BADLY)


@pytest.mark.parametrize("unit", [ENDED_WELL, ENDED_BADLY], ids=["well", "badly"])
def test_an_ended_unit_proves_a_cancellation(unit: object) -> None:
    """A run is Cancelled once nothing of it executes."""
    verdict = judge(unit, a_run(state="Cancelling"), seen_before=False)  # type: ignore[arg-type]

    assert verdict == ReportCancelled(unit)  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", [ENDED_WELL, ENDED_BADLY], ids=["well", "badly"])
def test_a_unit_that_ended_before_its_run_reported_fails_the_run(unit: object) -> None:
    """A flow that never got going is Failed with the evidence, even if its process ended with 0."""
    verdict = judge(unit, claimed_run(), seen_before=False)  # type: ignore[arg-type]

    assert isinstance(verdict, ReportFailed)
    assert f"exit code {unit.evidence.exit_code}" in verdict.reason  # type: ignore[attr-defined]
    assert ENDED_WELL.name in verdict.reason


def test_a_submitted_run_without_a_record_is_judged_too() -> None:
    """A run claimed by an official agent, but with our unit, was claimed by us in an older life."""
    assert isinstance(judge(ENDED_BADLY, a_run(state="Submitted"), seen_before=False), ReportFailed)


def test_an_old_unit_says_nothing_of_a_newer_claim() -> None:
    """A run that was rescheduled and claimed again has a unit of its own."""
    run = a_run(state="Submitted", attempt="5")
    run = attrs.evolve(run, claim=a_record(run))

    assert judge(ENDED_BADLY, run, seen_before=True) is None


def test_a_running_run_whose_unit_died_is_failed_at_once() -> None:
    """OOM, eviction, kill -9: nobody else will report."""
    verdict = judge(ENDED_BADLY, a_run(state="Running"), seen_before=False)

    assert isinstance(verdict, ReportFailed)
    assert "exit code 137" in verdict.reason


def test_a_running_run_whose_unit_ended_well_is_looked_at_twice() -> None:
    """The flow's last report may be on its way; if it does not come by the next sweep, it never will."""
    run = a_run(state="Running")

    assert judge(ENDED_WELL, run, seen_before=False) == LookAgain(ENDED_WELL)
    assert isinstance(judge(ENDED_WELL, run, seen_before=True), ReportFailed)


@pytest.mark.parametrize("unit", [ENDED_WELL, ENDED_BADLY], ids=["well", "badly"])
def test_a_running_run_that_waits_for_a_retry_is_left_alone(unit: object) -> None:
    """A process may end while a task waits for its retry: the run is started again when that is due."""
    assert judge(unit, a_run(state="Running", waiting_tasks=1), seen_before=True) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["Scheduled", "Retrying", "Queued", "Pending", "Daydreaming"])
def test_a_run_that_went_back_to_wait_is_left_alone(kind: str) -> None:
    """Somebody scheduled the run again: the ended unit is none of its business."""
    assert judge(ENDED_BADLY, a_run(state=kind), seen_before=True) is None


def test_no_evidence_is_said_so() -> None:
    """A reason never has a hole in it."""
    verdict = judge(a_unit(status=UnitStatus.FAILED), claimed_run(), seen_before=False)

    assert isinstance(verdict, ReportFailed)
    assert "no evidence" in verdict.reason


def test_a_claim_without_a_unit_is_recovered_under_the_same_name() -> None:
    """After kill -9 between claim and create the unit is created by the name that was claimed (P1, P2)."""
    before = a_run(attempt="1")
    run = attrs.evolve(a_run(state="Submitted", attempt="2"), claim=a_record(before))

    [found] = to_recover([run], [], [])

    assert found.claimed.record == run.claim
    assert str(found.claimed.run.attempt) == "1"


def test_only_claims_that_need_it_are_recovered() -> None:
    """Not those with a unit, alive or ended; not those in hand; not those whose record makes no sense."""
    has_unit, in_hand, no_record, forged = (
        attrs.evolve(a_run(n, state="Submitted"), claim=a_record(a_run(n))) for n in (1, 2, 3, 4)
    )
    no_record = attrs.evolve(no_record, claim=None)
    forged = attrs.evolve(forged, claim=a_record(a_run(5)))

    found = to_recover([has_unit, in_hand, no_record, forged], [a_unit(1, status=UnitStatus.FAILED)], {an_id(2)})

    assert found == []


def test_only_the_last_unit_of_a_run_says_something() -> None:
    """Earlier attempts ended for reasons of their own; and nothing ends while a newer unit lives."""
    old = a_unit(1, name="old", status=UnitStatus.FAILED, created_at=NOW)
    new = a_unit(1, name="new", status=UnitStatus.FAILED, created_at=NOW + timedelta(seconds=1))
    lonely = a_unit(2, name="lonely", status=UnitStatus.SUCCEEDED, created_at=None)
    alive = a_unit(3, name="alive")
    before = a_unit(3, name="before", status=UnitStatus.FAILED)

    for units in ([old, new, lonely, alive, before], [before, alive, lonely, new, old]):
        assert {unit.name for unit in last_ended(units)} == {"new", "lonely"}


@pytest.mark.parametrize("pending", [UnitStatus.PENDING, UnitStatus.RUNNING])
def test_a_unit_that_waits_counts_as_alive(pending: UnitStatus) -> None:
    """A pod that waits for a node will still report."""
    assert last_ended([a_unit(1, name="a", status=UnitStatus.FAILED), a_unit(1, name="b", status=pending)]) == []


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


@pytest.mark.parametrize("recovers", [True, False])
def test_a_running_run_whose_unit_vanished_is_failed(recovers: bool) -> None:
    """Nothing executes it any more and none of its tasks waits: somebody deleted it, and the run says so."""
    verdict = judge_vanished(ALIVE, a_run(state="Running"), recovers=recovers)

    reason = f"The unit of execution {ALIVE.name} was deleted by somebody while the flow run was Running"
    assert verdict == ReportFailed(ALIVE, reason)


@pytest.mark.parametrize(
    "run",
    [
        None,
        a_run(state="Running", waiting_tasks=1),
        attrs.evolve(a_run(state="Running"), tasks_wait=True),
        *(a_run(state=kind) for kind in sorted(FINISHED_TYPES | {"Scheduled", "Retrying", "Queued", "Daydreaming"})),
    ],
)
def test_a_run_that_does_not_need_its_vanished_unit_forgets_it(run: FlowRun | None) -> None:
    """Deleted, finished, waiting for a retry, or back in the queue: the absence means nothing."""
    assert judge_vanished(ALIVE, run, recovers=False) == Settled(ALIVE)


def test_a_vanished_unit_proves_a_cancellation() -> None:
    """Nothing of it executes."""
    assert judge_vanished(ALIVE, a_run(state="Cancelling"), recovers=True) == ReportCancelled(ALIVE)


def test_a_submitted_run_whose_unit_vanished_is_recovered_or_failed() -> None:
    """Recovery makes the unit again where there is recovery; a newer claim has a unit of its own."""
    newer = a_run(state="Submitted", attempt="5")
    newer = attrs.evolve(newer, claim=a_record(newer))

    assert judge_vanished(ALIVE, claimed_run(), recovers=True) == Settled(ALIVE)
    assert isinstance(judge_vanished(ALIVE, claimed_run(), recovers=False), ReportFailed)
    assert judge_vanished(ALIVE, newer, recovers=False) == Settled(ALIVE)


def test_what_has_vanished() -> None:
    """Absent units that lived; of one run only the last, and none if another unit lives or was made later."""
    later = NOW + timedelta(seconds=1)
    first, second = a_unit(1, name="first"), a_unit(1, name="second", created_at=later)
    replaced, new = a_unit(2, name="replaced"), a_unit(2, name="new", status=UnitStatus.FAILED, created_at=later)
    doubled, alive = a_unit(3, name="doubled", created_at=later), a_unit(3, name="alive")
    last, old = a_unit(4, name="last", created_at=later), a_unit(4, name="old", status=UnitStatus.FAILED)
    still = a_unit(5, name="still")

    for remembered in (
        [first, second, replaced, doubled, last, still],
        [still, last, doubled, replaced, second, first],
    ):
        found = vanished(remembered, [new, alive, old, still])
        assert {unit.name for unit in found} == {"second", "last"}


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


@pytest.mark.parametrize("run", [claimed_run(), a_run(state="Submitted"), a_run(state="Running")])
def test_a_run_whose_unit_cannot_start_is_failed(run: FlowRun) -> None:
    """Claimed, or Running with a retry that cannot start: the reason says what the unit waited for."""
    reason = f"The unit of execution {HOPELESS.name} could not start (InvalidImageName)"

    assert judge_hopeless(HOPELESS, run, is_decisive=True) == ReportFailed(HOPELESS, reason)
    assert judge_hopeless(HOPELESS, run, is_decisive=False) == Settled(HOPELESS)


def test_a_cancelled_run_whose_unit_cannot_start_is_over() -> None:
    """Once the unit is stopped; that is no failure."""
    assert judge_hopeless(HOPELESS, a_run(state="Cancelling"), is_decisive=True) == ReportCancelled(HOPELESS)


@pytest.mark.parametrize("kind", sorted(FINISHED_TYPES | {"Scheduled", "Retrying", "Queued"}))
def test_a_run_that_moved_on_is_not_failed_for_a_unit_that_cannot_start(kind: str) -> None:
    """Finished, or back in the queue."""
    assert judge_hopeless(HOPELESS, a_run(state=kind), is_decisive=True) == Settled(HOPELESS)


def test_a_run_that_is_gone_or_claimed_anew_is_not_failed_for_a_unit_that_cannot_start() -> None:
    """There is nobody left to tell, or another unit to wait for."""
    newer = a_run(state="Submitted", attempt="5")
    newer = attrs.evolve(newer, claim=a_record(newer))

    assert judge_hopeless(HOPELESS, None, is_decisive=True) == Settled(HOPELESS)
    assert judge_hopeless(HOPELESS, newer, is_decisive=True) == Settled(HOPELESS)


def test_the_units_that_decide() -> None:
    """The last of each run among some; a unit outside of them takes the word if it lives or was made later."""
    later = NOW + timedelta(seconds=1)
    one, two = a_unit(1, name="one"), a_unit(1, name="two", created_at=later)
    three, ended = a_unit(2, name="three"), a_unit(2, name="ended", status=UnitStatus.FAILED, created_at=later)
    four, alive, more = a_unit(3, name="four"), a_unit(3, name="alive"), a_unit(3, name="more")

    found = decisive([one, two, three, four], [one, two, three, four, ended, alive, more])

    assert [unit.name for unit in found] == ["two"]
