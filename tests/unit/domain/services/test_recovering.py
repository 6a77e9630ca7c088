"""Claims without a unit: recovered, handed back or given up, by whom and when (promises P1 and P2)."""

import pytest

from prefect.agent.adapters.fakes import InMemoryPlatform
from prefect.agent.domain.errors import CloudUnavailable, PlatformUnavailable
from prefect.agent.domain.model.flow_runs import Claimed, ClaimRecord
from prefect.agent.domain.model.leases import GRACE
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit
from prefect.agent.ports import events
from prefect.agent.ports.cloud_api import ClaimRequest
from support.sweep_harness import LEASE, SweepHarness


@pytest.fixture
def harness() -> SweepHarness:
    """An empty world."""
    return SweepHarness()


def older_claim(harness: SweepHarness, *, unit: str | None = None) -> ClaimRecord:
    """A claim by an agent that knew no leases; *unit*: a name that it did not make as this product does."""
    [run] = harness.cloud.flow_runs([harness.cloud.add_flow_run()])
    name = unit or f"prefect-{run.id}-{run.attempt}"
    old = ClaimRecord(claimant="old", platform=harness.platform.identity, unit=name, attempt=str(run.attempt))
    [outcome] = harness.cloud.claim([ClaimRequest(run=run, record=old)])
    assert isinstance(outcome, Claimed)
    return old


# --- who recovers ---


def test_the_claim_of_a_living_agent_is_not_recovered(harness: SweepHarness) -> None:
    """While A pulls an image, its twin leaves the claim to it, until the lease is over.

    Before, the twin's first sweep started A's run, or made it Failed by its own rules.
    """
    claimed, twin = harness.claim(), harness.beside()
    for _ in range(3):
        harness.clock.advance(LEASE / 3 - 1)
        twin.turn()
    assert harness.made() == []

    harness.clock.advance(3)
    twin.turn()
    assert harness.made() == [claimed.record.unit]
    assert harness.record(claimed.run.id).claimant == twin.claims.claimant.id


def test_the_claim_of_an_agent_that_is_gone_is_recovered_at_once(harness: SweepHarness) -> None:
    """Its successor and its twin both see it: one of them gets it, and one unit is made."""
    claimed, twin = harness.claim(), harness.beside()
    harness.die()
    twin.turn()
    harness.sweep = harness.agent()
    harness.turn()

    assert harness.made() == [claimed.record.unit]
    assert harness.record(claimed.run.id).recoveries == 1


def test_a_claim_is_taken_over_before_its_unit_is_made(harness: SweepHarness) -> None:
    """Two agents that see the same stale claim at the same moment: the slower one makes nothing."""
    claimed, twin = harness.claim(), harness.beside()
    harness.die()
    [seen] = harness.cloud.flow_runs([claimed.run.id])
    harness.restart()
    assert harness.recovery.wanted([seen]) == twin.recovery.wanted([seen]) == [seen]
    started: list[Claimed] = []
    harness.recovery([seen], started.append)
    twin.recovery([seen], started.append)

    assert [each.record.claimant for each in started] == [harness.claims.claimant.id]


def test_another_kind_of_agent_never_makes_the_unit(harness: SweepHarness) -> None:
    """Another environment, labels or interpreter: it leaves the claim to its kind, then hands the run back.

    Before, the run was executed in the wrong interpreter.
    """
    claimed, other = harness.claim(), harness.beside(fingerprint="another")
    harness.die()
    other.turn()
    harness.clock.advance(LEASE + GRACE.total_seconds() - 1)
    other.turn()
    assert harness.state(claimed.run.id) == "Submitted"

    harness.clock.advance(1)
    other.turn(2)

    assert harness.made() == []
    [run] = harness.cloud.flow_runs([claimed.run.id])
    assert (run.state.name, run.claim, run.recoveries) == ("Scheduled", None, 1)
    assert "handed back" in harness.log(run.id)


def test_a_run_that_was_handed_back_is_executed_by_its_next_claim_only(harness: SweepHarness) -> None:
    """Its old claimant comes back: it has nothing to say any more, and makes nothing."""
    claimed, other = harness.claim(), harness.beside(fingerprint="another")
    harness.clock.advance(LEASE + GRACE.total_seconds())
    other.turn()
    harness.clock.advance(60)
    new = other.create(other.claim(claimed.run.id))
    harness.turn(3)
    other.turn(3)

    assert new != claimed.record.unit
    assert harness.made() == [new]
    assert harness.record(claimed.run.id).recoveries == 1


def test_the_record_of_an_older_agent_is_recovered(harness: SweepHarness) -> None:
    """It knew no leases and has no fingerprint."""
    old = older_claim(harness)

    harness.turn()

    assert harness.made() == [old.unit]


def test_a_unit_with_a_foreign_name_is_never_made(harness: SweepHarness) -> None:
    """The record names a unit that no agent would make for this run: it is left alone."""
    older_claim(harness, unit="rm-rf")
    harness.clock.advance(10_000)

    harness.turn(3)

    assert harness.made() == []


def test_the_claim_of_another_product_is_left_alone(harness: SweepHarness) -> None:
    """An official agent's Submitted run has no record."""
    run_id = harness.cloud.add_flow_run(state="Submitted")
    harness.clock.advance(10_000)

    harness.turn(3)

    assert harness.made() == []
    assert harness.state(run_id) == "Submitted"


# --- what has changed meanwhile ---


@pytest.mark.parametrize("state", ["Cancelled", "Scheduled", "Running", "Success"])
def test_a_claim_is_read_again_when_its_turn_comes(harness: SweepHarness, state: str) -> None:
    """Recoveries wait in a queue: a run that has moved on is not started."""
    claimed = harness.claim()
    [seen] = harness.cloud.flow_runs([claimed.run.id])
    harness.cloud.set_state(claimed.run.id, state)

    harness.recovery([seen], harness.start)

    assert harness.made() == []
    assert harness.state(claimed.run.id) == state


def test_a_claim_that_was_replaced_meanwhile_is_left_to_the_next_sweep(harness: SweepHarness) -> None:
    """The absence of the old claim's unit says nothing about the new claim's, which executes."""
    claimed, other = harness.claim(), harness.beside()
    [seen] = harness.cloud.flow_runs([claimed.run.id])
    harness.cloud.set_state(claimed.run.id, "Scheduled")
    new = other.claim(claimed.run.id)
    unit = other.create(new)
    other.die()
    harness.clock.advance(LEASE + 1)

    harness.recovery([seen], harness.start)

    assert harness.made() == [unit]
    assert harness.record(claimed.run.id) == new.record


def test_a_unit_that_was_made_meanwhile_is_found(harness: SweepHarness) -> None:
    """The list of units was read before; the second proof is the unit itself."""
    claimed = harness.claim()
    [seen] = harness.cloud.flow_runs([claimed.run.id])
    harness.create(claimed)

    harness.recovery([seen], harness.start)

    assert harness.made() == [claimed.record.unit]
    assert harness.record(claimed.run.id) == claimed.record


def test_a_unit_that_was_never_started_is_started(harness: SweepHarness) -> None:
    """Its maker was killed between creation and start."""
    claimed = harness.claim()
    run = claimed.run
    left = Submission(
        name=claimed.record.unit,
        flow_run_id=run.id,
        attempt=claimed.record.attempt,
        command=("x",),
        owner=harness.owner,
    )
    harness.platform.leave_unstarted(left)
    harness.restart()
    harness.turn(2)

    assert harness.made() == [claimed.record.unit]
    assert harness.state(run.id) == "Submitted"


def test_one_unit_that_cannot_be_looked_at_keeps_no_other_claim_waiting(harness: SweepHarness) -> None:
    """An answer that cannot be read, or a bug of an adapter: that claim is for a later sweep, the others go on."""
    claims = [harness.claim() for _ in range(3)]
    harness.recovery.platform = Blind(harness.platform, claims[0].record.unit, claims[1].record.unit)

    harness.turn()

    assert harness.made() == [claims[2].record.unit]
    assert {events.PLATFORM_TROUBLE, events.BUG} <= set(harness.heard.names())


class Blind(InMemoryPlatform):
    """Cannot look at two of its units; the second one is a bug."""

    def __init__(self, beside: InMemoryPlatform, *names: str) -> None:
        super().__init__(beside=beside)
        self._names = names

    def unit(self, name: str) -> Unit | None:
        """Like the platform's."""
        if name == self._names[0]:
            raise PlatformUnavailable("no descriptors left")
        if name == self._names[1]:
            raise KeyError(name)
        return super().unit(name)


def test_a_take_over_that_the_cloud_defers_is_tried_again(harness: SweepHarness) -> None:
    """A Cloud may lock a run for some time after its last claim."""
    claimed = harness.claim()
    harness.cloud.fail_next("claim", CloudUnavailable("locked"))
    harness.turn()
    assert harness.made() == []
    assert "locked" in next(e.message for e in harness.heard.events if e.name == events.RUN_DROPPED)

    harness.turn()
    assert harness.made() == [claimed.record.unit]


def test_nothing_is_recovered_while_the_platform_is_away(harness: SweepHarness) -> None:
    """It could not be made now; handing back and giving up need proof as well."""
    claimed = harness.claim()
    harness.platform.fail_next("check", PlatformUnavailable("away"))
    harness.gate.check()
    harness.turn()
    assert harness.made() == []

    harness.clock.advance(10)
    harness.gate.check()
    harness.turn()
    assert harness.made() == [claimed.record.unit]
