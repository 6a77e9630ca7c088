"""The engine with a Cloud that answers when there is something to answer with: the loop goes on meanwhile."""

import threading
from collections.abc import Collection, Sequence
from datetime import datetime, timezone

import attrs
import pytest

from prefect.agent.adapters.fakes import InMemoryCloudApi
from prefect.agent.domain.errors import CloudUnavailable, Unauthorised
from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId
from prefect.agent.entrypoints.runtime.exits import ExitCode
from prefect.agent.ports import events
from support.agent_harness import FAST, SECOND, AgentHarness
from support.waiting import wait_until

PATIENT = attrs.evolve(FAST, poll_first=600, poll_last=600, sweep_every=600)
"""Without a Cloud that waits nothing would start twice in ten minutes."""


class WaitingCloud(InMemoryCloudApi):
    """Answers when told to, or when the time is over; one who waits is not the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.bell = threading.Event()
        self.waits_for: list[float] = []
        self.trouble: Exception | None = None
        self.over = threading.Event()

    @property
    def waits(self) -> bool:
        """It does."""
        return True

    def ready_flow_runs(
        self,
        *,
        labels: Collection[str],
        before: datetime,
        limit: int,
        wait: float = 0.0,
        skip: Collection[FlowRunId] = (),
    ) -> Sequence[FlowRun]:
        """Those that there are, or that there are later."""
        self.waits_for.append(wait)
        if not self._news(labels, before, limit, skip):
            self.bell.wait(wait)
            self.bell.clear()
        if self.trouble is not None and not self.over.is_set():
            raise self.trouble
        return self._news(labels, before, limit, skip)

    def _news(
        self, labels: Collection[str], before: datetime, limit: int, skip: Collection[FlowRunId]
    ) -> Sequence[FlowRun]:
        """What is not in the loop's hands yet."""
        return super().ready_flow_runs(labels=labels, before=before, limit=limit, skip=skip)


@pytest.fixture
def cloud() -> WaitingCloud:
    """Nothing is in it."""
    return WaitingCloud()


@pytest.fixture
def harness(cloud: WaitingCloud) -> AgentHarness:
    """Around that Cloud."""
    return AgentHarness(cloud=cloud)


def waits(cloud: WaitingCloud, times: int = 1) -> None:
    """Until an agent waits for an answer, for that time in its life."""
    wait_until(lambda: len(cloud.waits_for) >= times, 30, "it is asked")


def test_a_run_starts_when_the_cloud_answers(harness: AgentHarness, cloud: WaitingCloud) -> None:
    """Though the next poll would be in ten minutes."""
    harness.agent(PATIENT).start()
    waits(cloud)
    runs = harness.add(1)
    cloud.bell.set()
    harness.wait_started(runs)
    assert cloud.waits_for[0] > 400
    harness.agents[0].parts.loops.stop()
    cloud.bell.set()


def test_an_agent_that_waits_can_be_stopped(harness: AgentHarness, cloud: WaitingCloud) -> None:
    """At once: the answer concerns nobody any more."""
    agent = harness.agent(PATIENT).start()
    waits(cloud)
    agent.stop()
    assert agent.end is None
    late = harness.add(1)
    cloud.bell.set()
    assert harness.states(late) == {"Scheduled"}


def test_what_is_in_hand_goes_on(harness: AgentHarness, cloud: WaitingCloud) -> None:
    """A run that was asked for before its time is claimed at its time, whatever the Cloud is doing."""
    due = datetime.now(timezone.utc) + SECOND
    run = cloud.add_flow_run(due=due)
    agent = harness.agent(attrs.evolve(PATIENT, poll_first=0.01, prefetch=60)).start()
    harness.wait_started([run])
    assert datetime.now(timezone.utc) >= due
    waits(cloud, 2)
    agent.parts.loops.stop()
    cloud.bell.set()


def test_a_failure_while_it_waits_ends_the_wait(harness: AgentHarness, cloud: WaitingCloud) -> None:
    """Is trouble of a poll: it is told, and after a pause the Cloud is asked again."""
    cloud.trouble = CloudUnavailable("the server was stopped")
    agent = harness.agent(FAST).start()
    wait_until(lambda: events.CLOUD_TROUBLE in agent.heard.names(), 30, "trouble is told")
    cloud.over.set()
    runs = harness.add(1)
    harness.wait_started(runs)
    agent.stop()


def test_a_key_that_is_not_accepted_any_more(harness: AgentHarness, cloud: WaitingCloud) -> None:
    """Ends the agent, as ever."""
    cloud.trouble = Unauthorised("the key was revoked")
    agent = harness.agent(FAST).start()
    agent.join()
    assert agent.exit_code() == ExitCode.NO_PERMISSION


def test_the_last_poll_is_heard(harness: AgentHarness, cloud: WaitingCloud) -> None:
    """What it brings is started before the agent ends."""
    agent = harness.agent(attrs.evolve(PATIENT, max_polls=1)).start()
    waits(cloud)
    runs = harness.add(1)
    cloud.bell.set()
    agent.join()
    assert harness.units() == runs


def test_room_that_was_lost_meanwhile(harness: AgentHarness, cloud: WaitingCloud) -> None:
    """No more are taken than there is room for when the answer comes."""
    agent = harness.agent(attrs.evolve(FAST, limit=1, poll_last=5, poll_first=5, keep_ended=1000)).start()
    waits(cloud)
    harness.add(5)
    cloud.bell.set()
    wait_until(lambda: len(harness.units()) == 1, 30, "one is started")
    agent.stop()
    assert len(harness.units()) == 1
