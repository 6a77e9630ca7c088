"""The agent class that people compose and subclass."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from prefect.agent.domain.errors import AgentError, ConfigurationError
from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.policy import Policy
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.services.submission import OwnDeploy
from prefect.agent.entrypoints.container import build
from prefect.agent.entrypoints.factories import Options
from prefect.agent.entrypoints.library.compatibility import FlowRunRow, refuse_real_prefect
from prefect.agent.entrypoints.library.composing import Composition, Login
from prefect.agent.entrypoints.library.life import Hooks, Life, set_up_log
from prefect.agent.entrypoints.runtime import logs
from prefect.agent.entrypoints.runtime.exits import exit_for
from prefect.agent.entrypoints.runtime.folding import Folding
from prefect.agent.entrypoints.settings.configuration import Configuration
from prefect.agent.entrypoints.settings.precedence import Given, agent_settings
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi
from prefect.agent.ports.events import EventSink
from prefect.agent.ports.platform import ExecutionPlatform


class Agent:
    """An agent finds flow runs that are due, claims them and starts each one on a platform.

    Compose it - ``Agent(cloud=..., platform=...)`` - or subclass it and override :meth:`deploy_flow`,
    :meth:`on_startup`, :meth:`on_shutdown` or :meth:`heartbeat`, as in Prefect 1.x.

    Args:
        agent_config_id: Id of an agent configuration kept in the Cloud.
        name: For people. Default: setting ``cloud.agent.name``, else ``agent``.
        labels: The agent takes flow runs whose labels are a subset of these. Default: setting ``cloud.agent.labels``.
        env_vars: Environment variables for every flow run.
        max_polls: Stop after so many polls.
        agent_address: Where to serve health, for example ``http://127.0.0.1:8080``. Default: none.
        no_cloud_logs: Do not let flow runs send their logs to the Cloud.
        cloud, platform, clock: Ports of your own in place of the defaults.
        tell: Takes the agent's events in place of the log.
        settings: Many settings at once. The arguments above override it; environment and files supply what it does
            not name.
        api, key, tenant_id: Address of the Cloud, API key and tenant. Default: environment and files of the 1.x line.
        key_file: File with the key.
        flow_run_key, flow_run_key_file: The key that flow runs get, or a file with it. Default: variables
            ``PREFECT_AGENT_FLOW_RUN_KEY`` and ``PREFECT_AGENT_FLOW_RUN_KEY_FILE``, else the agent's own.
        environ: Variables in place of this process's environment.
        configuration: Environment and files that were read already, in place of *environ*.
        platform_options: Keywords for the platform's factory.
        policy: What flow runs may ask for: ``open``, ``restricted``, the path of a file, or a ``Policy``. Default:
            ``PREFECT_AGENT_POLICY``, else ``open``.
        limit: How many units may be alive at once. Default: ``PREFECT_AGENT_LIMIT``, else no limit.
        max_lateness: Do not start flow runs that are so many seconds late. Default: ``PREFECT_AGENT_MAX_LATENESS``,
            else start them however late.
        start_patience: Seconds to wait for Cloud and platform at start. Default: ``PREFECT_AGENT_START_PATIENCE``, else
            300; 0 tries once.
        auth_patience: Seconds for which refusals of a key that was accepted are tolerated. Default:
            ``PREFECT_AGENT_AUTH_PATIENCE``, else 600.
        poll_interval: Longest pause between two polls, in seconds. Default: ``PREFECT_AGENT_POLL_INTERVAL``, else 10.
        drain_timeout: Seconds that a stopping agent waits for calls that do not return. Default:
            ``PREFECT_AGENT_DRAIN_TIMEOUT``, else 30.
        strict: Refuse a configuration with unknown keys or variables. Default: ``PREFECT_AGENT_STRICT``, else warn.
        state_directory: Where to keep reports that the Cloud has not confirmed. Default:
            ``PREFECT_AGENT_STATE_DIRECTORY``, else ``~/.prefect-agent``.

    A subclass with a :meth:`deploy_flow` of its own needs no platform. Its flow runs are not started a second time if
    the agent ends between the claim and the return of :meth:`deploy_flow`: it is not known whether they were started.
    Set :attr:`recovers` to True in the class if :meth:`deploy_flow` may be called again for the same claim.
    """

    platform_name: ClassVar[str | None] = None
    """Which platform a subclass stands for; None: only what is composed."""

    type_name: ClassVar[str | None] = None
    """How the agent calls its kind to the Cloud; None: by the name of its class."""

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
        configuration: Configuration | None = None,
        platform_options: Mapping[str, Any] | None = None,
        policy: Policy | str | None = None,
        limit: int | None = None,
        max_lateness: float | None = None,
        start_patience: float | None = None,
        auth_patience: float | None = None,
        poll_interval: float | None = None,
        drain_timeout: float | None = None,
        strict: bool | None = None,
        state_directory: str | None = None,
        key_file: str | None = None,
        flow_run_key: str | None = None,
        flow_run_key_file: str | None = None,
    ) -> None:
        refuse_real_prefect()
        found = configuration or Configuration.load(process_environ() if environ is None else environ)
        patience = {"start_patience": start_patience, "auth_patience": auth_patience}
        times = {"poll_last": poll_interval, "stop_patience": drain_timeout}
        bounds = {"limit": limit, "max_lateness": max_lateness, **patience, **times}
        given = Given(name=name, labels=labels, env=env_vars, max_polls=max_polls, bounds=bounds)
        own_keys = {"key": key, "key_file": key_file}
        flow_keys = {"flow_run_key": flow_run_key, "flow_run_key_file": flow_run_key_file}
        composition = Composition(
            found=found,
            settings=self._decide(found, given, settings),
            login=None if cloud else Login(api=api, tenant_id=tenant_id, **own_keys, **flow_keys),
            platform=self.platform_name,
            platform_options=platform_options or {},
            policy=policy,
            no_cloud_logs=no_cloud_logs,
            state_directory=state_directory,
            own_deploy=self._own_deploy(),
            agent_type=self.type_name or type(self).__name__,
            agent_config_id=agent_config_id,
            strict=strict,
        )
        self.agent_config_id = agent_config_id
        self.agent_address = agent_address or found.text("cloud.agent.agent_address")
        self._assemble(composition, tell, {"cloud": cloud, "platform": platform, "clock": clock})

    # --- what 1.x subclasses read ---

    @property
    def name(self) -> str:
        """Return the agent's name."""
        return self._options.settings.name

    @property
    def labels(self) -> list[str]:
        """Return the agent's labels, sorted."""
        return list(self._options.settings.labels)

    @property
    def env_vars(self) -> dict[str, str]:
        """Return the variables for every flow run."""
        return dict(self._options.settings.env)

    @property
    def max_polls(self) -> int | None:
        """Return the number of polls after which the agent stops."""
        return self._options.settings.max_polls

    @property
    def log_to_cloud(self) -> bool:
        """Return whether flow runs send their logs to the Cloud."""
        return self._options.send_logs

    @property
    def options(self) -> Options:
        """Return everything that was decided before any part was made."""
        return self._options

    # --- hooks ---

    def deploy_flow(self, flow_run: Any) -> str:
        """Start one claimed flow run; return a text about it for its log. Raise to make the run Failed.

        Args:
            flow_run: The backend's row, with attribute and key access (``flow_run.flow.storage``).
        """
        return self._life.parts.create_unit(flow_run.flow_run).info

    def on_startup(self) -> None:
        """Override this hook for work to do once, after connection and registration and before the first poll."""

    def on_shutdown(self) -> None:
        """Override this hook for work to do once, after the last claimed flow run was started."""

    def heartbeat(self) -> None:
        """Override this hook for work to do every :attr:`heartbeat_period` seconds, in a thread of its own."""

    # --- life ---

    def start(self) -> None:
        """Work until SIGINT, SIGTERM, :meth:`stop` or ``max_polls``. Blocks. The first signal lets begun work finish.

        Raises:
            AgentExit: The agent could not start or cannot go on; the message says why, the code how to end.
        """
        if self._logs_events:
            set_up_log(self.logger, self.name, self._options.mask)
        try:
            self._life.run()
        except AgentError as problem:
            raise exit_for(problem, self._options.mask) from problem

    def stop(self) -> None:
        """Finish begun work and let :meth:`start` return. May be called from any thread or signal handler."""
        self._life.stop()

    def poke(self) -> None:
        """Poll the Cloud now."""
        self._life.poke()

    # --- inside ---

    @property
    def _overrides_deploy(self) -> bool:
        return type(self).deploy_flow is not Agent.deploy_flow

    def _decide(self, found: Configuration, given: Given, settings: AgentSettings | None) -> AgentSettings:
        """Return all settings of this agent."""
        return agent_settings(found, given, settings)

    def _own_deploy(self) -> OwnDeploy | None:
        """Return the subclass's own way to start flow runs; None for the platform's, which starts no claim twice."""
        if not self._overrides_deploy and self.recovers is not False:
            return None

        def deploy(run: FlowRun) -> str:
            return self.deploy_flow(FlowRunRow.of(run))

        return OwnDeploy(deploy, recovers=bool(self.recovers))

    def _assemble(self, composition: Composition, tell: EventSink | None, ports: Mapping[str, object | None]) -> None:
        """Wire the agent; adapters are made when it starts."""
        if composition.platform is None and ports["platform"] is None and not self._overrides_deploy:
            raise ConfigurationError("an Agent needs platform=..., or a subclass that overrides deploy_flow")
        self.logger = logging.getLogger(logs.LOGGER)
        self._logs_events = tell is None
        self._options = options = composition.options()
        logs.mask_also(self.logger, options.mask)
        given = {port: value for port, value in ports.items() if value is not None}
        own_heartbeat = type(self).heartbeat is not Agent.heartbeat
        self._life = Life(
            parts=build(options, tell=tell or Folding(logs.log_events(self.logger)), **given),
            options=options,
            hooks=Hooks(
                stop=self.stop,
                on_startup=self.on_startup,
                on_shutdown=self.on_shutdown,
                heartbeat=self.heartbeat if own_heartbeat else None,
                heartbeat_period=self.heartbeat_period,
            ),
            address=self.agent_address or "",
            cautions=composition.cautions(options.connection),
            unknown=composition.doubts(),
            runtime_directory=composition.runtime_directory(),
        )


def process_environ() -> Mapping[str, str]:
    """Return the environment of this process."""
    import os  # noqa: PLC0415

    return os.environ
