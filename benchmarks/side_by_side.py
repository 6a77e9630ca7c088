"""What all benchmarks of whole agents share: an embedded Cloud, a way to it that counts, agents as processes."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import attrs
import requests

ROOT: Final = Path(__file__).resolve().parent.parent
OWN: Final = [sys.executable, "-m", "prefect.agent"]
OFFICIAL_PYTHON: Final = ROOT / ".venv-prefect" / "bin" / "python"
OFFICIAL: Final = [str(OFFICIAL_PYTHON), "-m", "prefect"]
TICKS: Final = os.sysconf("SC_CLK_TCK")
POLL: Final = b"get_runs_in_queue"


class Door:
    """A way to the embedded Cloud that counts, and notices when an agent polls first.

    Attributes:
        polled: Set by the first poll.
        requests: How many there were.
    """

    def __init__(self, url: str) -> None:
        self.polled = threading.Event()
        self.requests = 0
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                door.requests += 1
                if POLL in body:
                    door.polled.set()
                answer = session.post(url, data=body, headers={"Content-Type": "application/json"}, timeout=60)
                self.send_response(answer.status_code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_POST  # noqa: N815

            def log_message(self, *words: object) -> None:
                pass

        session = requests.Session()
        session.trust_env = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Close it."""
        self._server.shutdown()
        self._server.server_close()


@attrs.frozen
class Cloud:
    """The embedded Cloud, asked directly."""

    url: str

    def ask(self, document: str, variables: Mapping[str, Any] | None = None) -> Any:
        """Data of an answer."""
        answer = requests.post(self.url, json={"query": document, "variables": variables}, timeout=120).json()
        if "errors" in answer:
            raise SystemExit(str(answer["errors"])[:500])
        return answer["data"]

    def register(self, run_config: Mapping[str, Any]) -> str:
        """Id of a new flow of one task."""
        change = "mutation($input: {0}_input!) {{ {0}(input: $input) {{ id }} }}".format
        project = self.ask(change("create_project"), {"input": {"name": "benchmark"}})["create_project"]["id"]
        flow = {
            "name": "flow",
            "tasks": [{"slug": "t", "name": "t"}],
            "edges": [],
            "storage": {"type": "Local"},
            "run_config": {"labels": [], **run_config},
            "__version__": "1.4.1",
        }
        given = {"project_id": project, "serialized_flow": flow}
        return str(self.ask(change("create_flow"), {"input": given})["create_flow"]["id"])

    def create_runs(self, flow_id: str, count: int) -> list[str]:
        """Ids of new flow runs that are due."""
        one = f'create_flow_run(input: {{ flow_id: "{flow_id}" }}) {{ id }}'
        made: list[str] = []
        for begin in range(0, count, 50):
            fields = " ".join(f"r{n}: {one}" for n in range(begin, min(count, begin + 50)))
            made += [run["id"] for run in self.ask(f"mutation {{ {fields} }}").values()]
        return made

    def unfinished(self) -> int:
        """How many flow runs have not ended: none or some."""
        where = '{ state: { _in: ["Scheduled", "Submitted", "Running"] } }'
        return len(self.ask(f"query {{ flow_run(where: {where}, limit: 1) {{ id }} }}")["flow_run"])


@contextmanager
def served(database: Path) -> Iterator[str]:
    """An embedded Cloud in a process of its own."""
    command = [*OWN, "server", "start", "--port", "0", "--database", str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            first = next(line for line in process.stdout if "http://" in line)
            yield next(word for word in first.split() if word.startswith("http://")).rstrip(",/")
        finally:
            process.terminate()
            process.communicate(timeout=30)


def settings(api: str, folder: Path, **more: str) -> dict[str, str]:
    """Variables of an agent that is measured: nothing else of this process's environment."""
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "PREFECT__HOME_DIR": str(folder / "prefect"),
        "PREFECT__BACKEND": "server",
        "PREFECT__SERVER__ENDPOINT": api,
        "PREFECT__CLOUD__API": api,
        **more,
    }


@contextmanager
def agent(command: Sequence[str], env: Mapping[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A running agent; its output is in *log*."""
    with log.open("ab") as file:
        process = subprocess.Popen(command, env=env, stdout=file, stderr=file, cwd=log.parent)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def official_has(*packages: str) -> bool:
    """Whether the official agent is here, with what it needs."""
    ask = [str(OFFICIAL_PYTHON), "-c", f"import prefect, {', '.join(packages or ('sys',))}"]
    return OFFICIAL_PYTHON.exists() and subprocess.run(ask, check=False, capture_output=True).returncode == 0


def cpu(pid: int) -> float:
    """CPU seconds that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def resident(pid: int, kind: str = "VmRSS") -> float:
    """Resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(kind))
