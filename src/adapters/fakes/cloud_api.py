"""A small but complete Prefect Cloud in memory, with the same rules as the embedded Cloud."""

import threading
import uuid
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import attrs

from prefect.agent.adapters.fakes.cloud_orders import OrderingCloudApi
from prefect.agent.adapters.fakes.cloud_store import (
    Store,
    StoredFlowRun,
    facts,
    fence_of,
    made_state,
    submitted,
    view,
)
from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.domain.cloud.limits import check_limit
from prefect.agent.domain.cloud.logs import LEVELS, check_texts
from prefect.agent.domain.cloud.states import plain
from prefect.agent.domain.cloud.strictness import LOOSE, STRICT
from prefect.agent.domain.cloud.transitions import cancel
from prefect.agent.domain.errors import ForeignAttempt, OutcomeUnknown, RequestRejected
from prefect.agent.domain.model.ends import End, EndKind, EndOutcome, EndVerdict, judge_end, recoveries_after
from prefect.agent.domain.model.explaining import Reference, RunFacts, SeenAgent
from prefect.agent.domain.model.flow_runs import (
    Claimed,
    ClaimOutcome,
    Flow,
    FlowRun,
    FlowRunId,
    Lost,
    Refused,
    TaskRunId,
)
from prefect.agent.domain.model.run_configs import RunConfig, UniversalRun
from prefect.agent.domain.model.submissions import Workload
from prefect.agent.domain.state_names import CANCELLED, FAILED, OPEN
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import AgentIdentity, Changes, ClaimRequest, LogLine, Tenant

TENANT: Final = Tenant(id="00000000-0000-4000-8000-000000000000", name="memory")
FLOW: Final = Flow(id="00000000-0000-4000-8000-00000000000f", name="flow")


@attrs.frozen(kw_only=True)
class FlowRunView:
    """A view shows a flow run as it is inside the Cloud.

    Attributes:
        state: Type of the state.
        history: Type and message of every state there has been, the present one last.
    """

    state: str
    message: str
    version: int
    history: tuple[tuple[str, str], ...] = ()


class InMemoryCloudApi(OrderingCloudApi):
    """This Cloud keeps flow runs in a dictionary; any number of agents may share one object.

    Back door for tests: :meth:`add_flow_run`, :meth:`add_task_run`, :meth:`set_state`, :meth:`set_task_state`,
    :meth:`cancel`, :meth:`limit_label`, :meth:`flow_run`, :meth:`logs`, :meth:`answer_claims`, :meth:`answer_ends`,
    ``registered``, ``fail_next``, ``lose_answers`` and ``calls``.

    Args:
        clock: The Cloud's clock; None for the real time.
        command: What to run for a flow run.
        loose: Whether it is as loose as Prefect Server: it compares no versions, so a claim overwrites any state
            unless the run was claimed within the last 30 seconds.
    """

    def __init__(self, clock: Clock | None = None, *, command: Sequence[str] = ("true",), loose: bool = False) -> None:
        super().__init__()
        self._clock, self._command = clock, tuple(command)
        self._guard = threading.RLock()
        self._store = Store(LOOSE if loose else STRICT)
        self._agents: dict[AgentIdentity, str] = {}
        self._asked: dict[frozenset[str], datetime] = {}
        self._answers: dict[FlowRunId, Callable[[FlowRun], ClaimOutcome]] = {}
        self._end_answers: dict[FlowRunId, Callable[[End], EndOutcome]] = {}
        self._identity = f"memory:{uuid.uuid4().hex[:8]}"

    def connect(self) -> Tenant:
        with self._call("connect"):
            return TENANT

    def register(self, agent: AgentIdentity) -> str:
        with self._call("register"):
            return self._agents.setdefault(agent, str(uuid.uuid4()))

    @property
    def identity(self) -> str:
        return self._identity

    @property
    def compares(self) -> bool:
        return self._store.strictness.compares

    def ready_flow_runs(
        self,
        *,
        labels: Collection[str],
        before: datetime,
        limit: int,
        wait: float = 0.0,
        skip: Collection[FlowRunId] = (),
    ) -> Sequence[FlowRun]:
        del wait  # this Cloud answers at once
        with self._call("ready_flow_runs"):
            now = self._now()
            self._asked[frozenset(labels)] = now
            return [view(row, now) for row in self._store.ready(labels, before, now, skip)[: max(0, limit)]]

    def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        with self._call("claim"):
            return [self._claim(request) for request in requests]

    def flow_runs(self, ids: Collection[FlowRunId]) -> Sequence[FlowRun]:
        with self._call("flow_runs"):
            return self._views(ids)

    def claimed_flow_runs(self, *, platform: str, changed_since: datetime | None = None) -> Sequence[FlowRun]:
        with self._call("claimed_flow_runs"):
            rows = [row for row in self._store.runs.values() if row.claim and row.claim.platform == platform]
            if changed_since is None:
                rows = [row for row in rows if row.state in OPEN]
            else:
                rows = [row for row in rows if row.changed_at is not None and row.changed_at >= changed_since]
            return self._views([row.id for row in rows])

    def changes(self, *, platform: str, changed_since: datetime | None = None, due_before: datetime) -> Changes:
        found = self.claimed_flow_runs(platform=platform, changed_since=changed_since)
        return Changes(runs=found, none_due=not self._store.has_due(due_before, self._now()))

    def end(self, ends: Sequence[End]) -> Sequence[EndOutcome]:
        try:
            with self._call("end"):
                return [self._end(end) for end in ends]
        except OutcomeUnknown as problem:
            return [EndOutcome(verdict=EndVerdict.UNKNOWN, reason=str(problem)) for _ in ends]

    def write_logs(self, lines: Sequence[LogLine]) -> None:
        with self._call("write_logs"):
            now = self._now()
            for line in lines:
                self._check_line(line)
            self._logs += [attrs.evolve(line, timestamp=line.timestamp or now) for line in lines]

    def facts(self, reference: Reference) -> RunFacts | None:
        with self._call("facts"):
            newest = reversed(self._store.runs.values())
            rows = [row for row in newest if reference.run_id == row.id or reference.name == row.name]
            agents = [self._seen(identity) for identity in self._agents]
            return facts(rows, agents, self._now()) if rows else None

    def late_flow_runs(self, *, by: timedelta) -> Sequence[FlowRunId]:
        with self._call("late_flow_runs"):
            return self._store.late(self._now() - by)

    def workload(self, run: FlowRun) -> Workload:
        return Workload(command=self._command, default_image="memory/flow:latest", fixed={"FLOW_RUN_ID": run.id})

    # --- back door ---

    def add_flow_run(
        self,
        *,
        labels: Collection[str] = (),
        due: datetime | None = None,
        flow: Flow = FLOW,
        run_config: RunConfig | None = None,
        name: str = "",
        state: str = "Scheduled",
        run_id: str | None = None,
    ) -> FlowRunId:
        """Create a flow run and return its id.

        Args:
            due: When it is to start; None for now.
            state: Type of the state to leave it in; it was Scheduled before.
            run_id: Its id; None makes one up.
        """
        with self._guard:
            now = self._now()
            row = self._store.add(
                now=now,
                due=due or now,
                labels=labels,
                flow=flow,
                run_config=run_config or UniversalRun(),
                name=name,
                run_id=run_id,
            )
            if state != "Scheduled":
                self.set_state(row.id, state)
            return row.id

    def add_task_run(self, run_id: FlowRunId, state: str = "Retrying", start_time: datetime | None = None) -> TaskRunId:
        """Give a flow run one more task run and return its id.

        Args:
            start_time: When it is to start again; None for now.

        Raises:
            NotFound: There is no such flow run.
        """
        with self._guard:
            now = self._now()
            return self._store.add_task_run(self._store.get(run_id), state, start_time or now, now=now)

    def limit_label(self, label: str, places: int | None) -> None:
        """Let at most *places* flow runs with *label* run at a time; None lifts the limit.

        Raises:
            CloudRefusal: *places* is not a valid number.
        """
        with self._guard:
            self._store.limits.pop(label, None)
            if places is not None:
                self._store.limits[label] = check_limit(places)

    def set_state(self, run_id: FlowRunId, state: str, message: str = "", start_time: datetime | None = None) -> None:
        """Put a flow run into another state, as its process or a person would.

        A run that is to be Running becomes Queued if there is a limit without a free place (:meth:`limit_label`).

        Args:
            start_time: For a Scheduled state: when the run is due; None for now.

        Raises:
            CloudRefusal: The Cloud's rules refuse it (``domain.cloud.errors``).
        """
        with self._guard:
            now = self._now()
            due = start_time or (now if state == "Scheduled" else None)
            self._store.set_state(self._store.get(run_id), made_state(state, message, due), now=now)

    def set_task_state(
        self, run_id: FlowRunId, task_run_id: TaskRunId, state: str, start_time: datetime | None = None
    ) -> None:
        """Put a task run into another state, by the same rules as :meth:`set_state`."""
        with self._guard:
            run = self._store.get(run_id)
            new = made_state(state, "", start_time)
            self._store.set_task_state(run, run.task_runs[task_run_id], new, now=self._now())

    def cancel(self, run_id: FlowRunId) -> None:
        """Cancel a flow run, as a person would."""
        with self._guard:
            row = self._store.get(run_id)
            target = cancel(row.state)
            if target is not None:
                self._store.set_state(row, target, now=self._now())

    def flow_run(self, run_id: FlowRunId) -> FlowRunView:
        """Return a view of a flow run.

        Raises:
            NotFound: There is no such flow run.
        """
        with self._guard:
            row = self._store.get(run_id)
            kind, message = row.history[-1]
            return FlowRunView(state=kind, message=message, version=row.columns["version"], history=tuple(row.history))

    def logs(self, run_id: FlowRunId) -> list[LogLine]:
        """Return the log of a flow run."""
        with self._guard:
            return [line for line in self._logs if line.flow_run_id == run_id]

    def answer_claims(self, run_id: FlowRunId, answer: Callable[[FlowRun], ClaimOutcome] | None) -> None:
        """Answer every claim of a flow run with *answer*, such as ``Deferred``; None lets the rules decide again."""
        with self._guard:
            if answer is None:
                self._answers.pop(run_id, None)
            else:
                self._answers[run_id] = answer

    def answer_ends(self, run_id: FlowRunId, answer: Callable[[End], EndOutcome] | None) -> None:
        """Answer every end of a flow run with *answer* and change nothing; None lets the rules decide again.

        A gateway that cannot reach its service answers ``EndOutcome(verdict=EndVerdict.UNKNOWN)``.
        """
        with self._guard:
            if answer is None:
                self._end_answers.pop(run_id, None)
            else:
                self._end_answers[run_id] = answer

    @property
    def registered(self) -> Mapping[AgentIdentity, str]:
        """Return the registered agents with their ids."""
        with self._guard:
            return dict(self._agents)

    # --- inside ---

    def _end(self, end: End) -> EndOutcome:
        answer, row = self._end_answers.get(end.run_id), self._store.runs.get(end.run_id)
        if answer is not None:
            return answer(end)
        verdict = judge_end(end, view(row, self._now()) if row else None)
        if verdict is not None or row is None:
            return EndOutcome(verdict=verdict or EndVerdict.NOT_OURS)
        try:
            if end.kind is EndKind.HANDED_BACK:
                self._store.hand_back(row, end.message, now=self._now(), recoveries=recoveries_after(end, row.claim))
            else:
                kind = FAILED if end.kind is EndKind.FAILED else CANCELLED
                self._store.set_state(row, plain(kind, end.message), now=self._now())
        except CloudRefusal as problem:
            return EndOutcome(verdict=EndVerdict.UNKNOWN, reason=str(problem))
        return EndOutcome(verdict=EndVerdict.SETTLED)

    def _check_line(self, line: LogLine) -> None:
        """Refuse a line that a Cloud refuses, and with it the whole batch.

        Raises:
            RequestRejected: The flow run does not exist, the level is none, or a text cannot be stored.
        """
        if line.flow_run_id not in self._store.runs:
            raise RequestRejected(f"there is no flow run {line.flow_run_id}: none of these log lines was written")
        if line.level not in LEVELS:
            raise RequestRejected(f"{line.level!r:.40} is not a log level; there are {', '.join(LEVELS)}")
        try:
            check_texts((line.message, line.name))
        except CloudRefusal as refusal:
            raise RequestRejected(refusal.message) from refusal

    @contextmanager
    def _call(self, method: str) -> Generator[None]:
        with self._failures.call(method), self._guard:
            yield

    def _now(self) -> datetime:
        return self._clock.now() if self._clock else datetime.now(timezone.utc)

    def _seen(self, agent: AgentIdentity) -> SeenAgent:
        labels = frozenset(agent.labels)
        return SeenAgent(name=agent.name, kind=agent.type, labels=labels, last_seen=self._asked.get(labels))

    def _views(self, ids: Collection[FlowRunId]) -> list[FlowRun]:
        now = self._now()
        return [view(self._store.runs[run_id], now) for run_id in dict.fromkeys(ids) if run_id in self._store.runs]

    def _claim(self, request: ClaimRequest) -> ClaimOutcome:
        run = request.run
        answer, row = self._answers.get(run.id), self._store.runs.get(run.id)
        if answer is not None:
            return answer(run)
        try:
            fence = fence_of(run)
            for task_run in (*run.due_task_runs, *run.claimed_task_runs):
                fence_of(task_run)
        except ForeignAttempt as problem:
            return Refused(run, str(problem))
        if row is None:
            return Lost(run)
        try:
            if run.claimable_task_runs:
                self._claim_task_runs(row, request)
            else:
                new = submitted(request.record, _waiting(row.columns["serialized_state"]))
                self._store.set_state(row, new, now=self._now(), version=fence.version)
        except CloudRefusal:
            return Lost(run)
        return Claimed(run, request.record)

    def _claim_task_runs(self, row: StoredFlowRun, request: ClaimRequest) -> None:
        """Claim the task runs of a Running run. The first one decides; the others may have moved on.

        Raises:
            CloudRefusal: The first task run cannot be claimed.
        """
        for number, wanted in enumerate(request.run.claimable_task_runs):
            task = row.task_runs[wanted.id]
            new = submitted(request.record, _waiting(task.columns["serialized_state"]))
            try:
                self._store.set_task_state(row, task, new, now=self._now(), version=fence_of(wanted).version)
            except CloudRefusal:
                if not number:
                    raise


def _waiting(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the waiting state that a claim wraps, also if the claim is taken over."""
    wrapped: Mapping[str, Any] = payload.get("state", {}) if payload.get("type") == "Submitted" else payload
    return wrapped
