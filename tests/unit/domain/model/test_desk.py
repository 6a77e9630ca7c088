"""Pauses, due times, and which flow runs are in hand."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from prefect.agent.domain.model.desk import REMEMBER, SKIP, Desk, Seen
from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId
from prefect.agent.domain.model.pauses import JITTER, back_off
from support.builders import NOW, a_run, an_id, ids


def later(seconds: float) -> datetime:
    """A time after NOW."""
    return NOW + timedelta(seconds=seconds)


def taken(desk: Desk, run: FlowRun) -> None:
    """Let *run* be offered and taken; others that wait and are due are taken, too."""
    desk.offer([run], NOW, 0.0)
    assert run.id in runs_of(desk.take_due(NOW, 9))


def runs_of(seen: Iterable[Seen]) -> list[FlowRunId]:
    """Ids of the runs that were taken."""
    return ids(each.run for each in seen)


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


def test_what_is_due_and_what_is_started_takes_room() -> None:
    """No more is asked for than can be started; runs that are read early keep nothing from a run that is due now."""
    desk = Desk(capacity=3)
    desk.offer([a_run(1), a_run(2, due=later(60))], NOW, 0.0)
    assert (desk.room(NOW), desk.room(later(60))) == (2, 1)

    desk.take_due(NOW, 3)
    assert (desk.room(NOW), desk.started, desk.waiting) == (2, 1, 1)

    desk.done(an_id(1))
    assert desk.room(NOW) == 3


def test_a_run_that_rests_takes_no_room() -> None:
    """Runs behind a concurrency limit do not starve those that could start. Before, they took room when due again."""
    desk = Desk(capacity=1)
    taken(desk, a_run(1))
    desk.rest(an_id(1), NOW, until=later(10), first=1, last=1)

    assert (desk.room(NOW), desk.room(later(10)), desk.waiting, desk.started) == (1, 1, 0, 0)


def test_room_is_never_negative() -> None:
    """More may be taken up than fits: an answer may be longer than was asked for."""
    desk = Desk(capacity=1)
    desk.offer([a_run(number) for number in range(3)], NOW, 0.0)
    desk.take_due(NOW, 3)

    assert desk.room(NOW) == 0


def test_a_run_offered_again_is_no_news() -> None:
    """The Cloud offers a run until it is claimed: only the first time counts."""
    desk = Desk(capacity=5)

    assert desk.offer([a_run(1)], NOW, 0.0) == 1
    assert desk.offer([a_run(1), a_run(2)], NOW, 0.0) == 1


def test_a_run_offered_again_is_known_as_it_is_now() -> None:
    """A run that was rescheduled meanwhile is claimed at its new version, at its new time."""
    desk = Desk(capacity=5)
    desk.offer([a_run(1, attempt="1")], NOW, 0.0)
    desk.offer([a_run(1, attempt="3", due=later(5))], NOW, 0.0)

    assert desk.take_due(NOW, 5) == []
    assert [str(seen.run.attempt) for seen in desk.take_due(later(5), 5)] == ["3"]


def test_a_started_run_is_not_taken_up_again() -> None:
    """An old answer that still offers a run in hand changes nothing."""
    desk = Desk(capacity=5)
    desk.offer([a_run(1)], NOW, 0.0)
    desk.take_due(NOW, 5)

    assert desk.offer([a_run(1)], NOW, 0.0) == 0
    assert desk.take_due(NOW, 5) == []
    assert an_id(1) in desk


def test_what_is_remembered_does_not_grow_with_the_rate_of_claims() -> None:
    """The latest claims, of which an old answer may still offer some; not all of five minutes."""
    desk = Desk(capacity=4)
    for number in range(3000):
        desk.remember(a_run(number), NOW)

    old = desk.offer([a_run(number) for number in range(1900)], NOW, 0.0)
    new = desk.offer([a_run(number) for number in range(2000, 3000)], NOW, 0.0)

    assert old > 1800
    assert new == 0


def test_a_claimed_attempt_is_remembered_for_a_while() -> None:
    """The claimed attempt is not claimed twice; a new attempt at the same run is, and so is an old one in the end."""
    desk = Desk(capacity=5)
    desk.offer([a_run(1)], NOW, 0.0)
    [seen] = desk.take_due(NOW, 5)
    desk.remember(seen.run, NOW)
    desk.done(seen.run.id)

    assert desk.offer([a_run(1)], later(REMEMBER.total_seconds() - 1), 0.0) == 0
    assert desk.offer([a_run(1, attempt="5")], NOW, 0.0) == 1
    desk.take_due(NOW, 5)
    desk.done(an_id(1))
    assert desk.offer([a_run(1)], later(REMEMBER.total_seconds()), 0.0) == 1


def test_due_runs_are_taken_earliest_first_and_only_those_that_fit() -> None:
    """Who waited longest is started first, whatever the order of the offer."""
    desk = Desk(capacity=9)
    runs = [a_run(1, due=later(-1)), a_run(2, due=later(-9)), a_run(3, due=later(4)), a_run(4, due=later(-5))]
    desk.offer(runs, NOW, 0.0)

    assert runs_of(desk.take_due(NOW, 2)) == [an_id(2), an_id(4)]
    assert runs_of(desk.take_due(NOW, 2)) == [an_id(1)]
    assert desk.take_due(NOW, 0) == []
    assert desk.take_due(later(9), -1) == []
    assert runs_of(desk.take_due(later(4), 9)) == [an_id(3)]


def test_a_run_that_rests_is_forgotten_and_read_again() -> None:
    """What the Cloud deferred is never claimed from its old view: it is offered anew after its rest, as it is then.

    Before, the old row was put back and claimed again.
    """
    desk = Desk(capacity=5)
    taken(desk, a_run(1))
    desk.rest(an_id(1), NOW, until=later(10), first=1, last=1)

    assert desk.next_due(NOW) is None
    assert desk.take_due(later(10), 5) == []
    assert desk.offer([a_run(1, attempt="2")], later(9), 9.0) == 0
    assert desk.offer([a_run(1, attempt="3")], later(10), 10.0) == 1
    assert [(str(seen.run.attempt), seen.at) for seen in desk.take_due(later(10), 5)] == [("3", 10.0)]


def test_what_is_in_hand_rests_or_was_claimed_a_moment_ago_is_not_asked_for() -> None:
    """Skipped before the Cloud cuts its answer: with room for one run, a deferred one at the head starves nothing."""
    desk = Desk(capacity=9)
    desk.offer([a_run(1, due=later(60))], NOW, 0.0)
    taken(desk, a_run(2))
    taken(desk, a_run(3))
    desk.rest(an_id(3), NOW, until=later(100), first=1, last=1)
    taken(desk, a_run(4))
    desk.remember(a_run(4), NOW)
    desk.done(an_id(4))

    assert desk.held(NOW) == {an_id(1), an_id(2), an_id(3), an_id(4)}
    assert desk.held(later(SKIP.total_seconds())) == {an_id(1), an_id(2), an_id(3)}
    assert desk.held(later(100)) == {an_id(1), an_id(2)}


def test_a_run_that_rests_again_rests_longer() -> None:
    """Retried ever more slowly up to the longest rest; a claim that is answered starts the count anew."""
    desk, now, rests = Desk(capacity=5), NOW, []
    for number in range(4):
        assert desk.rests_of(an_id(1)) == number
        desk.rest(an_id(1), now, until=None, first=60, last=200)
        begin = now
        while an_id(1) in desk.held(now):
            now += timedelta(seconds=1)
        rests.append((now - begin).total_seconds())
    desk.remember(a_run(1), now)

    assert rests == [60, 120, 200, 200]
    assert desk.rests_of(an_id(1)) == 0


def test_a_rest_lasts_a_second_at_least() -> None:
    """A Cloud that names a time in the past is not asked again at once."""
    desk = Desk(capacity=5)
    desk.rest(an_id(1), NOW, until=later(-10), first=60, last=60)

    assert an_id(1) in desk.held(later(0.9))
    assert an_id(1) not in desk.held(later(1))


def test_why_a_run_is_left_alone_is_known_while_it_rests() -> None:
    """Only where that is the agent's own decision: what the Cloud deferred has its reason there."""
    desk = Desk(capacity=5)
    desk.rest(an_id(1), NOW, until=later(10), first=1, last=1, reason="it is too late")
    desk.rest(an_id(2), NOW, until=later(10), first=1, last=1)

    assert desk.declined == {an_id(1): "it is too late"}
    desk.offer([], later(10), 10.0)
    assert desk.declined == {}


def test_counts_of_rests_do_not_pile_up() -> None:
    """Runs that rested once and moved on are forgotten in the end; those that rest now are not."""
    desk = Desk(capacity=1)
    for number in range(1012):
        desk.rest(an_id(number), NOW, until=later(1), first=1, last=1)
    desk.rest(an_id(5000), later(2), until=None, first=60, last=60)
    desk.offer([], later(3), 3.0)

    assert desk.rests_of(an_id(1)) == 0
    assert desk.rests_of(an_id(5000)) == 1


def test_what_was_forgotten_may_be_offered_again() -> None:
    """Nothing was learned about the run: neither in hand nor remembered."""
    desk = Desk(capacity=5)
    taken(desk, a_run(1))
    desk.offer([a_run(2), a_run(3, due=later(9))], NOW, 0.0)
    desk.forget(an_id(1))
    desk.forget_due(NOW)

    assert desk.held(NOW) == {an_id(3)}
    assert desk.offer([a_run(1), a_run(2)], NOW, 1.0) == 2


def test_the_latest_are_taken_first_from_the_end() -> None:
    """Agents that ask for the same runs meet less often if one of them begins at the other end."""
    desk = Desk(capacity=9)
    desk.offer([a_run(number, due=later(-number)) for number in (1, 2, 3)], NOW, 0.0)

    assert runs_of(desk.take_due(NOW, 2, from_the_end=True)) == [an_id(1), an_id(2)]


def test_the_pause_until_the_next_run_is_never_negative() -> None:
    """None waits: no pause. One is overdue: no pause either. Else the seconds to go."""
    desk = Desk(capacity=5)
    assert desk.next_due(NOW) is None

    desk.offer([a_run(1, due=later(7))], NOW, 0.0)
    assert desk.next_due(NOW) == 7
    assert desk.next_due(later(100)) == 0


class DeskMachine(RuleBasedStateMachine):
    """However offers, claims and rests come, nothing is taken twice and nothing is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(capacity=4)
        self.now = NOW
        self.in_hand: dict[FlowRunId, FlowRun] = {}
        self.claimed: dict[tuple[str, str], datetime] = {}
        self.rests: dict[FlowRunId, datetime] = {}

    @rule(seconds=st.integers(min_value=0, max_value=200))
    def time_passes(self, seconds: int) -> None:
        """Time only grows."""
        self.now += timedelta(seconds=seconds)

    @rule(number=st.integers(min_value=1, max_value=4), attempt=st.integers(min_value=1, max_value=3), due=st.data())
    def offer(self, number: int, attempt: int, due: st.DataObject) -> None:
        """The Cloud offers some run at some attempt, due soon or late."""
        seconds = due.draw(st.one_of(st.none(), st.integers(min_value=-50, max_value=50)))
        start = None if seconds is None else self.now + timedelta(seconds=seconds)
        self.desk.offer([a_run(number, attempt=str(attempt), due=start)], self.now, self.seconds())

    @rule(most=st.integers(min_value=-1, max_value=5), from_the_end=st.booleans())
    def take(self, most: int, from_the_end: bool) -> None:
        """What is taken is due, is not in hand, does not rest and was not claimed lately."""
        taken = self.desk.take_due(self.now, most, from_the_end=from_the_end)
        assert len(taken) <= max(0, most)
        for run, at in ((seen.run, seen.at) for seen in taken):
            assert run.id not in self.in_hand
            assert at <= self.seconds()
            assert run.due is None or run.due <= self.now
            assert self.claimed.get((run.id, str(run.attempt)), NOW - REMEMBER) + REMEMBER <= self.now
            assert self.rests.get(run.id, self.now) <= self.now
            self.in_hand[run.id] = run

    @precondition(lambda self: self.in_hand)
    @rule(choice=st.data(), outcome=st.sampled_from(["claimed", "lost", "deferred", "refused", "nothing learned"]))
    def conclude(self, choice: st.DataObject, outcome: str) -> None:
        """A claim has an outcome."""
        run_id = choice.draw(st.sampled_from(sorted(self.in_hand)))
        run = self.in_hand.pop(run_id)
        if outcome == "nothing learned":
            self.desk.forget(run_id)
        elif outcome in {"deferred", "refused"}:
            self.rests[run_id] = self.now + timedelta(seconds=30)
            until = self.rests[run_id] if outcome == "deferred" else None
            self.desk.rest(run_id, self.now, until=until, first=30, last=30)
        else:
            self.desk.remember(run, self.now)
            self.claimed[run_id, str(run.attempt)] = self.now
            self.desk.done(run_id)

    @rule()
    def make_way(self) -> None:
        """Another agent was met: what is due and waits is read again."""
        self.desk.forget_due(self.now)
        assert self.desk.take_due(self.now, 9) == []

    def seconds(self) -> float:
        """Monotonic time."""
        return (self.now - NOW).total_seconds()

    @invariant()
    def books_balance(self) -> None:
        """What is in hand is what was taken and has no outcome yet; there is never less than no room."""
        assert self.desk.started == len(self.in_hand)
        assert all(run_id in self.desk for run_id in self.in_hand)
        assert 0 <= self.desk.room(self.now) <= self.desk.capacity
        assert (self.desk.next_due(self.now) is None) == (self.desk.waiting == 0)

    @invariant()
    def nothing_is_asked_for_in_vain(self) -> None:
        """What could not be taken up if it were offered is skipped."""
        resting = {run_id for run_id, until in self.rests.items() if until > self.now}
        assert resting | set(self.in_hand) <= self.desk.held(self.now)


TestDesk = DeskMachine.TestCase
TestDesk.settings = settings(max_examples=60, stateful_step_count=25)
