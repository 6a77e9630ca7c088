"""Claims have a lease, are made from a fresh view, and are confirmed where the Cloud does not compare."""

from collections.abc import Sequence
from datetime import timedelta

import attrs
import pytest

from prefect.agent.domain.errors import CloudUnavailable, OutcomeUnknown
from prefect.agent.domain.model.ends import End, EndKind, EndOutcome, EndVerdict
from prefect.agent.domain.model.flow_runs import Claimed, ClaimOutcome, Deferred, FlowRunId, Lost
from prefect.agent.domain.model.units import unit_name
from prefect.agent.domain.services.claiming import READ_BACK_TRIES
from prefect.agent.ports.cloud_api import ClaimRequest
from support.claimers import Claimers, kinds


@pytest.fixture
def desk() -> Claimers:
    """An empty Cloud."""
    return Claimers()


def test_a_claim_has_a_lease_in_the_clouds_time(desk: Claimers) -> None:
    """Clocks differ: what two agents compare is the Cloud's time."""
    desk.cloud.lead = 45.0
    [outcome] = desk.claimer()(desk.runs(1))

    assert isinstance(outcome, Claimed)
    assert outcome.record.claimed_at == desk.clock.now() + timedelta(seconds=45)
    assert outcome.record.create_until == desk.clock.now() + timedelta(seconds=45 + 90)


def test_a_claim_of_a_run_that_was_handed_back_counts_on(desk: Claimers) -> None:
    """Its new record says how often it was recovered; a person who schedules it again begins at zero."""
    claimer = desk.claimer()
    [run] = desk.runs(1)
    counts = []
    for _ in range(3):
        [outcome] = claimer(desk.cloud.flow_runs([run.id]))
        assert isinstance(outcome, Claimed)
        counts.append(outcome.record.recoveries)
        end = End(run_id=run.id, unit=outcome.record.unit, kind=EndKind.HANDED_BACK, message="not now")
        assert desk.cloud.end([end]) == [EndOutcome(verdict=EndVerdict.SETTLED)]
    desk.cloud.set_state(run.id, "Scheduled")
    [again] = claimer(desk.cloud.flow_runs([run.id]))

    assert isinstance(again, Claimed)
    assert [*counts, again.record.recoveries] == [0, 1, 2, 0]


def test_a_claim_is_taken_over_once(desk: Claimers) -> None:
    """Of two agents that see the same stale claim one gets it; the unit is the one that was claimed first."""
    [first] = desk.claimer("agent-1")(desk.runs(1))
    [seen] = desk.cloud.flow_runs([first.run.id])
    [won], [lost] = (desk.claimer(name).take_over([seen]) for name in ("agent-2", "agent-3"))

    assert isinstance(first, Claimed)
    assert isinstance(won, Claimed)
    assert isinstance(lost, Lost)
    assert (won.record.claimant, won.record.unit, won.record.recoveries) == ("agent-2", first.record.unit, 1)
    assert unit_name(won.run.id, won.run.attempt) == first.record.unit
    assert desk.cloud.flow_runs([seen.id])[0].claim == won.record


def test_an_answer_to_a_take_over_that_was_lost_is_read_back(desk: Claimers) -> None:
    """The record says whose it is: the older record of the same unit does not count."""
    [first] = desk.claimer("agent-1")(desk.runs(1))
    seen = desk.cloud.flow_runs([first.run.id])
    desk.cloud.lose_answers("claim")

    assert kinds(desk.claimer("agent-2").take_over(seen)) == [Claimed]


def test_a_run_without_a_record_is_not_taken_over(desk: Claimers) -> None:
    """Another product claimed it."""
    run_id = desk.cloud.add_flow_run(state="Submitted")

    assert desk.claimer().take_over(desk.cloud.flow_runs([run_id])) == []
    assert "claim" not in desk.cloud.calls


# --- from a fresh view ---


def test_runs_that_were_read_long_ago_are_read_again(desk: Claimers) -> None:
    """Those that still wait for a claim come back, as they are now; the others are left out."""
    waits, moved, retries, gone, running = desk.runs(5)
    desk.cloud.set_state(waits.id, "Scheduled")
    desk.cloud.set_state(moved.id, "Submitted")
    for run in (retries, running):
        desk.cloud.set_state(run.id, "Running")
    desk.cloud.add_task_run(retries.id)
    old = [waits, moved, retries, attrs.evolve(gone, id=FlowRunId("gone")), running]

    fresh = desk.claimer().refreshed(old)

    assert set(fresh) == {waits.id, retries.id}
    assert fresh[waits.id].attempt != waits.attempt
    before = len(desk.cloud.calls)
    assert desk.claimer().refreshed([]) == {}
    assert len(desk.cloud.calls) == before


def test_a_cloud_that_cannot_be_read_gives_no_fresh_view(desk: Claimers) -> None:
    """Then nothing is claimed."""
    runs = desk.runs(1)
    desk.cloud.fail_next("flow_runs", CloudUnavailable("away"))

    with pytest.raises(CloudUnavailable):
        desk.claimer().refreshed(runs)


# --- a Cloud that does not compare ---


def loose(desk: Claimers) -> Claimers:
    """Its Cloud ignores what a claimant has seen."""
    desk.cloud.is_loose = True
    return desk


def test_a_batch_of_claims_is_read_back_once_where_nothing_is_compared(desk: Claimers) -> None:
    """Only what carries our record counts."""
    runs = loose(desk).runs(3)
    before = desk.cloud.calls.count("flow_runs")

    outcomes = desk.claimer()(runs)

    assert kinds(outcomes) == [Claimed] * 3
    assert desk.cloud.calls.count("flow_runs") == before + 3 + 1  # the Cloud itself looked three times


def test_nothing_is_read_back_if_nothing_was_claimed(desk: Claimers) -> None:
    """All deferred: there is nothing to confirm."""
    runs = loose(desk).runs(1)
    desk.cloud.answer_claims(runs[0].id, Deferred)

    assert kinds(desk.claimer()(runs)) == [Deferred]


def test_a_claim_that_another_agent_overwrote_is_lost(desk: Claimers) -> None:
    """Both were answered with success; the record that is read back decides. Before, both executed the run."""
    runs = loose(desk).runs(2)
    real = desk.cloud.claim

    def overtaken(requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        outcomes = real(requests)
        desk.cloud.claim = real  # type: ignore[method-assign]
        desk.cloud.answer_claims(runs[1].id, None)
        [now] = desk.cloud.flow_runs([runs[1].id])
        assert kinds(desk.claimer("agent-2").take_over([now])) == [Claimed]
        return outcomes

    desk.cloud.claim = overtaken  # type: ignore[method-assign]

    assert kinds(desk.claimer("agent-1")(runs)) == [Claimed, Lost]


def test_a_claim_that_cannot_be_read_back_is_deferred(desk: Claimers) -> None:
    """It may be ours: nothing is started now, the sweep finds it by its record."""
    runs = loose(desk).runs(1)
    claimer = desk.claimer()
    real = desk.cloud.claim

    def then_mute(requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        outcomes = real(requests)
        desk.cloud.fail_next("flow_runs", CloudUnavailable("away"), times=READ_BACK_TRIES)
        return outcomes

    desk.cloud.claim = then_mute  # type: ignore[method-assign]

    assert kinds(claimer(runs)) == [Deferred]
    assert desk.cloud.flow_run(runs[0].id).state == "Submitted"


def test_a_claim_that_was_repeated_is_read_back_where_nothing_is_compared(desk: Claimers) -> None:
    """The first request did not arrive; the success of the second one proves nothing yet."""
    runs = loose(desk).runs(1)
    desk.cloud.fail_next("claim", OutcomeUnknown("lost on the way"))

    assert kinds(desk.claimer()(runs)) == [Claimed]
    assert desk.cloud.calls[-1] == "flow_runs"
