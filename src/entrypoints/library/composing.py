"""The options of an agent's wiring are composed from its arguments, its environment and its files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from prefect.agent.domain.model.policy import Policy
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.secrets import Mask, passwords_of
from prefect.agent.domain.services.submission import OwnDeploy
from prefect.agent.entrypoints.factories import NO_PLATFORM, Options
from prefect.agent.entrypoints.platforms import options_of
from prefect.agent.entrypoints.settings.configuration import CloudLogin, Configuration, connection
from prefect.agent.entrypoints.settings.doubts import doubts, is_strict, refuse
from prefect.agent.entrypoints.settings.exposures import of_login
from prefect.agent.entrypoints.settings.overview import check_values
from prefect.agent.entrypoints.settings.policies import policy_of
from prefect.agent.entrypoints.settings.runtime_directory import runtime_directory


@attrs.frozen(kw_only=True)
class Login:
    """A login names a Cloud and the way to authenticate, as far as arguments say; see :class:`~prefect.agent.Agent`."""

    api: str | None = None
    tenant_id: str | None = None
    key: str | None = attrs.field(default=None, repr=False)
    key_file: str | None = None
    flow_run_key: str | None = attrs.field(default=None, repr=False)
    flow_run_key_file: str | None = None

    def connection(self, found: Configuration) -> CloudLogin:
        """Return the connection of these arguments, with *found* as their defaults.

        Raises:
            ConfigurationError: There is no key for Prefect Cloud, or an argument is invalid.
        """
        return connection(found, **attrs.asdict(self))


@attrs.frozen(kw_only=True)
class Composition:
    """A composition holds everything that is decided before any part is made.

    Attributes:
        found: Values of the environment and the files.
        settings: All settings of the agent.
        login: The arguments about the Cloud; None if the agent was given a Cloud.
        policy: A policy, the name of a preset, the path of a file, or None for the environment's.
        no_cloud_logs: True keeps flow runs from sending their logs to the Cloud; else the setting decides.
        own_deploy: The user's own function that starts flow runs.
        strict: True refuses what looks like a mistake in the configuration; else the setting decides.
    """

    found: Configuration
    settings: AgentSettings
    login: Login | None
    platform: str | None
    platform_options: Mapping[str, Any]
    policy: Policy | str | None
    no_cloud_logs: bool | None
    state_directory: str | None
    own_deploy: OwnDeploy | None
    agent_type: str
    agent_config_id: str | None
    strict: bool | None = None

    def options(self) -> Options:
        """Return the options of the wiring; their mask knows the secrets of the login.

        Raises:
            ConfigurationError: Some decisions are invalid or contradict each other.
        """
        check_values(self.found)
        if is_strict(self.found, given=self.strict):
            refuse(self.doubts())
        login = None if self.login is None else self.login.connection(self.found)
        return Options(
            connection=login,
            settings=self.settings,
            agent_type=self.agent_type,
            agent_config_id=self.agent_config_id,
            platform=self.platform or NO_PLATFORM,
            platform_options=self.platform_options,
            own_deploy=self.own_deploy,
            policy=policy_of(self.policy, self.found.environ),
            send_logs=not self.no_cloud_logs and self.found.flag("cloud.send_flow_run_logs") is not False,
            flow_log_level=self.found.level("logging.level") or "INFO",
            mask=Mask([*self.found.secrets(), *_secrets_of(login)]),
            state_directory=self.state_directory or self._filed_directory(),
        )

    def cautions(self, login: CloudLogin | None) -> Iterator[str]:
        """Return sentences about secrets on the way to the Cloud that others can read."""
        if self.login is not None and login is not None:
            yield from of_login(login, self.found, (self.login.key_file, self.login.flow_run_key_file))

    def runtime_directory(self) -> Path | None:
        """Return the folder of the agent's socket; None for an agent that was given a Cloud object."""
        return None if self.login is None else runtime_directory(self.found.environ)

    def doubts(self) -> list[str]:
        """Sentences about what looks like a mistake in the configuration."""
        declared = {option.variable for option in options_of(self.platform or NO_PLATFORM)}
        return doubts(self.found, self.settings.labels, declared)

    def _filed_directory(self) -> str | None:
        """The state directory of a file; the store itself reads that of the environment."""
        name = "PREFECT_AGENT_STATE_DIRECTORY"
        return self.found.environ[name] if name in self.found.filed else None


def _secrets_of(login: CloudLogin | None) -> list[str]:
    if login is None:
        return []
    return [login.key or "", login.flow_run_key or "", *passwords_of(login.api)]
