"""Say in the agent's log why flow runs that are due do not start, once for each run and cause."""

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Final

import attrs

from prefect.agent.domain.errors import CloudError
from prefect.agent.domain.labels import labels_match
from prefect.agent.domain.model.explaining import LATE, AskedAgent, Finding, Reference, RunFacts, explain, span
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.run_titles import title
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi
from prefect.agent.ports.events import Event, EventSink

LOOK_EVERY: Final = 60.0
"""Seconds between two looks."""

ASK_AGAIN: Final = 600.0
"""Seconds after which a run is looked at again: its cause may be another one by then."""

AT_ONCE: Final = 5
"""Runs that are looked at in one look: each costs a request."""

MOST_REMEMBERED: Final = 1000
"""Late runs whose last finding is remembered."""

OTHERS: Final = frozenset({"no-agent", "agents-gone", "no-agents"})
"""Causes that concern an agent though it does not take the run's labels: no other agent may be there to report them."""

REPORTED: Final = frozenset({"agent-declines"})
"""Causes that this agent reported when it read the run."""


@attrs.define(kw_only=True)
class NoticeLateRuns:
    """Looks at flow runs that are late by a minute.

    Attributes:
        labels: The agent's.
        describe: Says how the agent is: it may be full, or paused.
    """

    cloud: CloudApi
    clock: Clock
    labels: Collection[str] = ()
    describe: Callable[[], AskedAgent] | None = None
    tell: EventSink = events.ignore
    _next: float = attrs.field(default=float("-inf"), init=False)
    _looked: dict[FlowRunId, tuple[float, str]] = attrs.field(factory=dict, init=False)
    """When each run was looked at (monotonic), and what was said of it."""

    def __call__(self) -> None:
        """Look, if it is time to. A Cloud that does not answer is no news: others report it."""
        now = self.clock.monotonic()
        if now < self._next:
            return
        self._next = now + LOOK_EVERY
        try:
            late = self.cloud.late_flow_runs(by=LATE)
            for run_id in [run_id for run_id in late if self._is_news(run_id, now)][:AT_ONCE]:
                self._look(run_id, now)
        except CloudError as problem:
            message = f"Cannot look why flow runs do not start: {problem}"
            self.tell(Event(name=events.RUN_LATE, level="DEBUG", message=message))

    def _is_news(self, run_id: FlowRunId, now: float) -> bool:
        return run_id not in self._looked or now - self._looked[run_id][0] >= ASK_AGAIN

    def _look(self, run_id: FlowRunId, now: float) -> None:
        facts = self.cloud.facts(Reference(run_id=run_id))
        said = self._looked.pop(run_id, (0.0, ""))[1]
        findings = () if facts is None else explain(facts, asked=() if self.describe is None else (self.describe(),))
        finding = next((each for each in findings if facts is not None and self._concerns(facts, each)), None)
        cause = said if finding is None else finding.cause
        self._looked[run_id] = now, cause
        while len(self._looked) > MOST_REMEMBERED:
            del self._looked[next(iter(self._looked))]
        if facts is not None and finding is not None and cause != said:
            self._report(facts, finding)

    def _concerns(self, facts: RunFacts, finding: Finding) -> bool:
        is_ours = labels_match(facts.labels, self.labels) and finding.cause not in REPORTED
        return finding.stops and facts.state.is_waiting and (is_ours or finding.cause in OTHERS)

    def _report(self, facts: RunFacts, finding: Finding) -> None:
        remedy = f" Do: {finding.remedies[0]}" if finding.remedies else ""
        message = (
            f"Flow run {title(facts.id, facts.flow, facts.name)} is late by {span(facts.late)}. {finding.text}{remedy}"
        )
        names = {"flow_run_id": facts.id, "flow_run_name": facts.name, "flow_name": facts.flow}
        fields = {**names, "cause": finding.cause, "late_s": facts.late / timedelta(seconds=1)}
        self.tell(Event(name=events.RUN_LATE, message=message, fields=fields))
