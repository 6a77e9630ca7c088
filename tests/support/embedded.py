"""The embedded Cloud without HTTP: requests in, answers out, on a real SQLite file."""

import itertools
import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs

from prefect.agent.domain.cloud.strictness import STRICT, Strictness
from prefect.agent.entrypoints.server.graphql.execution import Executor
from prefect.agent.entrypoints.server.storage.clock import utc_now
from prefect.agent.entrypoints.server.storage.database import Database

Json = dict[str, Any]

LATER = "2999-01-01T00:00:00+00:00"
"""A time before which everything is due."""


@attrs.define
class Embedded:
    """An embedded Cloud on a file of its own."""

    path: Path
    strictness: Strictness = STRICT
    now: Callable[[], datetime] = utc_now
    database: Database = attrs.field(init=False)
    execute: Executor = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.database = Database(self.path)
        self.execute = Executor(self.database, strictness=self.strictness, now=self.now)

    def send(self, query: str, variables: object = None, headers: Mapping[str, str] | None = None) -> tuple[int, Json]:
        """HTTP status and body of any request."""
        answer = self.execute({"query": query, "variables": variables}, headers or {})
        return answer.status, answer.body

    def ask(self, query: str, variables: object = None) -> Json:
        """The data of a request that must succeed."""
        status, body = self.send(query, variables)
        assert (status, body.get("errors")) == (200, None), body
        data: Json = body["data"]
        return data

    def change(self, name: str, selection: str, headers: Mapping[str, str] | None = None, /, **given: Any) -> Json:
        """The answer of a mutation that must succeed."""
        status, body = self.mutate(name, selection, headers, **given)
        assert (status, body.get("errors")) == (200, None), body
        answer: Json = body["data"][name]
        return answer

    def mutate(
        self, name: str, selection: str, headers: Mapping[str, str] | None = None, /, **given: Any
    ) -> tuple[int, Json]:
        """HTTP status and body of a mutation."""
        document = f"mutation($input: {name}_input!) {{ {name}(input: $input) {{ {selection} }} }}"
        return self.send(document, {"input": given}, headers)

    def refused(self, name: str, selection: str, /, **given: Any) -> Json:
        """The one error of a mutation that must fail."""
        status, body = self.mutate(name, selection, None, **given)
        assert (status, body["data"]) == (200, {name: None}), body
        [error] = body["errors"]
        assert error["path"] == [name]
        assert error["locations"]
        found: Json = error
        return found

    def project(self, name: str = "demo") -> str:
        """The id of a new project."""
        return str(self.change("create_project", "id", name=name)["id"])

    def flow(self, project_id: str, name: str = "flow", *, tasks: int = 0, **more: Any) -> str:
        """The id of a new flow."""
        slugs = [f"t-{number}" for number in range(tasks)]
        ends = itertools.pairwise(slugs)
        flow = {
            "name": name,
            "tasks": [{"slug": slug, "name": slug} for slug in slugs],
            "edges": [{"upstream_task": {"slug": up}, "downstream_task": {"slug": down}} for up, down in ends],
            "storage": {"type": "Local"},
            "run_config": {"type": "UniversalRun", "labels": []},
            "__version__": "1.4.1",
            **more,
        }
        return str(self.change("create_flow", "id", project_id=project_id, serialized_flow=flow)["id"])

    def run(self, flow_id: str, **more: Any) -> str:
        """The id of a new flow run."""
        return str(self.change("create_flow_run", "id", flow_id=flow_id, **more)["id"])

    def set_state(self, run_id: str, kind: str, *, version: int | None = None, **payload: Any) -> Json:
        """Update a flow run; it must succeed."""
        state = {"type": kind, "message": f"{kind}.", **payload}
        entry = {"flow_run_id": run_id, "version": version, "state": state}
        [answer] = self.change("set_flow_run_states", "states { id status message }", states=[entry])["states"]
        found: Json = answer
        return found

    def refused_state(self, run_id: str, kind: str, version: int | None = None) -> Json:
        """The error of an update that must be refused."""
        entry = {"flow_run_id": run_id, "version": version, "state": {"type": kind}}
        return self.refused("set_flow_run_states", "states { id }", states=[entry])

    def row(self, table: str, row_id: str, columns: str) -> Json:
        """Columns of one row."""
        found: Json = self.ask(f'query {{ {table}_by_pk(id: "{row_id}") {{ {columns} }} }}')[f"{table}_by_pk"]
        return found

    def state(self, run_id: str) -> str:
        """The state of a flow run."""
        return str(self.row("flow_run", run_id, "state")["state"])

    def queue(self, *labels: str, before: str = LATER) -> list[str]:
        """Ids of the flow runs that an agent is given."""
        found: list[str] = self.change("get_runs_in_queue", "flow_run_ids", before=before, labels=list(labels))[
            "flow_run_ids"
        ]
        return found


@contextmanager
def opened(path: Path) -> Generator[Embedded]:
    """An empty Cloud with its default tenant, closed at the end."""
    embedded = Embedded(path)
    try:
        yield embedded
    finally:
        embedded.database.close()


def task_run(cloud: Embedded, run: str, slug: str = "t-0") -> str:
    """The id of a task run."""
    query = f"task_runs(where: {{ task: {{ slug: {{ _eq: {json.dumps(slug)} }} }} }}) {{ id }}"
    return str(cloud.row("flow_run", run, query)["task_runs"][0]["id"])
