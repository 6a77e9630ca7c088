"""Log lines and ends, in batches, kept until the Cloud accepts them (promise P7)."""

from collections.abc import Sequence

import attrs
import pytest

from prefect.agent.adapters.fakes import InMemoryCloudApi, ManualClock
from prefect.agent.domain.errors import CloudUnavailable, OutcomeUnknown, RequestRejected, Unauthorised
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.services import reporting
from prefect.agent.domain.services.reporting import BATCH, Outbox, SendReports
from prefect.agent.ports import events
from prefect.agent.ports.cloud_api import LogLine
from unit.builders import Heard, an_id


class PickyCloud(InMemoryCloudApi):
    """Refuses a whole batch if one line is in it."""

    bad = ""

    def write_logs(self, lines: Sequence[LogLine]) -> None:
        """Like the Cloud's."""
        if self.bad and any(self.bad in line.message for line in lines):
            raise RequestRejected("no such line")
        super().write_logs(lines)


@attrs.define
class Post:
    """An outbox, its sender and the Cloud."""

    clock: ManualClock = attrs.field(factory=lambda: ManualClock(auto=True))
    heard: Heard = attrs.field(factory=Heard)
    cloud: PickyCloud = attrs.field(init=False)
    outbox: Outbox = attrs.field(init=False)
    send: SendReports = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.cloud = PickyCloud(self.clock)
        self.outbox = Outbox(clock=self.clock, agent_name="ann")
        self.send = SendReports(cloud=self.cloud, outbox=self.outbox, tell=self.heard)

    def messages(self, run_id: FlowRunId) -> list[str]:
        """The log of a run."""
        return [line.message for line in self.cloud.logs(run_id)]


@pytest.fixture
def post() -> Post:
    """An empty outbox."""
    return Post()


def test_everything_goes_out_in_order(post: Post) -> None:
    """Log lines with time, level and the agent's name; then the ends."""
    run = post.cloud.add_flow_run(state="Submitted")
    post.outbox.log(run, "one")
    post.outbox.fail(run, "broken")

    assert post.send() == 3

    assert [(line.message, line.level, line.name) for line in post.cloud.logs(run)] == [
        ("one", "INFO", "ann"),
        ("broken", "ERROR", "ann"),
    ]
    assert post.cloud.logs(run)[0].timestamp == post.clock.now()
    assert (post.cloud.flow_run(run).state, post.cloud.flow_run(run).message) == ("Failed", "broken")
    assert len(post.outbox) == 0
    assert post.heard.names() == [events.RUN_FAILED]


def test_no_end_goes_out_before_its_log(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added while lines are sent waits with all that belongs to it: an agent may die before the next time."""
    first, second = post.cloud.add_flow_run(state="Submitted"), post.cloud.add_flow_run(state="Submitted")
    post.outbox.fail(first, "broken")
    fail = post.cloud.fail

    def fail_slowly(run_id: FlowRunId, reason: str) -> None:
        if run_id == first:
            post.outbox.fail(second, "broken too")
        fail(run_id, reason)

    monkeypatch.setattr(post.cloud, "fail", fail_slowly)

    assert post.send() == 2
    assert (post.cloud.flow_run(second).state, post.messages(second)) == ("Submitted", [])
    assert post.send() == 2
    assert (post.cloud.flow_run(second).state, post.messages(second)) == ("Failed", ["broken too"])


def test_lines_share_requests(post: Post) -> None:
    """Not one request per line (DESIGN section 7)."""
    run = post.cloud.add_flow_run()
    for number in range(BATCH + 1):
        post.outbox.log(run, str(number))

    post.send()

    assert post.cloud.calls == ["write_logs"] * 2
    assert post.messages(run) == [str(number) for number in range(BATCH + 1)]


def test_a_proven_cancellation(post: Post) -> None:
    """A Cancelling run becomes Cancelled with the proof in its log; a finished one stays."""
    cancelling, done = post.cloud.add_flow_run(state="Cancelling"), post.cloud.add_flow_run(state="Success")
    for run in (cancelling, done):
        post.outbox.cancelled(run, "gone")

    post.send()

    assert (post.cloud.flow_run(cancelling).state, post.messages(cancelling)) == ("Cancelled", ["gone"])
    assert post.cloud.flow_run(done).state == "Success"


@pytest.mark.parametrize("trouble", [CloudUnavailable("away"), Unauthorised("no")], ids=["away", "key"])
@pytest.mark.parametrize("method", ["write_logs", "fail"])
def test_nothing_is_lost_while_the_cloud_is_away(
    post: Post, trouble: CloudUnavailable | Unauthorised, method: str
) -> None:
    """What was not sent is still in the outbox, in its order, and goes out later - once."""
    run = post.cloud.add_flow_run(state="Submitted")
    post.outbox.log(run, "one")
    post.outbox.fail(run, "two")
    post.cloud.fail_next(method, trouble, times=2)

    for _ in range(2):
        with pytest.raises(type(trouble)):
            post.send()
        assert len(post.outbox) > 0
    post.send()

    assert post.messages(run) == ["one", "two"]
    assert post.cloud.flow_run(run).state == "Failed"
    assert len(post.outbox) == 0


def test_lines_without_an_answer_are_not_sent_twice(post: Post) -> None:
    """A line twice in a log is worse than a line less; the trouble is told."""
    run = post.cloud.add_flow_run()
    post.outbox.log(run, "once")
    post.cloud.lose_answers("write_logs", 1)

    post.send()
    post.send()

    assert post.messages(run) == ["once"]
    assert post.heard.names() == [events.CLOUD_TROUBLE]


def test_an_end_without_an_answer_is_sent_again(post: Post) -> None:
    """It may be repeated: a finished run stays as it is."""
    run = post.cloud.add_flow_run(state="Submitted")
    post.outbox.fail(run, "broken")
    post.cloud.fail_next("fail", OutcomeUnknown("lost"))

    with pytest.raises(CloudUnavailable):
        post.send()
    post.send()

    assert post.cloud.flow_run(run).state == "Failed"


def test_one_line_that_is_refused_does_not_hold_up_the_others(post: Post) -> None:
    """The batch is taken apart; the culprit is dropped and told."""
    run = post.cloud.add_flow_run()
    post.cloud.bad = "poison"
    for text in ("a", "poison", "b"):
        post.outbox.log(run, text)

    post.send()

    assert post.messages(run) == ["a", "b"]
    assert post.heard.names() == [events.CLOUD_TROUBLE]


def test_an_end_that_is_refused_does_not_hold_up_the_others(post: Post) -> None:
    """It is told as an error; the next one goes out."""
    first, second = post.cloud.add_flow_run(), post.cloud.add_flow_run()
    post.outbox.fail(first, "a")
    post.outbox.fail(second, "b")
    post.cloud.fail_next("fail", RequestRejected("no"))

    post.send()

    assert post.cloud.flow_run(second).state == "Failed"
    assert [event.level for event in post.heard.events if event.name == events.CLOUD_TROUBLE] == ["ERROR"]
    assert len(post.outbox) == 0


def test_the_sender_is_woken_when_everything_is_in(post: Post) -> None:
    """A sender that wakes at the log line and finds no end would let the end wait for the next pause."""
    seen: list[int] = []
    post.outbox.on_news = lambda: seen.append(len(post.outbox))

    post.outbox.fail(an_id(1), "x")
    post.outbox.cancelled(an_id(1), "x")

    assert seen[1::2] == [2, 4]


def test_a_long_outage_costs_the_oldest_lines_only(post: Post) -> None:
    """Memory is bounded; ends are never dropped."""
    run = post.cloud.add_flow_run(state="Submitted")
    post.outbox.fail(run, "first")
    for number in range(reporting.MOST_LINES + 5):
        post.outbox.log(run, str(number))

    assert len(post.outbox.lines) == reporting.MOST_LINES
    assert post.outbox.lines[-1].message == str(reporting.MOST_LINES + 4)
    assert len(post.outbox.ends) == 1


def test_lines_that_come_during_a_failed_request_are_not_the_ones_that_go(post: Post) -> None:
    """Beyond the limit the oldest lines go, also if they were in the request that failed."""
    for number in range(reporting.MOST_LINES):
        post.outbox.log(an_id(1), str(number))

    class Busy(InMemoryCloudApi):
        """While it is asked, another thread goes on logging."""

        def write_logs(self, lines: Sequence[LogLine]) -> None:
            """Fails."""
            post.outbox.log(an_id(1), "newest")
            raise CloudUnavailable("away")

    with pytest.raises(CloudUnavailable):
        SendReports(cloud=Busy(), outbox=post.outbox)()

    assert post.outbox.lines[-1].message == "newest"
    assert len(post.outbox.lines) == reporting.MOST_LINES
