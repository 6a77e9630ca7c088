"""The Clouds that the contract of the Cloud's port is tested on: in memory, and the embedded one over HTTP."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any, Final

import attrs
import requests

from prefect.agent.adapters.fakes import FailingCloudApi, FlowRunView, InMemoryCloudApi
from prefect.agent.adapters.fakes.contracts import CloudHarness
from prefect.agent.adapters.graphql import GraphQLCloudApi
from prefect.agent.adapters.system import SystemClock
from prefect.agent.domain.model.flow_runs import FlowRunId, TaskRunId
from prefect.agent.domain.model.run_configs import DockerRun, RunConfig, UnusableRunConfig
from prefect.agent.domain.times import read_time
from prefect.agent.ports.cloud_api import CloudApi, LogLine
from support.stub_cloud import Asked, Reply, running_stub

FLOW: Final = {
    "name": "flow",
    "storage": {"type": "Local"},
    "run_config": {"type": "UniversalRun"},
    "tasks": [{"slug": "task-1", "name": "task"}],
}


class MemoryCloudHarness(CloudHarness):
    """The in-memory Cloud, through its back door."""

    def __init__(self) -> None:
        self.api = InMemoryCloudApi()

    def connection(self) -> CloudApi:
        """All agents share the object."""
        return self.api

    def lose_next_answer(self) -> CloudApi:
        """A wrapper that loses one answer of each kind of change."""
        lossy = FailingCloudApi(self.api)
        lossy.lose_answers()
        return lossy

    def add_flow_run(
        self,
        *,
        labels: Collection[str] = (),
        due: datetime | None = None,
        run_config: RunConfig | None = None,
        name: str = "",
    ) -> FlowRunId:
        """Schedule a flow run."""
        return self.api.add_flow_run(labels=labels, due=due, run_config=run_config, name=name)

    def add_task_run(self, run_id: FlowRunId, state: str, start_time: datetime) -> str:
        """Add a task run."""
        return self.api.add_task_run(run_id, state, start_time)

    def set_task_state(self, run_id: FlowRunId, task_run_id: str, state: str, start_time: datetime) -> None:
        """Set a task run's state."""
        self.api.set_task_state(run_id, TaskRunId(task_run_id), state, start_time)

    def set_state(self, run_id: FlowRunId, state: str, message: str = "") -> None:
        """Set a flow run's state."""
        self.api.set_state(run_id, state, message)

    def cancel(self, run_id: FlowRunId) -> None:
        """Cancel a flow run."""
        self.api.cancel(run_id)

    def limit_label(self, label: str, places: int | None) -> bool:
        """Limit a label."""
        self.api.limit_label(label, places)
        return True

    def flow_run(self, run_id: FlowRunId) -> FlowRunView:
        """Look at a flow run."""
        return self.api.flow_run(run_id)

    def logs(self, run_id: FlowRunId) -> Sequence[LogLine]:
        """Look at a log."""
        return self.api.logs(run_id)


@attrs.define
class ServedCloudHarness(CloudHarness):
    """The embedded Cloud over HTTP, through GraphQL documents of the tests' own."""

    url: str
    stack: ExitStack
    _flow: str = ""
    _task: str = ""
    _children: int = 0
    _limits: dict[str, str] = attrs.field(factory=dict)

    def ask(self, document: str, **variables: Any) -> Any:
        """Send a document and return its data."""
        answer = requests.post(self.url, json={"query": document, "variables": variables}, timeout=30).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def change(self, mutation: str, gives: str, /, **given: Any) -> Any:
        """Call one mutation."""
        document = f"mutation($input: {mutation}_input!) {{ {mutation}(input: $input) {{ {gives} }} }}"
        return self.ask(document, input=given)[mutation]

    def make_flow(self) -> None:
        """Register the flow of all flow runs."""
        project = self.change("create_project", "id", name="project")["id"]
        self._flow = self.change("create_flow", "id", project_id=project, serialized_flow=FLOW)["id"]
        (task,) = self.ask("query { task { id } }")["task"]
        self._task = task["id"]

    def connection(self, url: str = "") -> CloudApi:
        """One more client."""
        api = GraphQLCloudApi(url or self.url, clock=SystemClock())
        self.stack.callback(api.close)
        api.connect()
        return api

    def lose_next_answer(self) -> CloudApi:
        """A client behind a proxy that forwards everything and drops the answer of the first mutation."""
        lost: list[Asked] = []

        def forward(asked: Asked) -> Reply:
            answer = requests.post(self.url, json=dict(asked.body), timeout=30)
            if asked.query.startswith("mutation") and not lost:
                lost.append(asked)
                return Reply(drops=True)
            return Reply(answer.status_code, answer.content)

        return self.connection(self.stack.enter_context(running_stub(forward)).url)

    def add_flow_run(
        self,
        *,
        labels: Collection[str] = (),
        due: datetime | None = None,
        run_config: RunConfig | None = None,
        name: str = "",
    ) -> FlowRunId:
        """Schedule a flow run."""
        given = {
            "labels": list(labels),
            "flow_run_name": name or None,
            "scheduled_start_time": due.isoformat() if due else None,
            "run_config": _json(run_config) if run_config else None,
        }
        return FlowRunId(self.change("create_flow_run", "id", flow_id=self._flow, **given)["id"])

    def add_task_run(self, run_id: FlowRunId, state: str, start_time: datetime) -> str:
        """Add a child of a mapped task."""
        self._children += 1
        given = {"flow_run_id": run_id, "task_id": self._task, "map_index": self._children}
        task_run_id = str(self.change("get_or_create_task_run", "id", **given)["id"])
        self.set_task_state(run_id, task_run_id, state, start_time)
        return task_run_id

    def set_task_state(self, run_id: FlowRunId, task_run_id: str, state: str, start_time: datetime) -> None:
        """Set a task run's state."""
        new = {"type": state, "message": "", "start_time": start_time.isoformat()}
        self.change("set_task_run_states", "states { id }", states=[{"task_run_id": task_run_id, "state": new}])

    def set_state(self, run_id: FlowRunId, state: str, message: str = "") -> None:
        """Set a flow run's state."""
        new = {"type": state, "message": message}
        if state == "Scheduled":
            new["start_time"] = datetime.now(timezone.utc).isoformat()
        self.change("set_flow_run_states", "states { id }", states=[{"flow_run_id": run_id, "state": new}])

    def cancel(self, run_id: FlowRunId) -> None:
        """Cancel a flow run."""
        self.change("cancel_flow_run", "state", flow_run_id=run_id)

    def limit_label(self, label: str, places: int | None) -> bool:
        """Limit a label."""
        if places is not None:
            self._limits[label] = self.change("update_flow_concurrency_limit", "id", label=label, limit=places)["id"]
        elif label in self._limits:
            self.change("delete_flow_concurrency_limit", "success", limit_id=self._limits.pop(label))
        return True

    def flow_run(self, run_id: FlowRunId) -> FlowRunView:
        """Look at a flow run."""
        fields = "state version serialized_state states(order_by: { version: asc }) { state message }"
        document = f"query($id: uuid!) {{ flow_run_by_pk(id: $id) {{ {fields} }} }}"
        row = self.ask(document, id=run_id)["flow_run_by_pk"]
        history = tuple((each["state"], each["message"] or "") for each in row["states"])
        message = row["serialized_state"].get("message") or ""
        return FlowRunView(state=row["state"], message=message, version=row["version"], history=history)

    def logs(self, run_id: FlowRunId) -> Sequence[LogLine]:
        """Look at a log."""
        fields = "logs(order_by: { timestamp: asc }) { message level name timestamp }"
        rows = self.ask(f"query($id: uuid!) {{ flow_run_by_pk(id: $id) {{ {fields} }} }}", id=run_id)
        return [
            LogLine(**{**row, "flow_run_id": run_id, "timestamp": read_time(row["timestamp"])})
            for row in rows["flow_run_by_pk"]["logs"]
        ]


def _json(config: RunConfig) -> Mapping[str, Any]:
    if isinstance(config, UnusableRunConfig):
        return {"type": "NoSuchRun", "env": 7}
    image = {"image": config.image} if isinstance(config, DockerRun) else {}
    return {"type": type(config).__name__, "env": dict(config.env), **image}
