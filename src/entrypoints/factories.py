"""Factories make each adapter. They import its libraries when it is first asked for."""

import os
import socket
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.leases import Claimant, fingerprint
from prefect.agent.domain.model.policy import OPEN, Policy
from prefect.agent.domain.model.run_configs import frozen_mapping
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.units import Owner, owner
from prefect.agent.domain.secrets import Mask, without_password
from prefect.agent.domain.services.submission import OwnDeploy
from prefect.agent.entrypoints.platforms import platform_factory, platform_names
from prefect.agent.entrypoints.runtime.rhythm import Rhythm
from prefect.agent.entrypoints.runtime.systemd import Notifier
from prefect.agent.entrypoints.settings.configuration import CloudLogin
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import AgentIdentity, CloudApi
from prefect.agent.ports.platform import ExecutionPlatform
from prefect.agent.ports.presence import Presence
from prefect.agent.ports.reports import MemoryReports, ReportStore

__all__ = ["Options", "platform_factory", "platform_names"]

NO_PLATFORM: Final = "none"
"""The platform of agents that start flow runs by code of their own."""


@attrs.frozen(kw_only=True)
class Options:
    """Options are everything that the wiring of one agent needs to know.

    Attributes:
        agent_type: Type with which the agent registers with the Cloud.
        agent_config_id: Id of an agent configuration kept in the Cloud.
        platform: Name of a built-in platform, of an entry point in the group ``prefect.agent.platforms``, or ``none``.
        platform_options: Keywords for that platform's factory.
        own_deploy: The user's own function that starts flow runs; None for the platform's.
        policy: Rules for what flow runs may ask for.
        send_logs: Whether flow runs send their logs to the Cloud.
        flow_log_level: Level of the flow runs' loggers.
        mask: Removes secrets from everything that leaves this process.
        state_directory: Where to keep reports that the Cloud has not confirmed; None for the environment's, or
            ``~/.prefect-agent``. They are kept in memory if there is no connection.
        rhythm: Pauses of the loops that no setting names.
    """

    connection: CloudLogin | None = None
    settings: AgentSettings = AgentSettings()
    agent_type: str = "Agent"
    agent_config_id: str | None = None
    platform: str = "docker"
    platform_options: Mapping[str, Any] = attrs.field(factory=dict, converter=frozen_mapping)
    own_deploy: OwnDeploy | None = None
    policy: Policy = OPEN
    send_logs: bool = True
    flow_log_level: str = "INFO"
    mask: Mask = attrs.field(factory=Mask, eq=False)
    state_directory: str | None = None
    rhythm: Rhythm = Rhythm()

    @property
    def recovers(self) -> bool:
        """Return whether a claim is started again if it is not known whether its run was started."""
        return self.own_deploy is None or self.own_deploy.recovers


def system_clock() -> Clock:
    """Return the clock of this machine."""
    from prefect.agent.adapters.system.clock import SystemClock  # noqa: PLC0415

    return SystemClock()


def graphql_cloud(options: Options, clock: Clock, observe: Callable[[str, str, float], None]) -> CloudApi:
    """Return the Cloud of the options' connection; *observe* takes what each request asked for and its outcome.

    Raises:
        ConfigurationError: The options have no connection.
    """
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
        parameters=options.own_deploy is not None,
        observe=observe,
    )


def platform(options: Options) -> ExecutionPlatform:
    """Return the platform that the options name.

    Raises:
        ConfigurationError: There is no such platform, or one of its options cannot be.
    """
    if options.platform == NO_PLATFORM:
        from prefect.agent.adapters.null import NullPlatform  # noqa: PLC0415 - most agents have a platform

        return NullPlatform(options.settings.name)
    made: ExecutionPlatform = platform_factory(options.platform)(**options.platform_options)
    return made


def store(options: Options, marks: Owner) -> ReportStore:
    """Return the store of unconfirmed reports: on disk, or in memory if the Cloud has no connection."""
    if options.connection is None:
        return MemoryReports()
    from prefect.agent.adapters.reports import reports_store  # noqa: PLC0415

    return reports_store(options.state_directory, f"{marks.cloud}-{marks.agent}", is_strict=True)


def presence(platform: ExecutionPlatform) -> Presence:
    """Return the platform's own presence, else this machine's."""
    from prefect.agent.adapters.system.presence import SystemPresence  # noqa: PLC0415

    return platform.presence or SystemPresence()


def claimant(options: Options, platform: ExecutionPlatform, presence: Presence) -> Claimant:
    """Return what this process writes into its claims; its id helps a person who reads it."""
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


def marks(settings: AgentSettings, cloud: CloudApi) -> Owner:
    """Return the marks of this agent's units."""
    return owner(cloud.identity, settings.name, settings.labels)


def identity(options: Options) -> AgentIdentity:
    """Return the identity by which the agent registers with the Cloud."""
    settings = options.settings
    return AgentIdentity(
        name=settings.name, type=options.agent_type, labels=settings.labels, config_id=options.agent_config_id
    )


def about(options: Options) -> dict[str, Any]:
    """Return the facts about an agent that are known before it starts."""
    login = options.connection
    return {"type": options.agent_type, "cloud": None if login is None else without_password(login.api)}


def notifier() -> Notifier:
    """Return the service manager of this process, if it has one."""
    return Notifier.from_environ(os.environ)
