"""Code as users write it, for type checkers: it must check without casts and without ignoring anything."""

from collections.abc import Iterator, Sequence

from prefect.agent import Agent, AgentSettings, DockerAgent
from prefect.agent.ports import (
    Event,
    ExecutionPlatform,
    FlowRunId,
    PlatformTraits,
    Submission,
    Unit,
    UnitStatus,
    UniversalRun,
)
from prefect.agent.testing import InMemoryCloudApi, InMemoryPlatform, ManualClock


class Printer(ExecutionPlatform):
    """A platform that only says what it would do."""

    @property
    def traits(self) -> PlatformTraits:
        return PlatformTraits(kind="printer", run_config=UniversalRun, runs_images=False)

    @property
    def identity(self) -> str:
        return "printer"

    def check(self) -> None: ...

    def create(self, submission: Submission) -> Unit:
        print(submission.command)
        return Unit(name=submission.name, flow_run_id=FlowRunId("1"), attempt="1", status=UnitStatus.RUNNING)

    def units(self) -> Sequence[Unit]:
        return ()

    def unit(self, name: str) -> Unit | None:
        return None

    def watch(self, *, seconds: float) -> Iterator[Unit]:
        return iter(())

    def stop(self, name: str, *, grace: float) -> None: ...

    def remove(self, name: str) -> None: ...

    def logs_tail(self, name: str, *, lines: int = 50) -> str:
        return ""


class Announcing(DockerAgent):
    """Hooks of 1.x."""

    def on_startup(self) -> None:
        print(self.name, self.labels)


def heard(event: Event) -> None:
    """Take an event."""
    print(event.name, event.fields.get("flow_run_id"))


def compose() -> Agent:
    """An agent of parts of one's own."""
    clock = ManualClock()
    settings = AgentSettings(name="mine", labels=["a"], parallel=4)
    return Agent(cloud=InMemoryCloudApi(clock=clock), platform=Printer(), clock=clock, settings=settings, tell=heard)


def compose_fakes() -> Agent:
    """An agent of fakes only."""
    return Agent(cloud=InMemoryCloudApi(), platform=InMemoryPlatform(), max_polls=3)
