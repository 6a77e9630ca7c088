"""Many things in few requests: what spoils one is found, and nothing else waits for it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.domain.errors import CloudError, CloudUnavailable, OutcomeUnknown, RequestRejected, Unauthorised
from prefect.agent.domain.services.batches import in_halves

ERRORS = [CloudUnavailable("502"), OutcomeUnknown("500"), RequestRejected("no")]


class Server:
    """Takes requests without anything bad in them."""

    def __init__(self, bad: set[int], error: CloudError) -> None:
        self.bad, self.error = bad, error
        self.taken: list[int] = []
        self.requests = 0
        self.spoiled: list[tuple[int, bool]] = []

    def send(self, items: Sequence[int]) -> None:
        """Take them all, or none."""
        self.requests += 1
        if self.bad & set(items):
            raise self.error
        self.taken += items

    def blame(self, item: int, _error: CloudError, sure: bool) -> None:
        """Note a culprit."""
        self.spoiled.append((item, sure))

    def run(self, batches: Sequence[Sequence[int]]) -> None:
        """Send everything."""
        in_halves(batches, self.send, self.blame)


def in_batches(count: int, size: int) -> list[list[int]]:
    """Numbers from 0 on."""
    return [list(range(begin, min(begin + size, count))) for begin in range(0, count, size)]


@given(
    count=st.integers(0, 80),
    size=st.integers(1, 40),
    bad=st.sets(st.integers(0, 79), max_size=40),
    error=st.sampled_from(ERRORS),
)
def test_no_item_goes_out_twice_and_no_innocent_is_blamed(
    count: int, size: int, bad: set[int], error: CloudError
) -> None:
    """Whatever is bad: what is taken and what is blamed are apart, and if nothing is raised, nothing is left."""
    server = Server(bad, error)
    raised: CloudError | None = None
    try:
        server.run(in_batches(count, size))
    except CloudError as problem:
        raised = problem

    blamed = [item for item, _ in server.spoiled]
    assert len(set(server.taken)) == len(server.taken)
    assert len(set(blamed)) == len(blamed)
    assert set(blamed) <= bad
    if raised:
        assert server.spoiled
        assert raised is error is not ERRORS[-1]
    else:
        assert set(server.taken) | set(blamed) == set(range(count))


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("culprit", [0, 31, 63])
def test_one_culprit_is_found_with_few_requests(culprit: int, error: CloudError) -> None:
    """And is certainly the cause, since the others go out."""
    server = Server({culprit}, error)
    server.run([list(range(64))])

    assert sorted(server.taken) == [number for number in range(64) if number != culprit]
    assert server.spoiled == [(culprit, True)]
    assert server.requests <= 14


@pytest.mark.parametrize("error", ERRORS[:2])
def test_a_cloud_that_is_away_is_asked_a_few_times(error: CloudError) -> None:
    """However many batches there are; the few that failed alone are not certainly the cause."""
    server = Server(set(range(10_000)), error)

    with pytest.raises(type(error)):
        server.run(in_batches(10_000, 100))

    assert server.requests <= 12
    assert {sure for _, sure in server.spoiled} == {False}


def test_one_item_alone_is_not_certainly_the_cause() -> None:
    """It waits by itself; nothing is raised."""
    server = Server({0}, ERRORS[0])
    server.run([[0]])
    assert server.spoiled == [(0, False)]


def test_a_refused_key_is_raised_at_once() -> None:
    """It is of no item."""
    server = Server({0}, Unauthorised("no"))
    with pytest.raises(Unauthorised):
        server.run([[0, 1], [2]])
    assert (server.requests, server.spoiled) == (1, [])


def test_nothing_asks_nobody() -> None:
    """Empty batches are no requests."""
    server = Server(set(), ERRORS[0])
    server.run([])
    server.run([[], []])
    assert server.requests == 0
