"""Since when flow runs wait for something that their platform lacks, across the claims of one process."""

from typing import Final

import attrs

from prefect.agent.domain.model.flow_runs import FlowRunId

SAY_AGAIN: Final = 1800.0
"""Seconds after which a flow run's log says again what it waits for."""

MOST: Final = 10_000
"""Flow runs that are remembered; beyond it the oldest are forgotten, and wait anew."""


@attrs.define
class Waits:
    """Moments of a clock that only grows, in seconds. Any thread may use it."""

    _since: dict[FlowRunId, float] = attrs.field(factory=dict, init=False)
    _said: dict[FlowRunId, float] = attrs.field(factory=dict, init=False)

    def seconds(self, run_id: FlowRunId, now: float) -> float:
        """How long the run has waited; it waits from the first call on."""
        since = self._since.setdefault(run_id, now)
        for old in list(self._since)[:-MOST]:
            self.forget(old)
        return now - since

    def is_to_be_said(self, run_id: FlowRunId, now: float) -> bool:
        """Whether it is time to say that the run waits; if so, it is as good as said."""
        self.seconds(run_id, now)
        said = self._said.get(run_id)
        if said is not None and now - said < SAY_AGAIN:
            return False
        self._said[run_id] = now
        return True

    def forget(self, run_id: FlowRunId) -> None:
        """The run does not wait any more."""
        self._since.pop(run_id, None)
        self._said.pop(run_id, None)
