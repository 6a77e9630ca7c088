"""The real agent with the GraphQL adapter, a proxy that fails, the embedded Cloud, and units that live in memory."""

import json
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from prefect.agent import Agent
from prefect.agent.adapters.fakes import InMemoryPlatform
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.runtime.exits import AgentExit
from prefect.agent.ports.events import Event
from support.embedded import Embedded, Json
from support.fault_proxy import Fault, FaultProxy
from support.waiting import wait_until

FATES: Final = {"well": "Success", "dies": "Failed", "cancelled": "Cancelled", "deleted": "Failed"}
"""What a run goes through, and how it has to end."""

QUICK: Final[dict[str, Any]] = {
    "poll_first": 0.1, "poll_last": 0.3, "sweep_every": 0.4, "cancel_grace": 0.2, "stop_grace": 0.1,
    "create_deadline": 20.0, "keep_ended": 60.0,
}  # fmt: skip


@attrs.define
class OverHttp(Embedded):
    """The embedded Cloud, asked over HTTP past every proxy; ``path`` is not used."""

    url: str = ""

    def __attrs_post_init__(self) -> None:
        pass

    def send(self, query: str, variables: object = None, headers: Mapping[str, str] | None = None) -> tuple[int, Json]:
        """One request."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.url}/graphql", body, {"Content-Type": "application/json", **(headers or {})}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)


@attrs.define(eq=False)
class Life:
    """One agent behind one proxy, and runs of every fate."""

    cloud: OverHttp
    flow: str
    label: str
    proxy: FaultProxy
    place: InMemoryPlatform = attrs.field(factory=InMemoryPlatform)
    said: list[Event] = attrs.field(factory=list)
    fates: dict[str, str] = attrs.field(factory=dict)
    over: threading.Event = attrs.field(factory=threading.Event)
    exits: list[str] = attrs.field(factory=list)
    _agent: Agent | None = None

    def add_runs(self) -> None:
        """A run of every fate."""
        for fate in FATES:
            run = self.cloud.run(self.flow, labels=[self.label])
            self.fates[run] = fate

    def check(self, seconds: float) -> None:
        """Every run ends as it has to, and had one unit."""

        def open_runs() -> dict[str, str]:
            states = {run: self.cloud.state(run) for run in self.fates}
            return {run: state for run, state in states.items() if state != FATES[self.fates[run]]}

        try:
            wait_until(lambda: not open_runs(), seconds, every=0.1)
        except AssertionError:
            wrong = {run: (self.fates[run], state) for run, state in open_runs().items()}
            story = "\n".join(f"{event.level} {event.name}: {event.message}" for event in self.said[-60:])
            raise AssertionError(f"{wrong}; exits {self.exits}\n{story}") from None
        started = Counter(submission.flow_run_id for submission in self.place.created)
        assert set(started.values()) <= {1}, started

    def work(self) -> None:
        """In a thread: the agent, started again whenever it ends by itself, as a supervisor does."""
        while not self.over.is_set():
            self._agent = Agent(
                name=self.label,
                labels=[self.label],
                api=self.proxy.url,
                settings=AgentSettings(name=self.label, labels=(self.label,), **QUICK),
                platform=InMemoryPlatform(beside=self.place),
                tell=self.said.append,
                environ={"PREFECT__BACKEND": "server"},
            )
            try:
                self._agent.start()
            except AgentExit as end:
                self.exits.append(str(end))
                self.over.wait(0.2)

    def units(self) -> None:
        """In a thread: what the processes of the units do."""
        begun = 0
        while not self.over.wait(0.02):
            made = self.place.created
            for submission in made[begun:]:
                self._execute(submission.name, str(submission.flow_run_id))
            begun = len(made)

    def _execute(self, unit: str, run: str) -> None:
        self.cloud.set_state(run, "Running")
        fate = self.fates[run]
        if fate == "well":
            self.cloud.set_state(run, "Success")
            self.place.end(unit)
        elif fate == "dies":
            self.place.end(unit, 137)
        elif fate == "deleted":
            self.place.vanish(unit)
        else:
            self.cloud.change("cancel_flow_run", "state", flow_run_id=run)

    def stop(self) -> None:
        """End the agent."""
        self.over.set()
        if self._agent is not None:
            self._agent.stop()


@contextmanager
def life(url: str, cloud: OverHttp, flow: str, label: str) -> Generator[Life]:
    """An agent that works behind a proxy of its own."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    assert host is not None
    assert port is not None
    proxy = FaultProxy((host, port))
    one = Life(cloud, flow, label, proxy)
    threads = [threading.Thread(target=work, daemon=True) for work in (one.work, one.units)]
    with ExitStack() as at_end:
        at_end.callback(proxy.close)
        _start(at_end, one, threads)
        yield one


def _start(at_end: ExitStack, one: Life, threads: list[threading.Thread]) -> None:
    """Start *threads*, and end them at the end."""

    def end() -> None:
        one.proxy.lift()
        one.stop()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads), "the agent does not end"

    at_end.callback(end)
    for thread in threads:
        thread.start()


def meet(one: Life, operation: str, fault: Fault, *, lasts: float, seconds: float) -> bool:
    """Let *operation* fail for a while, lift the fault, and check; whether the fault was met at all."""
    one.proxy.fail(operation, fault)
    one.add_runs()
    hit = _tried(lambda: wait_until(lambda: one.proxy.hits.get(fault.name), 4))
    one.over.wait(lasts)
    one.proxy.lift()
    one.check(seconds)
    return hit


def _tried(act: Callable[[], None]) -> bool:
    try:
        act()
    except AssertionError:
        return False
    return True
