"""Repetitions in the log: said once, then at growing intervals, and once when they are over."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from prefect.agent.entrypoints.runtime.folding import FOLDED, MOST, Folding
from prefect.agent.ports import events
from prefect.agent.ports.events import Event


@attrs.define
class Reader:
    """What a person reads, at the level INFO, under a clock that only the test moves."""

    seconds: float = 1000.0
    all: list[Event] = attrs.field(factory=list)
    folding: Folding = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.folding = Folding(self.all.append, clock=lambda: self.seconds)

    def take(self, name: str, message: str = "", level: str = "WARNING", after: float = 1.0, **fields: Any) -> None:
        """Let one event happen."""
        self.seconds += after
        self.folding(Event(name=name, message=message or name, level=level, fields=fields))

    def away(self, after: float = 1.0, loop: str = "poll", why: str = "no answer") -> None:
        """Let one loop find the Cloud away."""
        self.take(events.CLOUD_TROUBLE, f"{loop}: {why}", after=after, loop=loop)

    def polled(self, after: float = 1.0, **fields: Any) -> None:
        """Let a poll go well."""
        self.take(events.POLLED, level="DEBUG", after=after, **fields)

    @property
    def lines(self) -> list[str]:
        """The messages that are logged."""
        return [event.message for event in self.all if event.level != "DEBUG"]


@pytest.fixture
def reader() -> Reader:
    """A log with no line."""
    return Reader()


def test_the_same_warning_is_said_at_growing_intervals(reader: Reader) -> None:
    """After 10, 20, 40 seconds and so on, with how often it happened; every event is still there at level DEBUG."""
    for _ in range(80):
        reader.away()

    assert reader.lines == [
        "poll: no answer",
        "Still (11 tries, since 10 s): poll: no answer",
        "Still (31 tries, since 30 s): poll: no answer",
        "Still (71 tries, since 70 s): poll: no answer",
    ]
    assert [event.fields.get("tries") for event in reader.all if event.level == "WARNING"] == [None, 11, 31, 71]
    assert len(reader.all) == 80


def test_the_longest_interval_is_ten_minutes(reader: Reader) -> None:
    """An outage of a day is a line every ten minutes, and no less."""
    for _ in range(24 * 360):
        reader.away(10)

    assert 24 * 6 <= len(reader.lines) <= 24 * 6 + 8


def test_the_end_says_how_long_it_lasted(reader: Reader) -> None:
    """With the number of tries, for people and for programs, and only if it was said."""
    for _ in range(7):
        reader.away(15)
    reader.polled(2)
    reader.polled()

    assert reader.lines[-1] == "The Cloud is reachable again after 92 s (7 tries)"
    [over] = [event for event in reader.all if event.name == events.REACHABLE_AGAIN]
    assert (over.fields["duration_s"], over.fields["tries"]) == (92, 7)


def test_loops_that_meet_the_same_error_share_one_condition(reader: Reader) -> None:
    """It is over once each of them has succeeded, and lasted until the first one did."""
    for loop in ("poll", "sweep", "report"):
        reader.away(loop=loop)
    reader.polled()
    reader.take(events.SWEPT, level="DEBUG")
    before = list(reader.lines)
    reader.take(events.REPORTED, level="DEBUG")

    assert before == ["poll: no answer"]
    assert reader.lines[1:] == ["The Cloud is reachable again after 3 s (3 tries)"]


def test_one_outage_with_two_messages_ends_with_one_line(reader: Reader) -> None:
    """What was away before the first end is not said to be back a second time."""
    reader.away(loop="poll", why="refused")
    reader.away(loop="report", why="timed out")
    reader.polled()
    reader.take(events.REPORTED, level="DEBUG")

    assert [line for line in reader.lines if "again" in line] == ["The Cloud is reachable again after 2 s (1 try)"]


def test_a_poll_that_asked_nothing_proves_nothing(reader: Reader) -> None:
    """An agent without room does not ask the Cloud."""
    reader.away()
    reader.polled(busy=True)

    assert reader.lines == ["poll: no answer"]


def test_what_fails_every_second_time_is_not_said_every_time(reader: Reader) -> None:
    """It comes back within a minute: it is still the same condition, and its end is said as often as itself."""
    for _ in range(30):
        reader.away()
        reader.polled()

    assert len(reader.lines) <= 8


def test_what_comes_back_later_is_new(reader: Reader) -> None:
    """The second outage is no repetition of the first one."""
    reader.away()
    reader.polled()
    reader.away(61)

    assert reader.lines[-1] == "poll: no answer"


def test_a_start_says_how_long_it_goes_on_trying(reader: Reader) -> None:
    """The seconds in the message change from try to try; it is the same message all the same."""
    for left in range(95, 25, -10):
        level = "WARNING" if left == 95 else "DEBUG"
        message = f"Starting: no answer. Trying again for up to {left} s"
        reader.take(events.STARTING, message, level, after=10, left_s=float(left))
    reader.take(events.AGENT_STARTED, "Ready", "INFO", identity="here")

    assert reader.lines == [
        "Starting: no answer. Trying again for up to 95 s",
        "Still (2 tries, 85 s left): Starting: no answer. Trying again for up to 85 s",
        "Still (4 tries, 65 s left): Starting: no answer. Trying again for up to 65 s",
        "The start succeeded after 61 s (7 tries)",
        "Ready",
    ]


@pytest.mark.parametrize(
    ("bad", "good"), [(events.PLATFORM_TROUBLE, events.PLATFORM_BACK), (events.KEY_REFUSED, events.KEY_ACCEPTED)]
)
def test_events_that_end_a_condition_say_so_themselves(reader: Reader, bad: str, good: str) -> None:
    """No second line beside them."""
    reader.take(bad, "away", loop="sweep")
    reader.take(bad, "away", loop="watch")
    reader.take(good, "Back", "INFO")

    assert reader.lines == ["away", "Back after 2 s (2 tries)"]


def test_flow_runs_do_not_share_a_condition(reader: Reader) -> None:
    """Each has its own retries, which end with its start and without a line."""
    for run in ("a", "b", "a", "b"):
        reader.take(events.UNIT_RETRIED, "Cannot start yet", flow_run_id=run)
    reader.take(events.UNIT_CREATED, "Started a", "INFO", flow_run_id="a")

    assert reader.lines == ["Cannot start yet", "Cannot start yet", "Started a"]


def _every_name() -> list[str]:
    return sorted({value for name, value in vars(events).items() if name.isupper()})


@pytest.mark.parametrize("name", [name for name in _every_name() if name not in FOLDED])
def test_facts_are_never_folded(reader: Reader, name: str) -> None:
    """Two flow runs that fail alike are two lines."""
    for _ in range(3):
        reader.take(name, "the same")

    assert reader.lines == ["the same"] * 3


def test_different_messages_are_all_said_and_few_are_remembered(reader: Reader) -> None:
    """Names and ids with digits tell messages apart."""
    say: Callable[[int], None] = lambda n: reader.take(events.CLOUD_TROUBLE, f"run-{n} is not taken")  # noqa: E731
    for number in range(MOST + 5):
        say(number)
    say(MOST)
    say(0)

    assert len(reader.lines) == MOST + 6
    assert reader.lines[-1] == "run-0 is not taken"
