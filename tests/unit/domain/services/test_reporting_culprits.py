"""One report that spoils a request holds back no other (promise P3)."""

from collections.abc import Sequence

import pytest

from prefect.agent.domain.errors import CloudError, OutcomeUnknown, RequestRejected
from prefect.agent.domain.model.ends import End, EndOutcome
from prefect.agent.domain.services.reporting import LINE_TRIES
from prefect.agent.ports import events
from support.reporting_harness import AWAY, ReportingHarness


@pytest.fixture
def harness() -> ReportingHarness:
    """An empty outbox."""
    return ReportingHarness()


# --- one culprit ---


@pytest.mark.parametrize("error", [AWAY, OutcomeUnknown("500"), RequestRejected("no")], ids=["502", "500", "400"])
@pytest.mark.parametrize("place", [0, 7, 19])
def test_one_bad_end_holds_back_nothing_else(harness: ReportingHarness, error: CloudError, place: int) -> None:
    """The batch is split, the culprit waits alone, the others go out in the same round, and it is reported once."""
    runs = [harness.claimed() for _ in range(20)]
    for run in runs:
        harness.end(run)
    harness.cloud.bad_ends, harness.cloud.error = {runs[place]}, error

    assert harness.sends(1) == []

    assert [run for run in runs if harness.state(run) != "Failed"] == [runs[place]]
    assert (harness.outbox.is_pending(runs[place]), len(harness.outbox)) == (True, 1)
    assert harness.levels(events.CLOUD_TROUBLE) == ["WARNING"]
    harness.cloud.bad_ends = set()
    harness.sends(1, every=5)
    harness.sends(1)
    assert harness.state(runs[place]) == "Failed"


@pytest.mark.parametrize("error", [AWAY, OutcomeUnknown("500"), RequestRejected("no")], ids=["502", "500", "400"])
@pytest.mark.parametrize("place", [0, 7, 19])
def test_one_bad_line_holds_back_nothing_else(harness: ReportingHarness, error: CloudError, place: int) -> None:
    """Neither other runs' lines nor any end, its own run's included, which comes after a second try."""
    runs = [harness.claimed() for _ in range(20)]
    for number, run in enumerate(runs):
        harness.outbox.log(run, "poison" if number == place else "fine")
        harness.end(run)
    harness.cloud.bad_line, harness.cloud.error = "poison", error

    assert harness.sends(1) == []
    assert [run for run in runs if harness.state(run) != "Failed"] == [runs[place]]
    harness.clock.advance(2)
    assert harness.sends(1) == []

    assert harness.state(runs[place]) == "Failed"
    assert harness.messages(runs[place]) == []
    assert harness.levels(events.CLOUD_TROUBLE).count("WARNING") <= 1


def test_ends_do_not_wait_for_lines_that_no_request_takes(harness: ReportingHarness) -> None:
    """A filter dislikes every line: the ends go out in the second round."""
    runs = [harness.claimed() for _ in range(50)]
    harness.cloud.bad_line = "broken"
    for run in runs:
        harness.end(run)

    assert len(harness.sends(1, every=2)) == 1
    assert harness.sends(1) == []

    assert {harness.state(run) for run in runs} == {"Failed"}
    assert len(harness.outbox) == 50


def test_many_culprits_hold_back_nothing_else_for_long(harness: ReportingHarness) -> None:
    """Also if they are all at the head of the queue."""
    bad, good = [harness.claimed() for _ in range(30)], [harness.claimed() for _ in range(30)]
    for run in (*bad, *good):
        harness.end(run)
    harness.cloud.bad_ends = set(bad)

    harness.sends(1)

    assert {harness.state(run) for run in good} == {"Failed"}


def test_good_lines_of_a_run_go_out_before_its_bad_one(harness: ReportingHarness) -> None:
    """And the ones behind it once it is given up: after so many refusals, while others' lines were taken."""
    run, other = harness.claimed(), harness.claimed()
    for number in range(20):
        harness.outbox.log(run, "poison" if number == 10 else str(number))
    harness.cloud.bad_line = "poison"

    for _ in range(LINE_TRIES):
        harness.outbox.log(other, "fine")
        harness.sends(1, every=301)
    assert harness.messages(run) == [str(number) for number in range(10)]
    assert harness.levels(events.CLOUD_TROUBLE)[-1] == "ERROR"
    harness.sends(1)

    assert harness.messages(run) == [str(number) for number in range(20) if number != 10]
    assert not harness.outbox


def test_only_refusals_of_one_line_are_counted_together(harness: ReportingHarness) -> None:
    """A line that goes out in the end leaves no count to the next one that is refused for a while."""
    run, other = harness.claimed(), harness.claimed()
    for word in ("first", "second"):
        harness.outbox.log(run, word)
    for word in ("first", "second"):
        harness.cloud.bad_line = word
        for _ in range(LINE_TRIES - 1):
            harness.outbox.log(other, "fine")
            harness.sends(1, every=301)
    harness.cloud.bad_line = ""
    harness.sends(1)

    assert harness.messages(run) == ["first", "second"]


def test_an_end_that_was_replaced_while_it_was_sent_leaves_the_new_one(
    harness: ReportingHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was confirmed is the old one: the new one is still to be sent."""
    run = harness.claimed()
    harness.end(run, "first")
    real = harness.cloud.end

    def replaced_meanwhile(ends: Sequence[End]) -> Sequence[EndOutcome]:
        monkeypatch.undo()
        harness.end(run, "second")
        return real(ends)

    monkeypatch.setattr(harness.cloud, "end", replaced_meanwhile)
    harness.sends(1)
    assert harness.outbox.is_pending(run)

    harness.sends(1)
    assert not harness.outbox


def test_lines_are_not_given_up_while_the_cloud_is_away(harness: ReportingHarness) -> None:
    """However long that is."""
    run = harness.claimed()
    harness.outbox.log(run, "x")
    harness.cloud.bad_line = "x"
    harness.sends(100, every=301)
    harness.cloud.bad_line = ""
    harness.sends(1)

    assert harness.messages(run) == ["x"]


def test_a_refused_end_is_retried_slowly_and_behind_others(harness: ReportingHarness) -> None:
    """An error once; then every minute at first, five minutes at last, and never before the others."""
    refused = harness.claimed()
    harness.cloud.refused = {refused}
    harness.end(refused)
    harness.sends(1)
    assert harness.outbox.next_due() == 60
    harness.clock.advance(60)
    late = harness.claimed()
    harness.end(late)
    harness.cloud.ended.clear()

    harness.sends(1)

    assert harness.cloud.ended == [late, refused]
    harness.sends(10, every=600)
    assert (harness.outbox.next_due() or 0) <= 300
    assert harness.levels(events.CLOUD_TROUBLE).count("ERROR") == 1
    harness.cloud.refused = set()
    harness.sends(1)
    assert harness.state(refused) == "Failed"


def test_a_stopping_agent_tries_everything_again_at_once(harness: ReportingHarness) -> None:
    """Whatever waits."""
    run = harness.claimed()
    harness.cloud.refused = {run}
    harness.end(run)
    harness.sends(1)
    harness.cloud.refused = set()

    harness.outbox.hurry()
    assert harness.outbox.next_due() == 0
    harness.send()

    assert harness.state(run) == "Failed"
