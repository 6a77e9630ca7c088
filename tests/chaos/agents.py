"""The real agent, loops and all, in a simulated process: started, killed, stopped and started again.

Only the public :class:`Agent` is used, so whatever happens inside of it, the harness goes on.
"""

import random
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from chaos.environment import Environment
from chaos.fibers import Killed, Process, VirtualClock
from chaos.ports import Faults, Line, Points, cloud_port, platform_port
from prefect.agent import Agent
from prefect.agent.adapters.fakes import InMemoryPlatform
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.runtime.exits import AgentExit
from prefect.agent.ports import events
from prefect.agent.ports.events import Event
from prefect.agent.ports.presence import Presence

SETTINGS: Final = {"poll_last": 15.0, "sweep_every": 30.0, "parallel": 4, "keep_ended": 120.0, "create_deadline": 60.0}


class SimPresence(Presence):
    """Knows of the processes of its own machine whether they are gone.

    Args:
        host: The machine.
        number: Of the process.
        is_over: Whether a process of that number is gone.
    """

    def __init__(self, host: str, number: int, is_over: Callable[[int], bool]) -> None:
        self._host, self._number, self._is_over = host, number, is_over

    @property
    def place(self) -> str:
        """Machine and process; empty without a machine."""
        return f"{self._host}/{self._number}" if self._host else ""

    def is_gone(self, place: str) -> bool:
        """Whether a process of this machine is gone."""
        host, _, number = place.rpartition("/")
        return bool(host) and host == self._host and number.isdecimal() and self._is_over(int(number))


@attrs.define(eq=False)
class SimAgent:
    """One agent of a person: a process after the other.

    Attributes:
        labels: Different labels mean a different fingerprint.
        host: The machine that presence speaks of; empty: nothing is known of other processes.
        faults: What goes wrong with its calls.
        restart_after: Seconds after which a supervisor starts it again if it ends by itself.
        settings: Numbers of :class:`AgentSettings` in place of those of ``SETTINGS``.
    """

    environment: Environment
    name: str
    chance: random.Random
    cloud: str = "one"
    labels: tuple[str, ...] = ()
    host: str = "host"
    faults: Faults = attrs.field(factory=Faults)
    restart_after: float = 5.0
    settings: Mapping[str, float] = attrs.field(factory=dict)
    process: Process | None = None
    points: Points | None = None
    clock: VirtualClock = attrs.field(init=False)
    _agent: Agent | None = None

    def __attrs_post_init__(self) -> None:
        self.clock = VirtualClock(self.environment.scheduler)

    @property
    def is_alive(self) -> bool:
        """Whether a process of it works."""
        return self.process is not None and not self.process.killed and not self.process.is_over

    def start(self, kill_at: int | None = None) -> None:
        """A new process, which remembers nothing; it dies at its fault point number *kill_at*."""
        if self.is_alive:
            return
        number = next_number(self.environment)
        process = self.process = Process(f"{self.name}#{number}")
        PROCESSES[self.environment, number] = process
        self.points = points = Points(process, self.environment.scheduler, kill_at)
        watch = self.environment.watch(process.name, self.cloud)
        line = Line(points, self.faults, self.chance, watch)
        self.environment.ledger.note(f"{process.name} starts")
        self.environment.scheduler.spawn(process, process.name, lambda: self._run(process, line, number))

    def kill(self) -> None:
        """``kill -9``, wherever it is."""
        if self.process is not None and self.is_alive:
            self.environment.ledger.note(f"{self.process.name} is killed")
            self.process.killed = True

    def stop(self) -> None:
        """SIGTERM: it finishes what is in hand."""
        if self.is_alive and self._agent is not None:
            self.environment.ledger.note(f"{self.name} is asked to stop")
            self._agent.stop()

    def _run(self, process: Process, line: Line, number: int) -> None:
        environment = self.environment

        def is_over(other: int) -> bool:
            found = PROCESSES.get((environment, other))
            return found is not None and (found.killed or found.is_over)

        presence = SimPresence(self.host, number, is_over)
        beside = InMemoryPlatform(beside=environment.place, clock=environment.clock)
        self._agent = agent = Agent(
            name=self.name,
            labels=self.labels,
            cloud=cloud_port(environment.cloud(self.cloud), line, self._skew),
            platform=platform_port(beside, line, presence, self._skew),
            clock=self.clock,
            settings=AgentSettings(name=self.name, labels=self.labels, **{**SETTINGS, **self.settings}),  # type: ignore[arg-type]
            tell=lambda event: self._take(process, event),
            environ={},
        )
        try:
            agent.start()
            environment.ledger.note(f"{process.name} has stopped")
        except Killed:
            environment.ledger.note(f"{process.name} died at point {line.points.count}")
            raise
        except AgentExit as end:
            self._ended(process, f"exit: {end}", is_bug=False)
        except Exception as bug:  # noqa: BLE001 - a process that ends so is a finding
            self._ended(process, repr(bug), is_bug=True)

    def _skew(self) -> float:
        return -self.clock.ahead

    def _ended(self, process: Process, why: str, *, is_bug: bool) -> None:
        self.environment.ledger.note(f"{process.name} ended by itself: {why}")
        if is_bug:
            self.environment.ledger.violate("no bugs", f"{process.name}: {why}")
        self.environment.scheduler.at(self.restart_after, self.start)

    def _take(self, process: Process, event: Event) -> None:
        if event.level in {"WARNING", "ERROR"} or event.name == events.RUN_RECOVERED:
            self.environment.ledger.note(f"  {process.name}: {event.name}: {event.message[:200]}")
        if event.name == events.BUG and "chaos" not in event.message:
            trace = str(event.fields.get("traceback", ""))[-1500:]
            self.environment.ledger.violate("no bugs", f"{process.name}: {event.message}\n{trace}")


PROCESSES: Final[dict[tuple[Environment, int], Process]] = {}
"""Of each world: its processes by number."""


def next_number(environment: Environment) -> int:
    """A number that no process of *world* has had."""
    return 1 + sum(1 for known, _ in PROCESSES if known is environment)


def forget(environment: Environment) -> None:
    """The simulation is over."""
    for key in [key for key in PROCESSES if key[0] is environment]:
        del PROCESSES[key]
