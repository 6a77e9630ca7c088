"""What `make demo` does: an embedded Cloud, an agent, the real client, five flow runs, and the end of all of them."""

import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from pathlib import Path
from types import FrameType
from typing import Any, Final

import demo_cluster
import demo_places
import requests
from demo_form import filled_form
from demo_places import FLOW, Place, Unsuitable
from demo_view import LiveView, PlainView, Row, View

from prefect.agent.domain.errors import AgentError
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.times import read_time
from prefect.agent.entrypoints.library.kinds import Agent
from prefect.agent.entrypoints.server.testing import running_server
from prefect.agent.ports import events
from prefect.agent.ports.events import Event

DEADLINE: Final = 300.0
"""Seconds for everything."""

LOOK_EVERY: Final = 0.2
RUNS: Final = {"GraphQL": 1, "Python": 2, "CLI": 1, "UI": 1}
"""How many flow runs each kind of client creates."""

REGISTER: Final = """
import json, runpy, sys
import prefect
from prefect import run_configs
from prefect.storage import Local
given = json.loads(sys.argv[1])
flow = runpy.run_path(given["script"])["flow"]
flow.storage = Local(path=given["path"], stored_as_script=True, add_default_labels=False)
flow.run_config = getattr(run_configs, given["run_config"])(**given["details"])
client = prefect.Client()
client.create_project("demo")
flow_id = flow.register("demo", labels=[], no_url=True)
print("FLOW", flow_id, flush=True)
for name in given["names"]:
    client.create_flow_run(flow_id=flow_id, run_name=name)
"""
CREATE: Final = "mutation($input: create_flow_run_input!) { create_flow_run(input: $input) { id } }"
LOOK: Final = "query { flow_run { id name states { state timestamp } } }"


class Interrupted(Exception):
    """A signal asked us to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Unfinished(Exception):
    """The demonstration came to no good end; the text says why."""


FAILURES: Final = (AgentError, Unsuitable, Unfinished)
"""Everything else that :func:`demonstrate` raises on purpose."""


class Demo:
    """One demonstration, once embedded Cloud and agent run.

    Args:
        place: Where the flow runs execute.
        url: The embedded Cloud.
        env: Of the real client.
        python: Of the environment with the real Prefect.
        signals: Those that have come; more may come.
    """

    def __init__(
        self, place: Place, url: str, env: dict[str, str], python: Path, view: View, signals: Sequence[int]
    ) -> None:
        self.place, self.url, self.env, self.python, self.view = place, url, env, python, view
        self.agent_trouble: str | None = None
        self._signals = signals
        self._units: dict[str, str] = {}
        self._end = time.monotonic() + DEADLINE
        self._session = requests.Session()
        self._session.trust_env = False
        if place.key:
            self._session.headers["Authorization"] = f"Bearer {place.key}"

    def take(self, event: Event) -> None:
        """An event of the agent: remember units, show troubles."""
        if event.name == events.UNIT_CREATED:
            self._units[event.fields["flow_run_id"]] = event.fields["unit"]
        elif event.level in {"WARNING", "ERROR", "CRITICAL"}:
            self.view.say(f"agent: {event.message}")

    def rows(self) -> list[Row]:
        """All flow runs as the embedded Cloud knows them."""
        found = self._graphql(LOOK)["flow_run"]
        rows = []
        for run in found:
            states = sorted(((s["state"], read_time(s["timestamp"])) for s in run["states"]), key=itemgetter(1))
            unit = self._units.get(run["id"], "")
            rows.append(Row(id=run["id"], name=run["name"], states=tuple(states), unit=unit))
        return sorted(rows, key=lambda row: row.begun)

    def look(self) -> list[Row]:
        """Show the flow runs, and go on unless there is a reason not to.

        Raises:
            Interrupted, Unfinished: There is.
        """
        if self._signals:
            raise Interrupted(self._signals[0])
        if self.agent_trouble:
            raise Unfinished(f"The agent ended: {self.agent_trouble}")
        if time.monotonic() > self._end:
            raise Unfinished(f"Not all flow runs have ended within {DEADLINE:.0f} s")
        rows = self.rows()
        self.view.show(rows)
        return rows

    def play(self) -> bool:
        """Register, create, watch to the end; answer whether all flow runs succeeded."""
        names = {kind: [f"{kind}-{number}" for number in range(1, count + 1)] for kind, count in RUNS.items()}
        given = {
            "script": str(FLOW),
            "path": self.place.path,
            "run_config": self.place.run_config,
            "details": {"image": self.place.image} if self.place.image else {},
            "names": names["Python"],
        }
        told = self._client("-c", REGISTER, json.dumps(given))
        found = re.search(r"^FLOW (\S+)", told, re.MULTILINE)
        if not found:
            raise Unfinished(f"The flow was not registered: {told}")
        flow_id = found[1]
        for name in names["GraphQL"]:
            self._graphql(CREATE, {"input": {"flow_id": flow_id, "flow_run_name": name}})
        for name in names["UI"]:
            self._create_on_page(flow_id, name)
        for name in names["CLI"]:
            self._client("-m", "prefect", "run", "--id", flow_id, "--run-name", name)
        while True:
            rows = self.look()
            if len(rows) == sum(RUNS.values()) and all(row.end for row in rows):
                return all(row.end == "Success" for row in rows)
            time.sleep(LOOK_EVERY)

    def keep(self) -> None:
        """Leave everything up until a signal comes.

        Raises:
            Unfinished: The agent has ended.
        """
        key = f" (it asks for the key {self.place.key})" if self.place.key else ""
        self.view.say(f"Everything stays up at {self.url}{key}: look around, create runs. Ctrl-C ends it.")
        while not self._signals:
            if self.agent_trouble:
                raise Unfinished(f"The agent ended: {self.agent_trouble}")
            time.sleep(LOOK_EVERY)

    def clean_up(self) -> None:
        """Stop and forget every unit of our flow runs."""
        ours = {row["id"] for row in self._graphql("query { flow_run { id } }")["flow_run"]}
        platform = self.place.platform()
        try:
            for unit in platform.units():
                if unit.flow_run_id in ours:
                    platform.stop(unit.name, grace=1.0)
                    platform.remove(unit.name)
        except AgentError as problem:
            self.view.say(f"Not everything could be removed: {problem}")
        finally:
            platform.close()
            self._session.close()

    def _graphql(self, document: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self._session.post(self.url, json={"query": document, "variables": variables}, timeout=10).json()
        if "errors" in answer:
            raise Unfinished(f"The embedded Cloud refused: {answer['errors']}")
        data: dict[str, Any] = answer["data"]
        return data

    def _create_on_page(self, flow_id: str, name: str) -> None:
        """Create a flow run as a person does in the browser: get the page with the form, fill it, send it."""
        address = f"{self.url}/default/flow/{flow_id}/run"
        page = self._session.get(address, timeout=10)
        fields = filled_form(page.text, "create-run", name=name)
        answer = self._session.post(address, data=fields, timeout=10, allow_redirects=False)
        if not (page.ok and answer.is_redirect):
            raise Unfinished(f"The page that creates a flow run failed: {page.status_code}, {answer.status_code}")

    def _client(self, *words: str) -> str:
        """Run the real client in an environment of its own; return what it printed."""
        with subprocess.Popen(
            [str(self.python), *words],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a Ctrl-C is for us to answer
        ) as child:
            try:
                while True:
                    try:
                        told, _ = child.communicate(timeout=LOOK_EVERY)
                        break
                    except subprocess.TimeoutExpired:
                        self.look()
            finally:
                if child.poll() is None:
                    child.kill()
        if child.returncode:
            raise Unfinished(f"The Prefect client failed: {told}")
        return told


@contextmanager
def running_agent(demo: Demo, agent: Agent) -> Generator[None]:
    """Run *agent* in a thread."""

    def run() -> None:
        try:
            agent.start()
            demo.agent_trouble = "it was stopped"
        except Exception as trouble:  # noqa: BLE001 - whatever it is, there is nothing to wait for any more
            demo.agent_trouble = str(trouble) or repr(trouble)

    thread = threading.Thread(target=run, name="demo-agent", daemon=True)
    thread.start()
    try:
        yield
    finally:
        give_up = time.monotonic() + 20
        while thread.is_alive() and time.monotonic() < give_up:
            agent.stop()  # again and again: it does nothing while the agent still connects
            thread.join(0.1)


@contextmanager
def signals_noted(signals: list[int]) -> Generator[None]:
    """Note SIGINT and SIGTERM in *signals* in place of dying of them."""

    def handle(number: int, _frame: FrameType | None) -> None:
        signals.append(number)

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def environment(place: Place, url: str, home: Path, python: Path) -> dict[str, str]:
    """Everything that the real client, and the agent, know of this machine: nothing of the person's own settings."""
    backend = (
        {"PREFECT__BACKEND": "cloud", "PREFECT__CLOUD__API": url, "PREFECT__CLOUD__API_KEY": place.key}
        if place.key
        else {"PREFECT__BACKEND": "server", "PREFECT__SERVER__ENDPOINT": url, "PREFECT__SERVER__UI__ENDPOINT": url}
    )
    return {
        "HOME": str(home),
        "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        **backend,
    }


def demonstrate(
    platform: str | None, image: str | None, cloud_host: str | None, python: Path, *, keep: bool = False
) -> bool:
    """Run the whole demonstration; answer whether all flow runs succeeded.

    Args:
        keep: Leave everything up after that, until a signal comes.

    Raises:
        Unsuitable, Unfinished, Interrupted: It came to nothing.
    """
    if not python.exists():
        raise Unfinished(f"There is no {python}: run `make dev-prefect`")
    signals: list[int] = []
    with ExitStack() as stack:  # undone from the bottom up: agent, units, screen, Cloud, place, folder, signals
        stack.enter_context(signals_noted(signals))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prefect-agent-demo-")))
        if platform == "kubernetes":
            place = stack.enter_context(demo_cluster.place_in_cluster(image, cloud_host))
        else:
            place = demo_places.choose(platform, image, prefect_python=python, folder=folder)
        print(f"Flow runs execute as {place.units} ({place.why}).")
        url = stack.enter_context(serving(place, folder / "cloud.db"))
        print(f"Embedded Cloud at {url}; the client is the real Prefect of {python.parent.parent.name}.")
        print(f"Its pages, while this runs: {url}/default/flow-runs", flush=True)
        if platform == "kubernetes":
            demo_cluster.rehearse(place, url, lambda: pause(signals))
        view = LiveView() if sys.stdout.isatty() else PlainView()
        stack.callback(view.close)
        demo = Demo(place, url, environment(place, url, folder, python), python, view, signals)
        stack.callback(demo.clean_up)
        agent = place.agent(
            api=url,
            environ=demo.env,
            env_vars={"HOME": str(folder)} if place.kind == "process" else {},
            settings=AgentSettings(name="demo", poll_last=1.0),
            tell=demo.take,
        )
        stack.enter_context(running_agent(demo, agent))
        good = demo.play()
        if keep:
            demo.keep()
        return good


@contextmanager
def serving(place: Place, database: Path) -> Generator[str]:
    """The embedded Cloud, where the place's flow runs reach it."""
    keys = frozenset({place.key} - {""})
    with ExitStack() as stack:
        try:
            url = stack.enter_context(running_server(database, host=place.cloud_host, keys=keys))
        except OSError as problem:
            raise Unsuitable(f"The embedded Cloud cannot listen at {place.cloud_host}: {problem.strerror}") from problem
        yield url


def pause(signals: Sequence[int]) -> None:
    """Wait a moment.

    Raises:
        Interrupted: A signal has come.
    """
    if signals:
        raise Interrupted(signals[0])
    time.sleep(LOOK_EVERY)
