"""The Cloud API port over GraphQL, in the dialect of 1.4.1 (protocol sections 2 to 5).

How well a claim is fenced depends on the backend: Prefect Cloud with version locking and the embedded Cloud compare and
set; Prefect Server refuses a second claim within 30 s of the first (protocol section 4.3).
"""

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from prefect.agent.adapters.graphql import documents, wire
from prefect.agent.adapters.graphql.transport import Answer, Transport, describe, is_trouble
from prefect.agent.adapters.graphql.workloads import workload
from prefect.agent.domain.errors import CloudError, OutcomeUnknown, RequestRejected
from prefect.agent.domain.model.flow_runs import (
    Claimed,
    ClaimOutcome,
    Deferred,
    FlowRun,
    FlowRunId,
    Lost,
    Refused,
)
from prefect.agent.domain.model.states import CANCELLED, CANCELLING, FAILED, FINISHED_TYPES
from prefect.agent.domain.model.workloads import Workload
from prefect.agent.domain.times import iso
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import AgentIdentity, ClaimRequest, CloudApi, LogLine, Tenant

BATCH: Final = 25
"""Claims in one document: a backend may refuse very large ones (protocol section 4.2)."""

PAGE: Final = 200
"""Flow runs in one answer of the reads that page."""

MAX_LOG_BYTES: Final = 2_000_000
"""Log lines in one request; backends refuse bodies above 5 MB (protocol section 1.4), and JSON text is longer."""

MAX_LOG_LINE: Final = 200_000
LEVELS: Final = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})

LOST_CODE: Final = "VERSION_LOCKING_ERROR"
LOST_TEXT: Final = "State update failed"
BAD_CODES: Final = frozenset({"BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED"})

log = logging.getLogger("prefect.agent.cloud")


class GraphQLCloudApi(CloudApi):
    """Prefect Cloud, Prefect Server or the embedded Cloud.

    Args:
        url: Address of the API, for example ``https://api.prefect.io``.
        clock: For the times that queries name.
        key: API key or token; None for a Prefect Server without keys.
        tenant_id: UUID; None lets the API infer it from the key.
        backend: ``cloud`` or ``server``.
        send_logs: Whether flow runs send their logs to the Cloud.
        log_level: Level of the flow runs' loggers.
        labels: The agent's, for the flow runs to know.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        key: str | None = None,
        tenant_id: str | None = None,
        backend: str = "server",
        send_logs: bool = True,
        log_level: str = "INFO",
        labels: Collection[str] = (),
    ) -> None:
        self._clock = clock
        self._key, self._tenant_id, self._backend = key, tenant_id, backend
        self._send_logs, self._log_level, self._labels = send_logs, log_level, sorted(labels)
        self._transport = Transport(url, key)
        if key and tenant_id:
            self._transport.set_header("X-PREFECT-TENANT-ID", tenant_id)

    def connect(self) -> Tenant:
        tenant = self._infer_tenant()
        self._tenant_id = tenant.id
        if self._key:
            self._transport.set_header("X-PREFECT-TENANT-ID", tenant.id)
        return tenant

    def register(self, agent: AgentIdentity) -> str:
        given = {
            "type": agent.type,
            "name": agent.name,
            "labels": list(agent.labels),
            "tenant_id": self._tenant_id,
            "agent_config_id": agent.config_id,
        }
        agent_id = _dig(self._transport.ask(documents.REGISTER, {"input": given}), "register_agent", "id")
        if not isinstance(agent_id, str) or not agent_id:
            raise RequestRejected("the API did not give the agent an id")
        self._transport.set_header("X-PREFECT-AGENT-ID", agent_id)
        return agent_id

    @property
    def waits(self) -> bool:
        return self._transport.waits

    def ready_flow_runs(
        self, *, labels: Collection[str], before: datetime, limit: int, wait: float = 0.0
    ) -> Sequence[FlowRun]:
        if limit <= 0:
            return []
        given = {"tenant_id": self._tenant_id, "before": iso(before), "labels": sorted(labels)}
        data = self._transport.ask(documents.QUEUE, {"input": given}, wait=wait)
        found = _dig(data, "get_runs_in_queue", "flow_run_ids")
        ids = [run_id for run_id in found if isinstance(run_id, str)] if isinstance(found, list) else []
        wanted = list(dict.fromkeys(ids))[:limit]
        if not wanted:
            return []
        runs = {run.id: run for run in self._read(documents.ready(wanted, self._clock.now()))}
        asked = [runs[run_id] for run_id in map(FlowRunId, wanted) if run_id in runs]
        return [run for run in asked if run.state.is_scheduled or run.due_task_runs]

    def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        outcomes: list[ClaimOutcome] = []
        for start in range(0, len(requests), BATCH):
            batch = requests[start : start + BATCH]
            try:
                outcomes += self._claim_batch(batch)
            except CloudError as trouble:
                if not outcomes:
                    raise
                # What the first batches claimed must not be forgotten; for the rest the caller asks again: it is safe.
                outcomes += [Deferred(r.run, self._clock.now(), str(trouble)) for r in requests[start:]]
                break
        return outcomes

    def flow_runs(self, ids: Collection[FlowRunId]) -> Sequence[FlowRun]:
        wanted = list(dict.fromkeys(ids))
        pages = (wanted[start : start + PAGE] for start in range(0, len(wanted), PAGE))
        return [run for page in pages for run in self._read(documents.flow_runs(page))]

    def claimed_flow_runs(self, *, platform: str) -> Sequence[FlowRun]:
        tenant_id = self._tenant_id if self._backend == "server" else None
        found, last = [], ""
        while True:
            rows = self._rows(documents.submitted(tenant_id, last, PAGE))
            found += [run for run in self._runs(rows) if run.claim is not None and run.claim.platform == platform]
            ids = [run_id for run_id in (_dig(row, "id") for row in rows) if isinstance(run_id, str) and run_id > last]
            if len(rows) < PAGE or not ids:
                return found
            last = max(ids)

    def cancelled_flow_runs(self, among: Collection[FlowRunId]) -> Sequence[FlowRun]:
        wanted = list(dict.fromkeys(among))
        pages = (wanted[start : start + PAGE] for start in range(0, len(wanted), PAGE))
        return [run for page in pages for run in self._read(documents.cancelled(page))]

    def fail(self, run_id: FlowRunId, reason: str) -> None:
        if self._state(run_id) not in {None, *FINISHED_TYPES}:
            self._set_state(run_id, wire.ended_state(FAILED, reason))

    def cancelled(self, run_id: FlowRunId, message: str) -> None:
        if self._state(run_id) == CANCELLING:
            self._set_state(run_id, wire.ended_state(CANCELLED, message))

    def write_logs(self, lines: Sequence[LogLine]) -> None:
        for batch in _batches(map(_log_entry, lines)):
            data = self._transport.ask(documents.WRITE_LOGS, {"input": {"logs": batch}}, changes=True)
            if not _dig(data, "write_run_logs", "success"):
                raise RequestRejected("the API did not take the log lines")

    def workload(self, run: FlowRun) -> Workload:
        return workload(
            run,
            url=self._transport.url,
            backend=self._backend,
            key=self._key,
            tenant_id=self._tenant_id,
            labels=self._labels,
            log_level=self._log_level,
            send_logs=self._send_logs,
        )

    def close(self) -> None:
        self._transport.close()

    # --- inside ---

    def _infer_tenant(self) -> Tenant:
        """The tenant of the key; the given one is believed once the API has taken the key."""
        if self._backend == "cloud":
            found = _dig(self._transport.ask(documents.TENANT_OF_KEY), "auth_info", "tenant_id")
            if isinstance(found, str) and found:
                return Tenant(id=self._tenant_id or found)
        rows = self._transport.ask(documents.TENANTS).get("tenant")
        tenants = [row for row in rows if isinstance(row, Mapping) and row.get("id")] if isinstance(rows, list) else []
        fitting = [row for row in tenants if self._tenant_id in {None, row["id"]}]
        if not fitting:
            wanted = f"no tenant {self._tenant_id}" if self._tenant_id else "no tenant yet: create one first"
            raise RequestRejected(f"the API at {self._transport.shown} has {wanted}")
        return Tenant(id=str(fitting[0]["id"]), name=str(fitting[0].get("name") or ""))

    def _read(self, document: str) -> list[FlowRun]:
        return self._runs(self._rows(document))

    def _rows(self, document: str) -> list[object]:
        rows = self._transport.ask(document).get("flow_run")
        return rows if isinstance(rows, list) else []

    def _runs(self, rows: Sequence[object]) -> list[FlowRun]:
        """Runs of those rows that make sense."""
        runs = []
        due_before = self._clock.now() - documents.RETRY_SLACK
        for row in rows:
            run = wire.read_flow_run(row, due_before)
            if run is None:
                log.warning("The API sent a flow run that makes no sense; it is left alone: %.200s", json.dumps(row))
                continue
            runs.append(run)
        return runs

    def _claim_batch(self, requests: Sequence[ClaimRequest]) -> list[ClaimOutcome]:
        """Claims in one document. A Running run takes one entry per due task run; the first of them decides."""
        entries: list[tuple[str, Mapping[str, Any]]] = []
        first = []
        for request in requests:
            first.append(len(entries))
            entries += _claim_entries(request)
        document, variables = documents.updates(entries)
        answer = self._transport.send(document, variables, changes=True)
        if answer.errors and not any(_path(error) for error in answer.errors):
            if is_trouble(answer.errors):
                raise OutcomeUnknown(describe(answer.errors))
            raise RequestRejected(describe(answer.errors))
        return [_outcome(request, answer, number) for request, number in zip(requests, first, strict=True)]

    def _state(self, run_id: FlowRunId) -> str | None:
        state = _dig(self._transport.ask(documents.state_of(run_id)), "flow_run_by_pk", "state")
        return state if isinstance(state, str) else None

    def _set_state(self, run_id: FlowRunId, state: Mapping[str, Any]) -> None:
        entry = {"flow_run_id": run_id, "version": None, "state": state}
        document, variables = documents.updates([(documents.SET_FLOW_RUN, entry)])
        self._transport.ask(document, variables, changes=True)


def _claim_entries(request: ClaimRequest) -> list[tuple[str, Mapping[str, Any]]]:
    run, attempt = request.run, request.run.attempt
    if run.due_task_runs:
        return [
            (
                documents.SET_TASK_RUN,
                {
                    "task_run_id": task_run.id,
                    "version": getattr(task_run.attempt, "version", None),
                    "state": wire.submitted_state(dict(getattr(task_run.attempt, "payload", {})), request.record),
                },
            )
            for task_run in run.due_task_runs
        ]
    waiting = run.source.get("serialized_state")
    state = wire.submitted_state(waiting if isinstance(waiting, Mapping) else None, request.record)
    entry = {"flow_run_id": run.id, "version": getattr(attempt, "version", None), "state": state}
    return [(documents.SET_FLOW_RUN, entry)]


def _outcome(request: ClaimRequest, answer: Answer, number: int) -> ClaimOutcome:
    key = documents.alias(number)
    for error in answer.errors:
        if _path(error) == key:
            return _refusal(request, error)
    states = _dig(answer.data, key, "states")
    state = states[0] if isinstance(states, list) and states and isinstance(states[0], Mapping) else None
    if state is None:
        return Deferred(request.run, message="the API said nothing about this claim")
    if state.get("status") == "QUEUED":
        return Deferred(request.run, message=str(state.get("message") or ""))
    return Claimed(request.run, request.record)


def _refusal(request: ClaimRequest, error: Mapping[str, Any]) -> ClaimOutcome:
    message, code = str(error.get("message") or ""), _dig(error, "extensions", "code")
    if code == LOST_CODE or LOST_TEXT in message:
        return Lost(request.run)
    if code in BAD_CODES:
        return Refused(request.run, message)
    # Anything else may be passing trouble of the backend, and no fault of the run: it is offered again.
    return Deferred(request.run, message=message)


def _path(error: Mapping[str, Any]) -> str | None:
    path = error.get("path")
    return str(path[0]) if isinstance(path, list) and path else None


def _log_entry(line: LogLine) -> dict[str, Any]:
    entry = {
        "flow_run_id": line.flow_run_id,
        "name": line.name,
        "message": line.message[:MAX_LOG_LINE],
        "level": line.level if line.level in LEVELS else "INFO",
    }
    return {**entry, "timestamp": iso(line.timestamp)} if line.timestamp else entry


def _batches(entries: Iterable[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        length = len(json.dumps(entry))
        if batch and size + length > MAX_LOG_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += length
    if batch:
        yield batch


def _dig(value: object, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
