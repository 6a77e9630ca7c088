"""Commands that ask a Cloud without an agent: their options, and the connection of these options."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from prefect.agent.domain.secrets import passwords_of
from prefect.agent.entrypoints.runtime import outlet

if TYPE_CHECKING:
    from prefect.agent.ports.cloud_api import CloudApi

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS: Final = (
    click.option("--token", "--key", "-t", "-k", "key", metavar="KEY", help="API key. Prefer PREFECT__CLOUD__API_KEY."),
    click.option(
        "--token-file",
        "--key-file",
        "key_file",
        metavar="PATH",
        help="Read the API key from this file; - reads the standard input.",
    ),
    click.option("--api", "-a", metavar="URL", help="Address of the Prefect API. Default: the agent's."),
    click.option("--tenant-id", metavar="UUID", help="Id of the tenant. Default: the tenant of the API key."),
)

LOGIN: Final = ("key", "key_file", "api", "tenant_id")
"""Names of what the options give."""


def login_options(command: Command) -> Command:
    """Add the options that say which Cloud, and as whom."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextmanager
def connected(login: dict[str, str | None]) -> Generator["CloudApi"]:
    """The Cloud of the options *login*, connected; its secrets are masked in all output from then on.

    Raises:
        ConfigurationError: The options cannot be.
        CloudError: It cannot be reached, or does not accept the key.
    """
    from prefect.agent.adapters.graphql import GraphQLCloudApi  # noqa: PLC0415 - heavy, as all below
    from prefect.agent.adapters.system.clock import SystemClock  # noqa: PLC0415
    from prefect.agent.entrypoints.settings.configuration import Configuration, connection  # noqa: PLC0415

    configuration = Configuration.load(os.environ)
    mask = outlet.know([login["key"] or "", *configuration.secrets()])
    found = connection(configuration, **login)
    mask.add(found.key or "", *passwords_of(found.api))
    cloud = GraphQLCloudApi(
        found.api, clock=SystemClock(), key=found.key, tenant_id=found.tenant_id, backend=found.backend
    )
    try:
        cloud.connect()
        yield cloud
    finally:
        cloud.close()
