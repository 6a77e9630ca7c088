"""What the in-memory Cloud does for people: it creates runs, and shows how they go on."""

import abc
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import attrs

from prefect.agent.adapters.fakes.cloud_store import Store, view
from prefect.agent.adapters.fakes.failing import FallibleCloudApi
from prefect.agent.domain.errors import RequestRejected
from prefect.agent.domain.model.flow_runs import Flow, FlowRun, FlowRunId, SimpleAttempt
from prefect.agent.domain.model.known_names import KnownNames
from prefect.agent.domain.model.orders import FlowDraft, FlowReference, RunOrder, RunStory, StoryEntry
from prefect.agent.domain.model.run_configs import UniversalRun
from prefect.agent.domain.model.states import Phase, State
from prefect.agent.ports.cloud_api import LogLine

DRAFT = FlowRunId("00000000-0000-4000-8000-000000000000")
"""Id of a run that is none."""


@attrs.frozen
class _Position:
    """How far a story was read: counts of states and of lines."""

    states: int = 0
    lines: int = 0


class OrderingCloudApi(FallibleCloudApi):
    """The part of the in-memory Cloud that orders and shows runs. Its flows are those that it has had runs of."""

    _store: Store

    def __init__(self) -> None:
        super().__init__()
        self._logs: list[LogLine] = []
        self._orders: dict[tuple[str, str], FlowRunId] = {}

    @abc.abstractmethod
    def _call(self, method: str) -> AbstractContextManager[None]:
        """Count a call, and hold the lock while it lasts."""

    @abc.abstractmethod
    def _now(self) -> datetime:
        """The Cloud's time."""

    def flow_drafts(self, reference: FlowReference) -> Sequence[FlowDraft]:
        with self._call("flow_drafts"):
            named = [flow for flow in self._flows() if (reference.flow_id or reference.name) in {flow.id, flow.name}]
            return [] if reference.project else [FlowDraft(run=_draft(flow)) for flow in named[-1:]]

    def known_names(self, *, limit: int) -> KnownNames:
        with self._call("known_names"):
            flows = [FlowReference(name=flow.name) for flow in reversed(self._flows())]
            runs = [row.name for row in reversed(self._store.runs.values()) if row.name]
            return KnownNames(flows=flows[:limit], runs=runs[:limit])

    def create_flow_run(self, order: RunOrder) -> FlowRunId:
        with self._call("create_flow_run"):
            known = self._orders.get((order.flow_id, order.key)) if order.key else None
            if known is not None:
                return known
            flow = next((flow for flow in self._flows() if flow.id == order.flow_id), None)
            if flow is None:
                raise RequestRejected(f"there is no flow {order.flow_id}")
            row = self._store.add(
                now=self._now(),
                due=order.due or self._now(),
                labels=order.labels or (),
                flow=flow,
                run_config=UniversalRun(),
                name=order.name or "",
                run_id=None,
            )
            self._orders[order.flow_id, order.key] = row.id
            return row.id

    def run_story(self, run_id: FlowRunId, *, after: object = None) -> RunStory | None:
        with self._call("run_story"):
            row = self._store.runs.get(run_id)
            if row is None:
                return None
            mark = after if isinstance(after, _Position) else _Position()
            lines = [line for line in self._logs if line.flow_run_id == run_id]
            states = [StoryEntry(at=None, name=name, message=message) for name, message in row.history]
            news = (*states[mark.states :], *map(_entry, lines[mark.lines :]))
            return RunStory(state=view(row, self._now()).state, news=news, mark=_Position(len(states), len(lines)))

    def _flows(self) -> list[Flow]:
        return list({row.flow.id: row.flow for row in self._store.runs.values()}.values())


def _draft(flow: Flow) -> FlowRun:
    waiting = State(phase=Phase.WAITING, name="Scheduled")
    return FlowRun(id=DRAFT, attempt=SimpleAttempt("1"), state=waiting, flow=flow, name="draft")


def _entry(line: LogLine) -> StoryEntry:
    return StoryEntry(at=line.timestamp, name=line.name, message=line.message, level=line.level)
