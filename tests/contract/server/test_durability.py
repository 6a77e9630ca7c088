"""``kill -9`` of a server under load, fifty times: what was answered is there, and nothing is there by halves."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from prefect.agent.entrypoints.server.storage.database import Database
from support.waiting import wait_until

KILLS: Final = 50
CLIENTS: Final = 3
TASKS: Final = 3
LINES: Final = 20

# Imports are done once; each server is a process of its own, made by a fork for each line that comes in.
SERVERS: Final = """
import os, sys
from pathlib import Path
from prefect.agent.entrypoints.server.storage.database import Database
from prefect.agent.entrypoints.server.graphql.schema import schema
from prefect.agent.entrypoints.server.http.serving import listen, make_server
schema()
for _ in sys.stdin:
    pid = os.fork()
    if not pid:
        listening = listen("127.0.0.1", 0)
        server = make_server(Database(Path(sys.argv[1])))
        print(os.getpid(), listening.getsockname()[1], flush=True)
        server.run(sockets=[listening])
        os._exit(0)
    print(os.waitpid(pid, 0)[1], flush=True)
"""

SET_STATES: Final = "mutation($input: set_%s_states_input!) { set_%s_states(input: $input) { states { id } } }"
LOGS: Final = "mutation($input: write_run_logs_input!) { write_run_logs(input: $input) { success } }"
INFO: Final = """mutation($input: get_or_create_task_run_info_input!) {
    get_or_create_task_run_info(input: $input) { id version } }"""


@attrs.define
class Answered:
    """What servers have confirmed."""

    runs: list[str] = attrs.field(factory=list)
    messages: list[tuple[str, str]] = attrs.field(factory=list)
    children: list[str] = attrs.field(factory=list)
    logs: list[str] = attrs.field(factory=list)
    count: int = 0

    def reached(self, count: int) -> bool:
        """Whether so many requests were answered."""
        return self.count >= count


@attrs.frozen
class Client:
    """One of those who make the load."""

    port: int
    flow: str
    task: str
    answered: Answered

    def work(self) -> None:
        """Change things until the server is gone; write down what it confirms."""
        http = HTTPConnection("127.0.0.1", self.port, timeout=30)
        with closing(http):
            try:
                while True:
                    self._one_run(http)
            except (OSError, HTTPException):
                return

    def _one_run(self, http: HTTPConnection) -> None:
        made = self._many(http, "create_flow_run", [{"flow_id": self.flow, "idempotency_key": uuid.uuid4().hex}] * 2)
        self.answered.runs += made
        run = made[0]
        for kind in ("Submitted", "Running"):
            self._state(http, "flow_run", run, kind)
        given = {"flow_run_id": run, "task_id": self.task, "map_index": 7}
        child = self._send(http, INFO, {"input": given})["get_or_create_task_run_info"]["id"]
        self.answered.children.append(child)
        self._state(http, "task_run", child, "Running")
        self._state(http, "task_run", child, "Success")
        mark = uuid.uuid4().hex
        self._send(http, LOGS, {"input": {"logs": [{"flow_run_id": run, "name": mark, "message": "m"}] * LINES}})
        self.answered.logs.append(mark)
        self._state(http, "flow_run", run, "Cancelled")

    def _many(self, http: HTTPConnection, name: str, inputs: list[dict[str, Any]]) -> list[str]:
        """Several fields in one request, as our agent sends its claims."""
        heads = ", ".join(f"$i{n}: {name}_input!" for n in range(len(inputs)))
        fields = " ".join(f"c{n}: {name}(input: $i{n}) {{ id }}" for n in range(len(inputs)))
        variables = {f"i{n}": {**given, "idempotency_key": uuid.uuid4().hex} for n, given in enumerate(inputs)}
        return [row["id"] for row in self._send(http, f"mutation({heads}) {{ {fields} }}", variables).values()]

    def _state(self, http: HTTPConnection, table: str, row_id: str, kind: str) -> None:
        message = uuid.uuid4().hex
        entry = {f"{table}_id": row_id, "state": {"type": kind, "message": message}}
        self._send(http, SET_STATES % (table, table), {"input": {"states": [entry]}})
        self.answered.messages.append((table, message))

    def _send(self, http: HTTPConnection, query: str, variables: object) -> dict[str, Any]:
        http.request(
            "POST", "/", json.dumps({"query": query, "variables": variables}), {"Content-Type": "application/json"}
        )
        answer = json.loads(http.getresponse().read())
        assert "errors" not in answer, answer
        self.answered.count += 1
        data: dict[str, Any] = answer["data"]
        return data


@contextmanager
def servers(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that starts one server after the other on *path*."""
    command = [sys.executable, "-c", SERVERS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


def start(process: "subprocess.Popen[str]") -> tuple[int, int]:
    """Process id and port of a new server."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(file=process.stdin, flush=True)
    pid, port = map(int, process.stdout.readline().split())
    return pid, port


def kill(process: "subprocess.Popen[str]", pid: int) -> None:
    """End a server without a word, and see that it was that."""
    assert process.stdout is not None
    os.kill(pid, signal.SIGKILL)
    assert os.WTERMSIG(int(process.stdout.readline())) == signal.SIGKILL


def make_flow(path: Path) -> tuple[str, str]:
    """Ids of a flow of some tasks, and of one of these."""
    from support.embedded import Embedded  # noqa: PLC0415 - only here a Cloud without HTTP is needed

    cloud = Embedded(path)
    flow = cloud.flow(cloud.project(), tasks=TASKS)
    task = cloud.ask("query { task(limit: 1) { id } }")["task"][0]["id"]
    cloud.database.close()
    return flow, task


def test_kill_nine_loses_nothing_and_leaves_no_half_mutation(tmp_path: Path) -> None:
    """After each kill the file opens at once; the log of SQLite is played back by the next server or by us."""
    path = tmp_path / "cloud.db"
    flow, task = make_flow(path)
    answered = Answered()
    chance = random.Random(4)

    with servers(path) as process:
        for turn in range(KILLS):
            pid, port = start(process)
            work = Client(port, flow, task, answered).work
            threads = [threading.Thread(target=work, daemon=True) for _ in range(CLIENTS)]
            target = answered.count + chance.randint(1, 60)
            for thread in threads:
                thread.start()
            wait_until(partial(answered.reached, target), 30, "answers")
            kill(process, pid)
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive()
            if turn % 5 == 0:
                check(path, answered)
    check(path, answered)
    assert len(answered.messages) > KILLS
    assert answered.logs


def check(path: Path, answered: Answered) -> None:
    """The file is sound, holds all that was answered, and its tables agree."""
    Database(path).close()  # the lock is free, and the file is one that a server takes
    with closing(sqlite3.connect(path)) as connection:

        def column(sql: str) -> set[Any]:
            return {row[0] for row in connection.execute(sql)}

        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert set(answered.runs) <= column("SELECT id FROM flow_run")
        assert set(answered.children) <= column("SELECT id FROM task_run WHERE map_index = 7")
        for table in ("flow_run", "task_run"):
            known = column(f"SELECT message FROM {table}_state")
            assert {message for of, message in answered.messages if of == table} <= known
            differing = f"""SELECT r.id FROM {table} r WHERE r.version <> (
                SELECT count(*) FROM {table}_state s WHERE s.{table}_id = r.id
            ) OR NOT EXISTS (
                SELECT 1 FROM {table}_state s WHERE s.{table}_id = r.id AND s.version = r.version
                AND s.state = r.state AND s.message IS r.state_message
            )"""
            assert column(differing) == set()
        assert set(answered.logs) <= column("SELECT name FROM log")
        assert column("SELECT count(*) FROM log GROUP BY name") <= {LINES}
        of_run = (
            "SELECT count(*) FROM flow_run r JOIN task_run t ON t.flow_run_id = r.id AND t.map_index = -1 GROUP BY r.id"
        )
        assert column(of_run) == {TASKS}
        unfinished = """SELECT t.id FROM task_run t JOIN flow_run r ON r.id = t.flow_run_id
            WHERE r.state = 'Cancelled' AND t.state NOT IN ('Cancelled', 'Success')"""
        assert column(unfinished) == set()


@pytest.mark.parametrize("times", [3])
def test_the_command_itself_comes_back(tmp_path: Path, times: int) -> None:
    """``prefect server start`` as people start it: killed, and started again on the same file."""
    path = tmp_path / "cloud.db"
    names = []
    for turn in range(times):
        command = [sys.executable, "-m", "prefect.agent", "server", "start", "--port", "0", "--database", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = next(text for text in process.stdout if "http://" in text)
            address = next(word for word in line.split() if word.startswith("http://")).rstrip("/,;")
            http = HTTPConnection(address.removeprefix("http://"), timeout=30)
            names.append(f"p{turn}")
            query = f'mutation {{ create_project(input: {{ name: "p{turn}" }}) {{ id }} }}'
            http.request("POST", "/", json.dumps({"query": query}), {"Content-Type": "application/json"})
            assert "errors" not in json.loads(http.getresponse().read())
            http.close()
            process.kill()
    with closing(sqlite3.connect(path)) as connection:
        assert [row[0] for row in connection.execute("SELECT name FROM project ORDER BY name")] == names
