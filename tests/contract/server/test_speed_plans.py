"""How SQLite finds what hot requests ask for: by an index, never by reading a whole table that grows with the runs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from prefect.agent.adapters.graphql import documents
from prefect.agent.domain.times import read_time
from prefect.agent.entrypoints.server.pages.routes import PAGES
from support.embedded import LATER, Embedded, task_run
from support.page_browser import Browser

GROWING: Final = ("flow_run", "task_run", "flow_run_state", "task_run_state", "log", "task", "edge", "flow")
_SCAN: Final = re.compile(r"^SCAN (\w+)(?! USING)")
MOMENT: Final = read_time("2022-01-01T00:00:00+00:00")


class Watched(Embedded):
    """A Cloud whose statements are looked at."""

    def statements(self) -> list[str]:
        """From now on, every statement with its values goes in here."""
        seen: list[str] = []
        self.database._connection.set_trace_callback(seen.append)
        return seen

    def steps(self, statements: list[str]) -> int:
        """How many steps SQLite's machine takes for the statements."""
        connection, counted = self.database._connection, [0]

        def count() -> int:
            counted[0] += 1
            return 0

        connection.set_trace_callback(None)
        connection.set_progress_handler(count, 1)
        for statement in statements:
            connection.execute(statement).fetchall()
        connection.set_progress_handler(None, 0)
        return counted[0]

    def multiply(self, run: str, times: int) -> None:
        """Make many runs like one, with its task runs."""
        connection = self.database._connection
        connection.execute("CREATE TEMP TABLE IF NOT EXISTS more (id TEXT)")
        connection.execute("DELETE FROM more")
        numbers = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?)"
        connection.execute(f"INSERT INTO more {numbers} SELECT hex(randomblob(16)) FROM c", [times])
        for table, new in (("flow_run", {"id": "more.id", "idempotency_key": "NULL"}),
                           ("task_run", {"id": "hex(randomblob(16))", "flow_run_id": "more.id"})):  # fmt: skip
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            values = ", ".join(new.get(column, f"o.{column}") for column in columns)
            where = "o.id" if table == "flow_run" else "o.flow_run_id"
            connection.execute(f"INSERT INTO {table} SELECT {values} FROM {table} o, more WHERE {where} = ?", [run])

    def plan(self, statement: str) -> list[str]:
        """What SQLite does for a statement, step by step."""
        self.database._connection.set_trace_callback(None)
        return [row[3] for row in self.database._connection.execute(f"EXPLAIN QUERY PLAN {statement}")]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A Cloud with one run; plans do not depend on how many there are."""
    cloud = Watched(tmp_path / "cloud.db")
    yield cloud
    cloud.database.close()


def scans(cloud: Watched, statements: list[str]) -> list[str]:
    """Statements that read a growing table from end to end, each with its plan."""
    found = []
    for statement in dict.fromkeys(statements):
        if not statement.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")):
            continue
        plan = cloud.plan(statement)
        aliases = re.findall(r"\b(?:FROM|JOIN) (\w+) (?:AS )?(t\d+|[a-z])\b", statement)
        names = set(GROWING) | {alias for table, alias in aliases if table in GROWING}
        for step in plan:
            scanned = _SCAN.match(step)
            if scanned and scanned[1] in names and "INDEX" not in step:
                found.append(f"{step}: {statement[:300]}")
    return found


def test_what_agents_ask(watched: Watched) -> None:
    """Polling, metadata, claims, what is claimed and what is cancelled."""
    run = watched.run(watched.flow(watched.project(), tasks=2), labels=["a"])
    seen = watched.statements()

    watched.queue()
    watched.queue("a", "b")
    tenant = watched.ask("query { tenant { id } }")["tenant"][0]["id"]
    watched.ask(documents.ready([run], MOMENT))
    watched.ask(documents.flow_runs([run]))
    watched.ask(documents.claimed(tenant, run, 100))
    watched.ask(documents.due(None, MOMENT, MOMENT, [run], limit=25)[0])
    watched.set_state(run, "Submitted")
    watched.set_state(run, "Failed")

    assert len(seen) > 20
    assert scans(watched, seen) == []


CLAIMS: Final = """claims: states(
  where: { state: { _in: ["Submitted", "Scheduled"] } }, order_by: { version: desc }, limit: 1
) { state version timestamp serialized_state }"""
SINCE: Final = 'state_timestamp: { _gte: "3000-01-01" }'
TASKS_SINCE: Final = f'task_runs: {{ state: {{ _eq: "Submitted" }}, {SINCE} }}'


@pytest.mark.parametrize(
    "document",
    [
        f"{{ flow_run(where: {{ id: {{ _in: [RUN] }} }}) {{ id {CLAIMS} }} }}",
        f"{{ flow_run(where: {{ {SINCE} }}) {{ id {CLAIMS} }} }}",
        f"{{ flow_run(where: {{ _or: [{{ {SINCE} }}, {{ {TASKS_SINCE} }}] }}) {{ id {CLAIMS} }} }}",
        f"""{{ flow_run(
          where: {{ tenant_id: {{ _eq: TENANT }}, _or: [{{ {SINCE} }}, {{ {TASKS_SINCE} }}] }},
          order_by: {{ id: asc }}, limit: 100) {{ id {CLAIMS} }} }}""",
        f"""{{ flow_run(
          where: {{ tenant_id: {{ _eq: TENANT }}, id: {{ _gt: RUN }}, {SINCE} }},
          order_by: {{ id: asc }}, limit: 100) {{ id }} }}""",
        """{ task_run_state(
          where: { state: { _eq: "Submitted" }, task_run: { flow_run_id: { _in: [RUN] } } },
          order_by: { timestamp: desc }) { timestamp serialized_state task_run { flow_run_id } } }""",
        """{ flow_run(
          where: { state: { _eq: "Scheduled" }, state_start_time: { _lte: "2999-01-01" },
            labels: { _contained_in: ["a", "b"] }, id: { _nin: [RUN] } },
          order_by: { state_start_time: asc }, limit: 25) { id } }""",
    ],
    ids=["claims", "since", "or", "or_page", "since_page", "task_claims", "queue"],
)
def test_what_a_sweep_asks_takes_as_long_whatever_there_is(watched: Watched, document: str) -> None:
    """A thousand runs that have ended, with their task runs, add no step to speak of."""
    flow = watched.flow(watched.project(), tasks=2)
    run, ended, *_waiting = (watched.run(flow, labels=["a"]) for _ in range(28))
    watched.set_state(ended, "Success")
    watched.set_state(run, "Running")
    for kind in ("Retrying", "Submitted"):
        states = [{"task_run_id": task_run(watched, run), "state": {"type": kind}}]
        watched.change("set_task_run_states", "states { id }", states=states)
    tenant = watched.ask("query { tenant { id } }")["tenant"][0]["id"]
    document = document.replace("RUN", f'"{run}"').replace("TENANT", f'"{tenant}"')

    def steps() -> int:
        seen = watched.statements()
        watched.ask(document)
        read = [statement for statement in seen if "FROM" in statement]
        assert scans(watched, read) == []
        return watched.steps(read)

    few = steps()
    watched.multiply(ended, 1000)

    assert steps() < few + 100


def test_looking_for_ready_runs_takes_as_long_whatever_there_is(watched: Watched) -> None:
    """Thousands of runs that are Running, that wait for nobody's agent or left a task run behind add no step."""
    flow = watched.flow(watched.project(), tasks=2)
    waiting, labelled, running, ended = (watched.run(flow, labels=labels) for labels in ([], ["x"], [], []))
    for run, state, start in ((running, "Running", "3000-01-01"), (ended, "Running", "2000-01-01")):
        watched.set_state(run, state)
        entry = {"task_run_id": task_run(watched, run), "state": {"type": "Retrying", "start_time": start}}
        watched.change("set_task_run_states", "states { id }", states=[entry])
    watched.set_state(ended, "Failed")

    def steps(*labels: str) -> int:
        seen = watched.statements()
        assert watched.queue(*labels) == ([] if labels else [waiting])
        return watched.steps([statement for statement in seen if "flow_run" in statement])

    few = [steps(), steps("a"), steps("a", "b", "c")]
    for run in (labelled, running, ended):
        watched.multiply(run, 1000)

    assert [steps(), steps("a"), steps("a", "b", "c")] == few

    watched.multiply(waiting, 1000)
    assert len(watched.queue()) == 25


def test_what_flow_processes_ask(watched: Watched) -> None:
    """Start, states, heartbeats, logs, the cache and the end (protocol section 12.5)."""
    run = watched.run(watched.flow(watched.project(), tasks=2))
    task = watched.ask("query { task(limit: 1) { id } }")["task"][0]["id"]
    one = task_run(watched, run)
    seen = watched.statements()

    watched.set_state(run, "Running", version=1)
    watched.row("flow_run", run, "id task_runs(where: { map_index: { _eq: -1 } }) { task { slug } } flow { name }")
    watched.change("get_or_create_task_run_info", "id version", flow_run_id=run, task_id=task, map_index=3)
    entry = {"task_run_id": one, "version": 1, "state": {"type": "Running"}}
    watched.change("set_task_run_states", "states { id }", states=[entry])
    watched.change("update_flow_run_heartbeat", "success", flow_run_id=run)
    watched.change("write_run_logs", "success", logs=[{"flow_run_id": run, "message": "m"}])
    for key in (f'task_id: {{ _eq: "{task}" }}', 'cache_key: { _eq: "k" }'):
        watched.ask(
            f'query {{ task_run(where: {{ state: {{ _eq: "Cached" }}, {key}, '
            f'state_timestamp: {{ _gte: "{LATER}" }} }}, '
            "order_by: { state_timestamp: desc }, limit: 100) { serialized_state } }"
        )
    watched.set_state(run, "Cancelled")

    assert len(seen) > 20
    assert scans(watched, seen) == []


def test_what_people_ask(watched: Watched) -> None:
    """New runs, watching one, the pages, deleting."""
    flow = watched.flow(watched.project(), tasks=2)
    browser = Browser(watched.execute)
    seen = watched.statements()

    run = watched.run(flow, idempotency_key="k")
    watched.run(flow, idempotency_key="k")
    watched.row("flow_run", run, "states { state } logs(order_by: { timestamp: asc }) { message }")
    watched.ask("query { flow_run(order_by: { created: desc }, limit: 10) { name flow { name } } }")
    for page in PAGES:
        path = f"/default{page.path}".replace("{run_id}", run).replace("{flow_id}", flow)
        assert browser.get(path).status == 200
    watched.change("cancel_flow_run", "state", flow_run_id=run)
    watched.change("delete_flow_run", "success", flow_run_id=run)

    assert len(seen) > 20
    assert scans(watched, seen) == []


def test_the_test_sees_a_scan(watched: Watched) -> None:
    """A question that no index answers is found out."""
    seen = watched.statements()
    watched.ask('query { flow_run(where: { state_message: { _eq: "x" } }) { id } }')

    assert scans(watched, seen)
