"""Flow runs that are late are explained in the agent's log: once for each run and cause."""

import attrs
import pytest

from prefect.agent.adapters.fakes import InMemoryCloudApi, ManualClock
from prefect.agent.domain.errors import CloudUnavailable
from prefect.agent.domain.model.explaining import AskedAgent
from prefect.agent.domain.services import noticing
from prefect.agent.domain.services.noticing import ASK_AGAIN, LOOK_EVERY, NoticeLateRuns
from prefect.agent.ports import events
from prefect.agent.ports.cloud_api import AgentIdentity
from support.builders import Heard


@attrs.define
class Watcher:
    """A Cloud, and an agent with the label gpu that looks at what is late there."""

    clock: ManualClock = attrs.field(factory=lambda: ManualClock(auto=True))
    heard: Heard = attrs.field(factory=Heard)
    cloud: InMemoryCloudApi = attrs.field(init=False)
    notice: NoticeLateRuns = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.cloud = InMemoryCloudApi(self.clock)
        self.cloud.register(AgentIdentity(name="gpu-1", type="DockerAgent", labels=("gpu",)))
        self.notice = NoticeLateRuns(cloud=self.cloud, clock=self.clock, labels=["gpu"], tell=self.heard)

    def look(self, after: float = LOOK_EVERY + 1) -> list[str]:
        """What is said at the next look; the agent has just polled."""
        self.clock.advance(after)
        self.cloud.ready_flow_runs(labels=["gpu"], before=self.clock.now(), limit=0)
        before = len(self.heard.events)
        self.notice()
        return [event.message for event in self.heard.events[before:] if event.name == events.RUN_LATE]


@pytest.fixture
def watcher() -> Watcher:
    """Nothing is due."""
    return Watcher()


def test_a_run_that_no_agent_takes_is_explained_once(watcher: Watcher) -> None:
    """With the labels that it needs and a command."""
    run = watcher.cloud.add_flow_run(labels=["vm"], name="teal")

    said = [watcher.look(), watcher.look(), watcher.look(ASK_AGAIN)]

    sentence = f"Flow run flow/teal ({run}) is late by 1 min 1 s. No agent takes its labels: vm."
    assert said == [[f"{sentence} Do: prefect agent start --label vm"], [], []]


def test_a_run_is_not_late_before_a_minute(watcher: Watcher) -> None:
    """Agents have their pauses."""
    watcher.cloud.add_flow_run(labels=["vm"])

    assert watcher.look(59) == []


def test_an_own_run_that_is_late_is_explained(watcher: Watcher) -> None:
    """It fits this agent's labels, and yet nothing has claimed it."""
    watcher.cloud.add_flow_run(labels=["gpu"])

    assert len(watcher.look()) == 1


def test_an_agent_that_is_full_says_so_itself(watcher: Watcher) -> None:
    """That is the cause, and no guess at what its lateness means."""
    labels = frozenset({"gpu"})
    watcher.notice.describe = lambda: AskedAgent(where="this agent", name="gpu-1", labels=labels, units=2, limit=2)
    watcher.cloud.add_flow_run(labels=["gpu"])

    (said,) = watcher.look()

    assert "The agent gpu-1 (this agent) is full: 2 units are alive, --limit 2." in said
    assert watcher.heard.events[-1].fields["cause"] == "agent-full"


def test_what_the_agent_declined_is_not_said_again(watcher: Watcher) -> None:
    """It said so when it read the run; that an agent could take it would be wrong."""
    run = watcher.cloud.add_flow_run(labels=["gpu"])
    declined = {str(run): "it is too late"}
    watcher.notice.describe = lambda: AskedAgent(
        where="this agent", name="gpu-1", labels=frozenset({"gpu"}), declined=declined
    )

    assert watcher.look() == []


def test_another_agents_run_is_left_to_that_agent(watcher: Watcher) -> None:
    """It takes the labels and lives: it has its own log."""
    watcher.cloud.register(AgentIdentity(name="vm-1", type="DockerAgent", labels=("vm",)))
    watcher.cloud.add_flow_run(labels=["vm"])
    watcher.clock.advance(LOOK_EVERY)
    watcher.cloud.ready_flow_runs(labels=["vm"], before=watcher.clock.now(), limit=0)

    assert watcher.look(1) == []


def test_a_new_cause_is_said(watcher: Watcher) -> None:
    """The run waited for an agent, which is gone now."""
    watcher.cloud.register(AgentIdentity(name="vm-1", type="DockerAgent", labels=("vm",)))
    run = watcher.cloud.add_flow_run(labels=["vm"], name="late")
    watcher.cloud.ready_flow_runs(labels=["vm"], before=watcher.clock.now(), limit=0)
    first = watcher.look(LOOK_EVERY + 5)

    assert first[0].startswith(f"Flow run flow/late ({run}) is late by 1 min 5 s. No agent that takes its labels (vm) ")


def test_a_cloud_that_does_not_answer_is_no_news(watcher: Watcher) -> None:
    """Others report it; the next look is made all the same."""
    watcher.cloud.add_flow_run(labels=["vm"])
    watcher.cloud.fail_next("late_flow_runs", CloudUnavailable("away"))

    assert [event.level for event in watcher.heard.events] == []
    assert watcher.look()[0].startswith("Cannot look why")
    assert watcher.heard.events[-1].level == "DEBUG"
    assert len(watcher.look()) == 1


def test_few_runs_are_looked_at_together(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs a request; the others have their turn later, and few are remembered."""
    monkeypatch.setattr(noticing, "MOST_REMEMBERED", 6)
    for _ in range(8):
        watcher.cloud.add_flow_run(labels=["vm"])
    watcher.cloud.calls.clear()

    said = [len(watcher.look()), len(watcher.look())]

    assert said == [5, 3]
    assert watcher.cloud.calls.count("facts") == 8
