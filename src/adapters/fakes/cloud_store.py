"""The store of the in-memory Cloud: rows as the Cloud's rules need them, and views of them as the port needs them."""

import hashlib
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import attrs

from prefect.agent.adapters.phases import hold_of, named_state
from prefect.agent.domain.cloud import limits, transitions
from prefect.agent.domain.cloud.changing import Columns, RunStore, change_flow_run, change_task_run
from prefect.agent.domain.cloud.errors import NotFound
from prefect.agent.domain.cloud.runs import run_labels
from prefect.agent.domain.cloud.selection import LIMIT, STARTED, is_due, is_ready
from prefect.agent.domain.cloud.states import CloudState, plain, scheduled
from prefect.agent.domain.cloud.strictness import STRICT, Claims, Strictness
from prefect.agent.domain.errors import ForeignAttempt
from prefect.agent.domain.labels import labels_match
from prefect.agent.domain.model import states as model
from prefect.agent.domain.model.ends import waits_until
from prefect.agent.domain.model.explaining import RunFacts, SeenAgent
from prefect.agent.domain.model.flow_runs import Attempt, ClaimRecord, Flow, FlowRun, FlowRunId, TaskRun, TaskRunId
from prefect.agent.domain.model.run_configs import RunConfig
from prefect.agent.domain.state_names import PARENTS, RUNNING, SCHEDULED, SUBMITTED
from prefect.agent.domain.times import iso, read_time

RECORD: Final = "claim"
"""Where a Submitted state's payload keeps the claim record."""

RECOVERIES: Final = "recoveries"
"""Where the Scheduled state of a run that was handed back keeps how often it was recovered."""


@attrs.frozen
class MemoryAttempt(Attempt):
    """An attempt consists of a version; for a Running run also of the task runs that are due.

    Attributes:
        due: Short hash of the due task runs; empty if the run itself is claimed.
        of: Id of the run or task run that it was read from: no claim of another one is taken with it.
    """

    version: int
    due: str = ""
    of: str = attrs.field(default="", eq=False, repr=False)

    def __str__(self) -> str:
        return f"{self.version}-{self.due}" if self.due else str(self.version)


def fence_of(run: FlowRun | TaskRun) -> MemoryAttempt:
    """Return the attempt that a claim of *run* is compared with.

    Raises:
        ForeignAttempt: It was not read with this very run.
    """
    if isinstance(run.attempt, MemoryAttempt) and run.attempt.of == run.id:
        return run.attempt
    raise ForeignAttempt(f"the attempt {run.attempt} of {run.id} was not read from this Cloud")


@attrs.define
class StoredRun:
    """A stored flow run or task run: ``columns`` as the Cloud's rules know them, and its whole history."""

    columns: dict[str, Any]
    history: list[tuple[str, str]] = attrs.field(factory=list)

    @property
    def state(self) -> str:
        """Return the type of its present state."""
        return str(self.columns["state"])

    def apply(self, accepted: transitions.Accepted) -> None:
        """Apply an update of the Cloud's rules."""
        self.columns.update(accepted.values)
        self.history.append((str(accepted.history["state"]), str(accepted.history["message"] or "")))


@attrs.define
class StoredFlowRun(StoredRun):
    """A stored flow run has task runs."""

    name: str = ""
    flow: Flow = Flow(id="flow")
    run_config: RunConfig = RunConfig()
    labels: list[str] = attrs.field(factory=list)
    task_runs: dict[TaskRunId, StoredRun] = attrs.field(factory=dict)
    claim: ClaimRecord | None = None
    changed_at: datetime | None = None

    @property
    def id(self) -> FlowRunId:
        """Return the flow run's id."""
        return FlowRunId(self.columns["id"])

    def due(self, before: datetime) -> list[StoredRun]:
        """Return the task runs that wait to be started before *before*, by id."""
        ready = [row for row in self.task_runs.values() if is_due(row.columns, before)]
        return sorted(ready, key=lambda row: str(row.columns["id"]))


@attrs.define
class Store:
    """The store holds all flow runs. Not thread-safe: the caller holds a lock.

    Attributes:
        strictness: Of this Cloud.
        limits: Places of labels: how many flow runs with a label may run at a time.
        claims: When runs were last claimed.
    """

    strictness: Strictness = STRICT
    claims: Claims = attrs.field(factory=Claims)
    runs: dict[FlowRunId, StoredFlowRun] = attrs.field(factory=dict)
    limits: dict[str, int] = attrs.field(factory=dict)

    def add(
        self,
        *,
        now: datetime,
        due: datetime,
        labels: Collection[str],
        flow: Flow,
        run_config: RunConfig,
        name: str,
        run_id: str | None,
    ) -> StoredFlowRun:
        """Add a Scheduled flow run."""
        row = StoredFlowRun(
            _blank(run_id or str(uuid.uuid4())),
            name=name or f"flow-run-{len(self.runs) + 1}",
            flow=flow,
            run_config=run_config,
            labels=run_labels({"labels": list(labels)}, {}, {}),
        )
        self.runs[row.id] = row
        self.set_state(row, scheduled(due, "Flow run scheduled."), now=now)
        return row

    def add_task_run(self, run: StoredFlowRun, state: str, start_time: datetime | None, *, now: datetime) -> TaskRunId:
        """Add a task run in a state."""
        row = StoredRun(_blank(str(uuid.uuid4())))
        task_run_id = TaskRunId(row.columns["id"])
        run.task_runs[task_run_id] = row
        self.set_task_state(run, row, made_state(state, "", start_time), now=now)
        return task_run_id

    def get(self, run_id: FlowRunId) -> StoredFlowRun:
        """Return the flow run with that id.

        Raises:
            NotFound: There is none.
        """
        if run_id not in self.runs:
            raise NotFound(f"Flow run {run_id} not found")
        return self.runs[run_id]

    def set_state(self, row: StoredFlowRun, state: CloudState, *, now: datetime, version: int | None = None) -> None:
        """Update a flow run by the Cloud's rules, and its task runs if the update cancels them.

        A run that wants to begin and finds no free place is Queued instead.

        Raises:
            CloudRefusal: The rules refuse it.
        """
        change_flow_run(_Change(self, now), row.columns, state, version=version)

    def set_task_state(
        self, run: StoredFlowRun, row: StoredRun, state: CloudState, *, now: datetime, version: int | None = None
    ) -> None:
        """Update a task run by the Cloud's rules.

        Raises:
            CloudRefusal: The rules refuse it.
        """
        change_task_run(_Change(self, now), run.columns, row.columns, state, version=version)

    def hand_back(self, row: StoredFlowRun, message: str, *, now: datetime, recoveries: int) -> None:
        """Let a claimed run, or its claimed task runs, wait again as before the claim.

        Args:
            recoveries: How many the run counts from now on.

        Raises:
            CloudRefusal: The rules refuse it.
        """
        if row.state == SUBMITTED:
            self.set_state(row, _waits_again(row, message, recoveries, now), now=now)
            return
        for task in row.task_runs.values():
            if task.state == SUBMITTED:
                self.set_task_state(row, task, _waits_again(task, message, recoveries, now), now=now)
        row.claim = None

    def full(self, row: StoredFlowRun) -> list[str]:
        """Return the limits that keep a flow run from running."""
        taking = (other.labels for other in self.runs.values() if other is not row and other.state in limits.TAKING)
        return limits.full(self.limits, limits.count_taken(taking), row.labels) if self.limits else []

    def ready(
        self, labels: Collection[str], before: datetime, now: datetime, skip: Collection[FlowRunId] = ()
    ) -> list[StoredFlowRun]:
        """Return the queue: due flow runs that match *labels*, oldest first.

        Task runs count once they are due *now*.
        """
        left_out = set(skip)
        found = [each for each in self._due(before, now) if each[1] not in left_out]
        due = [row for _, _, row in sorted(found, key=lambda each: each[:2])[: self.strictness.queue_reads]]
        return [row for row in due if labels_match(row.labels, labels)][:LIMIT]

    def has_due(self, before: datetime, now: datetime) -> bool:
        """Return whether any flow run is due, whatever its labels."""
        return any(True for _ in self._due(before, now))

    def late(self, before: datetime) -> list[FlowRunId]:
        """Return the runs that were due *before*, whatever their labels, oldest first."""
        return [run_id for _, run_id, _ in sorted(self._due(before, before), key=lambda each: each[:2])][:LIMIT]

    def _due(self, before: datetime, now: datetime) -> Iterator[tuple[str, FlowRunId, StoredFlowRun]]:
        """Return each due run with its id and the time since which it waits."""
        for row in self.runs.values():
            if row.state not in STARTED:
                continue
            tasks = row.due(min(before, now))
            if is_ready(row.columns, [task.columns for task in tasks], before):
                waiting: Sequence[StoredRun] = tasks if row.state == "Running" else [row]
                yield min(str(each.columns["state_start_time"]) for each in waiting), row.id, row


@attrs.frozen
class _Change(RunStore):
    """The runs of a store while one of them is changed."""

    store: Store
    at: datetime

    @property
    def now(self) -> datetime:
        return self.at

    @property
    def strictness(self) -> Strictness:
        return self.store.strictness

    @property
    def claims(self) -> Claims:
        return self.store.claims

    def is_version_locked(self, flow_run: Columns) -> bool:  # noqa: ARG002 - no flow of this Cloud is locked
        return False

    def full_limits_of_flow_run(self, flow_run: Columns) -> list[str]:
        return self.store.full(self._row(flow_run))

    def full_limits_of_task_run(self, task_run: Columns) -> list[str]:  # noqa: ARG002 - this Cloud limits no tags
        return []

    def task_runs(self, flow_run: Columns) -> Iterable[Columns]:
        return [task_run.columns for task_run in self._row(flow_run).task_runs.values()]

    def write_flow_run(self, flow_run: Columns, accepted: transitions.Accepted) -> None:
        row = self._row(flow_run)
        row.apply(accepted)
        row.changed_at = self.now
        if row.state in {SUBMITTED, "Scheduled"}:
            row.claim = row.columns["serialized_state"].get(RECORD)

    def write_task_run(self, flow_run: Columns, task_run: Columns, accepted: transitions.Accepted) -> None:
        run = self._row(flow_run)
        row = run.task_runs[TaskRunId(task_run["id"])]
        row.apply(accepted)
        run.columns.update(accepted.flow_run_values)
        if row.state == SUBMITTED:
            run.claim, run.changed_at = row.columns["serialized_state"].get(RECORD), self.now

    def _row(self, flow_run: Columns) -> StoredFlowRun:
        return self.store.runs[FlowRunId(flow_run["id"])]


def facts(rows: Sequence[StoredFlowRun], agents: Sequence[SeenAgent], now: datetime) -> RunFacts:
    """Return the facts from which the first run is explained; the others have its name."""
    row, *others = rows
    seen = view(row, now)
    return RunFacts(
        id=row.id,
        name=row.name,
        flow=row.flow.name,
        state=seen.state,
        hold=hold_of(seen.state.name),
        since=row.changed_at,
        labels=frozenset(row.labels),
        claim=seen.claim,
        agents=tuple(agents),
        at=now,
        namesakes=tuple(each.id for each in others),
    )


def view(row: StoredFlowRun, now: datetime) -> FlowRun:
    """Return the flow run as the port shows it."""
    is_running = row.state == RUNNING
    due = tuple(_task_view(task) for task in row.due(now)) if is_running else ()
    return FlowRun(
        id=row.id,
        attempt=MemoryAttempt(row.columns["version"], _hash(due), row.id),
        state=_state_view(row.columns, with_time=not due),
        flow=row.flow,
        name=row.name,
        run_config=row.run_config,
        due_task_runs=due,
        tasks_wait=is_running and any(task.state in SCHEDULED for task in row.task_runs.values()),
        claimed_task_runs=tuple(_task_view(t) for t in _claimed_tasks(row)) if is_running else (),
        claim=row.claim,
        recoveries=_recoveries(row, row.task_runs.values() if is_running else ()),
    )


def submitted(record: ClaimRecord, wrapped: Mapping[str, Any]) -> CloudState:
    """Return the Submitted state of a claim."""
    message = "Submitted for execution"
    payload = {"type": "Submitted", "message": message, RECORD: record, "state": wrapped}
    return CloudState(type="Submitted", message=message, payload=payload)


def made_state(kind: str, message: str, start_time: datetime | None = None) -> CloudState:
    """Return a state that a test asks for.

    Raises:
        ValueError: There is no such type.
    """
    if kind not in PARENTS:
        raise ValueError(f"{kind!r} is no state type; there are {', '.join(sorted(PARENTS))}")
    state = plain(kind, message)
    if start_time is None:
        return state
    return attrs.evolve(state, start_time=start_time, payload={**state.payload, "start_time": iso(start_time)})


def _blank(row_id: str) -> dict[str, Any]:
    return {"id": row_id, "version": 0, "state": "Pending", "serialized_state": {}, "state_start_time": None}


def _task_view(row: StoredRun) -> TaskRun:
    columns = row.columns
    attempt = MemoryAttempt(columns["version"], of=str(columns["id"]))
    return TaskRun(id=TaskRunId(columns["id"]), attempt=attempt, state=_state_view(columns, with_time=True))


def _state_view(columns: Mapping[str, Any], *, with_time: bool) -> model.State:
    start = columns["state_start_time"] if with_time else None
    message = columns.get("state_message") or ""
    due = None if start is None else read_time(start)
    return named_state(str(columns["state"]), message, due)


def _claimed_tasks(row: StoredFlowRun) -> list[StoredRun]:
    claimed = [task for task in row.task_runs.values() if task.state == SUBMITTED]
    return sorted(claimed, key=lambda task: str(task.columns["id"]))


def _recoveries(row: StoredRun, task_runs: Iterable[StoredRun]) -> int:
    """Return the number of recoveries in the waiting states of a run, or of its task runs."""
    waiting = [each for each in (row, *task_runs) if each.state in SCHEDULED]
    return max((each.columns["serialized_state"].get(RECOVERIES, 0) for each in waiting), default=0)


def _waits_again(row: StoredRun, message: str, recoveries: int, now: datetime) -> CloudState:
    """Return the state in which *row* waited before its claim, for a while longer."""
    waited = row.columns["serialized_state"].get("state") or {}
    kind = str(waited.get("type"))
    kind = kind if kind in SCHEDULED else "Scheduled"  # a loose Cloud lets a Running run be claimed
    due = read_time(waited["start_time"]) if waited.get("start_time") else None
    state = made_state(kind, message, waits_until(due, now))
    return attrs.evolve(state, payload={**state.payload, RECOVERIES: recoveries})


def _hash(due: Sequence[TaskRun]) -> str:
    words = "/".join(f"{task_run.id}@{task_run.attempt}" for task_run in due)
    return hashlib.sha256(words.encode()).hexdigest()[:8] if due else ""
