"""How fast the embedded Cloud is over HTTP: ``python benchmarks/server.py [runs ...]`` (1000 10000 100000).

Server and load share the machine's cores. Latencies are of one client that waits for each answer; totals are of
several clients at once.
"""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import attrs
from seeding import Seeded, add_troubles, seed

BATCH: Final = 50
LINES: Final = 500
CLIENTS: Final = 4
BUSY: Final = 10_000
LATER: Final = "2999-01-01T00:00:00+00:00"

_QUEUE: Final = "mutation($input: get_runs_in_queue_input!) { get_runs_in_queue(input: $input) { flow_run_ids } }"
_LOGS: Final = "mutation($input: write_run_logs_input!) { write_run_logs(input: $input) { success } }"
_TASK: Final = """mutation($input: set_task_run_states_input!) {
    set_task_run_states(input: $input) {
        states {
            id
            status
            message
        }
    }
}"""
_FLOW: Final = _TASK.replace("task_run", "flow_run")
_START: Final = """query {
    flow_run_by_pk(id: "%s") {
        id name flow_id parameters context version scheduled_start_time serialized_state
        task_runs(where: { map_index: { _eq: -1 } }) { id task { id slug } version serialized_state }
        flow { project { name id } }
    }
}"""


class Client:
    """One connection that stays open."""

    def __init__(self, port: int) -> None:
        self._http = HTTPConnection("127.0.0.1", port, timeout=120)
        self._http.connect()
        self._http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, body: bytes) -> bytes:
        """The answer to one request."""
        self._http.request("POST", "/", body, {"Content-Type": "application/json"})
        return self._http.getresponse().read()

    def ask(self, body: bytes) -> Any:
        """The data of a request that must succeed."""
        answer = json.loads(self.send(body))
        if "errors" in answer:
            raise SystemExit(f"refused: {str(answer['errors'])[:500]}")
        return answer["data"]


def request(query: str, variables: object = None) -> bytes:
    """A body as official clients encode it."""
    return json.dumps({"query": query, "variables": json.dumps(variables)}).encode()


def state(kind: str, **more: object) -> dict[str, object]:
    """A state as the 1.4.1 client writes it."""
    return {"type": kind, "message": f"{kind}.", "context": {"tags": []}, "cached_inputs": {},
            "_result": {"type": "NoResultType", "__version__": "1.4.1"}, "__version__": "1.4.1", **more}  # fmt: skip


def poll() -> bytes:
    """Ask for ready runs."""
    return request(_QUEUE, {"input": {"before": LATER, "labels": []}})


def claims(ids: Sequence[str]) -> bytes:
    """Claim runs, each in a field of its own."""
    heads = ", ".join(f"$i{n}: set_flow_run_states_input!" for n in range(len(ids)))
    fields = "\n".join(
        f"    c{n}: set_flow_run_states(input: $i{n}) {{ states {{ id status message }} }}" for n in range(len(ids))
    )
    entries = {
        f"i{n}": {"states": [{"flow_run_id": run, "version": None, "state": state("Submitted")}]}
        for n, run in enumerate(ids)
    }
    return request(f"mutation({heads}) {{\n{fields}\n}}", entries)


def back(ids: Sequence[str]) -> bytes:
    """Make claimed runs Scheduled again, due a little later than all others."""
    entries = [{"flow_run_id": run, "state": state("Scheduled")} for run in ids]
    return request(_FLOW, {"input": {"states": entries}})


def report(task_run: str, turn: int) -> bytes:
    """One state of one task run."""
    entry = {"task_run_id": task_run, "version": None, "state": state("Success" if turn % 2 else "Running")}
    return request(_TASK, {"input": {"states": [entry]}})


def lines(run: str) -> bytes:
    """A batch of log lines."""
    line = {"flow_run_id": run, "timestamp": LATER, "name": "prefect.flow", "level": "INFO", "message": "line " * 12}
    return request(_LOGS, {"input": {"logs": [line] * LINES}})


# --- measuring ---


def measure(times: int, prepare: Callable[[int], bytes], send: Callable[[bytes], object]) -> list[float]:
    """Seconds that each of *times* requests took."""
    took = []
    for turn in range(times):
        body = prepare(turn)
        begin = time.perf_counter()
        send(body)
        took.append(time.perf_counter() - begin)
    return took


def line(name: str, took: Sequence[float], note: str = "") -> None:
    """Print one result."""
    p99 = statistics.quantiles(took, n=100, method="inclusive")[98]
    print(f"  {name:<34} p50 {statistics.median(took) * 1e3:8.2f} ms   p99 {p99 * 1e3:8.2f} ms   {note}", flush=True)


def together(port: int, shares: Sequence[Sequence[bytes]]) -> float:
    """Seconds that clients need that send their shares at the same time."""
    clients = [Client(port) for _ in shares]
    threads = [
        threading.Thread(target=lambda c=client, s=share: [c.ask(body) for body in s])
        for client, share in zip(clients, shares, strict=True)
    ]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begin


@attrs.frozen
class Served:
    """A server process."""

    pid: int
    port: int

    def memory(self) -> str:
        """Resident and highest resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        sizes = {row.split(":")[0]: int(row.split()[1]) // 1024 for row in status.splitlines() if row.startswith("Vm")}
        return f"{sizes['VmRSS']} MB (highest {sizes['VmHWM']} MB)"


@contextmanager
def served(path: Path) -> Iterator[Served]:
    """A server process on *path*."""
    command = [sys.executable, "-m", "prefect.agent", "server", "start", "--port", "0", "--database", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            first = next(text for text in process.stdout if "http://" in text)
            address = next(word for word in first.split() if word.startswith("http://"))
            yield Served(process.pid, int(address.rstrip(",/").rsplit(":", 1)[1]))
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


def latencies(port: int, seeded: Seeded) -> None:
    """One client, one request after the other."""
    client = Client(port)
    line("poll for ready runs", measure(300, lambda _: poll(), client.ask))
    batches: list[list[str]] = []

    def next_batch(_turn: int) -> bytes:
        if batches:
            client.ask(back(batches[-1]))
        found = client.ask(poll())["get_runs_in_queue"]["flow_run_ids"]
        more = client.ask(request(_DUE))["flow_run"]
        batches.append(list(dict.fromkeys([*found, *(row["id"] for row in more)]))[:BATCH])
        return claims(batches[-1])

    took = measure(60, next_batch, client.ask)
    client.ask(back(batches[-1]))
    line(f"claim of {BATCH} runs in one request", took, f"{BATCH * len(took) / sum(took):.0f} claims/s")
    runs = seeded.task_runs
    took = measure(1000, lambda turn: report(runs[turn // 2 % len(runs)], turn), client.ask)
    line("state report of a task run", took, f"{len(took) / sum(took):.0f}/s")
    took = measure(60, lambda turn: lines(seeded.running[turn % len(seeded.running)]), client.ask)
    line(f"log batch of {LINES} lines", took, f"{LINES * len(took) / sum(took):.0f} lines/s")
    took = measure(200, lambda turn: request(_START % seeded.running[turn]), client.ask)
    line("first query of a flow process", took, "(a new document each time)")


_DUE: Final = 'query { flow_run(where: { state: { _eq: "Scheduled" } }, order_by: { id: asc }, limit: 50) { id } }'


def busy(port: int) -> None:
    """What agents ask, in a Cloud where very much goes on."""
    client = Client(port)
    for labels in ([], ["a", "b"]):
        body = request(_QUEUE, {"input": {"before": LATER, "labels": labels}})
        took = measure(300, lambda _turn, body=body: body, client.ask)
        line("poll for ready runs", took, f"(agent's labels: {len(labels)})")
    queue = client.ask(poll())["get_runs_in_queue"]["flow_run_ids"]
    ids = json.dumps(queue)
    times = [f"2900-01-01T00:00:00.{turn:06}+00:00" for turn in range(100)]
    took = measure(100, lambda turn: request(_METADATA % (ids, times[turn], times[turn])), client.ask)
    line(f"metadata of {len(queue)} ready runs", took, "(a new document each time)")


_METADATA: Final = """query {
    flow_run(where: { id: { _in: %s }, _or: [{ state: { _eq: "Scheduled" } },
        { state: { _eq: "Running" }, task_runs: { state_start_time: { _lte: "%s" } } }] }) {
        id version state serialized_state parameters scheduled_start_time run_config name
        flow { id name environment storage version core_version }
        task_runs(where: { state_start_time: { _lte: "%s" } }) { id version task_id serialized_state }
    }
}"""


def totals(port: int, seeded: Seeded) -> None:
    """Several clients at once."""
    asking = Client(port)
    everything = 'query { flow_run(where: { state: { _eq: "Scheduled" } }, limit: 4000) { id } }'
    ids = [row["id"] for row in asking.ask(request(everything))["flow_run"]]
    batches = [claims(ids[at : at + BATCH]) for at in range(0, len(ids) // BATCH * BATCH, BATCH)]
    seconds = together(port, [batches[n::CLIENTS] for n in range(CLIENTS)])
    print(f"  {CLIENTS} clients: {len(batches) * BATCH / seconds:6.0f} claims/s in batches of {BATCH}", flush=True)
    runs = seeded.task_runs
    shares = [[report(run, turn) for turn in range(10) for run in runs[n::CLIENTS]] for n in range(CLIENTS)]
    seconds = together(port, shares)
    print(f"  {CLIENTS} clients: {sum(map(len, shares)) / seconds:6.0f} single state reports/s", flush=True)


def main(sizes: Sequence[int]) -> None:
    """Print all of it for each number of runs."""
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    for runs in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "cloud.db")
            seeded = seed(path, runs)
            print(f"{runs} runs, {path.stat().st_size >> 20} MB", flush=True)
            with served(path) as server:
                latencies(server.port, seeded)
                totals(server.port, seeded)
                print(f"  memory {server.memory()}", flush=True)
            path = Path(folder, "busy.db")
            seed(path, runs + BUSY, BUSY)
            add_troubles(path)
            print(f"{runs} runs and {BUSY} that are Running with task runs that wait, {path.stat().st_size >> 20} MB")
            with served(path) as server:
                busy(server.port)
                print(f"  memory {server.memory()}", flush=True)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [1_000, 10_000, 100_000])
