"""What the Cloud says of the claims on this platform: read whole once, then only what has changed."""

from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from typing import Final

import attrs

from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi

WHOLE_EVERY: Final = 600.0
"""Seconds after which everything is read anew: a change that was missed is found then."""

WHOLE: Final = 1000
"""So many runs are read in that time: if there are more, it becomes longer, and the cost stays as it is."""

SLACK: Final = timedelta(seconds=30)
"""Changes are asked for from so long before the last question: clocks differ, and a Cloud may commit late."""


def is_open(run: FlowRun) -> bool:
    """Whether the run is claimed and not over."""
    return run.state.is_open


def _nothing(run: FlowRun) -> None:
    """Do nothing with *run*."""


@attrs.define(kw_only=True)
class ClaimsView:
    """The runs whose latest claim names this platform, as far as they were read; enough to choose from, not to act on.

    Attributes:
        platforms: Identities of the platform: the present one and older ones.
        on_read: Called with each run that was read.
    """

    cloud: CloudApi
    clock: Clock
    platforms: Collection[str]
    on_read: Callable[[FlowRun], None] = _nothing
    _runs: dict[FlowRunId, FlowRun] = attrs.field(factory=dict, init=False)
    _whole_at: float | None = attrs.field(default=None, init=False)
    _since: datetime | None = attrs.field(default=None, init=False)
    quiet_since: float | None = attrs.field(default=None, init=False)
    """When the Cloud was asked last (monotonic), if it said that no flow run is due."""

    def refresh(self, keep: Collection[FlowRunId], *, due_within: float = 0.0) -> None:
        """Read what has changed.

        Args:
            keep: Runs that stay in the view although they are over: they have units.
            due_within: A flow run that is due in so many seconds counts as due.

        Raises:
            CloudError: The view is as it was.
        """
        asked_at, now = self.clock.monotonic(), self.clock.now_ahead(self.cloud.skew)
        every = WHOLE_EVERY * max(1.0, len(self._runs) / WHOLE)
        whole = self._whole_at is None or asked_at - self._whole_at >= every
        found, is_quiet = self._read(None if whole else self._since, now + timedelta(seconds=due_within))
        self.quiet_since = asked_at if is_quiet else None
        if whole:
            self._runs, self._whole_at = {}, asked_at
        self._keep(found)
        self._since = now - SLACK
        self._runs = {run_id: run for run_id, run in self._runs.items() if is_open(run) or run_id in keep}

    def open_runs(self) -> list[FlowRun]:
        """Claimed runs that are not over."""
        return [run for run in self._runs.values() if is_open(run)]

    def get(self, run_id: FlowRunId) -> FlowRun | None:
        """A run as it was last read; None if it was not read."""
        return self._runs.get(run_id)

    def correct(self, asked: Collection[FlowRunId], found: Iterable[FlowRun]) -> None:
        """Take up what was read for another reason.

        Runs *asked* for that were not *found*, or are claimed elsewhere by now, leave the view. A run that is over
        stays, so that it is not asked for again while it has a unit.
        """
        for run_id in asked:
            self._runs.pop(run_id, None)
        self._keep(run for run in found if not is_open(run) or (run.claim and run.claim.platform in self.platforms))

    def _keep(self, runs: Iterable[FlowRun]) -> None:
        """The backend's own words are left out: they take several times the memory of all the rest."""
        for run in runs:
            self._runs[run.id] = attrs.evolve(run, source={})
            self.on_read(run)

    def _read(self, since: datetime | None, due_before: datetime) -> tuple[list[FlowRun], bool]:
        """What has changed, and whether no flow run is due."""
        answers = [
            self.cloud.changes(platform=platform, changed_since=since, due_before=due_before)
            for platform in self.platforms
        ]
        runs = [run for answer in answers for run in answer.runs]
        return runs, all(answer.none_due for answer in answers)
