"""How fast the embedded Cloud's pages are: ``python benchmarks/pages.py [runs ...]`` (100 100000).

Milliseconds to the last byte, of one client that waits for each answer; then what a log that is followed costs the
others while lines are written. Server and load share the machine's cores.
"""

import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import requests
from seeding import seed

from prefect.agent.entrypoints.server.services import Routine
from prefect.agent.entrypoints.server.testing import running_server

TIMES: Final = 7
LINES: Final = 1000
SECONDS: Final = 5.0
WEEK: Final = 7 * 24 * 3600

_PAGES: Final = {
    "home, 24 hours": "",
    "home, 7 days": "?span=7d",
    "flow runs": "/flow-runs",
    "flow runs, a common state": "/flow-runs?state=Success",
    "flow runs, a rare state": "/flow-runs?state=Failed",
    "flow runs, of a flow": "/flow-runs?flow={group}",
    "flow runs, a name that none has": "/flow-runs?name=zzzz",
    "flow runs, a label that none has": "/flow-runs?label=zzzz",
    "flow runs, ended in a span": "/flow-runs?time=end&span=24h",
    "flows": "/flows",
    "a flow": "/flow/{flow}",
    "create a run": "/flow/{flow}/run",
    "a flow run": "/flow-run/{run}",
    "its log": "/flow-run/{run}/logs",
    "its task runs": "/flow-run/{run}/task-runs",
    "agents": "/agents",
    "limits": "/settings",
    "key-value store": "/settings/key-values",
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


def measure_pages(http: requests.Session, url: str) -> str:
    """Print how long each page takes; return the id of a flow run."""
    query = "{ flow { id flow_group_id } flow_run(limit: 1, where: { state: { _eq: Running } }) { id } }"
    found = http.post(url, json={"query": query.replace("Running", '"Running"')}, timeout=60).json()["data"]
    flow, run = found["flow"][0], str(found["flow_run"][0]["id"])
    for name, page in _PAGES.items():
        address = f"{url}/default" + page.format(group=flow["flow_group_id"], flow=flow["id"], run=run)
        answers = [took(lambda address=address: http.get(address, timeout=60)) for _ in range(TIMES)]  # type: ignore[misc]
        times, answer = [each for each, _ in answers], answers[0][1]
        kilobytes = len(answer.content) / 1000
        print(f"  {name:<34} p50 {statistics.median(times):7.1f} ms   max {max(times):7.1f} ms   {kilobytes:5.0f} kB")
        assert answer.status_code == 200
    return run


def write_lines(url: str, run: str, end: float, written: list[int]) -> None:
    """Write ten times a second LINES lines, until *end*."""
    document = "mutation($input: write_run_logs_input!) { write_run_logs(input: $input) { success } }"
    same = {"flow_run_id": run, "name": "prefect", "level": "INFO", "timestamp": "2026-01-01T00:00:00Z"}
    lines = [{**same, "message": f"line {n} with a few words in it"} for n in range(LINES)]
    with requests.Session() as http:
        while time.monotonic() < end:
            start = time.monotonic()
            http.post(url, json={"query": document, "variables": {"input": {"logs": lines}}}, timeout=60)
            written.append(LINES)
            time.sleep(max(0.0, 0.1 - (time.monotonic() - start)))


def read_events(url: str, run: str, end: float) -> None:
    """Read what a log tab is sent, until *end*."""
    address = f"{url}/default/flow-run/{run}/logs/events"
    with requests.Session() as http, http.get(address, stream=True, timeout=60) as answer:
        for _ in answer.iter_content(65536):
            if time.monotonic() > end:
                return


def measure_log(url: str, run: str, readers: int) -> None:
    """Print how long others wait while lines are written and *readers* tabs show them."""
    end, written, times = time.monotonic() + SECONDS, list[int](), list[float]()
    threads = [threading.Thread(target=read_events, args=(url, run, end)) for _ in range(readers)]
    threads.append(threading.Thread(target=write_lines, args=(url, run, end, written)))
    for thread in threads:
        thread.start()
    with requests.Session() as http:
        while time.monotonic() < end:
            question = {"query": "{ flow_run(limit: 20) { id name state } }"}
            times.append(took(lambda: http.post(url, json=question, timeout=60))[0])  # noqa: B023
            time.sleep(0.02)
    for thread in threads:
        thread.join()
    rate, p95 = sum(written) / SECONDS, statistics.quantiles(times, n=20)[-1]
    median = statistics.median(times)
    print(f"  {rate:6.0f} lines/s, {readers} open log tabs: others wait p50 {median:.1f} ms   p95 {p95:.1f} ms")


def main(sizes: Sequence[int]) -> None:
    """Measure with each number of runs."""
    for runs in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "cloud.db")
            seed(path, runs)
            spread(path)
            print(f"{runs} runs, {path.stat().st_size >> 20} MB", flush=True)
            with running_server(path, routine=Routine(enabled=())) as url, requests.Session() as http:
                run = measure_pages(http, url)
                for readers in (0, 1, 5):
                    measure_log(url, run, readers)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [100, 100_000])
