"""Ends whose outcome the Cloud leaves unknown: no run waits for another's."""

import pytest

from support.post import Post


@pytest.fixture
def post() -> Post:
    """An empty outbox."""
    return Post()


@pytest.mark.parametrize("place", [0, 7, 19])
def test_a_batch_whose_outcome_stays_unknown_is_split(post: Post, place: int) -> None:
    """One change that spoils a document leaves all of them unknown; the others are confirmed in the same round."""
    runs = [post.claimed() for _ in range(20)]
    for run in runs:
        post.end(run)
    post.cloud.bad_ends, post.cloud.loses_ends = {runs[place]}, True

    assert post.sends(1) == []

    assert [run for run in runs if post.state(run) != "Failed"] == [runs[place]]
    assert (post.outbox.is_pending(runs[place]), len(post.outbox)) == (True, 1)


def test_unknown_outcomes_during_an_outage_cost_few_requests(post: Post) -> None:
    """However many ends wait, one round finds out with a few requests."""
    runs = [post.claimed() for _ in range(90)]
    for run in runs:
        post.end(run)
    post.cloud.bad_ends, post.cloud.loses_ends = set(runs), True

    assert len(post.sends(5)) == 5
    assert len(post.cloud.sizes) <= 5 * 12
    post.cloud.bad_ends = set()
    post.sends(3, every=300)
    assert {post.state(run) for run in runs} == {"Failed"}
