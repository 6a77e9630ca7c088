"""Lives of agents: one small scenario whose every fault point is explored, and any number drawn by seed."""

import random
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Final

import attrs

from chaos.agents import SimAgent, forget
from chaos.environment import OVER, Environment
from chaos.fibers import Scheduler
from chaos.ledger import Ledger
from chaos.making import CAN_BE_LOOSE
from chaos.patching import installed
from prefect.agent.domain.labels import labels_match
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.state_names import SCHEDULED

QUIET: Final = 45 * 60.0
"""Virtual seconds after which everything must have settled while an agent lives and nothing goes wrong any more."""

CALM: Final = 150.0
"""Virtual seconds for which it must stay settled."""

AFTERMATHS: Final = ("restart", "sibling", "hour")


@attrs.frozen
class Outcome:
    """What came of one scenario."""

    name: str
    ledger: Ledger
    points: tuple[str, ...] = ()

    @property
    def violations(self) -> list[str]:
        """What broke a rule."""
        return self.ledger.violations


@attrs.define(eq=False)
class Simulation:
    """A simulated environment and its agents.

    Attributes:
        chance: Draws what happens.
    """

    environment: Environment
    scheduler: Scheduler
    chance: random.Random
    agents: list[SimAgent] = attrs.field(factory=list)
    runs: list[FlowRunId] = attrs.field(factory=list)

    def agent(
        self, name: str, *, cloud: str = "one", labels: tuple[str, ...] = (), host: str = "host", **settings: float
    ) -> SimAgent:
        """One more agent, not yet started."""
        chance = random.Random(f"{name}-{self.chance.random()}")
        agent = SimAgent(self.environment, name, chance, cloud=cloud, labels=labels, host=host, settings=settings)
        self.agents.append(agent)
        return agent

    def add(self, fate: str = "", *, cloud: str = "one", labels: tuple[str, ...] = ()) -> FlowRunId:
        """One more run."""
        run = self.environment.add_run(cloud, labels, fate)
        self.runs.append(run)
        return run

    # --- the end ---

    def settle(self) -> None:
        """Let nothing go wrong any more, and wait until every run is where it may stay."""
        for agent in self.agents:
            agent.faults.cloud = agent.faults.platform = agent.faults.slow = 0.0
            agent.faults.cloud_away = agent.faults.platform_away = 0.0
        calm = passed = 0.0
        while passed < QUIET and calm < CALM:
            self.scheduler.run_for(50)
            passed += 50
            calm = 0.0 if self.open() else calm + 50
        for text in self.open():
            self.environment.ledger.violate("nothing stays stuck", text)

    def open(self) -> list[str]:
        """Runs that are not where they may stay, in words."""
        return [why for run in self.runs if (why := self._open(run))]

    def _open(self, run: FlowRunId) -> str:
        environment, state = self.environment, self.environment.state(run)
        cloud, units = environment.cloud_of[run], environment.units_of(run)
        served = [agent for agent in self.agents if agent.is_alive and agent.cloud == cloud]
        shown = f"run {run[-4:]} of {cloud} is {state}, owner {environment.ledger.owners.get(run)}, units {len(units)}"
        if not served or run in environment.official_alive:
            return ""
        if state in OVER:
            return shown if units else ""
        if state == "Running" and not units and environment.tasks_wait(run):
            return ""
        if state in SCHEDULED:
            fits = any(labels_match(environment.labels_of[run], agent.labels) for agent in served)
            return shown if fits else ""
        return "" if units and state != "Cancelling" else shown


@contextmanager
def simulation(
    seed: object, *, loose: bool = False, in_turn: bool = False, **environment: object
) -> Generator[Simulation]:
    """An environment in virtual time; everything that is drawn in it is drawn from *seed*."""
    old = random.getstate(), uuid.uuid4
    random.seed(f"{seed}-global")
    draw = random.Random(f"{seed}-uuid")
    uuid.uuid4 = lambda: uuid.UUID(int=draw.getrandbits(128), version=4)
    scheduler = Scheduler(None if in_turn else random.Random(f"{seed}-turns"))
    made = Environment(scheduler, random.Random(f"{seed}-world"), loose=loose, **environment)  # type: ignore[arg-type]
    try:
        with installed(), scheduler.directing():
            yield Simulation(made, scheduler, random.Random(f"{seed}-stage"))
    finally:
        forget(made)
        random.setstate(old[0])
        uuid.uuid4 = old[1]


# --- one small scenario, every point of it ---


def small(kill_at: int | None, aftermath: str = "restart", *, loose: bool = False) -> Outcome:
    """Six runs of all fates; the agent dies at its fault point number *kill_at*, and *aftermath* follows."""
    with simulation("small", loose=loose, in_turn=True, lives=20.0) as here:
        agent = here.agent("a")
        for fate in ("well", "dies", "quiet", "deaf", "long", "stillborn", "long", "well"):
            here.add(fate)
        cancelled, deleted, unseen, early = (here.runs[number] for number in (3, 4, 6, 7))
        here.scheduler.at(12, lambda: here.environment.cancel(cancelled))
        here.scheduler.at(40, lambda: _delete_units(here, deleted))
        here.scheduler.at(7, lambda: _delete_units(here, unseen))
        here.scheduler.at(0.05, lambda: here.environment.cancel(early))
        agent.start(kill_at)
        here.scheduler.wait(lambda: not agent.is_alive, 240)
        assert agent.points is not None
        points = tuple(agent.points.passed)
        if kill_at is not None:
            _follow(here, agent, aftermath)
        here.settle()
        name = f"small kill_at={kill_at} ({points[-1] if points else ''}) aftermath={aftermath} loose={loose}"
    return Outcome(name, here.environment.ledger, points)


def _delete_units(here: Simulation, run: FlowRunId) -> None:
    for unit in here.environment.units_of(run):
        here.environment.delete_unit(unit.name)


def _follow(here: Simulation, agent: SimAgent, aftermath: str) -> None:
    agent.kill()
    here.scheduler.run_for(1)
    if aftermath == "sibling":
        here.agent("a").start()  # the same name, labels and machine: the same fingerprint
        return
    if aftermath == "hour":
        here.scheduler.run_for(3600)
    agent.start()


# --- scenarios by seed ---


def by_seed(seed: int, *, loose: bool | None = None) -> Outcome:
    """Agents, runs, people and mishaps drawn from *seed*; at the end everything is checked."""
    draw = random.Random(f"{seed}-scenario")
    is_loose = CAN_BE_LOOSE and draw.random() < 0.3 if loose is None else loose
    with simulation(seed, loose=is_loose, lives=draw.choice((5.0, 60.0, 200.0))) as here:
        _cast(here, draw)
        for agent in here.agents:
            agent.start()
        for _ in range(draw.randint(2, 6)):
            _add_run(here, draw)
        for _ in range(draw.randint(3, 14)):
            here.scheduler.run_for(draw.choice((0.1, 1.0, 5.0, 20.0, 60.0)) * draw.random())
            _happen(here, draw)
        _last_act(here, draw)
        here.settle()
    return Outcome(f"seed {seed} loose={is_loose}", here.environment.ledger)


def _cast(here: Simulation, draw: random.Random) -> None:
    host = "host" if draw.random() < 0.7 else ""
    here.agent("a", host=host)
    if draw.random() < 0.4:
        here.agent("a", host=host or draw.choice(("", "elsewhere")))
    if draw.random() < 0.35:
        here.agent("c", labels=("x",), host=host)
    if draw.random() < 0.35:
        here.agent("d", cloud="two", host=host)
    for agent in here.agents:
        faults = agent.faults
        faults.cloud, faults.platform = draw.choice((0, 0, 0.05, 0.2)), draw.choice((0, 0, 0.05, 0.2))
        faults.slow, faults.late = draw.choice((0, 0, 0.1)), draw.choice((0, 0, 0.3))


def _add_run(here: Simulation, draw: random.Random) -> None:
    agent = draw.choice(here.agents)
    here.add(cloud=agent.cloud, labels=agent.labels)


def _happen(here: Simulation, draw: random.Random) -> None:
    names = [name for name, weight in HAPPENINGS.items() for _ in range(weight)]
    _ACTS[draw.choice(names)](here, draw)


def _kill(here: Simulation, draw: random.Random) -> None:
    agent = draw.choice(here.agents)
    if agent.points is not None and agent.is_alive:
        agent.points.kill_at = agent.points.count + draw.randint(0, 40)


def _start_all(here: Simulation, _draw: random.Random) -> None:
    for agent in here.agents:
        agent.start()


def _start(here: Simulation, draw: random.Random) -> None:
    draw.choice(here.agents).start()


def _stop(here: Simulation, draw: random.Random) -> None:
    draw.choice(here.agents).stop()


def _delete(here: Simulation, draw: random.Random) -> None:
    alive = here.environment.alive()
    if alive:
        here.environment.delete_unit(draw.choice(alive).name)


def _cancel(here: Simulation, draw: random.Random) -> None:
    here.environment.cancel(draw.choice(here.runs))


def _delete_run(here: Simulation, draw: random.Random) -> None:
    here.environment.delete_run(draw.choice(here.runs))


def _official(here: Simulation, draw: random.Random) -> None:
    waiting = [run for run in here.runs if here.environment.state(run) in SCHEDULED]
    if waiting:
        here.environment.official(draw.choice(waiting))


def _away_and_elsewhere(here: Simulation, draw: random.Random) -> None:
    """Every agent dies, its units too; runs are scheduled again and executed by an official agent."""
    for agent in here.agents:
        agent.kill()
    here.scheduler.run_for(draw.choice((1.0, 300.0)))
    for unit in here.environment.alive():
        if draw.random() < 0.6:
            here.environment._die(unit, 137)
    here.scheduler.run_for(draw.choice((100.0, 1000.0)))  # what is claimed is not taken from a live claimant
    for run in here.runs:
        if draw.random() < 0.5:
            here.environment.reschedule(run)
            if draw.random() < 0.8:
                here.environment.official(run)
    here.scheduler.run_for(draw.choice((0.5, 20.0, 300.0)))
    _start_all(here, draw)


def _step_clock(here: Simulation, draw: random.Random) -> None:
    draw.choice(here.agents).clock.ahead += draw.choice((-600, -60, -45, 5, 45, 60, 600))


def _cloud_away(here: Simulation, draw: random.Random) -> None:
    until = here.scheduler.now / 1_000_000 + draw.choice((5, 60, 300))
    for agent in here.agents:
        agent.faults.cloud_away = until


def _platform_away(here: Simulation, draw: random.Random) -> None:
    until = here.scheduler.now / 1_000_000 + draw.choice((5, 60, 300))
    for agent in here.agents:
        agent.faults.platform_away = until


def _hour(here: Simulation, _draw: random.Random) -> None:
    for agent in here.agents:
        agent.kill()
    here.scheduler.run_for(3600)


HAPPENINGS: Final = {
    "run": 4, "kill": 5, "start": 4, "start all": 2, "stop": 1, "delete": 4, "cancel": 3, "official": 2,
    "delete run": 1, "elsewhere": 1, "clock": 1, "cloud away": 1, "platform away": 1, "hour": 1,
}  # fmt: skip
"""What happens, and how often."""

_ACTS: Final[dict[str, Callable[[Simulation, random.Random], None]]] = {
    "run": _add_run, "kill": _kill, "start": _start, "start all": _start_all, "stop": _stop, "delete": _delete,
    "cancel": _cancel, "official": _official, "delete run": _delete_run, "elsewhere": _away_and_elsewhere,
    "clock": _step_clock, "cloud away": _cloud_away, "platform away": _platform_away, "hour": _hour,
}  # fmt: skip


def _last_act(here: Simulation, draw: random.Random) -> None:
    """Who lives on: most, but at least one agent of each Cloud."""
    here.scheduler.run_for(draw.choice((1.0, 30.0)))
    seen: set[str] = set()
    for agent in draw.sample(here.agents, len(here.agents)):
        if agent.cloud in seen and draw.random() < 0.3:
            agent.kill()
            continue
        seen.add(agent.cloud)
        if agent.points is not None:
            agent.points.kill_at = None
        agent.start()


def points_of(outcome: Outcome) -> Sequence[str]:
    """Names of the fault points that a clean run has passed."""
    return outcome.points
