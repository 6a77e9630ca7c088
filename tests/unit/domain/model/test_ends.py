"""The fence of ends: each speaks for one claim only (promise P7)."""

from datetime import timedelta

import attrs
import pytest

from prefect.agent.adapters.phases import named_state
from prefect.agent.domain.model.ends import (
    HANDED_BACK_FOR,
    End,
    EndKind,
    EndVerdict,
    judge_end,
    recoveries_after,
    waits_until,
)
from prefect.agent.domain.model.flow_runs import FlowRun, SimpleAttempt, TaskRun, TaskRunId
from prefect.agent.domain.state_names import FINISHED
from support.builders import NOW, a_record, a_run, an_id

RUN = a_run(state="Running")
UNIT = a_record(a_run()).unit
CLAIMED_TASK = TaskRun(id=TaskRunId("t"), attempt=SimpleAttempt("2"), state=named_state("Submitted"))
CLAIMED_TASKS = attrs.evolve(RUN, claimed_task_runs=(CLAIMED_TASK,))
KINDS = list(EndKind)


def verdict(kind: EndKind, run: FlowRun | None) -> EndVerdict | None:
    """Of an end for the claim of attempt 1."""
    return judge_end(End(run_id=an_id(1), unit=UNIT, kind=kind, message="why"), run)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_does_not_exist_needs_no_end(kind: EndKind) -> None:
    """It was deleted: there is nothing to report."""
    assert verdict(kind, None) is EndVerdict.NOT_OURS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", sorted(FINISHED))
def test_a_finished_run_settles_every_end(kind: EndKind, state: str) -> None:
    """What was read back as finished is over, whoever reported it."""
    assert verdict(kind, a_run(state=state)) is EndVerdict.SETTLED


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["Submitted", "Running", "Cancelling"])
def test_an_end_never_touches_the_run_of_another_claim(kind: EndKind, state: str) -> None:
    """Scheduled and claimed again, here or elsewhere, however long the end waited. Before, it made that run Failed."""
    assert verdict(kind, a_run(state=state, attempt="5")) is EndVerdict.NOT_OURS


@pytest.mark.parametrize("kind", [EndKind.FAILED, EndKind.CANCELLED])
@pytest.mark.parametrize("state", ["Scheduled", "Submitted", "Running", "Cancelling"])
def test_an_end_never_touches_a_run_that_no_claim_of_this_product_holds(kind: EndKind, state: str) -> None:
    """An official agent executes it, or it waits."""
    assert verdict(kind, attrs.evolve(a_run(state=state), claim=None)) is EndVerdict.NOT_OURS


def test_a_run_that_waits_is_handed_back_already() -> None:
    """The end may be repeated."""
    assert verdict(EndKind.HANDED_BACK, a_run()) is EndVerdict.SETTLED


@pytest.mark.parametrize(
    ("kind", "run", "expected"),
    [
        (EndKind.FAILED, a_run(state="Submitted"), None),
        (EndKind.FAILED, RUN, None),
        (EndKind.FAILED, a_run(state="Cancelling"), None),
        (EndKind.CANCELLED, a_run(state="Cancelling"), None),
        (EndKind.CANCELLED, RUN, EndVerdict.NOT_OURS),
        (EndKind.CANCELLED, a_run(state="Submitted"), EndVerdict.NOT_OURS),
        (EndKind.HANDED_BACK, a_run(state="Submitted"), None),
        (EndKind.HANDED_BACK, CLAIMED_TASKS, None),
        (EndKind.HANDED_BACK, RUN, EndVerdict.NOT_OURS),
        (EndKind.HANDED_BACK, a_run(state="Cancelling"), EndVerdict.NOT_OURS),
    ],
)
def test_an_end_of_the_latest_claim_is_carried_out_if_it_fits_the_state(
    kind: EndKind, run: FlowRun, expected: EndVerdict | None
) -> None:
    """Only a Cancelling run becomes Cancelled, and only a claim that waits for its unit is handed back."""
    assert verdict(kind, run) is expected


@pytest.mark.parametrize("kind", [EndKind.FAILED, EndKind.HANDED_BACK])
def test_an_end_about_a_claim_is_void_once_another_agent_has_taken_it_over(kind: EndKind) -> None:
    """The unit has the same name then; the lease tells the holders apart. An end about the unit has no lease."""
    run = a_run(state="Submitted")
    assert run.claim is not None
    end = End(run_id=run.id, unit=run.claim.unit, kind=kind, message="why", lease=run.claim.lease)
    taken_over = attrs.evolve(run, claim=attrs.evolve(run.claim, claimant="another agent", recoveries=1))

    assert judge_end(end, run) is None
    assert judge_end(end, taken_over) is EndVerdict.NOT_OURS
    assert judge_end(attrs.evolve(end, lease=""), taken_over) is None


@pytest.mark.parametrize("before", [None, timedelta(hours=-1), timedelta(), timedelta(hours=1)])
def test_a_run_that_is_handed_back_waits_as_before_but_at_least_a_minute(before: timedelta | None) -> None:
    """Otherwise agents that cannot start it would pass it on without a pause."""
    due = None if before is None else NOW + before

    assert waits_until(due, NOW) == (due if before == timedelta(hours=1) else NOW + HANDED_BACK_FOR)


@pytest.mark.parametrize(("counts", "expected"), [(True, 3), (False, 2)])
def test_a_hand_back_counts_as_a_recovery_unless_it_says_otherwise(counts: bool, expected: int) -> None:
    """A claim without a record is the first one."""
    end = End(run_id=an_id(1), unit=UNIT, kind=EndKind.HANDED_BACK, message="why", counts=counts)

    assert recoveries_after(end, attrs.evolve(a_record(a_run()), recoveries=2)) == expected
    assert recoveries_after(end, None) == int(counts)
