"""Pauses, due times, and which flow runs are in hand."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.planning import JITTER, REMEMBER, Desk, back_off
from unit.builders import NOW, a_run, an_id, ids


def later(seconds: float) -> datetime:
    """A time after NOW."""
    return NOW + timedelta(seconds=seconds)


@given(
    st.integers(min_value=-5, max_value=10**9),
    st.floats(min_value=0.001, max_value=100),
    st.floats(min_value=0.001, max_value=1000),
    st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_a_pause_is_bounded_by_the_longest_one_and_its_jitter(
    misses: int, first: float, last: float, chance: float
) -> None:
    """However often a call failed, the pause is neither nothing nor endless."""
    pause = back_off(misses, first=first, last=last, chance=chance)

    assert min(first, last) * (1 - JITTER) * 0.999 <= pause <= last * (1 + JITTER) * 1.001


@given(st.integers(min_value=0, max_value=40), st.floats(min_value=0, max_value=1, exclude_max=True))
def test_a_pause_never_gets_shorter_with_more_misses(misses: int, chance: float) -> None:
    """Trouble that lasts is asked about less and less."""
    fewer = back_off(misses, first=0.25, last=10, chance=chance)

    assert fewer <= back_off(misses + 1, first=0.25, last=10, chance=chance)


def test_a_pause_doubles() -> None:
    """Without jitter: first, twice, four times, and so on to the last."""
    assert [back_off(n, first=0.5, last=3, chance=0.5) for n in range(5)] == [0.5, 1, 2, 3, 3]


def test_agents_started_together_do_not_stay_in_step() -> None:
    """Chance moves the pause both ways."""
    pauses = [back_off(0, first=10, last=10, chance=chance) for chance in (0, 0.5, 0.999)]

    assert pauses[0] == pytest.approx(8)
    assert pauses[1] == pytest.approx(10)
    assert pauses[2] == pytest.approx(12, rel=0.01)


def test_what_waits_and_what_is_started_takes_room() -> None:
    """No more is asked for than can be started."""
    desk = Desk(capacity=3)
    desk.offer([a_run(1), a_run(2, due=later(60))], NOW)
    assert desk.room(NOW) == 1

    desk.take_due(NOW, 3)
    assert (desk.room(NOW), desk.started, desk.waiting) == (1, 1, 1)

    desk.done(an_id(1))
    assert desk.room(NOW) == 2


def test_a_deferred_run_takes_no_room_until_its_time() -> None:
    """Runs behind a concurrency limit do not starve those that could start."""
    desk = Desk(capacity=1)
    desk.offer([a_run(1)], NOW)
    [run] = desk.take_due(NOW, 1)
    desk.put_back(run, later(10))

    assert desk.room(NOW) == 1
    assert desk.room(later(10)) == 0


def test_room_is_never_negative() -> None:
    """Recovered claims may be more than fit; that is no reason to ask for less than nothing."""
    desk = Desk(capacity=1)
    for number in range(3):
        assert desk.start(a_run(number))

    assert desk.room(NOW) == 0


def test_a_run_offered_again_is_no_news() -> None:
    """The Cloud offers a run until it is claimed: only the first time counts."""
    desk = Desk(capacity=5)

    assert desk.offer([a_run(1)], NOW) == 1
    assert desk.offer([a_run(1), a_run(2)], NOW) == 1


def test_a_run_offered_again_is_known_as_it_is_now() -> None:
    """A run that was rescheduled meanwhile is claimed at its new version, at its new time."""
    desk = Desk(capacity=5)
    desk.offer([a_run(1, attempt="1")], NOW)
    desk.offer([a_run(1, attempt="3", due=later(5))], NOW)

    assert desk.take_due(NOW, 5) == []
    assert [str(run.attempt) for run in desk.take_due(later(5), 5)] == ["3"]


def test_a_started_run_is_not_taken_up_again() -> None:
    """An old answer that still offers a run in hand changes nothing."""
    desk = Desk(capacity=5)
    desk.offer([a_run(1)], NOW)
    desk.take_due(NOW, 5)

    assert desk.offer([a_run(1)], NOW) == 0
    assert desk.take_due(NOW, 5) == []
    assert an_id(1) in desk


def test_a_claimed_attempt_is_remembered_for_a_while() -> None:
    """The claimed attempt is not claimed twice; a new attempt at the same run is, and so is an old one in the end."""
    desk = Desk(capacity=5)
    desk.offer([a_run(1)], NOW)
    [run] = desk.take_due(NOW, 5)
    desk.remember(run, NOW)
    desk.done(run.id)

    assert desk.offer([a_run(1)], later(REMEMBER.total_seconds() - 1)) == 0
    assert desk.offer([a_run(1, attempt="5")], NOW) == 1
    desk.take_due(NOW, 5)
    desk.done(run.id)
    assert desk.offer([a_run(1)], later(REMEMBER.total_seconds())) == 1


def test_due_runs_are_taken_earliest_first_and_only_those_that_fit() -> None:
    """Who waited longest is started first, whatever the order of the offer."""
    desk = Desk(capacity=9)
    desk.offer([a_run(1, due=later(-1)), a_run(2, due=later(-9)), a_run(3, due=later(4)), a_run(4, due=later(-5))], NOW)

    assert ids(desk.take_due(NOW, 2)) == [an_id(2), an_id(4)]
    assert ids(desk.take_due(NOW, 2)) == [an_id(1)]
    assert desk.take_due(NOW, 0) == []
    assert desk.take_due(later(9), -1) == []
    assert ids(desk.take_due(later(4), 9)) == [an_id(3)]


def test_a_run_put_back_waits_for_the_later_of_both_times() -> None:
    """What the Cloud deferred is not claimed before its time, and never before its own due time."""
    desk = Desk(capacity=5)
    desk.put_back(a_run(1), later(10))
    desk.put_back(a_run(2, due=later(20)), later(10))

    assert desk.next_due(NOW) == 10
    assert ids(desk.take_due(later(10), 5)) == [an_id(1)]
    assert desk.next_due(later(10)) == 10
    assert ids(desk.take_due(later(20), 5)) == [an_id(2)]


def test_a_deferral_survives_being_offered_again() -> None:
    """The queue offers a deferred run at once again; it rests all the same."""
    desk = Desk(capacity=5)
    desk.put_back(a_run(1), later(10))
    desk.offer([a_run(1)], NOW)

    assert desk.take_due(NOW, 5) == []


def test_a_deferral_ends_when_it_is_over() -> None:
    """A run that was deferred once and is offered anew much later starts at once."""
    desk = Desk(capacity=5)
    desk.put_back(a_run(1), later(10))
    desk.take_due(later(10), 5)
    desk.done(an_id(1))
    desk.offer([a_run(1, attempt="2")], later(11))

    assert desk.next_due(later(11)) == 0


def test_the_pause_until_the_next_run_is_never_negative() -> None:
    """None waits: no pause. One is overdue: no pause either. Else the seconds to go."""
    desk = Desk(capacity=5)
    assert desk.next_due(NOW) is None

    desk.offer([a_run(1, due=later(7))], NOW)
    assert desk.next_due(NOW) == 7
    assert desk.next_due(later(100)) == 0


def test_a_recovered_claim_replaces_the_run_that_waits() -> None:
    """A run is in hand once only: as a claim, if it is claimed already."""
    desk = Desk(capacity=5)
    desk.offer([a_run(1)], NOW)

    assert desk.start(a_run(1))
    assert not desk.start(a_run(1))
    assert (desk.waiting, desk.started) == (0, 1)


RECOVERED = "9"


class DeskMachine(RuleBasedStateMachine):
    """However offers, claims and deferrals come, nothing is taken twice and nothing is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(capacity=4)
        self.now = NOW
        self.in_hand: dict[str, FlowRun] = {}
        self.claimed: dict[tuple[str, str], datetime] = {}
        self.deferred: dict[str, datetime] = {}

    @rule(seconds=st.integers(min_value=0, max_value=200))
    def time_passes(self, seconds: int) -> None:
        """Time only grows."""
        self.now += timedelta(seconds=seconds)

    @rule(number=st.integers(min_value=1, max_value=4), attempt=st.integers(min_value=1, max_value=3), due=st.data())
    def offer(self, number: int, attempt: int, due: st.DataObject) -> None:
        """The Cloud offers some run at some attempt, due soon or late."""
        seconds = due.draw(st.one_of(st.none(), st.integers(min_value=-50, max_value=50)))
        start = None if seconds is None else self.now + timedelta(seconds=seconds)
        self.desk.offer([a_run(number, attempt=str(attempt), due=start)], self.now)

    @rule(most=st.integers(min_value=-1, max_value=5))
    def take(self, most: int) -> None:
        """What is taken is due, is not in hand, was not claimed lately and was not deferred beyond now."""
        taken = self.desk.take_due(self.now, most)
        assert len(taken) <= max(0, most)
        for run in taken:
            assert run.id not in self.in_hand
            assert run.due is None or run.due <= self.now
            assert self.claimed.get((run.id, str(run.attempt)), NOW - REMEMBER) + REMEMBER <= self.now
            assert self.deferred.pop(run.id, self.now) <= self.now
            self.in_hand[run.id] = run

    @precondition(lambda self: self.in_hand)
    @rule(choice=st.data(), outcome=st.sampled_from(["claimed", "lost", "deferred"]))
    def conclude(self, choice: st.DataObject, outcome: str) -> None:
        """A claim has an outcome."""
        run = self.in_hand.pop(choice.draw(st.sampled_from(sorted(self.in_hand))))
        if str(run.attempt) == RECOVERED:  # claimed already: nothing is asked any more
            self.desk.done(run.id)
            return
        if outcome == "deferred":
            self.deferred[run.id] = self.now + timedelta(seconds=30)
            self.desk.put_back(run, self.deferred[run.id])
            return
        self.desk.remember(run, self.now)
        self.claimed[run.id, str(run.attempt)] = self.now
        self.desk.done(run.id)

    @rule(number=st.integers(min_value=1, max_value=4))
    def recover(self, number: int) -> None:
        """The sweep finds a claim without a unit."""
        run = a_run(number, attempt=RECOVERED)
        assert self.desk.start(run) == (run.id not in self.in_hand)
        self.in_hand.setdefault(run.id, run)
        self.deferred.pop(run.id, None)

    @invariant()
    def books_balance(self) -> None:
        """What is in hand is what was taken and has no outcome yet; there is never less than no room."""
        assert self.desk.started == len(self.in_hand)
        assert all(run.id in self.desk for run in self.in_hand.values())
        assert 0 <= self.desk.room(self.now) <= self.desk.capacity
        assert (self.desk.next_due(self.now) is None) == (self.desk.waiting == 0)


TestDesk = DeskMachine.TestCase
TestDesk.settings = settings(max_examples=60, stateful_step_count=25)
