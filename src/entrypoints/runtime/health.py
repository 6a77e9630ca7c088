"""The agent's health, derived from the same events as the log (promise P4)."""

from datetime import datetime
from math import inf
from typing import Any, Final

import attrs

from prefect.agent.domain.model.pipeline import StepRecord, WorkStep, steps, unwell
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.events import Event

SUCCESSES: Final = {
    events.POLLED: "poll",
    events.CLAIMED: "claim",
    events.CLAIM_LOST: "claim",
    events.UNIT_CREATED: "create",
    events.WATCHED: "watch",
    events.SWEPT: "sweep",
    events.REPORTED: "report",
}
"""By event: the step that went well."""

FAILURES: Final = frozenset({events.CLOUD_TROUBLE, events.PLATFORM_TROUBLE, events.BUG, events.UNIT_RETRIED})
"""Events that say what went wrong. One alone makes no agent unwell; a step that goes on failing does."""


@attrs.define(kw_only=True)
class Health:
    """Records when each step last succeeded and what failed since. Takes events from any thread.

    Attributes:
        steps: The steps of the agent's work, with their times.
        paused: Whether an operator lets it claim nothing.
        stopping: Whether it finishes what it has begun, and ends.
    """

    clock: Clock
    steps: tuple[WorkStep, ...] = steps(AgentSettings())
    paused: bool = False
    stopping: bool = False
    _since: float = attrs.field(init=False)
    _records: dict[str, StepRecord] = attrs.field(factory=dict, init=False)
    _moments: dict[str, datetime] = attrs.field(factory=dict, init=False)
    """By step: when it last went well, as a time of day."""
    _problem: str = attrs.field(default="", init=False)
    _busy: bool = attrs.field(default=False, init=False)
    _starting: str = attrs.field(default="", init=False)
    _refused: str = attrs.field(default="", init=False)
    _stalled: dict[str, str] = attrs.field(factory=dict, init=False)
    """By loop or thread that stands still or has ended: the message about it."""

    @classmethod
    def of(cls, clock: Clock, settings: AgentSettings) -> "Health":
        """The health of an agent with these settings."""
        return cls(clock=clock, steps=steps(settings))

    def __attrs_post_init__(self) -> None:
        self._since = self.clock.monotonic()

    def start_up(self, reason: str) -> None:
        """Record that the agent starts, and what it waits for; it is unhealthy until an event says it has started."""
        self._starting = reason

    def take(self, event: Event) -> None:
        """Update the health with one event."""
        if event.name in SUCCESSES:
            self._went_well(SUCCESSES[event.name], is_busy=bool(event.fields.get("busy")))
        elif event.name in FAILURES:
            self._went_wrong(event)
        else:
            self._take_condition(event)

    @property
    def lives(self) -> bool:
        """Whether a restart would not help: the agent is healthy, starts, pauses, stops, or waits for its key."""
        waits = self._starting or self._refused or self.paused or self.stopping
        return not self._stalled and (bool(waits) or self._age("poll") <= self._allowed("poll"))

    @property
    def is_ready(self) -> bool:
        """Whether the agent takes flow runs: it has started, does not pause, and does not stop."""
        return not (self._starting or self.paused or self.stopping)

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the agent is healthy, and the facts as values for JSON."""
        reason = self._reason()
        healthy = not reason
        facts: dict[str, Any] = {
            "status": self._status(healthy=healthy),
            "busy": self._busy,
            "seconds_since_good_poll": round(self._age("poll"), 1),
            "reason": reason or None,
            "trouble": self._at_once() or self._problem or reason or None,
        }
        facts.update({f"last_{step.name}": self._moment(step.name) for step in self.steps})
        facts["steps"] = {step.name: self._facts_of(step) for step in self.steps}
        return healthy, facts

    # --- what it learns ---

    def _went_well(self, step: str, *, is_busy: bool) -> None:
        """A poll that did not ask, since there is no room, went well, but proves nothing about the Cloud."""
        self._moments[step] = self.clock.now()
        self._records[step] = self._record(step).after_success(self.clock.monotonic())
        if step == "poll":
            self._busy = is_busy
            if not is_busy:
                self._problem = self._refused = ""

    def _went_wrong(self, event: Event) -> None:
        step = "create" if event.name == events.UNIT_RETRIED else str(event.fields.get("loop"))
        if event.name != events.UNIT_RETRIED:
            self._problem = event.message
        if step in self._names():
            self._records[step] = self._record(step).after_failure(self.clock.monotonic(), event.message)

    def _take_condition(self, event: Event) -> None:
        """Update the conditions that make the agent unhealthy at once, when they begin and when they end."""
        if event.name == events.STARTING:
            self._starting = event.message
        elif event.name == events.AGENT_STARTED and self._starting:
            self._starting, self._since = "", self.clock.monotonic()
        elif event.name == events.KEY_REFUSED:
            self._refused = event.message
        elif event.name == events.KEY_ACCEPTED:
            self._refused = ""
        elif event.name == events.STALLED:
            self._stalled[str(event.fields.get("loop"))] = event.message
        elif event.name == events.RESUMED:
            self._stalled.pop(str(event.fields.get("loop")), None)
        elif event.name == events.THREAD_ENDED:
            self._stalled[f"thread {event.fields.get('thread')}"] = event.message

    # --- what it says ---

    def _reason(self) -> str:
        """Why the agent is unwell; empty if it is well."""
        late = unwell(self._considered(), dict(self._records), self._since, self.clock.monotonic())
        return self._at_once() or next(late, "")

    def _considered(self) -> tuple[WorkStep, ...]:
        """The steps that are taken now: one that stops or pauses does not poll."""
        if self.stopping:
            return tuple(step for step in self.steps if step.silence == inf)
        return tuple(step for step in self.steps if not (self.paused and step.name == "poll"))

    def _at_once(self) -> str:
        """What makes the agent unwell whatever the steps do."""
        return self._starting or self._refused or next(iter(list(self._stalled.values())), "")

    def _status(self, *, healthy: bool) -> str:
        if self._starting:
            return "starting"
        if not healthy:
            return "unhealthy"
        if self.stopping:
            return "stopping"
        return "paused" if self.paused else "healthy"

    def _facts_of(self, step: WorkStep) -> dict[str, Any]:
        record = self._record(step.name)
        age = None if record.succeeded_at is None else round(self._age(step.name), 1)
        return {"last_success": self._moment(step.name), "seconds_since": age, "problem": record.problem or None}

    def _moment(self, step: str) -> str | None:
        return self._moments[step].isoformat() if step in self._moments else None

    def _record(self, step: str) -> StepRecord:
        return self._records.get(step, StepRecord())

    def _age(self, step: str) -> float:
        at = self._record(step).succeeded_at
        return self.clock.monotonic() - (self._since if at is None else at)

    def _allowed(self, step: str) -> float:
        return next(each.silence for each in self.steps if each.name == step)

    def _names(self) -> set[str]:
        return {step.name for step in self.steps}
