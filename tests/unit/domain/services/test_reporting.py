"""Log lines and ends: each run by itself, kept until the Cloud confirms them (promise P7)."""

from collections.abc import Sequence

import pytest

from prefect.agent.adapters.fakes import FailingCloudApi
from prefect.agent.domain.errors import CloudError, CloudUnavailable, OutcomeUnknown, Unauthorised
from prefect.agent.domain.model.ends import EndKind
from prefect.agent.domain.model.reports import MAX_MESSAGE, readable
from prefect.agent.domain.services.reporting import LINES
from prefect.agent.ports import events
from prefect.agent.ports.cloud_api import ClaimRequest, LogLine
from support.builders import a_record
from support.reporting_harness import ReportingHarness


@pytest.fixture
def harness() -> ReportingHarness:
    """An empty outbox."""
    return ReportingHarness()


# --- what goes out ---


def test_everything_goes_out_in_order(harness: ReportingHarness) -> None:
    """Log lines with time, level and the agent's name; then the end."""
    run = harness.claimed()
    harness.outbox.log(run, "one")
    harness.end(run)
    assert len(harness.outbox) == 3

    assert harness.send() == 3

    assert [(line.message, line.level, line.name) for line in harness.cloud.logs(run)] == [
        ("one", "INFO", "ann"),
        ("broken", "ERROR", "ann"),
    ]
    assert harness.cloud.logs(run)[0].timestamp == harness.clock.now()
    assert (harness.state(run), harness.cloud.flow_run(run).message) == ("Failed", "broken")
    assert (len(harness.outbox), bool(harness.outbox), harness.outbox.next_due()) == (0, False, None)
    assert harness.heard.names() == [events.RUN_FAILED]


def test_an_idle_outbox_asks_nobody(harness: ReportingHarness) -> None:
    """No reports, no requests."""
    assert harness.send() == 0
    assert harness.cloud.sizes == []


def test_lines_and_ends_of_many_runs_share_requests(harness: ReportingHarness) -> None:
    """Not one request for each run."""
    runs = [harness.claimed() for _ in range(150)]
    for run in runs:
        harness.end(run)

    harness.send()

    assert harness.cloud.sizes == [150, 100, 50]
    assert {harness.state(run) for run in runs} == {"Failed"}


def test_many_lines_of_one_run_go_out_in_order(harness: ReportingHarness) -> None:
    """In several requests, each bounded in lines and in bytes."""
    run = harness.claimed()
    for number in range(LINES + 1):
        harness.outbox.log(run, str(number))
    for number in range(12):
        harness.outbox.log(run, f"{number}" + "x" * 100_000)

    harness.send()

    assert harness.cloud.sizes == [LINES, 11, 2]
    assert [text[:3].rstrip("x") for text in harness.messages(run)] == [
        *map(str, range(LINES + 1)),
        *map(str, range(12)),
    ]


def test_a_proven_cancellation_is_reported(harness: ReportingHarness) -> None:
    """A Cancelling run becomes Cancelled with the proof in its log; a finished one stays."""
    cancelling, done = harness.claimed("Cancelling"), harness.claimed("Success")
    for run in (cancelling, done):
        harness.end(run, "gone", EndKind.CANCELLED)

    harness.send()

    assert (harness.state(cancelling), harness.messages(cancelling)) == ("Cancelled", ["gone"])
    assert harness.state(done) == "Success"


def test_an_end_for_another_claim_is_dropped(harness: ReportingHarness) -> None:
    """The run belongs to another claim by the time the end goes out: it is left alone."""
    run = harness.claimed()
    harness.end(run)
    harness.cloud.set_state(run, "Scheduled")
    [again] = harness.cloud.flow_runs([run])
    harness.cloud.claim([ClaimRequest(run=again, record=a_record(again))])

    harness.send()

    assert harness.state(run) == "Submitted"
    assert events.RUN_DROPPED in harness.heard.names()
    assert not harness.outbox


def test_the_sender_is_woken_when_everything_is_in(harness: ReportingHarness) -> None:
    """A sender that wakes at the log line and finds no end would let the end wait for the next pause."""
    seen: list[int] = []
    harness.outbox.on_news = lambda: seen.append(len(harness.outbox))

    harness.end(harness.claimed())

    assert seen == [2]


def test_no_end_goes_out_before_lines_that_came_during_the_sending(
    harness: ReportingHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is added while lines are sent waits with all that belongs to it: an agent may die before the next time."""
    first, second = harness.claimed(), harness.claimed()
    harness.end(first)
    harness.outbox.log(second, "early")
    write = harness.cloud.write_logs

    def write_slowly(lines: Sequence[LogLine]) -> None:
        write(lines)
        if not harness.outbox.is_pending(second):
            harness.end(second, "broken too")

    monkeypatch.setattr(harness.cloud, "write_logs", write_slowly)

    harness.send()
    assert (harness.state(second), harness.messages(second)) == ("Submitted", ["early"])
    harness.send()
    assert (harness.state(second), harness.messages(second)) == ("Failed", ["early", "broken too"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\0b\x07c\x7f\x9b", "a\ufffdb\ufffdc\ufffd\ufffd"),
        ("a\r\nb\rc\td\n", "a\nb\nc\td\n"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\ud800 \udcff", "\ufffd \ufffd"),
    ],
    ids=["control", "line-ends", "colours", "surrogates"],
)
def test_control_characters_are_replaced(harness: ReportingHarness, text: str, shown: str) -> None:
    """In lines and in the messages of ends: Clouds refuse them, and terminals obey them."""
    run = harness.claimed()
    harness.outbox.log(run, text)
    harness.end(run, text)

    harness.send()

    assert harness.messages(run) == [shown, shown]
    assert harness.cloud.flow_run(run).message == shown


def test_a_message_is_bounded() -> None:
    """It is cut, and says how long it was."""
    cut = readable("x" * (MAX_MESSAGE + 1))
    assert len(cut) < MAX_MESSAGE + 100
    assert cut.endswith(f"(cut: {MAX_MESSAGE + 1} characters)")


# --- while the Cloud is away ---


@pytest.mark.parametrize("problem", [CloudUnavailable("away"), Unauthorised("no"), OutcomeUnknown("lost")])
@pytest.mark.parametrize("method", ["write_logs", "end"])
@pytest.mark.parametrize("count", [1, 20])
def test_nothing_is_lost_while_the_cloud_is_away(
    harness: ReportingHarness, problem: CloudError, method: str, count: int
) -> None:
    """What was not sent is still in the outbox, in its order, and goes out later."""
    runs = [harness.claimed() for _ in range(count)]
    for run in runs:
        harness.outbox.log(run, "one")
        harness.end(run, "two")
    failing = FailingCloudApi(harness.cloud)
    failing.fail_next(method, problem, times=30)
    harness.send.cloud = failing

    harness.sends(2)
    assert len(harness.outbox) > 0
    harness.sends(40, every=300)

    assert {tuple(harness.messages(run)) for run in runs} == {("one", "two")}
    assert {harness.state(run) for run in runs} == {"Failed"}
    assert len(harness.outbox) == 0


def test_an_outage_costs_few_requests_and_few_words(harness: ReportingHarness) -> None:
    """However many runs wait, one round finds out with a few requests, and says so by its error."""
    for _ in range(300):
        harness.outbox.log(harness.claimed(), "x")
    harness.cloud.bad_line = "x"

    assert len(harness.sends(5)) == 5
    assert len(harness.cloud.sizes) <= 5 * 12
    assert "WARNING" not in harness.levels(events.CLOUD_TROUBLE)


def test_a_refused_key_ends_the_round(harness: ReportingHarness) -> None:
    """No batch is split for it."""
    for _ in range(10):
        harness.outbox.log(harness.claimed(), "x")
    failing = FailingCloudApi(harness.cloud)
    failing.fail_next("write_logs", Unauthorised("no"))
    harness.send.cloud = failing

    with pytest.raises(Unauthorised):
        harness.send()
    assert failing.calls == ["write_logs"]


def test_an_end_whose_answer_is_lost_is_sent_again(harness: ReportingHarness) -> None:
    """It may be repeated: a finished run stays as it is, and counts as confirmed."""
    run = harness.claimed()
    harness.end(run)
    failing = FailingCloudApi(harness.cloud)
    failing.lose_answers("end")
    harness.send.cloud = failing

    harness.send()
    assert harness.outbox.is_pending(run)
    harness.clock.advance(2)
    harness.send()

    assert not harness.outbox
    assert harness.cloud.flow_run(run).history[-1] == ("Failed", "broken")
    assert [state for state, _ in harness.cloud.flow_run(run).history].count("Failed") == 1


def test_a_wait_that_the_cloud_asks_for_is_kept_and_capped(harness: ReportingHarness) -> None:
    """Not earlier than that, not later than the longest wait."""
    run = harness.claimed()
    harness.cloud.bad_line, harness.cloud.error = "x", CloudUnavailable("busy", retry_after=40)
    harness.outbox.log(run, "x")
    harness.sends(1)
    assert harness.outbox.next_due() == 40

    harness.cloud.error = CloudUnavailable("busy", retry_after=86400)
    harness.sends(1, every=40)
    harness.sends(1)
    assert (harness.outbox.next_due() or 0) <= 300
