"""The life of one agent, from the first attempt to reach its Cloud to its last report."""

import logging
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final

import attrs

from prefect.agent.domain.secrets import Mask
from prefect.agent.entrypoints.container import Parts
from prefect.agent.entrypoints.factories import Options
from prefect.agent.entrypoints.runtime import logs
from prefect.agent.entrypoints.runtime.controls import Controls
from prefect.agent.entrypoints.runtime.draining import Draining
from prefect.agent.entrypoints.runtime.health_server import HealthServer
from prefect.agent.entrypoints.runtime.local_endpoint import LocalEndpoint
from prefect.agent.entrypoints.runtime.periodic import periodically
from prefect.agent.entrypoints.runtime.signals import stop_on_signals
from prefect.agent.entrypoints.runtime.site import Site, health_pages, status_pages
from prefect.agent.entrypoints.runtime.status_page.pages import page_routes
from prefect.agent.entrypoints.settings.policies import warning
from prefect.agent.ports import events
from prefect.agent.ports.cloud_api import Tenant
from prefect.agent.ports.events import Event

LAST_WORDS: Final = 5.0
"""Seconds for which an agent that has stopped waits at most until it is written why."""


@attrs.frozen(kw_only=True)
class Hooks:
    """Hooks are calls of the user's code at fixed points of an agent's life.

    Attributes:
        stop: Called on the first signal; leads to :meth:`Life.stop`.
        heartbeat: Called every *heartbeat_period* seconds, in a thread of its own; None if it is not wanted.
    """

    stop: Callable[[], None]
    on_startup: Callable[[], None]
    on_shutdown: Callable[[], None]
    heartbeat: Callable[[], None] | None = None
    heartbeat_period: float = 60.0


@attrs.define(kw_only=True)
class Life:
    """A life starts the parts of an agent in order and ends them in reverse.

    Attributes:
        address: Address at which health is served; empty for none.
        cautions: Sentences about unprotected secrets, read at the start.
        unknown: Sentences about settings that do not exist.
        runtime_directory: Folder of the socket for the agent's own user; None if there is no socket.
    """

    parts: Parts
    options: Options
    hooks: Hooks
    address: str = ""
    cautions: Iterable[str] = ()
    unknown: Iterable[str] = ()
    runtime_directory: Path | None = None
    _cause: str = attrs.field(default="Stop", init=False)
    _works: bool = attrs.field(default=False, init=False)

    def run(self) -> None:
        """Work until SIGINT, SIGTERM, :meth:`stop` or ``max_polls``; then finish begun work.

        Raises:
            AgentError: The agent could not start or cannot go on.
            AgentExit: A loop cannot go on.
        """
        self.parts.announcer(logs.first_line())
        with ExitStack() as at_end:
            self._run(at_end)
        self._say(events.AGENT_STOPPED, "Stopped")

    def stop(self) -> None:
        """Finish begun work and let :meth:`run` return. May be called from any thread or signal handler."""
        self.parts.health.stopping = True
        self.parts.notifier.stopping()
        self.parts.wakes.stop()

    def poke(self) -> None:
        """Poll the Cloud now, if the agent has started."""
        if self._works:
            self.parts.loops.poke()

    def _run(self, at_end: ExitStack) -> None:
        parts = self.parts
        at_end.enter_context(stop_on_signals(self.hooks.stop, self._note_cause))
        for port in (parts.cloud, parts.platform):
            at_end.callback(port.close)
        self.options.mask.add_source(lambda: parts.platform.secrets)
        server = HealthServer(self._site(), self.poke)
        at_end.callback(server.stop)
        parts.announcer.add(parts.board.take)
        parts.platform.listen(parts.announcer)
        parts.health.start_up("The agent starts")
        self._warn()
        address = server.start(self.address) if self.address else ""
        parts.board.agent["address"] = address or None
        if self.runtime_directory is not None:
            self._open_local_endpoint(self.runtime_directory, at_end)
        tenant = parts.start_up()
        if tenant is None:
            return
        self._works, parts.board.outbox = True, parts.outbox
        parts.announcer.add(parts.supervisor.take)
        parts.supervisor.accepted()
        if server.thread is not None:
            parts.supervisor.watch_thread(server.thread, server.over)
        self._introduce(tenant)
        if address:
            self._say(events.AGENT_STARTED, f"Health is served at {address}")
        at_end.callback(self.hooks.on_shutdown)
        self.hooks.on_startup()
        with parts.supervisor.on_guard(), self._heartbeats(), self._signs_of_life(), self._last_words():
            parts.loops.run()

    def _site(self) -> Site:
        """Return the pages at the agent's address, and those for its own user."""
        board, meter = self.parts.board, self.parts.meter

        def metrics() -> tuple[bytes, str]:
            from prefect.agent.entrypoints.runtime.metrics import CONTENT_TYPE, exposition  # noqa: PLC0415 - costs 20 ms

            return exposition(meter, board), CONTENT_TYPE

        page = page_routes(board.facts)
        pages = {**health_pages(self.parts.health), **status_pages(board.facts, metrics), **page}
        return Site(pages=pages, personal=frozenset({*page, "/status.json"}))

    def _open_local_endpoint(self, folder: Path, at_end: ExitStack) -> None:
        parts = self.parts
        controls = Controls(
            work=parts.work, health=parts.health, announcer=parts.announcer, stop=self.hooks.stop, poke=self.poke
        )
        site = attrs.evolve(self._site(), actions=controls.actions())
        endpoint = LocalEndpoint(HealthServer(site, self.poke), folder, self.options.settings.name)
        at_end.callback(endpoint.stop)
        try:
            endpoint.start()
        except OSError as problem:
            why = problem.strerror or problem
            self._say(events.STARTING, f"`prefect agent status` will not find this agent: {why}", "DEBUG")

    def _warn(self) -> None:
        for sentence in (*self.parts.platform.exposures, *self.cautions):
            self._say(events.SECRET_UNPROTECTED, sentence, "WARNING")
        for sentence in self.unknown:
            self._say(events.STARTING, sentence, "WARNING")

    def _introduce(self, tenant: Tenant) -> None:
        platform, settings, kind = self.parts.platform, self.options.settings, self.options.agent_type
        text = f"{kind} {settings.name!r} starts flow runs as {platform.traits.units_are}"
        fields = {"platform": platform.traits.kind, "identity": platform.identity, "tenant": tenant.id}
        message = f"{text} ({platform.identity})"
        self.parts.announcer(Event(name=events.AGENT_STARTED, message=message, fields=fields))
        shown = ", ".join(settings.labels) or "none: only flow runs without labels are taken"
        self._say(events.AGENT_STARTED, f"Labels: {shown}. Tenant {tenant.id}. Waiting for flow runs")
        caution = warning(self.options.policy, platform.traits)
        if caution:
            self._say(events.AGENT_STARTED, caution, "WARNING")

    def _heartbeats(self) -> AbstractContextManager[None]:
        """Call the user's heartbeat periodically, if there is one."""
        period = None if self.hooks.heartbeat is None else self.hooks.heartbeat_period
        return self._every(period, "heartbeat", self.hooks.heartbeat or (lambda: None))

    def _signs_of_life(self) -> AbstractContextManager[None]:
        """Notify a service manager periodically, if it asks for that, that the agent is alive."""
        notifier, health = self.parts.notifier, self.parts.health
        return self._every(notifier.period, "watchdog", lambda: notifier.watchdog(healthy=health.lives))

    def _note_cause(self, cause: str) -> None:
        self._cause = cause

    @contextmanager
    def _last_words(self) -> Generator[None]:
        """Say what a stopping agent still waits for, in a thread of its own since signal handlers must not log."""
        over, parts = threading.Event(), self.parts

        def narrate() -> bool:
            parts.wakes.stopping.wait()
            draining = Draining(
                clock=parts.clock,
                work=parts.work,
                announcer=parts.announcer,
                patience=self.options.settings.stop_patience,
                names=parts.board.starting,
                cause=self._cause,
            )
            return draining.step(over)

        thread = threading.Thread(target=narrate, name="last-words", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            if parts.wakes.stopping.is_set():  # it is said also if nothing was left to wait for
                thread.join(LAST_WORDS)

    def _every(self, seconds: float | None, name: str, act: Callable[[], None]) -> AbstractContextManager[None]:
        return periodically(self.parts.supervisor, self.parts.clock, seconds, name, act)

    def _say(self, name: str, message: str, level: str = "INFO") -> None:
        self.parts.announcer.say(name, message, level)


def set_up_log(logger: logging.Logger, name: str, mask: Mask) -> None:
    """Write the agent's log to stderr, unless the logger has handlers already."""
    if not logger.handlers:
        logs.set_up(level="INFO", agent_name=name, secrets=mask)
