"""When the next poll is due: pauses grow, work shortens them, and a sweep that finds nothing due spares a poll."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.domain.model.rhythm import HELD_BACK, PATIENCE, PollRhythm


@pytest.fixture
def rhythm() -> PollRhythm:
    """Pauses of one to eight seconds."""
    return PollRhythm(first=1.0, last=8.0)


def idle(rhythm: PollRhythm, now: float = 0.0) -> float:
    """Poll without finding anything until the pauses are long; return the time then."""
    while not rhythm.is_patient:
        rhythm.begin(now, 0.5, waits=False)
        now = rhythm.next
    return now


def test_pauses_double_up_to_the_longest(rhythm: PollRhythm) -> None:
    """While nothing is found."""
    now, pauses = 0.0, []
    for _ in range(6):
        rhythm.begin(now, 0.5, waits=False)
        pauses.append(rhythm.next - now)
        now = rhythm.next

    assert pauses == [1, 2, 4, 8, 8, 8]


def test_work_makes_the_next_pause_the_shortest(rhythm: PollRhythm) -> None:
    """A run that was claimed leaves room at once, one that was only seen does not."""
    now = idle(rhythm)
    rhythm.begin(now, 0.5, waits=False)
    rhythm.found(now, at_once=False)
    assert rhythm.next == now + 1
    rhythm.found(now, at_once=True)
    assert rhythm.next == now


def test_a_cloud_that_waits_is_asked_to_wait_longer_once_there_is_no_work(rhythm: PollRhythm) -> None:
    """The next poll is due when its answer is."""
    waited = [rhythm.begin(0.0, 0.5, waits=True) for _ in range(4)]

    assert waited == [1, 2, PATIENCE * 4, PATIENCE * 8]
    assert rhythm.next == PATIENCE * 8


def test_a_failed_poll_is_repeated_after_its_pause_or_when_the_cloud_says(rhythm: PollRhythm) -> None:
    """Whichever is later."""
    rhythm.begin(0.0, 0.5, waits=False)
    rhythm.failed(0.5, 0.0)
    assert rhythm.next == 1.5
    rhythm.failed(0.5, 30.0)
    assert rhythm.next == 30.5


def test_a_sweep_that_found_nothing_due_counts_as_a_poll(rhythm: PollRhythm) -> None:
    """Of an agent that has had no work for long; one that had some a moment ago polls all the same."""
    rhythm.begin(0.0, 0.5, waits=False)
    rhythm.swept(0.5)
    assert rhythm.next == 1.0

    now = idle(rhythm)
    rhythm.hold_back(now)
    assert rhythm.next == now + HELD_BACK
    rhythm.swept(now + 0.1)
    assert rhythm.next > now + HELD_BACK
    rhythm.swept(None)  # the poll is not held back any more, so a later sweep does not let it go
    assert rhythm.next > now + HELD_BACK


def test_a_poll_that_was_held_back_is_made_if_something_may_be_due(rhythm: PollRhythm) -> None:
    """At once."""
    rhythm.hold_back(idle(rhythm))
    rhythm.swept(None)

    assert rhythm.next == 0.0


def test_no_two_polls_in_a_row_are_held_back(rhythm: PollRhythm) -> None:
    """Sweeps that are as frequent as polls do not replace them: a table is not the queue."""
    now = idle(rhythm)
    rhythm.hold_back(now)
    rhythm.swept(now)
    assert not rhythm.may_be_spared
    rhythm.begin(rhythm.next, 0.5, waits=False)
    assert rhythm.may_be_spared


@given(
    steps=st.lists(st.sampled_from(["begin", "found", "hold", "quiet", "news", "hurry", "fail"])),
    chance=st.floats(0, 0.99),
)
def test_the_next_poll_is_never_far_away(steps: list[str], chance: float) -> None:
    """Whatever happens: at most the longest pause with its jitter, or a pause that the Cloud asked for."""
    rhythm, now = PollRhythm(first=1.0, last=8.0), 0.0
    act: dict[str, Callable[[], object]] = {
        "begin": lambda: rhythm.begin(now, chance, waits=False),
        "found": lambda: rhythm.found(now, at_once=False),
        "hold": lambda: rhythm.hold_back(now),
        "quiet": lambda: rhythm.swept(now),
        "news": lambda: rhythm.swept(None),
        "hurry": rhythm.hurry,
        "fail": lambda: rhythm.failed(now, 5.0),
    }
    for step in steps:
        act[step]()
        assert rhythm.next - now <= 8 * 1.2
        now = max(now, rhythm.next - 0.5)
