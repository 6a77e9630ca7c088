"""An in-memory Cloud that names its states as Prefect 3 does: for rules that must not depend on names."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

import attrs

from prefect.agent.adapters.fakes import InMemoryCloudApi
from prefect.agent.domain.model.explaining import Reference, RunFacts
from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId, TaskRun
from prefect.agent.domain.model.orders import RunStory
from prefect.agent.domain.model.states import State

TYPES: Final[Mapping[str, str]] = {
    "Scheduled": "SCHEDULED",
    "Queued": "AwaitingConcurrencySlot",
    "Retrying": "AwaitingRetry",
    "Submitted": "PENDING",
    "Running": "RUNNING",
    "Cancelling": "CANCELLING",
    "Cancelled": "CANCELLED",
    "Success": "COMPLETED",
    "Failed": "CRASHED",
}


class ForeignCloudApi(InMemoryCloudApi):
    """Shows every state under another name; what its back door takes and gives stays in the words of 1.x."""

    def ready_flow_runs(
        self,
        *,
        labels: Collection[str],
        before: datetime,
        limit: int,
        wait: float = 0.0,
        skip: Collection[FlowRunId] = (),
    ) -> Sequence[FlowRun]:
        """The queue, renamed."""
        runs = super().ready_flow_runs(labels=labels, before=before, limit=limit, wait=wait, skip=skip)
        return [_shown(run) for run in runs]

    def flow_runs(self, ids: Collection[FlowRunId]) -> Sequence[FlowRun]:
        """Runs, renamed."""
        return [_shown(run) for run in super().flow_runs(ids)]

    def claimed_flow_runs(self, *, platform: str, changed_since: datetime | None = None) -> Sequence[FlowRun]:
        """Claimed runs, renamed."""
        found = super().claimed_flow_runs(platform=platform, changed_since=changed_since)
        return [_shown(run) for run in found]

    def facts(self, reference: Reference) -> RunFacts | None:
        """Facts, the state renamed."""
        found = super().facts(reference)
        return None if found is None else attrs.evolve(found, state=_renamed(found.state))

    def run_story(self, run_id: FlowRunId, *, after: object = None) -> RunStory | None:
        """A story, its states renamed."""
        found = super().run_story(run_id, after=after)
        if found is None:
            return None
        news = [attrs.evolve(each, name=_word(each.name)) if each.is_state else each for each in found.news]
        return attrs.evolve(found, state=_renamed(found.state), news=news)


def _shown(run: FlowRun) -> FlowRun:
    return attrs.evolve(
        run,
        state=_renamed(run.state),
        due_task_runs=tuple(map(_task_shown, run.due_task_runs)),
        claimed_task_runs=tuple(map(_task_shown, run.claimed_task_runs)),
    )


def _task_shown(task_run: TaskRun) -> TaskRun:
    return attrs.evolve(task_run, state=_renamed(task_run.state))


def _renamed(state: State) -> State:
    return attrs.evolve(state, name=_word(state.name))


def _word(name: str) -> str:
    return TYPES.get(name, name.upper())
