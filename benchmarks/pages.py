"""How fast the embedded Cloud's pages are: ``python benchmarks/pages.py [runs ...]`` (100 100000).

Milliseconds to the last byte, of one client that waits for each answer, and sizes; style sheet and scripts are listed
with the first page. Server and client share the machine's cores. What a log costs that is followed: ``log_tab.py``.
"""

import re
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import requests
from seeding import seed

from prefect.agent.entrypoints.server.services import Routine
from prefect.agent.entrypoints.server.testing import running_server

TIMES: Final = 7
LINES: Final = 100_000
CHILDREN: Final = 1000
WEEK: Final = 7 * 24 * 3600

_PAGES: Final = {
    "the first page": "",
    "home, 7 days": "?span=7d",
    "home, 30 days": "?span=30d",
    "flow runs": "/flow-runs",
    "flow runs, a common state": "/flow-runs?state=Success",
    "flow runs, several states": "/flow-runs?state=Success&state=Failed&state=Running",
    "flow runs, a rare state": "/flow-runs?state=Failed",
    "flow runs, a state that none has": "/flow-runs?state=Paused",
    "flow runs, of a flow": "/flow-runs?flow={group}",
    "flow runs, of a project": "/flow-runs?project={project}",
    "flow runs, a part of many names": "/flow-runs?name=a",
    "flow runs, a name that none has": "/flow-runs?name=zzzz",
    "flow runs, a label that none has": "/flow-runs?label=zzzz",
    "flow runs, a label that few have": "/flow-runs?label=rare",
    "flow runs, created in a span": "/flow-runs?span=24h",
    "flow runs, started in a span": "/flow-runs?time=start&span=24h",
    "flow runs, ended in a span": "/flow-runs?time=end&span=24h",
    "flow runs, ended long ago": "/flow-runs?time=end&from=2020-01-01T00:00&to=2020-01-02T00:00",
    "flow runs, by name": "/flow-runs?sort=name",
    "flow runs, by start, backwards": "/flow-runs?sort=start&way=asc",
    "flow runs, a rare state by name": "/flow-runs?state=Failed&sort=name",
    "flow runs, everything at once": "/flow-runs?state=Success&flow={group}&label=rare&name=a&time=end&span=7d",
    "flow runs, all of them to confirm": "/flow-runs/confirm?do=cancel&all=1",
    "flows": "/flows",
    "a flow": "/flow/{flow}",
    "create a run": "/flow/{flow}/run",
    "a flow run": "/flow-run/{run}",
    "its timeline, 1,000 children": "/flow-run/{run}/timeline",
    "its timeline, opened": "/flow-run/{run}/timeline?open={task}",
    "its graph": "/flow-run/{run}/graph",
    "its log, 100,000 lines": "/flow-run/{run}/logs",
    "its log, from the top": "/flow-run/{run}/logs?after=~0",
    "its log, a text that no line has": "/flow-run/{run}/logs?text=zzzz",
    "its task runs": "/flow-run/{run}/task-runs",
    "its artifacts": "/flow-run/{run}/artifacts",
    "agents": "/agents",
    "limits": "/settings",
    "key-value store": "/settings/key-values",
    "secrets": "/settings/secrets",
    "keys": "/settings/keys",
    "tenants": "/settings/tenants",
}


def spread(path: Path) -> None:
    """Spread the runs over a week, and let a few have failed."""
    moment = f"strftime('%Y-%m-%dT%H:%M:%S.000000+00:00', 'now', '-' || (abs(random()) % {WEEK}) || ' seconds')"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE flow_run SET created = {moment}")
        connection.execute("UPDATE flow_run SET state_timestamp = created")
        connection.execute("UPDATE flow_run SET start_time = created, end_time = created WHERE state = 'Success'")
        connection.execute("UPDATE flow_run SET state = 'Failed' WHERE state = 'Success' AND abs(random()) % 5000 = 0")


def took(run: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds, and what was returned."""
    start = time.perf_counter()
    found = run()
    return (time.perf_counter() - start) * 1e3, found


def enrich(path: Path, run: str) -> str:
    """Give *run* a log and a mapped task with many children; return the id of that task."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_function("uuid4", 0, lambda: str(uuid.uuid4()))
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        numbers = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?) "
        connection.execute(
            f"INSERT INTO log (id, tenant_id, flow_run_id, timestamp, name, level, message, created, updated) {numbers}"
            "SELECT uuid4(), r.tenant_id, r.id, strftime('%Y-%m-%dT%H:%M:%f000+00:00', '2026-01-01', n || ' seconds'), "
            "'prefect', 'INFO', 'line ' || n || ' of a task that tells a lot', r.created, r.created "
            "FROM c, flow_run r WHERE r.id = ?",
            [LINES, run],
        )
        task = str(connection.execute("SELECT task_id FROM task_run WHERE flow_run_id = ?", [run]).fetchone()[0])
        connection.execute(
            f"INSERT INTO task_run (id, tenant_id, flow_run_id, task_id, map_index, version, state, state_timestamp, "
            f"start_time, end_time, created, updated) {numbers}"
            "SELECT uuid4(), r.tenant_id, r.id, ?, n, 1, 'Success', r.created, r.created, r.created, r.created, "
            "r.created FROM c, flow_run r WHERE r.id = ?",
            [CHILDREN, task, run],
        )
        connection.execute("UPDATE flow_run SET labels = '[\"rare\"]' WHERE id IN (SELECT id FROM flow_run LIMIT 20)")
        connection.execute("COMMIT")
    return task


def measure_pages(http: requests.Session, url: str, run: str, task: str) -> None:
    """Print how long each page takes."""
    found = http.post(url, json={"query": "{ flow { id flow_group_id project_id } }"}, timeout=60).json()["data"]
    flow = found["flow"][0]
    ids = {"group": flow["flow_group_id"], "flow": flow["id"], "project": flow["project_id"], "run": run, "task": task}
    for name, page in _PAGES.items():
        address = f"{url}/default" + page.format(**ids)
        answers = [took(lambda address=address: http.get(address, timeout=60)) for _ in range(TIMES)]  # type: ignore[misc]
        times, answer = [each for each, _ in answers], answers[0][1]
        size = len(answer.content) / 1000
        slow = "   more than 100 ms" if statistics.median(times) > 100 else ""
        print(f"  {name:<36} p50 {statistics.median(times):7.1f} ms   max {max(times):7.1f} ms   {size:5.0f} kB{slow}")
        assert answer.status_code == 200
    loaded = [
        http.get(url + path, timeout=60).content
        for path in re.findall(r'/-/static/[^"]+', http.get(url, timeout=60).text)
    ]
    print(f"  style sheet, scripts and icon that a first page loads: {sum(map(len, loaded)) / 1000:.0f} kB")


def main(sizes: Sequence[int]) -> None:
    """Measure with each number of runs."""
    for runs in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "cloud.db")
            run = seed(path, runs).running[0]
            spread(path)
            task = enrich(path, run)
            print(f"{runs} runs, {path.stat().st_size >> 20} MB", flush=True)
            with running_server(path, routine=Routine(enabled=())) as url, requests.Session() as http:
                measure_pages(http, url, run, task)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [100, 100_000])
