"""Ends whose outcome the Cloud leaves unknown: no run waits for another's."""

import pytest

from support.reporting_harness import ReportingHarness


@pytest.fixture
def harness() -> ReportingHarness:
    """An empty outbox."""
    return ReportingHarness()


@pytest.mark.parametrize("place", [0, 7, 19])
def test_a_batch_whose_outcome_stays_unknown_is_split(harness: ReportingHarness, place: int) -> None:
    """One change that spoils a document leaves all of them unknown; the others are confirmed in the same round."""
    runs = [harness.claimed() for _ in range(20)]
    for run in runs:
        harness.end(run)
    harness.cloud.bad_ends, harness.cloud.loses_ends = {runs[place]}, True

    assert harness.sends(1) == []

    assert [run for run in runs if harness.state(run) != "Failed"] == [runs[place]]
    assert (harness.outbox.is_pending(runs[place]), len(harness.outbox)) == (True, 1)


def test_unknown_outcomes_during_an_outage_cost_few_requests(harness: ReportingHarness) -> None:
    """However many ends wait, one round finds out with a few requests."""
    runs = [harness.claimed() for _ in range(90)]
    for run in runs:
        harness.end(run)
    harness.cloud.bad_ends, harness.cloud.loses_ends = set(runs), True

    assert len(harness.sends(5)) == 5
    assert len(harness.cloud.sizes) <= 5 * 12
    harness.cloud.bad_ends = set()
    harness.sends(3, every=300)
    assert {harness.state(run) for run in runs} == {"Failed"}
