"""Log lines and ends: each run by itself, kept until the Cloud confirms them (promise P7)."""

from collections.abc import Sequence

import pytest

from prefect.agent.adapters.fakes import FailingCloudApi
from prefect.agent.domain.errors import CloudError, CloudUnavailable, OutcomeUnknown, RequestRejected, Unauthorised
from prefect.agent.domain.model.ends import EndKind
from prefect.agent.domain.model.reports import MAX_MESSAGE, readable
from prefect.agent.domain.services.reporting import LINE_TRIES, LINES
from prefect.agent.ports import events
from prefect.agent.ports.cloud_api import ClaimRequest, LogLine
from support.builders import a_record
from support.post import AWAY, Post


@pytest.fixture
def post() -> Post:
    """An empty outbox."""
    return Post()


# --- what goes out ---


def test_everything_goes_out_in_order(post: Post) -> None:
    """Log lines with time, level and the agent's name; then the end."""
    run = post.claimed()
    post.outbox.log(run, "one")
    post.end(run)
    assert len(post.outbox) == 3

    assert post.send() == 3

    assert [(line.message, line.level, line.name) for line in post.cloud.logs(run)] == [
        ("one", "INFO", "ann"),
        ("broken", "ERROR", "ann"),
    ]
    assert post.cloud.logs(run)[0].timestamp == post.clock.now()
    assert (post.state(run), post.cloud.flow_run(run).message) == ("Failed", "broken")
    assert (len(post.outbox), bool(post.outbox), post.outbox.next_due()) == (0, False, None)
    assert post.heard.names() == [events.RUN_FAILED]


def test_an_idle_outbox_asks_nobody(post: Post) -> None:
    """No reports, no requests."""
    assert post.send() == 0
    assert post.cloud.sizes == []


def test_lines_and_ends_of_many_runs_share_requests(post: Post) -> None:
    """Not one request for each run."""
    runs = [post.claimed() for _ in range(150)]
    for run in runs:
        post.end(run)

    post.send()

    assert post.cloud.sizes == [150, 100, 50]
    assert {post.state(run) for run in runs} == {"Failed"}


def test_many_lines_of_one_run_go_out_in_order(post: Post) -> None:
    """In several requests, each bounded in lines and in bytes."""
    run = post.claimed()
    for number in range(LINES + 1):
        post.outbox.log(run, str(number))
    for number in range(12):
        post.outbox.log(run, f"{number}" + "x" * 100_000)

    post.send()

    assert post.cloud.sizes == [LINES, 11, 2]
    assert [text[:3].rstrip("x") for text in post.messages(run)] == [
        *map(str, range(LINES + 1)),
        *map(str, range(12)),
    ]


def test_a_proven_cancellation_is_reported(post: Post) -> None:
    """A Cancelling run becomes Cancelled with the proof in its log; a finished one stays."""
    cancelling, done = post.claimed("Cancelling"), post.claimed("Success")
    for run in (cancelling, done):
        post.end(run, "gone", EndKind.CANCELLED)

    post.send()

    assert (post.state(cancelling), post.messages(cancelling)) == ("Cancelled", ["gone"])
    assert post.state(done) == "Success"


def test_an_end_for_another_claim_is_dropped(post: Post) -> None:
    """The run belongs to another claim by the time the end goes out: it is left alone."""
    run = post.claimed()
    post.end(run)
    post.cloud.set_state(run, "Scheduled")
    [again] = post.cloud.flow_runs([run])
    post.cloud.claim([ClaimRequest(run=again, record=a_record(again))])

    post.send()

    assert post.state(run) == "Submitted"
    assert events.RUN_DROPPED in post.heard.names()
    assert not post.outbox


def test_the_sender_is_woken_when_everything_is_in(post: Post) -> None:
    """A sender that wakes at the log line and finds no end would let the end wait for the next pause."""
    seen: list[int] = []
    post.outbox.on_news = lambda: seen.append(len(post.outbox))

    post.end(post.claimed())

    assert seen == [2]


def test_no_end_goes_out_before_lines_that_came_during_the_sending(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added while lines are sent waits with all that belongs to it: an agent may die before the next time."""
    first, second = post.claimed(), post.claimed()
    post.end(first)
    post.outbox.log(second, "early")
    write = post.cloud.write_logs

    def write_slowly(lines: Sequence[LogLine]) -> None:
        write(lines)
        if not post.outbox.is_pending(second):
            post.end(second, "broken too")

    monkeypatch.setattr(post.cloud, "write_logs", write_slowly)

    post.send()
    assert (post.state(second), post.messages(second)) == ("Submitted", ["early"])
    post.send()
    assert (post.state(second), post.messages(second)) == ("Failed", ["early", "broken too"])


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
def test_control_characters_are_replaced(post: Post, text: str, shown: str) -> None:
    """In lines and in the messages of ends: Clouds refuse them, and terminals obey them."""
    run = post.claimed()
    post.outbox.log(run, text)
    post.end(run, text)

    post.send()

    assert post.messages(run) == [shown, shown]
    assert post.cloud.flow_run(run).message == shown


def test_a_message_is_bounded() -> None:
    """It is cut, and says how long it was."""
    cut = readable("x" * (MAX_MESSAGE + 1))
    assert len(cut) < MAX_MESSAGE + 100
    assert cut.endswith(f"(cut: {MAX_MESSAGE + 1} characters)")


# --- while the Cloud is away ---


@pytest.mark.parametrize("problem", [CloudUnavailable("away"), Unauthorised("no"), OutcomeUnknown("lost")])
@pytest.mark.parametrize("method", ["write_logs", "end"])
@pytest.mark.parametrize("count", [1, 20])
def test_nothing_is_lost_while_the_cloud_is_away(post: Post, problem: CloudError, method: str, count: int) -> None:
    """What was not sent is still in the outbox, in its order, and goes out later."""
    runs = [post.claimed() for _ in range(count)]
    for run in runs:
        post.outbox.log(run, "one")
        post.end(run, "two")
    failing = FailingCloudApi(post.cloud)
    failing.fail_next(method, problem, times=30)
    post.send.cloud = failing

    post.sends(2)
    assert len(post.outbox) > 0
    post.sends(40, every=300)

    assert {tuple(post.messages(run)) for run in runs} == {("one", "two")}
    assert {post.state(run) for run in runs} == {"Failed"}
    assert len(post.outbox) == 0


def test_an_outage_costs_few_requests_and_few_words(post: Post) -> None:
    """However many runs wait, one round finds out with a few requests, and says so by its error."""
    for _ in range(300):
        post.outbox.log(post.claimed(), "x")
    post.cloud.bad_line = "x"

    assert len(post.sends(5)) == 5
    assert len(post.cloud.sizes) <= 5 * 12
    assert "WARNING" not in post.levels(events.CLOUD_TROUBLE)


def test_a_refused_key_ends_the_round(post: Post) -> None:
    """No batch is split for it."""
    for _ in range(10):
        post.outbox.log(post.claimed(), "x")
    failing = FailingCloudApi(post.cloud)
    failing.fail_next("write_logs", Unauthorised("no"))
    post.send.cloud = failing

    with pytest.raises(Unauthorised):
        post.send()
    assert failing.calls == ["write_logs"]


def test_an_end_whose_answer_is_lost_is_sent_again(post: Post) -> None:
    """It may be repeated: a finished run stays as it is, and counts as confirmed."""
    run = post.claimed()
    post.end(run)
    failing = FailingCloudApi(post.cloud)
    failing.lose_answers("end")
    post.send.cloud = failing

    post.send()
    assert post.outbox.is_pending(run)
    post.clock.advance(2)
    post.send()

    assert not post.outbox
    assert post.cloud.flow_run(run).history[-1] == ("Failed", "broken")
    assert [state for state, _ in post.cloud.flow_run(run).history].count("Failed") == 1


def test_a_wait_that_the_cloud_asks_for_is_kept_and_capped(post: Post) -> None:
    """Not earlier than that, not later than the longest wait."""
    run = post.claimed()
    post.cloud.bad_line, post.cloud.error = "x", CloudUnavailable("busy", retry_after=40)
    post.outbox.log(run, "x")
    post.sends(1)
    assert post.outbox.next_due() == 40

    post.cloud.error = CloudUnavailable("busy", retry_after=86400)
    post.sends(1, every=40)
    post.sends(1)
    assert (post.outbox.next_due() or 0) <= 300


# --- one culprit ---


@pytest.mark.parametrize("error", [AWAY, OutcomeUnknown("500"), RequestRejected("no")], ids=["502", "500", "400"])
@pytest.mark.parametrize("place", [0, 7, 19])
def test_one_bad_end_holds_back_nothing_else(post: Post, error: CloudError, place: int) -> None:
    """The batch is split, the culprit waits alone, the others go out in the same round, and it is reported once."""
    runs = [post.claimed() for _ in range(20)]
    for run in runs:
        post.end(run)
    post.cloud.bad_ends, post.cloud.error = {runs[place]}, error

    assert post.sends(1) == []

    assert [run for run in runs if post.state(run) != "Failed"] == [runs[place]]
    assert (post.outbox.is_pending(runs[place]), len(post.outbox)) == (True, 1)
    assert post.levels(events.CLOUD_TROUBLE) == ["WARNING"]
    post.cloud.bad_ends = set()
    post.sends(1, every=5)
    post.sends(1)
    assert post.state(runs[place]) == "Failed"


@pytest.mark.parametrize("error", [AWAY, OutcomeUnknown("500"), RequestRejected("no")], ids=["502", "500", "400"])
@pytest.mark.parametrize("place", [0, 7, 19])
def test_one_bad_line_holds_back_nothing_else(post: Post, error: CloudError, place: int) -> None:
    """Neither other runs' lines nor any end, its own run's included, which comes after a second try."""
    runs = [post.claimed() for _ in range(20)]
    for number, run in enumerate(runs):
        post.outbox.log(run, "poison" if number == place else "fine")
        post.end(run)
    post.cloud.bad_line, post.cloud.error = "poison", error

    assert post.sends(1) == []
    assert [run for run in runs if post.state(run) != "Failed"] == [runs[place]]
    post.clock.advance(2)
    assert post.sends(1) == []

    assert post.state(runs[place]) == "Failed"
    assert post.messages(runs[place]) == []
    assert post.levels(events.CLOUD_TROUBLE).count("WARNING") <= 1


def test_ends_do_not_wait_for_lines_that_no_request_takes(post: Post) -> None:
    """A filter dislikes every line: the ends go out in the second round."""
    runs = [post.claimed() for _ in range(50)]
    post.cloud.bad_line = "broken"
    for run in runs:
        post.end(run)

    assert len(post.sends(1, every=2)) == 1
    assert post.sends(1) == []

    assert {post.state(run) for run in runs} == {"Failed"}
    assert len(post.outbox) == 50


def test_many_culprits_hold_back_nothing_else_for_long(post: Post) -> None:
    """Also if they are all at the head of the queue."""
    bad, good = [post.claimed() for _ in range(30)], [post.claimed() for _ in range(30)]
    for run in (*bad, *good):
        post.end(run)
    post.cloud.bad_ends = set(bad)

    post.sends(1)

    assert {post.state(run) for run in good} == {"Failed"}


def test_good_lines_of_a_run_go_out_before_its_bad_one(post: Post) -> None:
    """And the ones behind it once it is given up: after so many refusals, while others' lines were taken."""
    run, other = post.claimed(), post.claimed()
    for number in range(20):
        post.outbox.log(run, "poison" if number == 10 else str(number))
    post.cloud.bad_line = "poison"

    for _ in range(LINE_TRIES):
        post.outbox.log(other, "fine")
        post.sends(1, every=301)
    assert post.messages(run) == [str(number) for number in range(10)]
    assert post.levels(events.CLOUD_TROUBLE)[-1] == "ERROR"
    post.sends(1)

    assert post.messages(run) == [str(number) for number in range(20) if number != 10]
    assert not post.outbox


def test_lines_are_not_given_up_while_the_cloud_is_away(post: Post) -> None:
    """However long that is."""
    run = post.claimed()
    post.outbox.log(run, "x")
    post.cloud.bad_line = "x"
    post.sends(100, every=301)
    post.cloud.bad_line = ""
    post.sends(1)

    assert post.messages(run) == ["x"]


def test_a_refused_end_is_retried_slowly_and_behind_others(post: Post) -> None:
    """An error once; then every minute at first, five minutes at last, and never before the others."""
    refused = post.claimed()
    post.cloud.refused = {refused}
    post.end(refused)
    post.sends(1)
    assert post.outbox.next_due() == 60
    post.clock.advance(60)
    late = post.claimed()
    post.end(late)
    post.cloud.ended.clear()

    post.sends(1)

    assert post.cloud.ended == [late, refused]
    post.sends(10, every=600)
    assert (post.outbox.next_due() or 0) <= 300
    assert post.levels(events.CLOUD_TROUBLE).count("ERROR") == 1
    post.cloud.refused = set()
    post.sends(1)
    assert post.state(refused) == "Failed"


def test_a_stopping_agent_tries_everything_again_at_once(post: Post) -> None:
    """Whatever waits."""
    run = post.claimed()
    post.cloud.refused = {run}
    post.end(run)
    post.sends(1)
    post.cloud.refused = set()

    post.outbox.hurry()
    assert post.outbox.next_due() == 0
    post.send()

    assert post.state(run) == "Failed"
