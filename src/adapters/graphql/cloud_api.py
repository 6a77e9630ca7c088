"""The Cloud API port over GraphQL, in the dialect of 1.4.1.

How well a claim is fenced depends on the backend: the embedded Cloud, and Prefect Cloud with version locking, compare
and set; Prefect Server refuses a second claim within 30 s of the first, and nothing else.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from prefect.agent.adapters.graphql import documents, orders
from prefect.agent.adapters.graphql.answers import dig
from prefect.agent.adapters.graphql.checkup import steps
from prefect.agent.adapters.graphql.claims import Claiming
from prefect.agent.adapters.graphql.drafts import read_drafts, read_flow_drafts, read_names
from prefect.agent.adapters.graphql.ends import RunEnding
from prefect.agent.adapters.graphql.facts import read_facts
from prefect.agent.adapters.graphql.logs import batches, log_entry
from prefect.agent.adapters.graphql.reading import Reading
from prefect.agent.adapters.graphql.records import printable
from prefect.agent.adapters.graphql.transport import Observer, Transport
from prefect.agent.adapters.graphql.workloads import workload
from prefect.agent.domain.errors import CloudMisconfigured, RequestRejected
from prefect.agent.domain.model.checks import Step
from prefect.agent.domain.model.ends import End, EndOutcome
from prefect.agent.domain.model.explaining import Reference, RunFacts
from prefect.agent.domain.model.flow_runs import ClaimOutcome, FlowRun, FlowRunId
from prefect.agent.domain.model.known_names import KnownNames
from prefect.agent.domain.model.orders import FlowDraft, FlowReference, RunOrder, RunStory
from prefect.agent.domain.model.submissions import Workload
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import AgentIdentity, Changes, ClaimRequest, CloudApi, LogLine, Tenant

MAX_IDENTITY: Final = 300
"""Characters of the Cloud's identity."""


class GraphQLCloudApi(CloudApi):
    """This adapter speaks to Prefect Cloud, Prefect Server or the embedded Cloud.

    Args:
        url: Address of the API, for example ``https://api.prefect.io``.
        clock: For the times that queries name, and for comparing them with the Cloud's.
        key: API key or token; None for a Prefect Server without keys.
        tenant_id: UUID; None lets the API infer it from the key.
        backend: ``cloud`` or ``server``.
        send_logs: Whether flow runs send their logs to the Cloud.
        log_level: Level of the flow runs' loggers.
        labels: The agent's, for the flow runs to know.
        flow_run_key: The key that flow runs get; None for the agent's own.
        observe: Takes what each request asked for, what came of it, and how many seconds it took.
        parameters: Whether ``FlowRun.source`` has the parameters of runs; they may be large.
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
        flow_run_key: str | None = None,
        parameters: bool = False,
        observe: Observer = lambda *_: None,
    ) -> None:
        self._flow_run_key = flow_run_key or key
        self._key, self._tenant_id, self._backend = key, tenant_id, backend
        self._send_logs, self._log_level, self._labels = send_logs, log_level, sorted(labels)
        self._transport = Transport(url, key, clock=clock, observe=observe)
        self._reading = Reading(self._transport, parameters=parameters)
        self._claiming = Claiming(self._transport)
        self._ending = RunEnding(self._transport, self._reading)
        self._know_tenant(tenant_id)

    def connect(self) -> Tenant:
        tenant = self._infer_tenant()
        self._know_tenant(tenant.id)
        return tenant

    def register(self, agent: AgentIdentity) -> str:
        given = {
            "type": agent.type,
            "name": agent.name,
            "labels": list(agent.labels),
            "tenant_id": self._tenant_id,
            "agent_config_id": agent.config_id,
        }
        agent_id = dig(self._transport.ask(documents.REGISTER, {"input": given}), "register_agent", "id")
        if not isinstance(agent_id, str) or not agent_id:
            raise RequestRejected("the API did not give the agent an id")
        self._transport.set_header("X-PREFECT-AGENT-ID", agent_id)
        return agent_id

    @property
    def identity(self) -> str:
        return printable(f"{self._backend}:{self._tenant_id or self._transport.shown}", MAX_IDENTITY)

    @property
    def compares(self) -> bool:
        return self._transport.compares

    @property
    def skew(self) -> float:
        return self._transport.skew

    @property
    def waits(self) -> bool:
        return self._transport.waits

    def ready_flow_runs(
        self,
        *,
        labels: Collection[str],
        before: datetime,
        limit: int,
        wait: float = 0.0,
        skip: Collection[FlowRunId] = (),
    ) -> Sequence[FlowRun]:
        return self._reading.ready(labels, before, limit, wait, skip) if limit > 0 else []

    def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        return self._claiming(requests)

    def flow_runs(self, ids: Collection[FlowRunId]) -> Sequence[FlowRun]:
        return list(self._reading.read(ids).runs.values())

    def claimed_flow_runs(self, *, platform: str, changed_since: datetime | None = None) -> Sequence[FlowRun]:
        return self._reading.changes(platform, changed_since, None).runs

    def changes(self, *, platform: str, changed_since: datetime | None = None, due_before: datetime) -> Changes:
        return self._reading.changes(platform, changed_since, due_before)

    def end(self, ends: Sequence[End]) -> Sequence[EndOutcome]:
        return self._ending(ends)

    def write_logs(self, lines: Sequence[LogLine]) -> None:
        for batch in batches(map(log_entry, lines)):
            data = self._transport.ask(documents.WRITE_LOGS, {"input": {"logs": batch}}, changes=True)
            if not dig(data, "write_run_logs", "success"):
                raise RequestRejected("the API did not take the log lines")

    def facts(self, reference: Reference) -> RunFacts | None:
        return read_facts(self._transport, self._reading.only_tenant, reference)

    def late_flow_runs(self, *, by: timedelta) -> Sequence[FlowRunId]:
        return self._reading.late(by)

    def checks(self) -> Sequence[Step]:
        return steps(self._transport, self.connect)

    def drafts(self, *, labels: Collection[str], limit: int) -> Sequence[FlowRun]:
        return read_drafts(self._transport, self._reading.only_tenant, labels, limit)

    def flow_drafts(self, reference: FlowReference) -> Sequence[FlowDraft]:
        return read_flow_drafts(self._transport, self._reading.only_tenant, reference)

    def known_names(self, *, limit: int) -> KnownNames:
        return read_names(self._transport, self._reading.only_tenant, limit)

    def create_flow_run(self, order: RunOrder) -> FlowRunId:
        return orders.create(self._transport, order)

    def run_story(self, run_id: FlowRunId, *, after: object = None) -> RunStory | None:
        return orders.read_story(self._transport, run_id, after)

    def run_address(self, run_id: FlowRunId) -> str:
        return orders.address(self._transport, run_id, self._backend, self._tenant_id)

    def workload(self, run: FlowRun) -> Workload:
        return workload(
            run,
            url=self._transport.url,
            backend=self._backend,
            key=self._flow_run_key,
            tenant_id=self._tenant_id,
            labels=self._labels,
            log_level=self._log_level,
            send_logs=self._send_logs,
        )

    def close(self) -> None:
        self._transport.close()

    # --- inside ---

    def _know_tenant(self, tenant_id: str | None) -> None:
        self._tenant_id = self._reading.tenant_id = tenant_id
        self._reading.only_tenant = tenant_id if self._backend == "server" else None
        if self._key and tenant_id:
            self._transport.set_header("X-PREFECT-TENANT-ID", tenant_id)

    def _infer_tenant(self) -> Tenant:
        """Return the tenant of the key; a configured tenant is trusted once the API has accepted the key."""
        if self._backend == "cloud":
            found = dig(self._transport.ask(documents.TENANT_OF_KEY), "auth_info", "tenant_id")
            if isinstance(found, str) and found:
                return Tenant(id=self._tenant_id or found)
        rows = self._transport.ask(documents.TENANTS).get("tenant")
        tenants = [row for row in rows if isinstance(row, Mapping) and row.get("id")] if isinstance(rows, list) else []
        fitting = [row for row in tenants if self._tenant_id in {None, row["id"]}]
        if not fitting:
            if self._tenant_id:
                raise CloudMisconfigured(
                    f"the API at {self._transport.shown} has no tenant {self._tenant_id}: correct --tenant-id, or "
                    "leave it out to use the tenant of the API key"
                )
            raise RequestRejected(f"the API at {self._transport.shown} has no tenant yet: create one first")
        return Tenant(id=str(fitting[0]["id"]), name=str(fitting[0].get("name") or ""))
