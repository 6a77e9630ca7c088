"""The agent that people compose and subclass; what it does from start to stop."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any, ClassVar

import attrs

from prefect.agent.domain.errors import AgentError, ConfigurationError
from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.policy import Policy
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.secrets import Mask, passwords_of
from prefect.agent.entrypoints.container import Options, Parts, build
from prefect.agent.entrypoints.library.compatibility import FlowRunRow, refuse_real_prefect
from prefect.agent.entrypoints.runtime import logs
from prefect.agent.entrypoints.runtime.exits import exit_for
from prefect.agent.entrypoints.runtime.health import Health
from prefect.agent.entrypoints.runtime.health_server import HealthServer
from prefect.agent.entrypoints.runtime.logs import safe
from prefect.agent.entrypoints.runtime.loops import Engine
from prefect.agent.entrypoints.runtime.periodic import periodically
from prefect.agent.entrypoints.runtime.signals import stop_on_signals
from prefect.agent.entrypoints.runtime.startup import StartUp
from prefect.agent.entrypoints.runtime.systemd import Notifier
from prefect.agent.entrypoints.settings.bounds import bounds
from prefect.agent.entrypoints.settings.configuration import Configuration, Connection, connection, env_vars, labels
from prefect.agent.entrypoints.settings.exposures import of_login
from prefect.agent.entrypoints.settings.names import unknown_settings
from prefect.agent.entrypoints.settings.policies import policy_of, warning
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import AgentIdentity, CloudApi, Tenant
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.platform import ExecutionPlatform


class Agent:
    """Finds flow runs that are due, claims them and starts each one on a platform.

    Compose it - ``Agent(cloud=..., platform=...)`` - or subclass it and override :meth:`deploy_flow`,
    :meth:`on_startup`, :meth:`on_shutdown` or :meth:`heartbeat`, as in Prefect 1.x.

    Args:
        agent_config_id: Id of an agent configuration kept in the Cloud.
        name: For people. Default: setting ``cloud.agent.name``, else ``agent``.
        labels: Flow runs whose labels are a subset of these are ours. Default: setting ``cloud.agent.labels``.
        env_vars: Environment variables for every flow run.
        max_polls: Stop after so many polls.
        agent_address: Where to serve health, for example ``http://127.0.0.1:8080``. Default: nowhere.
        no_cloud_logs: Do not let flow runs send their logs to the Cloud.
        cloud, platform, clock: Ports of your own in place of the defaults.
        tell: Takes the agent's events in place of the log.
        settings: All of the agent's settings at once; the arguments above win over it.
        api, key, tenant_id: Which Cloud, and as whom. Default: environment and files of the 1.x line.
        key_file: File with the key.
        flow_run_key, flow_run_key_file: The key that flow runs get, or a file with it. Default: variables
            ``PREFECT_AGENT_FLOW_RUN_KEY`` and ``PREFECT_AGENT_FLOW_RUN_KEY_FILE``, else the agent's own.
        platform_options: Keywords for the platform's factory.
        policy: What flow runs may ask for: ``open``, ``restricted``, the path of a file, or a ``Policy``. Default:
            ``PREFECT_AGENT_POLICY``, else ``open``.
        limit: How many units may be alive at once. Default: ``PREFECT_AGENT_LIMIT``, else no limit.
        max_lateness: Do not start flow runs that are so many seconds late. Default: ``PREFECT_AGENT_MAX_LATENESS``,
            else start them however late.
        start_patience: Seconds to wait for Cloud and platform at start. Default: ``PREFECT_AGENT_START_PATIENCE``, else
            300; 0 tries once.
        auth_patience: Seconds to bear refusals of a key that was accepted. Default: ``PREFECT_AGENT_AUTH_PATIENCE``,
            else 600.
        state_directory: Where to keep reports that the Cloud has not confirmed. Default:
            ``PREFECT_AGENT_STATE_DIRECTORY``, else ``~/.prefect-agent``.

    A subclass with a :meth:`deploy_flow` of its own needs no platform. Its flow runs are not started a second time if
    the agent ends between the claim and the return of :meth:`deploy_flow`: it is not known whether they were started.
    Set :attr:`recovers` to True in the class if :meth:`deploy_flow` may be called again for the same claim.
    """

    platform_name: ClassVar[str | None] = None
    """Which platform a subclass stands for; None: only what is composed."""

    heartbeat_period: ClassVar[float] = 60.0
    """Seconds between two calls of :meth:`heartbeat`."""

    recovers: ClassVar[bool | None] = None
    """Whether a claim is deployed again if the agent ended before it was known to be started. None: only if
    :meth:`deploy_flow` is not overridden, since platforms refuse a second unit of the same claim."""

    def __init__(
        self,
        agent_config_id: str | None = None,
        name: str | None = None,
        labels: Iterable[str] | None = None,
        env_vars: Mapping[str, str] | None = None,
        max_polls: int | None = None,
        agent_address: str | None = None,
        no_cloud_logs: bool | None = None,  # noqa: FBT001 - positions of 1.x
        *,
        cloud: CloudApi | None = None,
        platform: ExecutionPlatform | None = None,
        clock: Clock | None = None,
        tell: EventSink | None = None,
        settings: AgentSettings | None = None,
        api: str | None = None,
        key: str | None = None,
        tenant_id: str | None = None,
        environ: Mapping[str, str] | None = None,
        platform_options: Mapping[str, Any] | None = None,
        policy: Policy | str | None = None,
        limit: int | None = None,
        max_lateness: float | None = None,
        start_patience: float | None = None,
        auth_patience: float | None = None,
        state_directory: str | None = None,
        key_file: str | None = None,
        flow_run_key: str | None = None,
        flow_run_key_file: str | None = None,
    ) -> None:
        refuse_real_prefect()
        self._configuration = Configuration.load(process_environ() if environ is None else environ)
        self.agent_config_id = agent_config_id
        merged = self._merge(settings or AgentSettings(), name, labels, env_vars, max_polls)
        self._settings = self._bounded(
            merged,
            is_untouched=settings is None or settings == AgentSettings(),
            limit=limit,
            max_lateness=max_lateness,
            start_patience=start_patience,
            auth_patience=auth_patience,
        )
        self.agent_address = agent_address or self._configuration.text("cloud.agent.agent_address")
        self.log_to_cloud = not no_cloud_logs and self._configuration.flag("cloud.send_flow_run_logs") is not False
        given = {"cloud": cloud, "platform": platform, "clock": clock}
        self._ports: dict[str, Any] = {port: value for port, value in given.items() if value is not None}
        self._mask = Mask([key or "", flow_run_key or "", *self._configuration.secrets()])
        keys = {"key": key, "key_file": key_file, "flow_run_key": flow_run_key, "flow_run_key_file": flow_run_key_file}
        self._login = {"api": api, "tenant_id": tenant_id, **keys}
        self._platform_options = dict(platform_options or {})
        self._policy = policy_of(policy, self._configuration.environ)
        self._state_directory = state_directory
        self._engine_running: Engine | None = None
        self._assemble(tell)

    # --- what 1.x subclasses read ---

    @property
    def name(self) -> str:
        """The agent's name."""
        return self._settings.name

    @property
    def labels(self) -> list[str]:
        """The agent's labels, sorted."""
        return list(self._settings.labels)

    @property
    def env_vars(self) -> dict[str, str]:
        """Variables for every flow run."""
        return dict(self._settings.env)

    @property
    def max_polls(self) -> int | None:
        """After how many polls the agent stops."""
        return self._settings.max_polls

    # --- hooks ---

    def deploy_flow(self, flow_run: Any) -> str:
        """Start one claimed flow run; return what its log shall say about it. Raise to make the run Failed.

        Args:
            flow_run: The backend's row, with attribute and key access (``flow_run.flow.storage``).
        """
        return self._parts.create_unit(flow_run.flow_run).info

    def on_startup(self) -> None:
        """Called once, connected and registered, before the first poll."""

    def on_shutdown(self) -> None:
        """Called once, after the last flow run in hand was started."""

    def heartbeat(self) -> None:
        """Called every :attr:`heartbeat_period` seconds, in a thread of its own."""

    # --- life ---

    def start(self) -> None:
        """Work until SIGINT, SIGTERM, :meth:`stop` or ``max_polls``. Blocks. The first signal finishes what is in hand.

        Raises:
            AgentExit: The agent could not start or cannot go on; the message says why, the code how to end.
        """
        if self._logs_events and not self.logger.handlers:
            logs.set_up(level="INFO", agent_name=self.name, secrets=self._mask)
        try:
            with ExitStack() as at_end:
                self._run(at_end)
        except AgentError as trouble:
            raise exit_for(trouble, self._mask) from trouble
        self._say(events.AGENT_STOPPED, "Stopped")

    def stop(self) -> None:
        """Finish what is in hand and let :meth:`start` return. From any thread or signal handler."""
        self._notifier.stopping()
        self._stopping.set()
        if self._engine_running is not None:
            self._engine_running.stop()

    def poke(self) -> None:
        """Poll now."""
        if self._engine_running is not None:
            self._engine_running.poke()

    # --- inside ---

    def _run(self, at_end: ExitStack) -> None:
        at_end.enter_context(stop_on_signals(self.stop))
        for port in (self._parts.cloud, self._parts.platform):
            at_end.callback(port.close)
        self._mask.add_source(lambda: self._parts.platform.secrets)
        health_server = HealthServer(self._health, self.poke)
        at_end.callback(health_server.stop)
        self._health.start_up("The agent starts")
        self._say_what_to_look_at()
        address = health_server.start(self.agent_address) if self.agent_address else ""
        tenant = self._start_up()
        if tenant is None:
            return
        self._engine_running = engine = self._parts.engine
        engine.supervisor.accepted()
        if health_server.thread is not None:
            engine.supervisor.watch_thread(health_server.thread, health_server.over)
        self._introduce(tenant)
        if address:
            self._say(events.AGENT_STARTED, f"Health is served at {address}")
        at_end.callback(self.on_shutdown)
        self.on_startup()
        if self._stopping.is_set():  # perhaps before there was an engine
            engine.stop()
        with engine.supervisor.on_guard(), self._heartbeats(), self._signs_of_life():
            engine.run()

    def _start_up(self) -> Tenant | None:
        """Reach both sides, and make the agent known. None: it is to stop already."""
        start_up = StartUp(
            cloud=self._parts.cloud,
            platform=self._parts.platform,
            clock=self._parts.clock,
            agent=AgentIdentity(
                name=self.name,
                type=type(self).__name__,
                labels=self._settings.labels,
                config_id=self.agent_config_id,
            ),
            patience=self._settings.start_patience,
            stopping=self._stopping,
            tell=self._take,
            prepare=lambda: self._parts.engine,
        )
        return start_up()

    def _assemble(self, tell: EventSink | None) -> None:
        """Make the parts of the agent, and what takes its events."""
        self.logger = logging.getLogger(logs.LOGGER)
        self._logs_events = tell is None
        self._parts = self._build()
        self._health = Health(clock=self._parts.clock, stale_after=max(60.0, 6 * self._settings.poll_last))
        self._notifier = Notifier.from_environ(process_environ())
        self._sinks = [safe(t) for t in (self._health.take, self._notifier.take, self._learn, tell or self._log_event)]
        self._stopping = threading.Event()

    def _merge(
        self,
        settings: AgentSettings,
        name: str | None,
        given_labels: Iterable[str] | None,
        given_env: Mapping[str, str] | None,
        max_polls: int | None,
    ) -> AgentSettings:
        """Arguments over *settings* over configuration."""
        found = self._configuration
        untouched = settings == AgentSettings()
        changes: dict[str, Any] = {}
        if name or untouched:
            changes["name"] = name or found.text("cloud.agent.name") or settings.name
        if given_labels is not None or untouched:
            changes["labels"] = labels(found, given_labels or ())
        if given_env is not None or untouched:
            changes["env"] = {**env_vars(found, ()), **(given_env or {})}
        if max_polls is not None:
            changes["max_polls"] = max_polls
        return attrs.evolve(settings, **changes)

    def _bounded(self, merged: AgentSettings, *, is_untouched: bool, **given: float | None) -> AgentSettings:
        """*merged* with the bounds that were *given*; those of the environment count if no settings were."""
        return attrs.evolve(merged, **bounds(self._configuration.environ if is_untouched else {}, given))

    def _build(self) -> Parts:
        own_deploy = type(self).deploy_flow is not Agent.deploy_flow
        has_platform = "platform" in self._ports or self.platform_name is not None
        if not has_platform:
            if not own_deploy:
                raise ConfigurationError("an Agent needs platform=..., or a subclass that overrides deploy_flow")
            from prefect.agent.adapters.null import NullPlatform  # noqa: PLC0415 - most agents have a platform

            self._ports["platform"] = NullPlatform(self._settings.name)
        login = None if "cloud" in self._ports else connection(self._configuration, **self._login)
        options = Options(
            connection=login,
            settings=self._settings,
            platform=self.platform_name or "",
            platform_options=self._platform_options,
            policy=self._policy,
            send_logs=self.log_to_cloud,
            flow_log_level=self._configuration.level("logging.level") or "INFO",
            recovers=not own_deploy if self.recovers is None else self.recovers,
            sees_units=has_platform,
            reads_parameters=own_deploy,
            keeps_reports=login is not None,
            state_directory=self._state_directory,
            mask=self._mask,
        )
        self._know(login)
        return build(options, deploy=self._deploy, tell=self._take, **self._ports)

    def _deploy(self, run: FlowRun) -> str:
        return self.deploy_flow(FlowRunRow.of(run))

    def _know(self, login: Connection | None) -> None:
        """Mask the secrets of *login* in everything that leaves this process."""
        self._connection = login
        if login is not None:
            self._mask.add(login.key or "", login.flow_run_key or "", *passwords_of(login.api))
        logs.mask_also(self.logger, self._mask)

    def _say_what_to_look_at(self) -> None:
        files = (self._login["key_file"], self._login["flow_run_key_file"])
        own = [] if self._connection is None else of_login(self._connection, self._configuration, files)
        for sentence in (*self._parts.platform.exposures, *own):
            self._say(events.SECRET_UNPROTECTED, sentence, "WARNING")
        for sentence in unknown_settings(self._configuration.environ):
            self._say(events.STARTING, sentence, "WARNING")

    def _introduce(self, tenant: Tenant) -> None:
        platform = self._parts.platform
        text = f"{type(self).__name__} {self.name!r} starts flow runs as {_UNITS.get(platform.traits.kind, 'units')}"
        fields = {"platform": platform.traits.kind, "identity": platform.identity, "tenant": tenant.id}
        self._take(Event(name=events.AGENT_STARTED, message=f"{text} ({platform.identity})", fields=fields))
        shown = ", ".join(self.labels) or "none: only flow runs without labels are taken"
        self._say(events.AGENT_STARTED, f"Labels: {shown}. Tenant {tenant.id}. Waiting for flow runs")
        caution = warning(self._policy, platform.traits.kind)
        if caution:
            self._say(events.AGENT_STARTED, caution, "WARNING")

    def _heartbeats(self) -> AbstractContextManager[None]:
        """Call :meth:`heartbeat` periodically if a subclass overrides it."""
        own = type(self).heartbeat is not Agent.heartbeat
        period = self.heartbeat_period if own else None
        return self._every(period, "heartbeat", self.heartbeat)

    def _signs_of_life(self) -> AbstractContextManager[None]:
        """Tell a service manager that asks for it that the agent lives."""
        return self._every(
            self._notifier.period, "watchdog", lambda: self._notifier.watchdog(healthy=self._health.lives)
        )

    def _every(self, seconds: float | None, name: str, act: Callable[[], None]) -> AbstractContextManager[None]:
        return periodically(self._parts.engine.supervisor, self._parts.clock, seconds, name, act)

    def _learn(self, event: Event) -> None:
        if self._engine_running is not None:
            self._engine_running.supervisor.take(event)

    def _take(self, event: Event) -> None:
        event = events.masked(event, self._mask)
        for sink in self._sinks:
            sink(event)

    def _say(self, name: str, message: str, level: str = "INFO") -> None:
        self._take(Event(name=name, message=message, level=level))

    def _log_event(self, event: Event) -> None:
        logs.log_events(self.logger)(event)


_UNITS = {
    "docker": "Docker containers",
    "kubernetes": "Kubernetes Jobs",
    "process": "processes of this machine",
    "none": "its deploy_flow does",
}


def process_environ() -> Mapping[str, str]:
    """The environment of this process."""
    import os  # noqa: PLC0415

    return os.environ
