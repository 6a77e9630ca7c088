"""Claims: many in one request, and an answer that was lost is read back."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import attrs
import pytest

from prefect.agent.domain.errors import CloudUnavailable, OutcomeUnknown, Unauthorised
from prefect.agent.domain.model.flow_runs import Claimed, ClaimOutcome, Deferred, FlowRun, FlowRunId, Lost, Refused
from prefect.agent.domain.model.units import unit_name
from prefect.agent.domain.services.claiming import READ_BACK_TRIES
from prefect.agent.ports import events
from prefect.agent.ports.cloud_api import ClaimRequest
from support.builders import a_run
from support.claimers import Claimers, kinds


@pytest.fixture
def claimers() -> Claimers:
    """An empty Cloud."""
    return Claimers()


def test_many_claims_in_one_request(claimers: Claimers) -> None:
    """One outcome per run, in order, with the record that the Cloud remembers."""
    runs = claimers.runs(5)

    outcomes = claimers.claimer()(runs)

    assert [outcome.run.id for outcome in outcomes] == [run.id for run in runs]
    assert kinds(outcomes) == [Claimed] * 5
    assert claimers.cloud.calls.count("claim") == 1
    [claimed] = [outcome for outcome in outcomes[:1] if isinstance(outcome, Claimed)]
    assert claimed.record.unit == unit_name(runs[0].id, runs[0].attempt)
    assert (claimed.record.claimant, claimed.record.platform, claimed.record.agent_name) == (
        "agent-1",
        "memory:1",
        "ann",
    )
    assert (claimed.record.place, claimed.record.fingerprint) == ("at agent-1", "same")
    assert claimers.cloud.flow_runs([runs[0].id])[0].claim == claimed.record == claimed.run.claim


def test_nothing_to_claim_asks_nobody(claimers: Claimers) -> None:
    """No runs, no request."""
    assert claimers.claimer()([]) == []
    assert claimers.cloud.calls == []


def test_the_second_agent_loses_quietly(claimers: Claimers) -> None:
    """A lost claim is an expected answer, not an error."""
    runs = claimers.runs(2)
    claimers.claimer("agent-1")(runs[:1])
    claimers.heard.events.clear()

    outcomes = claimers.claimer("agent-2")(runs)

    assert kinds(outcomes) == [Lost, Claimed]
    assert [(event.name, event.level) for event in claimers.heard.events] == [
        (events.CLAIM_LOST, "DEBUG"),
        (events.CLAIMED, "INFO"),
    ]


@pytest.mark.parametrize("losses", [1, 2, 3, 4])
def test_an_answer_that_was_lost_is_read_back(claimers: Claimers, losses: int) -> None:
    """The claims were committed: they are ours, however often answers get lost."""
    runs = claimers.runs(3)
    claimers.cloud.lose_answers("claim", losses)

    outcomes = claimers.claimer()(runs)

    assert kinds(outcomes) == [Claimed] * 3
    assert all(claimers.cloud.flow_run(run.id).version == 2 for run in runs)
    assert events.CLAIM_READ_BACK in claimers.heard.names()


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_claim_that_never_arrived_is_made_again(claimers: Claimers, times: int) -> None:
    """Nothing was committed: the read-back shows the old attempt, and asks once more."""
    runs = claimers.runs(2)
    claimers.cloud.fail_next("claim", OutcomeUnknown("lost on the way"), times=times)

    outcomes = claimers.claimer()(runs)

    assert kinds(outcomes) == [Claimed] * 2
    assert claimers.cloud.calls.count("claim") <= times + 2


def test_a_read_back_tells_ours_from_theirs(claimers: Claimers) -> None:
    """While the answer was lost another agent took one run, and one was deleted or moved on."""
    mine, theirs, done = claimers.runs(3)
    claimers.claimer("agent-2")([theirs])
    claimers.cloud.set_state(done.id, "Cancelled")
    gone = a_run(77)
    claimers.cloud.lose_answers("claim", 1)

    outcomes = claimers.claimer("agent-1")([mine, theirs, done, gone])

    assert kinds(outcomes) == [Claimed, Lost, Lost, Lost]


def test_a_first_request_that_arrives_late_and_wins_is_ours(claimers: Claimers) -> None:
    """The repeated claim is answered Lost since the first one won meanwhile: the next look shows that it is ours."""
    [run] = claimers.runs(1)
    claimer = claimers.claimer()
    late: list[ClaimRequest] = []
    real: Callable[[Sequence[ClaimRequest]], Sequence[ClaimOutcome]] = claimers.cloud.claim

    def slow(requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        if not late:
            late.extend(requests)
            raise OutcomeUnknown("timed out")
        real(late)  # the first request gets through just before the second
        return real(requests)

    claimers.cloud.claim = slow  # type: ignore[method-assign]

    assert kinds(claimer([run])) == [Claimed]


@pytest.mark.parametrize("state", ["Cancelling", "Cancelled", "Failed"])
def test_a_run_that_was_ended_while_the_answer_to_its_claim_was_lost_is_lost(claimers: Claimers, state: str) -> None:
    """Its latest claim is ours, but it waits for no unit any more: a person has cancelled it."""
    [run] = claimers.runs(1)
    real: Callable[[Sequence[ClaimRequest]], Sequence[ClaimOutcome]] = claimers.cloud.claim

    def cancelled_meanwhile(requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        real(requests)
        claimers.cloud.set_state(run.id, state)
        raise OutcomeUnknown("the answer was lost")

    claimers.cloud.claim = cancelled_meanwhile  # type: ignore[method-assign]

    assert kinds(claimers.claimer()([run])) == [Lost]
    assert claimers.cloud.flow_run(run.id).state == state


def test_a_fate_that_cannot_be_learned_is_deferred(claimers: Claimers) -> None:
    """The Cloud stays mute: nothing is started now; if the claim was committed, the sweep finds it."""
    runs = claimers.runs(2)
    claimers.cloud.lose_answers("claim", 1)
    claimers.cloud.fail_next("flow_runs", CloudUnavailable("away"), times=READ_BACK_TRIES)
    before = claimers.clock.monotonic()

    outcomes = claimers.claimer()(runs)

    assert kinds(outcomes) == [Deferred] * 2
    assert 1 < claimers.clock.monotonic() - before < 60


def test_an_unavailable_cloud_defers(claimers: Claimers) -> None:
    """Nothing was changed: the runs are claimed later."""
    runs = claimers.runs(2)
    claimers.cloud.fail_next("claim", CloudUnavailable("away"), times=1000)

    outcomes = claimers.claimer()(runs)

    assert kinds(outcomes) == [Deferred] * 2
    assert events.CLOUD_TROUBLE in claimers.heard.names()
    assert claimers.cloud.flow_run(runs[0].id).state == "Scheduled"


def test_one_bad_run_does_not_spoil_the_batch(claimers: Claimers) -> None:
    """A request that is refused whole is taken apart; only the culprit is refused, and it is left alone.

    What is said of it, and when it is tried again, is decided where its refusals are counted.
    """
    runs = claimers.runs(4)
    claimers.cloud.bad = runs[2].id

    outcomes = claimers.claimer()(runs)

    assert kinds(outcomes) == [Claimed, Claimed, Refused, Claimed]
    assert claimers.cloud.flow_run(runs[2].id).state == "Scheduled"
    assert [event.level for event in claimers.heard.events if event.name == events.CLAIM_REFUSED] == ["DEBUG"]


def test_a_run_with_a_hostile_id_does_not_spoil_the_batch(claimers: Claimers) -> None:
    """An id that cannot be encoded is its own run's problem."""
    [good] = claimers.runs(1)
    bad = attrs.evolve(good, id=FlowRunId("\ud800"))

    outcomes = claimers.claimer()([bad, good])

    assert kinds(outcomes)[1] is Claimed


@pytest.mark.parametrize("lost_first", [False, True])
def test_a_refused_key_is_raised(claimers: Claimers, lost_first: bool) -> None:
    """Only a person can mend it; the supervisor counts."""
    runs = claimers.runs(1)
    if lost_first:
        claimers.cloud.lose_answers("claim", 1)
        claimers.cloud.fail_next("flow_runs", Unauthorised("no"))
    else:
        claimers.cloud.fail_next("claim", Unauthorised("no"))

    with pytest.raises(Unauthorised):
        claimers.claimer()(runs)


def test_a_deferral_by_the_cloud_is_passed_on(claimers: Claimers) -> None:
    """QUEUED: a concurrency limit; the run will be offered again."""
    runs = claimers.runs(2)
    claimers.cloud.answer_claims(runs[0].id, lambda run: Deferred(run, message="limit reached"))

    outcomes = claimers.claimer()(runs)

    assert kinds(outcomes) == [Deferred, Claimed]
    assert "limit reached" in next(e.message for e in claimers.heard.events if e.name == events.CLAIM_DEFERRED)


def test_task_runs_of_a_running_run_are_claimed_once(claimers: Claimers) -> None:
    """Of two agents that see the due retry, one starts it; the flow run stays Running."""
    run_id = claimers.cloud.add_flow_run(state="Running")
    claimers.cloud.add_task_run(run_id)
    claimers.clock.advance(10)
    runs: Any = claimers.cloud.ready_flow_runs(labels=[], before=claimers.clock.now(), limit=9)
    assert [run.id for run in runs] == [run_id]
    claimers.cloud.lose_answers("claim", 1)

    assert kinds(claimers.claimer("agent-1")(runs)) == [Claimed]
    assert kinds(claimers.claimer("agent-2")(runs)) == [Lost]
    assert claimers.cloud.flow_run(run_id).state == "Running"


@pytest.mark.parametrize("is_loose", [False, True])
@pytest.mark.parametrize("place", [0, 7, 19])
def test_one_claim_that_is_never_answered_well_holds_back_no_other(
    claimers: Claimers, place: int, is_loose: bool
) -> None:
    """A request with that run in it is answered 500 each time: the others are claimed in the same turn without it."""
    runs = claimers.runs(20)
    claimers.cloud.bad, claimers.cloud.error, claimers.cloud.is_loose = runs[place].id, OutcomeUnknown("500"), is_loose

    outcomes = claimers.claimer()(runs)

    expected = [Deferred if run.id == runs[place].id else Claimed for run in runs]
    assert kinds(outcomes) == expected


def test_a_cloud_that_takes_no_claims_is_asked_a_few_times(claimers: Claimers) -> None:
    """However many runs are ready."""
    runs = claimers.runs(60)
    claimers.cloud.fail_next("claim", OutcomeUnknown("500"), times=1000)

    assert kinds(claimers.claimer()(runs)) == [Deferred] * len(runs)
    assert claimers.cloud.calls.count("claim") <= 2 * READ_BACK_TRIES


def many(claimers: Claimers, count: int) -> list[FlowRun]:
    """More runs than one poll reads."""
    return list(claimers.cloud.flow_runs([claimers.cloud.add_flow_run() for _ in range(count)]))


@pytest.mark.parametrize("is_loose", [False, True])
@pytest.mark.parametrize("place", [0, 24, 25, 40, 59])
def test_a_run_that_makes_the_cloud_answer_503_waits_alone(claimers: Claimers, place: int, is_loose: bool) -> None:
    """A request with that run in it is answered 503 each time: the others are claimed in the same turn without it."""
    runs = many(claimers, 60)
    claimers.cloud.bad, claimers.cloud.error, claimers.cloud.is_loose = (
        runs[place].id,
        CloudUnavailable("503"),
        is_loose,
    )

    outcomes = claimers.claimer()(runs)

    assert kinds(outcomes) == [Deferred if run.id == runs[place].id else Claimed for run in runs]
    assert claimers.cloud.asked <= 14
    assert claimers.heard.names().count(events.CLOUD_TROUBLE) == 1


def test_a_cloud_that_is_away_is_asked_for_claims_a_few_times(claimers: Claimers) -> None:
    """However many runs are ready; the runs wait as long as the Cloud asked for."""
    runs = many(claimers, 60)
    claimers.cloud.fail_next("claim", CloudUnavailable("503", retry_after=40), times=1000)

    outcomes = claimers.claimer()(runs)

    assert [out.until for out in outcomes if isinstance(out, Deferred)] == [
        claimers.clock.now() + timedelta(seconds=40)
    ] * 60
    assert claimers.cloud.calls.count("claim") <= 8


def test_an_unknown_claim_within_a_batch_that_failed_is_read_back_first(claimers: Claimers) -> None:
    """A 503, then a lost answer: the claims of the half are read, and none is sent a second time that is ours."""
    runs = claimers.runs(20)
    claimers.cloud.fail_next("claim", CloudUnavailable("503"))
    claimers.cloud.lose_answers("claim", 1)

    assert kinds(claimers.claimer()(runs)) == [Claimed] * 20
    assert all(claimers.cloud.flow_run(run.id).version == 2 for run in runs)
    assert claimers.cloud.calls.count("claim") == 3


def test_nothing_is_claimed_after_claims_of_which_nothing_can_be_learned(claimers: Claimers) -> None:
    """A Cloud that neither confirms claims nor lets them be read is asked for no more of them in this turn."""
    runs = many(claimers, 75)
    claimers.cloud.lose_answers("claim", 1000)
    claimers.cloud.fail_next("flow_runs", CloudUnavailable("away"), times=1000)

    assert kinds(claimers.claimer()(runs)) == [Deferred] * 75
    assert claimers.cloud.calls.count("claim") == 1
