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
def claimers() -> Claimers:
    """An empty Cloud."""
    return Claimers()


def test_a_claim_has_a_lease_in_the_clouds_time(claimers: Claimers) -> None:
    """Clocks differ: what two agents compare is the Cloud's time."""
    claimers.cloud.lead = 45.0
    [outcome] = claimers.claimer()(claimers.runs(1))

    assert isinstance(outcome, Claimed)
    assert outcome.record.claimed_at == claimers.clock.now() + timedelta(seconds=45)
    assert outcome.record.create_until == claimers.clock.now() + timedelta(seconds=45 + 90)


def test_a_claim_of_a_run_that_was_handed_back_counts_on(claimers: Claimers) -> None:
    """Its new record says how often it was recovered; a person who schedules it again begins at zero."""
    claimer = claimers.claimer()
    [run] = claimers.runs(1)
    counts = []
    for _ in range(3):
        [outcome] = claimer(claimers.cloud.flow_runs([run.id]))
        assert isinstance(outcome, Claimed)
        counts.append(outcome.record.recoveries)
        end = End(run_id=run.id, unit=outcome.record.unit, kind=EndKind.HANDED_BACK, message="not now")
        assert claimers.cloud.end([end]) == [EndOutcome(verdict=EndVerdict.SETTLED)]
    claimers.cloud.set_state(run.id, "Scheduled")
    [again] = claimer(claimers.cloud.flow_runs([run.id]))

    assert isinstance(again, Claimed)
    assert [*counts, again.record.recoveries] == [0, 1, 2, 0]


def test_a_claim_is_taken_over_once(claimers: Claimers) -> None:
    """Of two agents that see the same stale claim one gets it; the unit is the one that was claimed first."""
    [first] = claimers.claimer("agent-1")(claimers.runs(1))
    [seen] = claimers.cloud.flow_runs([first.run.id])
    [won], [lost] = (claimers.claimer(name).take_over([seen]) for name in ("agent-2", "agent-3"))

    assert isinstance(first, Claimed)
    assert isinstance(won, Claimed)
    assert isinstance(lost, Lost)
    assert (won.record.claimant, won.record.unit, won.record.recoveries) == ("agent-2", first.record.unit, 1)
    assert unit_name(won.run.id, won.run.attempt) == first.record.unit
    assert claimers.cloud.flow_runs([seen.id])[0].claim == won.record


def test_an_answer_to_a_take_over_that_was_lost_is_read_back(claimers: Claimers) -> None:
    """The record says whose it is: the older record of the same unit does not count."""
    [first] = claimers.claimer("agent-1")(claimers.runs(1))
    seen = claimers.cloud.flow_runs([first.run.id])
    claimers.cloud.lose_answers("claim")

    assert kinds(claimers.claimer("agent-2").take_over(seen)) == [Claimed]


def test_a_run_without_a_record_is_not_taken_over(claimers: Claimers) -> None:
    """Another product claimed it."""
    run_id = claimers.cloud.add_flow_run(state="Submitted")

    assert claimers.claimer().take_over(claimers.cloud.flow_runs([run_id])) == []
    assert "claim" not in claimers.cloud.calls


# --- from a fresh view ---


def test_runs_that_were_read_long_ago_are_read_again(claimers: Claimers) -> None:
    """Those that still wait for a claim come back, as they are now; the others are left out."""
    waits, moved, retries, gone, running = claimers.runs(5)
    claimers.cloud.set_state(waits.id, "Scheduled")
    claimers.cloud.set_state(moved.id, "Submitted")
    for run in (retries, running):
        claimers.cloud.set_state(run.id, "Running")
    claimers.cloud.add_task_run(retries.id)
    old = [waits, moved, retries, attrs.evolve(gone, id=FlowRunId("gone")), running]

    fresh = claimers.claimer().refreshed(old)

    assert set(fresh) == {waits.id, retries.id}
    assert fresh[waits.id].attempt != waits.attempt
    before = len(claimers.cloud.calls)
    assert claimers.claimer().refreshed([]) == {}
    assert len(claimers.cloud.calls) == before


def test_a_cloud_that_cannot_be_read_gives_no_fresh_view(claimers: Claimers) -> None:
    """Then nothing is claimed."""
    runs = claimers.runs(1)
    claimers.cloud.fail_next("flow_runs", CloudUnavailable("away"))

    with pytest.raises(CloudUnavailable):
        claimers.claimer().refreshed(runs)


# --- a Cloud that does not compare ---


def loose(claimers: Claimers) -> Claimers:
    """Its Cloud ignores what a claimant has seen."""
    claimers.cloud.is_loose = True
    return claimers


def test_a_batch_of_claims_is_read_back_once_where_nothing_is_compared(claimers: Claimers) -> None:
    """Only what carries our record counts."""
    runs = loose(claimers).runs(3)
    before = claimers.cloud.calls.count("flow_runs")

    outcomes = claimers.claimer()(runs)

    assert kinds(outcomes) == [Claimed] * 3
    assert claimers.cloud.calls.count("flow_runs") == before + 3 + 1  # the Cloud itself looked three times


def test_nothing_is_read_back_if_nothing_was_claimed(claimers: Claimers) -> None:
    """All deferred: there is nothing to confirm."""
    runs = loose(claimers).runs(1)
    claimers.cloud.answer_claims(runs[0].id, Deferred)

    assert kinds(claimers.claimer()(runs)) == [Deferred]


def test_a_claim_that_another_agent_overwrote_is_lost(claimers: Claimers) -> None:
    """Both were answered with success; the record that is read back decides. Before, both executed the run."""
    runs = loose(claimers).runs(2)
    real = claimers.cloud.claim

    def overtaken(requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        outcomes = real(requests)
        claimers.cloud.claim = real  # type: ignore[method-assign]
        claimers.cloud.answer_claims(runs[1].id, None)
        [now] = claimers.cloud.flow_runs([runs[1].id])
        assert kinds(claimers.claimer("agent-2").take_over([now])) == [Claimed]
        return outcomes

    claimers.cloud.claim = overtaken  # type: ignore[method-assign]

    assert kinds(claimers.claimer("agent-1")(runs)) == [Claimed, Lost]


def test_a_success_that_is_not_read_back_is_no_claim_and_is_not_asked_for_again(claimers: Claimers) -> None:
    """The Cloud answered with success and has nothing of it: the next poll sees the run, as it is then."""
    runs = loose(claimers).runs(1)
    asked: list[Sequence[ClaimRequest]] = []

    def forgetful(requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        asked.append(requests)
        return [Claimed(request.run, request.record) for request in requests]

    claimers.cloud.claim = forgetful  # type: ignore[method-assign]

    assert kinds(claimers.claimer()(runs)) == [Lost]
    assert len(asked) == 1


def test_a_claim_that_cannot_be_read_back_is_deferred(claimers: Claimers) -> None:
    """It may be ours: nothing is started now, the sweep finds it by its record."""
    runs = loose(claimers).runs(1)
    claimer = claimers.claimer()
    real = claimers.cloud.claim

    def then_mute(requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        outcomes = real(requests)
        claimers.cloud.fail_next("flow_runs", CloudUnavailable("away"), times=READ_BACK_TRIES)
        return outcomes

    claimers.cloud.claim = then_mute  # type: ignore[method-assign]

    assert kinds(claimer(runs)) == [Deferred]
    assert claimers.cloud.flow_run(runs[0].id).state == "Submitted"


def test_a_claim_that_was_repeated_is_read_back_where_nothing_is_compared(claimers: Claimers) -> None:
    """The first request did not arrive; the success of the second one proves nothing yet."""
    runs = loose(claimers).runs(1)
    claimers.cloud.fail_next("claim", OutcomeUnknown("lost on the way"))

    assert kinds(claimers.claimer()(runs)) == [Claimed]
    assert claimers.cloud.calls[-1] == "flow_runs"
