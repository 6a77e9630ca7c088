"""Leases: who may create the unit of a claim, and until when (promises P1 and P2)."""

from datetime import datetime, timedelta

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from prefect.agent.adapters.phases import named_state
from prefect.agent.domain.model.flow_runs import ClaimRecord, FlowRun, SimpleAttempt, TaskRun, TaskRunId
from prefect.agent.domain.model.leases import (
    GRACE,
    LATE,
    MOST_RECOVERIES,
    PAUSES,
    Claimant,
    LeaseVerdict,
    fingerprint,
    is_expired,
    judge_lease,
    new_record,
    taken_over,
    waits_for_its_unit,
)
from prefect.agent.domain.model.units import unit_name
from support.builders import NOW, a_record, a_run

ME = Claimant(id="me", platform="memory:1", agent_name="ann", place="here", fingerprint="same")
OTHER = Claimant(id="other", platform="memory:1", agent_name="bob", place="there", fingerprint="same")
STRANGER = attrs.evolve(OTHER, fingerprint="another")
WITHIN = timedelta(seconds=120)
SECOND = timedelta(seconds=1)
EXPIRED = NOW + WITHIN


def claim_of(claimant: Claimant, *, recoveries: int = 0, run: FlowRun | None = None) -> ClaimRecord:
    """The record of a claim made now."""
    run = attrs.evolve(run or a_run(), recoveries=recoveries)
    return new_record(run, unit_name(run.id, run.attempt), claimant, now=NOW, create_within=WITHIN)


def verdict(record: ClaimRecord, now: datetime, *, gone: bool = False, recovers: bool = True) -> LeaseVerdict:
    """What this process is to do about the claim."""
    return judge_lease(record, ME, now, claimant_is_gone=gone, recovers=recovers)


# --- who may ---


def test_the_claim_of_a_living_agent_is_left_alone_until_it_expires() -> None:
    """While A pulls an image, B does not start A's run. Before, the first sweep that saw no unit did."""
    record = claim_of(OTHER)

    assert verdict(record, NOW) is LeaseVerdict.LEAVE
    assert verdict(record, EXPIRED - SECOND) is LeaseVerdict.LEAVE
    assert verdict(record, EXPIRED) is LeaseVerdict.RECOVER


def test_the_claim_of_an_agent_that_is_gone_is_recovered_at_once() -> None:
    """Proven gone: no such process, no such pod."""
    assert verdict(claim_of(OTHER), NOW, gone=True) is LeaseVerdict.RECOVER


def test_an_own_claim_that_nothing_sees_to_is_recovered_at_once() -> None:
    """The claim's answer was lost, and it was committed all the same."""
    assert verdict(claim_of(ME), NOW) is LeaseVerdict.RECOVER


@pytest.mark.parametrize("gone", [False, True])
def test_a_claim_of_another_kind_of_agent_is_handed_back_late(gone: bool) -> None:
    """Another environment, other labels, another interpreter: not the same unit, so never recovered here.

    A sibling of its own kind has until a while after the lease, also if the claimant is gone.
    """
    record = claim_of(STRANGER)

    assert verdict(record, EXPIRED + GRACE - SECOND, gone=gone) is LeaseVerdict.LEAVE
    assert verdict(record, EXPIRED + GRACE, gone=gone) is LeaseVerdict.HAND_BACK


def test_a_claim_of_an_older_agent_is_recovered() -> None:
    """Its record has neither times nor a fingerprint: there is no lease to wait for."""
    assert verdict(a_record(a_run()), NOW) is LeaseVerdict.RECOVER


def test_a_claim_without_times_but_of_another_kind_is_handed_back() -> None:
    """It has no lease, and its unit is not ours to make."""
    assert verdict(a_record(a_run(), fingerprint="another"), NOW) is LeaseVerdict.HAND_BACK


# --- how often ---


@pytest.mark.parametrize("recoveries", range(MOST_RECOVERIES + 3))
def test_recoveries_are_spaced_and_end(recoveries: int) -> None:
    """A unit that never lasts is made again ever more slowly, then its run fails. Before: 54 Jobs in 97 s."""
    record = claim_of(OTHER, recoveries=recoveries)
    pause = PAUSES[min(recoveries, len(PAUSES) - 1)]
    last = recoveries >= MOST_RECOVERIES

    if pause:
        assert verdict(record, NOW + pause - SECOND, gone=True) is LeaseVerdict.LEAVE
    assert verdict(record, NOW + pause, gone=True) is (LeaseVerdict.GIVE_UP if last else LeaseVerdict.RECOVER)


def test_what_no_agent_may_recover_ends_in_the_end() -> None:
    """A claim of another kind of agent that was handed back often enough is given up."""
    record = claim_of(STRANGER, recoveries=MOST_RECOVERIES)

    assert verdict(record, EXPIRED + PAUSES[-1]) is LeaseVerdict.GIVE_UP


# --- an agent whose subclass starts flow runs in its own way ---


def test_an_agent_that_does_not_recover_gives_up_once_the_claimant_is_gone_and_the_lease_is_over() -> None:
    """Killed between claim and deploy: it is not known whether the run was started. Before: Submitted for ever."""
    record = claim_of(OTHER)

    assert verdict(record, EXPIRED - SECOND, gone=True, recovers=False) is LeaseVerdict.LEAVE
    assert verdict(record, EXPIRED, gone=True, recovers=False) is LeaseVerdict.GIVE_UP


@pytest.mark.parametrize("claimant", [OTHER, ME], ids=["another", "this process"])
def test_a_run_that_a_living_agent_has_deployed_may_wait_in_its_queue(claimant: Claimant) -> None:
    """A subclass may have handed it to a batch system where it waits, Submitted, longer than the lease."""
    record = claim_of(claimant)

    assert verdict(record, EXPIRED + LATE - SECOND, recovers=False) is LeaseVerdict.LEAVE
    assert verdict(record, EXPIRED + LATE, recovers=False) is LeaseVerdict.GIVE_UP


@pytest.mark.parametrize("gone", [False, True])
def test_an_agent_that_does_not_recover_leaves_a_claim_without_times(gone: bool) -> None:
    """An older agent's, which cannot be dated: after an update, what waits in a batch system is not failed."""
    assert verdict(a_record(a_run()), NOW, gone=gone, recovers=False) is LeaseVerdict.LEAVE


# --- for every record ---

RECORDS = st.builds(
    lambda claimant, recoveries, age, has_times: attrs.evolve(
        claim_of(claimant, recoveries=recoveries),
        claimed_at=NOW - timedelta(seconds=age) if has_times else None,
        create_until=NOW - timedelta(seconds=age) + WITHIN if has_times else None,
        fingerprint=claimant.fingerprint if has_times else "",
    ),
    st.sampled_from([ME, OTHER, STRANGER]),
    st.integers(min_value=0, max_value=2 * MOST_RECOVERIES),
    st.integers(min_value=-1000, max_value=10_000),
    st.booleans(),
)


@given(RECORDS, st.integers(min_value=-1000, max_value=10_000), st.booleans(), st.booleans())
def test_nothing_is_recovered_before_its_claimant_is_gone_or_its_time_is_over(
    record: ClaimRecord, seconds: int, gone: bool, recovers: bool
) -> None:
    """Nor more often than the record allows, nor by an agent that would make another unit or does not recover."""
    now = NOW + timedelta(seconds=seconds)

    if verdict(record, now, gone=gone, recovers=recovers) is LeaseVerdict.RECOVER:
        assert gone or record.claimant == ME.id or is_expired(record, now)
        assert record.recoveries < MOST_RECOVERIES
        assert record.fingerprint in {"", ME.fingerprint}
        assert recovers


@given(RECORDS, st.booleans(), st.booleans())
def test_every_claim_without_a_unit_ends(record: ClaimRecord, gone: bool, recovers: bool) -> None:
    """Whatever the record says: after some recoveries and hand-backs it is given up, each within a known time."""
    assume(recovers or record.create_until is not None)
    now, rounds = NOW, 0
    while (found := verdict(record, now, gone=gone, recovers=recovers)) is not LeaseVerdict.GIVE_UP:
        if found is LeaseVerdict.LEAVE:
            now += timedelta(seconds=30)
            assert now - (record.claimed_at or NOW) < timedelta(days=1)
            continue
        rounds += 1
        assert rounds <= MOST_RECOVERIES
        if found is LeaseVerdict.RECOVER:
            record = taken_over(record, OTHER, now=now, create_within=WITHIN)
        else:
            run = attrs.evolve(a_run(), recoveries=record.recoveries + 1)
            record = new_record(run, record.unit, STRANGER, now=now, create_within=WITHIN)


# --- records ---


def test_a_new_record_says_who_claims_and_for_how_long() -> None:
    """And how often the run was recovered or handed back before."""
    run = attrs.evolve(a_run(), recoveries=3)
    record = claim_of(ME, recoveries=3, run=run)

    assert (record.claimant, record.platform, record.agent_name) == ("me", "memory:1", "ann")
    assert (record.place, record.fingerprint) == ("here", "same")
    assert (record.claimed_at, record.create_until) == (NOW, EXPIRED)
    assert (record.unit, record.attempt, record.recoveries) == (unit_name(run.id, run.attempt), "1", 3)


def test_a_recovery_makes_the_same_unit_for_another_claimant() -> None:
    """The same name, so that the platform itself refuses a second unit; its lease begins anew."""
    record = claim_of(OTHER, recoveries=1)
    over = taken_over(record, ME, now=EXPIRED, create_within=WITHIN)

    assert (over.unit, over.attempt, over.recoveries) == (record.unit, record.attempt, 2)
    assert (over.claimant, over.agent_name, over.place) == ("me", "ann", "here")
    assert (over.claimed_at, over.create_until) == (EXPIRED, EXPIRED + WITHIN)


def test_a_lease_without_an_end_has_expired() -> None:
    """An older agent's: its claimant reads the run again before it creates."""
    assert is_expired(a_record(a_run()), NOW)
    assert not is_expired(claim_of(ME), EXPIRED - SECOND)
    assert is_expired(claim_of(ME), EXPIRED)


CLAIMED_TASK = TaskRun(id=TaskRunId("t"), attempt=SimpleAttempt("2"), state=named_state("Submitted"))


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (a_run(state="Submitted"), True),
        (attrs.evolve(a_run(state="Submitted"), claim=None), False),
        (a_run(state="Running"), False),
        (attrs.evolve(a_run(state="Running"), claimed_task_runs=(CLAIMED_TASK,)), True),
        (a_run(state="Cancelling"), False),
        (a_run(), False),
    ],
)
def test_a_claim_waits_for_its_unit_until_the_run_reports(run: FlowRun, expected: bool) -> None:
    """Submitted, or Running with claimed task runs, by a claim of ours."""
    assert waits_for_its_unit(run) is expected


# --- fingerprints ---


def test_agents_that_would_make_the_same_unit_have_the_same_fingerprint() -> None:
    """The order of labels and variables does not matter."""
    one = fingerprint(["a", "b"], {"X": "1", "Y": "2"}, "python 3.11")

    assert one == fingerprint(["b", "a"], {"Y": "2", "X": "1"}, "python 3.11")
    assert len(one) == 16


def test_whatever_shapes_units_changes_the_fingerprint() -> None:
    """Labels, variables, and the platform's own settings; a variable that cannot be encoded is no error."""
    base = (["a"], {"X": "1"}, "python 3.11")
    others = [
        (["a", "b"], base[1], base[2]),
        (base[0], {"X": "2"}, base[2]),
        (base[0], {"X": "\ud800"}, base[2]),
        (base[0], base[1], "python 3.12"),
    ]

    assert len({fingerprint(*each) for each in (base, *others)}) == 5


# --- claims whose units cannot be seen ---


@pytest.mark.parametrize("claimant", [ME, OTHER])
def test_what_a_living_agent_has_started_out_of_sight_is_not_started_again(claimant: Claimant) -> None:
    """It may wait in a batch system. Before, each sweep of a class with ``recovers = True`` deployed it once more."""
    record = claim_of(claimant)

    def found(now: datetime, *, gone: bool = False) -> LeaseVerdict:
        return judge_lease(record, ME, now, claimant_is_gone=gone, recovers=True, sees_units=False)

    assert found(EXPIRED + LATE - SECOND) is LeaseVerdict.LEAVE
    assert found(EXPIRED + LATE) is LeaseVerdict.RECOVER
    assert found(EXPIRED - SECOND, gone=True) is LeaseVerdict.LEAVE
    assert found(EXPIRED, gone=True) is LeaseVerdict.RECOVER
