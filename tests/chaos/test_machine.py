"""Hypothesis' stateful machine over the explored world: it looks for the shortest life that breaks a rule."""

from contextlib import ExitStack
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chaos.agents import SimAgent
from chaos.conftest import EVERYTHING
from chaos.environment import FATES
from chaos.scenarios import simulation

AGENTS: Final = st.integers(0, 3)
SECONDS: Final = st.sampled_from((0.0, 0.1, 1.0, 7.0, 31.0, 65.0, 310.0, 3600.0))


class Lives(RuleBasedStateMachine):
    """Four agents on one engine: two siblings, one of other labels, one of another Cloud."""

    def __init__(self) -> None:
        super().__init__()
        self._open = ExitStack()
        self.here = self._open.enter_context(simulation("machine", in_turn=True, lives=20.0))
        self.here.agent("a")
        self.here.agent("a")
        self.here.agent("c", labels=("x",))
        self.here.agent("d", cloud="two")

    def _agent(self, number: int) -> SimAgent:
        return self.here.agents[number]

    @rule(number=AGENTS, fate=st.sampled_from(sorted(set(FATES))))
    def add(self, number: int, fate: str) -> None:
        """A run for one of the agents."""
        if len(self.here.runs) < 8:
            self.here.add(fate, cloud=self._agent(number).cloud, labels=self._agent(number).labels)

    @rule(number=AGENTS, kill_at=st.none() | st.integers(0, 60))
    def start(self, number: int, kill_at: int | None) -> None:
        """A process starts, and dies at one of its fault points."""
        self._agent(number).start(kill_at)

    @rule(number=AGENTS)
    def kill(self, number: int) -> None:
        """A process is killed wherever it is."""
        self._agent(number).kill()

    @rule(seconds=SECONDS)
    def pass_time(self, seconds: float) -> None:
        """Time passes."""
        self.here.scheduler.run_for(seconds)

    @precondition(lambda self: self.here.environment.alive())
    @rule(number=st.integers(0, 7))
    def delete_unit(self, number: int) -> None:
        """A unit is deleted externally."""
        alive = self.here.environment.alive()
        self.here.environment.delete_unit(alive[number % len(alive)].name)

    @precondition(lambda self: self.here.runs)
    @rule(number=st.integers(0, 7))
    def cancel(self, number: int) -> None:
        """A run is cancelled."""
        self.here.environment.cancel(self.here.runs[number % len(self.here.runs)])

    @precondition(lambda self: self.here.runs)
    @rule(number=st.integers(0, 7))
    def official(self, number: int) -> None:
        """An official agent takes a run, if it waits."""
        self.here.environment.official(self.here.runs[number % len(self.here.runs)])

    @rule(number=AGENTS, seconds=SECONDS, is_cloud=st.booleans())
    def away(self, number: int, seconds: float, is_cloud: bool) -> None:
        """One side does not answer an agent for a while."""
        faults, until = self._agent(number).faults, self.here.scheduler.now / 1_000_000 + seconds
        if is_cloud:
            faults.cloud_away = until
        else:
            faults.platform_away = until

    @invariant()
    def no_rule_is_broken(self) -> None:
        """Whatever has happened."""
        assert not self.here.environment.ledger.violations, "\n".join(self.here.environment.ledger.lines)

    def teardown(self) -> None:
        """At the end everybody lives, and everything settles."""
        try:
            for agent in self.here.agents:
                if agent.points is not None:
                    agent.points.kill_at = None
                agent.start()
            self.here.settle()
            self.no_rule_is_broken()
        finally:
            self._open.close()


Lives.TestCase.settings = settings(
    derandomize=not EVERYTHING,
    max_examples=400 if EVERYTHING else 12,
    stateful_step_count=30 if EVERYTHING else 15,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestLives = Lives.TestCase
