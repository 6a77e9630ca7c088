"""A Cloud's file with many runs in it, made within seconds: one run through the API, the others copied in SQL."""

import os
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import attrs

from prefect.agent.entrypoints.server.graphql.execution import Executor
from prefect.agent.entrypoints.server.storage.database import Database

TASKS: Final = 2
"""Tasks of the flow, and so task runs of each run."""

RUNNING: Final = 200
"""Flow runs in state Running, whose task runs can report."""

LATE: Final = "2900-01-01T00:00:00.000000+00:00"

_STATE_OF: Final = "CASE WHEN n <= ? THEN 'Running' WHEN n % 2 THEN 'Success' ELSE 'Scheduled' END"  # n counts from 1


@attrs.frozen
class Seeded:
    """What a load needs to know of the file.

    Attributes:
        running: Flow runs in state Running.
        task_runs: One task run of each of these.
    """

    runs: int
    tenant_id: str
    running: tuple[str, ...]
    task_runs: tuple[str, ...]


def seed(path: Path, runs: int, running: int = RUNNING) -> Seeded:
    """Fill a new file: some runs Running, of the others half finished and half due."""
    first = _first_run(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_function("uuid4", 0, lambda: str(uuid.uuid4()))
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.execute("CREATE TEMP TABLE copy (n INTEGER PRIMARY KEY, id TEXT, state TEXT)")
        connection.execute(
            "INSERT INTO copy WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?) "
            f"SELECT n, uuid4(), {_STATE_OF} FROM c",
            [runs - 1, running],
        )
        _copy(connection, "flow_run", "copy", "o.id = ?", [first], id="copy.id", idempotency_key="uuid4()",
              state="copy.state", serialized_state="json_set(o.serialized_state, '$.type', copy.state)",
              due="CASE copy.state WHEN 'Scheduled' THEN o.due END")  # fmt: skip
        _copy(connection, "flow_run_state", "copy", "o.flow_run_id = ?", [first], id="uuid4()", flow_run_id="copy.id")
        _copy(connection, "task_run", "copy", "o.flow_run_id = ?", [first], id="uuid4()", flow_run_id="copy.id")
        one = "o.task_run_id = (SELECT id FROM task_run WHERE flow_run_id = ? LIMIT 1) AND task_run.flow_run_id <> ?"
        _copy(connection, "task_run_state", "task_run", one, [first] * 2, id="uuid4()", task_run_id="task_run.id")
        connection.execute("COMMIT")
        os.sync()  # or the server's first checkpoint would wait for all of this
        ids = tuple(row[0] for row in connection.execute("SELECT id FROM copy WHERE n <= ?", [RUNNING]))
        one = "SELECT id FROM task_run WHERE flow_run_id = ? LIMIT 1"
        task_runs = tuple(connection.execute(one, [run]).fetchone()[0] for run in ids)
        tenant = connection.execute("SELECT id FROM tenant").fetchone()[0]
    return Seeded(runs, tenant, ids, task_runs)


def add_troubles(path: Path, labels: str = '["of nobody"]') -> None:
    """What makes looking for ready runs slow if it is done badly, in a file that nobody uses at the moment.

    Every Running run has a task run that waits to be tried again, later than all Scheduled runs; as many runs that have
    ended have left one; and half of the runs that wait have labels that no agent serves.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        one = "task_id = (SELECT min(id) FROM task)"
        retry = f"UPDATE task_run SET state = 'Retrying', state_start_time = ? WHERE {one}"
        for state in ("Running", "Success"):
            some = f"SELECT id FROM flow_run WHERE state = '{state}' LIMIT 10000"
            connection.execute(f"{retry} AND flow_run_id IN ({some})", [LATE])
        connection.execute("UPDATE flow_run SET due = ? WHERE state = 'Running'", [LATE])
        connection.execute("UPDATE flow_run SET labels = ? WHERE state = 'Scheduled' AND id < '8'", [labels])
        connection.execute("COMMIT")


def _first_run(path: Path) -> str:
    database = Database(path)
    execute = Executor(database)

    def change(name: str, /, **given: Any) -> str:
        document = f"mutation($input: {name}_input!) {{ {name}(input: $input) {{ id }} }}"
        answer = execute({"query": document, "variables": {"input": given}}, {})
        return str(answer.body["data"][name]["id"])

    project = change("create_project", name="benchmark")
    flow = {
        "name": "flow",
        "tasks": [{"slug": f"t-{n}", "name": f"t-{n}"} for n in range(TASKS)],
        "edges": [],
        "storage": {"type": "Local"},
        "run_config": {"type": "UniversalRun", "labels": []},
        "__version__": "1.4.1",
    }
    run = change("create_flow_run", flow_id=change("create_flow", project_id=project, serialized_flow=flow))
    database.close()
    return run


def _copy(connection: sqlite3.Connection, table: str, source: str, where: str, params: list[str], **new: str) -> None:
    """Copy rows ``o`` of *table* that match *where*, once per row of *source*, with some columns anew."""
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    values = ", ".join(new.get(name, f"o.{name}") for name in names)
    connection.execute(
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} o CROSS JOIN {source} WHERE {where}",
        params,
    )
