"""The steps of an agent's work, and how long each may go without success. Pure; seconds of a clock that only grows."""

from collections.abc import Iterator, Mapping
from math import inf
from typing import Final

import attrs

from prefect.agent.domain.model.settings import AgentSettings

LEAST: Final = 60.0
"""Shortest time that any step is given, in seconds: at one poll in 10 s, several have failed by then."""

WATCH: Final = 180.0
"""How long the watch may bring no answer: it is renewed every minute."""

REPORT: Final = 300.0
"""How long reports may fail; they are kept, and sent later."""

IDLE_SWEEPS: Final = 6
"""How many times its pause a sweep may stay away: the pause is twice as long while nothing is alive."""


@attrs.frozen(kw_only=True)
class WorkStep:
    """One step of the agent's work.

    Attributes:
        name: ``poll``, ``claim``, ``create``, ``watch``, ``sweep`` or ``report``.
        silence: Longest time without success; endless for a step that is only taken when there is something to do.
        failing: Longest time that it may go on failing. A step that is not tried any more does not fail.
    """

    name: str
    silence: float = inf
    failing: float = inf


@attrs.frozen(kw_only=True)
class StepRecord:
    """The successes and failures of one step so far.

    Attributes:
        succeeded_at: When the step last succeeded (monotonic); None if it never has.
        failing_since: When it first failed after that; None if it has not.
        failed_at: When it last failed.
        problem: Message of the last failure; empty once the step succeeds.
    """

    succeeded_at: float | None = None
    failing_since: float | None = None
    failed_at: float = -inf
    problem: str = ""

    def after_success(self, now: float) -> "StepRecord":
        """Return the record after the step succeeded."""
        return StepRecord(succeeded_at=now)

    def after_failure(self, now: float, problem: str) -> "StepRecord":
        """Return the record after the step failed."""
        since = now if self.failing_since is None else self.failing_since
        return attrs.evolve(self, failing_since=since, failed_at=now, problem=problem)

    def seconds_failing(self, now: float, *, until: float) -> float:
        """Return for how long the step has been failing; 0 if its last failure is more than *until* seconds ago."""
        return 0.0 if self.failing_since is None or now - self.failed_at > until else now - self.failing_since


def steps(settings: AgentSettings) -> tuple[WorkStep, ...]:
    """Return the steps of an agent with these settings, in the order in which a run passes them."""
    return (
        WorkStep(name="poll", silence=max(LEAST, 6 * settings.poll_last)),
        WorkStep(name="claim", failing=max(LEAST, 6 * settings.poll_last)),
        WorkStep(name="create", failing=settings.create_deadline + LEAST),
        WorkStep(name="watch", silence=WATCH),
        WorkStep(name="sweep", silence=max(LEAST, IDLE_SWEEPS * settings.sweep_every)),
        WorkStep(name="report", failing=REPORT),
    )


def unwell(
    all_steps: tuple[WorkStep, ...], records: Mapping[str, StepRecord], since: float, now: float
) -> Iterator[str]:
    """Return one sentence for each step that has been without success for too long.

    Args:
        since: When the agent began to work: before that no step could go well.
    """
    for step in all_steps:
        record = records.get(step.name, StepRecord())
        silent = now - (since if record.succeeded_at is None else record.succeeded_at)
        failing = record.seconds_failing(now, until=step.failing)
        if silent > step.silence or failing > step.failing:
            lasts = silent if silent > step.silence else failing
            yield f"no {step.name} has gone well for {lasts:.0f} s{f': {record.problem}' if record.problem else ''}"
