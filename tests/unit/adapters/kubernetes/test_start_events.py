"""What Kubernetes reported of units that do not come on, asked for now and then."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs
import pytest

from prefect.agent.adapters.kubernetes.facts import EventFacts, JobFacts, event_facts
from prefect.agent.adapters.kubernetes.start_events import (
    ASK_AGAIN,
    MOST_REPORTS,
    NO_POD_AFTER,
    QUESTIONS,
    SLOW_START,
    StartEvents,
)
from support.kubernetes_objects import BEGIN, moment, the_job, the_pod


def event(message: str, *, kind: str = "Warning", second: float = 0) -> EventFacts:
    """One of them."""
    about = {"type": kind, "reason": "FailedCreate", "message": message, "lastTimestamp": moment(second)}
    return event_facts(about)


@attrs.define
class EventSource:
    """Answers, notes the questions, and knows the time.

    Attributes:
        age: Seconds since the units were made.
    """

    events: Sequence[EventFacts] = ()
    age: float = 0
    asked: list[tuple[str, str]] = attrs.field(factory=list)

    def ask(self, namespace: str, uid: str) -> Sequence[EventFacts]:
        """Answer."""
        self.asked.append((namespace, uid))
        return self.events

    def today(self) -> datetime:
        """The time of day."""
        return BEGIN + timedelta(seconds=self.age)

    def reports(self) -> StartEvents:
        """By this clock."""
        return StartEvents(self.ask, clock=lambda: self.age, today=self.today)


def said(reports: StartEvents, job: JobFacts, *, has_pod: bool = False) -> str:
    """What is said of it."""
    return str(reports.of(job, [the_pod()] if has_pod else []) or "")


@pytest.mark.parametrize(
    ("has_pod", "after", "about"), [(False, NO_POD_AFTER, "job-unit"), (True, SLOW_START, "pod-1")]
)
def test_nobody_asks_about_the_young(has_pod: bool, after: float, about: str) -> None:
    """A Job without a pod is suspicious soon, a pod that does not start later."""
    source = EventSource([event("no")], age=after - 0.1)
    reports = source.reports()
    assert said(reports, the_job(), has_pod=has_pod) == ""
    assert source.asked == []
    source.age = after
    assert said(reports, the_job(), has_pod=has_pod) == "FailedCreate, no"
    assert source.asked == [("metrics", about)]


def test_the_last_warning_counts() -> None:
    """Not what is normal."""
    source = EventSource(
        [event("first"), event("last", second=5), event("all is well", kind="Normal", second=9)], age=10
    )
    assert said(source.reports(), the_job()) == "FailedCreate, last"


def test_an_answer_is_kept() -> None:
    """It is asked again after a while; what was said holds until something else is."""
    source = EventSource([event("no")], age=10)
    reports = source.reports()
    for _ in range(3):
        assert said(reports, the_job()) == "FailedCreate, no"
    assert len(source.asked) == 1
    source.age, source.events = source.age + ASK_AGAIN + 1, ()
    assert said(reports, the_job()) == "FailedCreate, no"
    assert len(source.asked) == 2
    source.age, source.events = source.age + ASK_AGAIN + 1, [event("something else")]
    assert said(reports, the_job()) == "FailedCreate, something else"


def test_silence() -> None:
    """Is told, too, in the end; whatever is said later is better."""
    source = EventSource(age=NO_POD_AFTER)
    reports = source.reports()
    assert said(reports, the_job()) == ""
    source.age = SLOW_START
    assert said(reports, the_job()) == "Slow, Kubernetes does not report what it waits for"
    source.age, source.events = source.age + ASK_AGAIN + 1, [event("no")]
    assert said(reports, the_job()) == "FailedCreate, no"


def test_thousands_wait() -> None:
    """A few are asked about at a time, until all have been; the API server has other things to do."""
    source = EventSource([event("exceeded quota")], age=10)
    reports, jobs = source.reports(), [the_job(name=f"unit-{number}") for number in range(1000)]
    first = [said(reports, job) for job in jobs]
    assert (len(source.asked), sum(map(bool, first))) == (QUESTIONS, QUESTIONS)
    while not all(said(reports, job) for job in jobs):
        source.age += 5
    assert source.age < 600
    assert len(source.asked) <= QUESTIONS + (source.age - 10) * 5


def test_memory_is_bounded() -> None:
    """The oldest answers are forgotten."""
    source = EventSource([event("no")], age=10)
    reports = source.reports()
    for number in range(MOST_REPORTS + 100):
        source.age += 1
        said(reports, the_job(name=f"unit-{number}"))
    assert len(reports._kept) == MOST_REPORTS
