"""What happened to runs and units, written down by the environment itself, and the rules that it must not break."""

from collections import Counter
from collections.abc import Callable
from typing import Final

import attrs

from prefect.agent.domain.model.flow_runs import FlowRunId

OFFICIAL: Final = "the official agent"


@attrs.frozen
class Claim:
    """Who owns a run: the agent, and the unit that its claim names."""

    agent: str
    unit: str


@attrs.define
class Ledger:
    """Facts in order, and what was wrong with them.

    Attributes:
        violations: Each in one line, with the virtual time.
        owners: By run: its latest claim; None once it waits again.
        creations: By unit name: how often the platform started it.
        deletions: By unit name: how often it was deleted externally.
        executions: By run: how often its code began to execute.
        allowed: By run: how often people scheduled it.
        late: Runs whose claims took effect after their answer was given up.
    """

    now: Callable[[], float]
    lines: list[str] = attrs.field(factory=list)
    violations: list[str] = attrs.field(factory=list)
    owners: dict[FlowRunId, Claim | None] = attrs.field(factory=dict)
    creations: Counter[str] = attrs.field(factory=Counter)
    deletions: Counter[str] = attrs.field(factory=Counter)
    executions: Counter[FlowRunId] = attrs.field(factory=Counter)
    allowed: Counter[FlowRunId] = attrs.field(factory=Counter)
    executed_units: Counter[str] = attrs.field(factory=Counter)

    def note(self, text: str) -> None:
        """Write a fact down."""
        self.lines.append(f"{self.now():9.2f}  {text}")

    def violate(self, rule: str, text: str) -> None:
        """Write down that *rule* was broken."""
        self.violations.append(f"{rule}: {text} (at {self.now():.2f} s)")
        self.lines.append(f"{self.now():9.2f}  !! {rule}: {text}")

    def created(self, agent: str, run: FlowRunId, unit: str, others: list[str]) -> None:
        """A unit was started while *others* of the same run execute."""
        self.note(f"{agent} starts {unit}")
        self.creations[unit] += 1
        if self.creations[unit] > 1 + self.deletions[unit]:
            self.violate("one unit per claim", f"{unit} was started {self.creations[unit]} times")
        if others:
            self.violate("one unit per run at a time", f"{unit} was started by {agent} while {others} execute")

    def executed(self, run: FlowRunId, where: str) -> None:
        """The code of a run begins to execute in a unit, or elsewhere."""
        self.note(f"{run[-4:]} executes in {where}")
        self.executions[run] += 1
        self.executed_units[where] += 1
        if self.executions[run] > self.allowed[run]:
            count = f"{self.executions[run]} times, scheduled {self.allowed[run]} times"
            self.violate("executed once", f"run {run[-4:]} was executed {count}; last in {where}")

    def ended(self, agent: str, run: FlowRunId, unit: str, what: str, alive: list[str]) -> None:
        """An agent has put a run into another state in the name of *unit*; *alive* are the run's units that execute."""
        owner = self.owners.get(run)
        self.note(f"{agent} makes {run[-4:]} {what} for {unit}")
        if owner is None or owner.unit != unit:
            self.violate("an end speaks for its claim", f"{agent} made {run[-4:]} {what} for {unit}; owner is {owner}")
        if alive:
            self.violate("no end of what executes", f"{agent} made {run[-4:]} {what} while {alive} execute")
