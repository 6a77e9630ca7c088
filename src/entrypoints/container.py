"""The composition root: the only module that knows every class.

dependency-injector stays behind :func:`build`; SDKs are imported by the small factories below, when first asked for.
"""

import socket
import threading
import uuid
from collections.abc import Callable, Mapping
from importlib import import_module, metadata
from typing import Any, Final

import attrs
from dependency_injector import containers, providers

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.leases import Claimant, fingerprint
from prefect.agent.domain.model.policy import OPEN, Policy
from prefect.agent.domain.model.run_configs import frozen_mapping
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.units import Owner, owner
from prefect.agent.domain.secrets import Mask
from prefect.agent.domain.services.claiming import ClaimFlowRuns
from prefect.agent.domain.services.gate import PlatformGate
from prefect.agent.domain.services.noticing import NoticeLateRuns
from prefect.agent.domain.services.recovering import RecoverClaims
from prefect.agent.domain.services.reporting import Outbox, SendReports
from prefect.agent.domain.services.submission import CreateUnit, StartFlowRun
from prefect.agent.entrypoints.runtime.loops import Engine
from prefect.agent.entrypoints.settings.configuration import Connection
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi
from prefect.agent.ports.events import EventSink
from prefect.agent.ports.platform import ExecutionPlatform
from prefect.agent.ports.presence import Presence
from prefect.agent.ports.reports import MemoryReports, ReportStore

ENTRY_POINTS: Final = "prefect.agent.platforms"
"""Entry point group through which other distributions add platforms: a name, and a callable that takes options."""

BUILT_IN: Final = {
    "docker": "prefect.agent.adapters.docker:factory",
    "kubernetes": "prefect.agent.adapters.kubernetes:factory",
    "process": "prefect.agent.adapters.process:factory",
}


PORTS: Final = ("cloud", "platform", "clock", "tell", "store", "presence")
"""What :func:`build` takes in place of the defaults."""


@attrs.frozen(kw_only=True)
class Options:
    """Everything :func:`build` needs to know.

    Attributes:
        platform: Name of a built-in platform or of an entry point in the group ``prefect.agent.platforms``.
        platform_options: Keywords for that platform's factory.
        policy: What flow runs may ask for.
        send_logs: Whether flow runs send their logs to the Cloud.
        flow_log_level: Level of the flow runs' loggers.
        recovers: Whether claims without a unit are started again, see :class:`Engine`.
        sees_units: Whether what is started shows on the platform; not where there is none.
        reads_parameters: Whether flow runs are read with their parameters, for code of the 1.x line that wants them.
        keeps_reports: Whether reports that the Cloud has not confirmed are kept on disk.
        mask: Takes secrets out of what leaves this process.
        state_directory: Where; None for the environment's, or ``~/.prefect-agent``.
    """

    connection: Connection | None = None
    settings: AgentSettings = AgentSettings()
    platform: str = "docker"
    platform_options: Mapping[str, Any] = attrs.field(factory=dict, converter=frozen_mapping)
    policy: Policy = OPEN
    send_logs: bool = True
    flow_log_level: str = "INFO"
    recovers: bool = True
    sees_units: bool = True
    reads_parameters: bool = False
    keeps_reports: bool = False
    mask: Mask = attrs.field(factory=Mask, eq=False)
    state_directory: str | None = None


def _system_clock() -> Clock:
    from prefect.agent.adapters.system.clock import SystemClock  # noqa: PLC0415

    return SystemClock()


def _graphql_cloud(options: Options, clock: Clock) -> CloudApi:
    from prefect.agent.adapters.graphql import GraphQLCloudApi  # noqa: PLC0415 - requests costs 30 ms

    connection = options.connection
    if connection is None:
        raise ConfigurationError("no Cloud: give an address and an API key, or an own CloudApi as cloud=...")
    return GraphQLCloudApi(
        url=connection.api,
        clock=clock,
        key=connection.key,
        tenant_id=connection.tenant_id,
        backend=connection.backend,
        send_logs=options.send_logs,
        log_level=options.flow_log_level,
        labels=options.settings.labels,
        flow_run_key=connection.flow_run_key,
        parameters=options.reads_parameters,
    )


def _platform(options: Options) -> ExecutionPlatform:
    platform: ExecutionPlatform = platform_factory(options.platform)(**options.platform_options)
    return platform


def platform_factory(name: str) -> Callable[..., Any]:
    """The factory of the platform called *name*.

    Raises:
        ConfigurationError: There is none; the message lists those there are.
    """
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        factory: Callable[..., Any] = getattr(import_module(module), attribute)
        return factory
    found = {entry.name: entry for entry in metadata.entry_points(group=ENTRY_POINTS)}
    if name not in found:
        names = ", ".join(sorted(platform_names()))
        raise ConfigurationError(f"there is no platform {name!r}; this installation has: {names}")
    loaded: Callable[..., Any] = found[name].load()
    return loaded


def platform_names() -> set[str]:
    """Names of all platforms that this installation has."""
    return {*BUILT_IN, *(entry.name for entry in metadata.entry_points(group=ENTRY_POINTS))}


def _store(options: Options, marks: Owner) -> ReportStore:
    if not options.keeps_reports:
        return MemoryReports()
    from prefect.agent.adapters.reports import reports_store  # noqa: PLC0415

    return reports_store(options.state_directory, f"{marks.cloud}-{marks.agent}", is_strict=True)


def _presence(platform: ExecutionPlatform) -> Presence:
    from prefect.agent.adapters.system.presence import SystemPresence  # noqa: PLC0415

    return platform.presence or SystemPresence()


def _claimant(options: Options, platform: ExecutionPlatform, presence: Presence) -> Claimant:
    """What this process writes into its claims; its id is of use to a person who reads it."""
    settings = options.settings
    shape = platform.fingerprint + options.policy.fingerprint
    return Claimant(
        id=f"{settings.name}@{socket.gethostname()}/{uuid.uuid4().hex[:12]}",
        platform=platform.identity,
        agent_name=settings.name,
        place=presence.place,
        fingerprint=fingerprint(settings.labels, settings.env, shape),
        aliases=tuple(platform.aliases),
    )


def _owner(settings: AgentSettings, cloud: CloudApi) -> Owner:
    return owner(cloud.identity, settings.name, settings.labels)


class Container(containers.DeclarativeContainer):
    """One agent. A port is replaced by overriding its provider."""

    options: providers.Dependency[Options] = providers.Dependency(instance_of=Options)
    tell: providers.Provider[EventSink] = providers.Object(events.ignore)
    deploy: providers.Provider[Callable[[FlowRun], str] | None] = providers.Object(None)

    settings = options.provided.settings
    # Not settings.name: providers have a name of their own.
    agent_name = providers.Callable(lambda chosen: chosen.name, settings)
    clock: providers.Provider[Clock] = providers.Singleton(_system_clock)
    cloud: providers.Provider[CloudApi] = providers.Singleton(_graphql_cloud, options, clock)
    platform: providers.Provider[ExecutionPlatform] = providers.Singleton(_platform, options)

    marks: providers.Provider[Owner] = providers.Singleton(_owner, settings, cloud)
    store: providers.Provider[ReportStore] = providers.Singleton(_store, options, marks)
    presence: providers.Provider[Presence] = providers.Singleton(_presence, platform)

    outbox = providers.Singleton(
        Outbox,
        clock=clock,
        agent_name=agent_name,
        store=store,
        guard=providers.Singleton(threading.RLock),
        clean=options.provided.mask,
    )
    gate = providers.Singleton(PlatformGate, platform=platform, clock=clock, tell=tell)
    create_unit = providers.Singleton(
        CreateUnit,
        cloud=cloud,
        platform=platform,
        clock=clock,
        gate=gate,
        env=settings.env,
        agent_name=agent_name,
        labels=settings.labels,
        deadline=settings.create_deadline,
        note=outbox.provided.log,
        policy=options.provided.policy,
        tell=tell,
    )
    claim = providers.Singleton(
        ClaimFlowRuns,
        cloud=cloud,
        clock=clock,
        claimant=providers.Singleton(_claimant, options, platform, presence),
        create_within=settings.create_deadline,
        tell=tell,
    )
    recover_claims = providers.Singleton(
        RecoverClaims,
        claim=claim,
        platform=platform,
        clock=clock,
        outbox=outbox,
        gate=gate,
        presence=presence,
        recovers=options.provided.recovers,
        sees_units=options.provided.sees_units,
        tell=tell,
    )
    start_run = providers.Singleton(StartFlowRun, deploy=deploy, outbox=outbox, tell=tell)
    send_reports = providers.Singleton(SendReports, cloud=cloud, outbox=outbox, tell=tell)
    engine = providers.Singleton(
        Engine,
        cloud=cloud,
        platform=platform,
        clock=clock,
        settings=settings,
        outbox=outbox,
        owner=marks,
        claim=claim,
        recover_claims=recover_claims,
        start_run=start_run,
        send_reports=send_reports,
        gate=gate,
        create_unit=create_unit,
        notice=providers.Singleton(NoticeLateRuns, cloud=cloud, clock=clock, labels=settings.labels, tell=tell),
        judges_absence=providers.Callable(lambda chosen: chosen.recovers and chosen.sees_units, options),
        tell=tell,
    )


@attrs.frozen
class Parts:
    """What :func:`build` hands out. Everything is made when first asked for."""

    _container: Any

    @property
    def cloud(self) -> CloudApi:
        """The Cloud API port."""
        cloud: CloudApi = self._container.cloud()
        return cloud

    @property
    def platform(self) -> ExecutionPlatform:
        """The execution platform port."""
        platform: ExecutionPlatform = self._container.platform()
        return platform

    @property
    def clock(self) -> Clock:
        """The clock port."""
        clock: Clock = self._container.clock()
        return clock

    @property
    def create_unit(self) -> CreateUnit:
        """Plans and creates the unit of a claimed flow run."""
        create: CreateUnit = self._container.create_unit()
        return create

    @property
    def engine(self) -> Engine:
        """The loops. Asks the platform for its identity."""
        engine: Engine = self._container.engine()
        return engine


def build(options: Options, *, deploy: Callable[[FlowRun], str] | None = None, **ports: Any) -> Parts:
    """Wire one agent.

    Args:
        options: What a person decided.
        deploy: What starts a claimed flow run; the platform's own way if None.
        ports: ``cloud``, ``platform``, ``clock``, ``tell``, ``store`` or ``presence``: an object of yours in place of
            the default.

    Raises:
        ConfigurationError: A keyword that is no port.
    """
    container = Container(options=options)
    for name, port in ports.items():
        if name not in PORTS:
            raise ConfigurationError(f"there is no port {name!r}; there are {', '.join(PORTS)}")
        getattr(container, name).override(providers.Object(port))
    parts = Parts(container)
    container.deploy.override(providers.Object(deploy or (lambda run: parts.create_unit(run).info)))
    return parts
