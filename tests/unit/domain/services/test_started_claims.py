"""What this process has started it does not start again; ends of several claims of one run keep their places."""

from prefect.agent.adapters.fakes import ManualClock
from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.domain.services.outbox import Outbox
from prefect.agent.domain.services.work_in_hand import MEMORY
from support.builders import an_id
from support.sweep_harness import SweepHarness


def test_a_claim_that_this_process_has_started_is_not_started_again() -> None:
    """A subclass may start flow runs where this agent sees no unit: a slow start is no missing start."""
    harness = SweepHarness()
    claimed = harness.claim()
    harness.work.note_start(claimed.record.unit, harness.clock.monotonic())
    harness.clock.advance(2 * MEMORY)

    for _ in range(3):
        harness.turn()

    assert harness.platform.created == []
    assert harness.state(claimed.run.id) == "Submitted"


def test_starts_are_forgotten_once_their_runs_wait_no_more() -> None:
    """An agent that lives for months does not collect the names of all its units."""
    harness = SweepHarness()
    harness.work.note_start("prefect-long-gone-1", harness.clock.monotonic())
    harness.clock.advance(MEMORY + 1)
    claimed = harness.claim()
    harness.work.note_start(claimed.record.unit, harness.clock.monotonic())

    harness.recovery.wanted(harness.cloud.flow_runs([claimed.run.id]))

    assert harness.work.has_started(claimed.record.unit)
    assert not harness.work.has_started("prefect-long-gone-1")


def test_an_end_for_another_claim_takes_no_ends_place() -> None:
    """Two claims of one run ended while the Cloud was away: both ends are carried out in turn."""
    outbox = Outbox(clock=ManualClock(auto=True))
    first, second = (
        End(run_id=an_id(1), unit=unit, kind=EndKind.FAILED, message="died") for unit in ("unit-1", "unit-2")
    )
    outbox.end(first)
    outbox.end(second)
    outbox.end(first)

    [due] = outbox.due()
    units = []
    while due.run.end is not None:
        units.append(due.run.end.unit)
        outbox.end_settled(due.run, due.run.end)
    assert units == ["unit-2", "unit-1"]
