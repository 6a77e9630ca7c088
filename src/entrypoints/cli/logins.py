"""Commands that ask a Cloud without an agent: their options, and the connection of these options."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from prefect.agent.domain.secrets import passwords_of
from prefect.agent.entrypoints.cli.completing import FILE
from prefect.agent.entrypoints.runtime import outlet

if TYPE_CHECKING:
    from prefect.agent.ports.cloud_api import CloudApi, Tenant

Command = TypeVar("Command", bound=Callable[..., Any])

KEY_FILE: Final = click.option(
    "--token-file",
    "--key-file",
    "key_file",
    metavar="PATH",
    type=FILE,
    help="Read the API key from this file; - reads the standard input. Default: PREFECT__CLOUD__API_KEY_FILE, else "
    "PREFECT__CLOUD__API_KEY.",
)
API: Final = click.option(
    "--api",
    "-a",
    metavar="URL",
    help="Address of the Prefect API. Default: PREFECT__CLOUD__API, else Prefect Cloud.",
)
TENANT_ID: Final = click.option(
    "--tenant-id",
    metavar="UUID",
    help="Id of the tenant. Default: PREFECT__CLOUD__TENANT_ID, else the tenant of the API key.",
)
_OPTIONS: Final = (
    click.option(
        "--token",
        "--key",
        "-t",
        "-k",
        "key",
        metavar="KEY",
        help="API key. Process lists show it: prefer --token-file.",
    ),
    KEY_FILE,
    API,
    click.option(
        "--config",
        metavar="FILE",
        type=FILE,
        help="Read settings from this file. Default: PREFECT_AGENT_CONFIG, else the files of Prefect 1.x.",
    ),
    TENANT_ID,
)

LOGIN: Final = ("key", "key_file", "api", "config", "tenant_id")
"""Names of what the options give."""


def login_options(command: Command) -> Command:
    """Add the options that say which Cloud, and as whom."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextmanager
def connected(login: dict[str, str | None]) -> Generator["CloudApi"]:
    """The Cloud of the options *login*, connected, as :func:`connected_to_tenant` does it."""
    with connected_to_tenant(login) as (cloud, _):
        yield cloud


@contextmanager
def connected_to_tenant(login: dict[str, str | None]) -> Generator[tuple["CloudApi", "Tenant"]]:
    """The Cloud of the options *login*, connected, and its tenant; secrets are masked in all output from then on.

    Raises:
        ConfigurationError: The options cannot be.
        CloudError: It cannot be reached, or does not accept the key.
    """
    from prefect.agent.adapters.graphql import GraphQLCloudApi  # noqa: PLC0415 - heavy, as all below
    from prefect.agent.adapters.system.clock import SystemClock  # noqa: PLC0415
    from prefect.agent.entrypoints.settings.configuration import Configuration, connection  # noqa: PLC0415

    login = dict(login)
    configuration = Configuration.load(os.environ, login.pop("config"))
    mask = outlet.know([login["key"] or "", *configuration.secrets()])
    found = connection(configuration, **login)
    mask.add(found.key or "", *passwords_of(found.api))
    cloud = GraphQLCloudApi(
        found.api, clock=SystemClock(), key=found.key, tenant_id=found.tenant_id, backend=found.backend
    )
    try:
        yield cloud, cloud.connect()
    finally:
        cloud.close()
