"""The token bucket: what paces requests and questions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.domain.model.pacing import TokenBucket


def test_a_full_bucket_gives_all_at_once_then_at_its_rate() -> None:
    """Three at once, then two a second."""
    bucket = TokenBucket(rate=2, size=3, counted_at=10.0)

    assert [bucket.take(10.0) for _ in range(6)] == [10.0, 10.0, 10.0, 10.5, 11.0, 11.5]


def test_a_bucket_never_holds_more_than_its_size() -> None:
    """However long nothing was taken."""
    bucket = TokenBucket(rate=2, size=3, counted_at=0.0)

    assert [bucket.take_if_any(1000.0) for _ in range(5)] == [True, True, True, False, False]


def test_nothing_is_taken_from_an_empty_bucket() -> None:
    """Asking in vain costs nothing: the next token comes no later for it."""
    bucket = TokenBucket(rate=0.5, size=1, counted_at=0.0)

    taken = {now: bucket.take_if_any(now) for now in (0.0, 0.5, 1.0, 1.9, 2.0, 2.1)}

    assert [now for now, is_there in taken.items() if is_there] == [0.0, 2.0]


@given(st.lists(st.floats(0, 10), max_size=50), st.floats(0.1, 100), st.integers(1, 20))
def test_no_more_than_size_and_rate_allow_are_given(pauses: list[float], rate: float, size: int) -> None:
    """In any span of time: the size, and the rate times its length."""
    bucket, now, given_at = TokenBucket(rate=rate, size=size, counted_at=0.0), 0.0, []
    for pause in pauses:
        now += pause
        given_at.append(bucket.take(now))

    for first in range(len(given_at)):
        for last in range(first, len(given_at)):
            allowed = size + (given_at[last] - given_at[first]) * rate
            assert last - first + 1 <= allowed + 1e-6
    assert given_at == sorted(given_at)


@pytest.mark.parametrize("now", [0.0, 5.0])
def test_a_token_in_hand_may_be_used_at_once(now: float) -> None:
    """There is no pause while the bucket holds any."""
    assert TokenBucket(rate=1, size=1, counted_at=0.0).take(now) == now
