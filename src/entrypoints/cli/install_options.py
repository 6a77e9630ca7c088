"""Options of ``prefect agent install``, and what is checked about each."""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import click

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.install import checks

Command = TypeVar("Command", bound=Callable[..., Any])

WITHOUT: Final = ("clean-up", "cancel", "logs", "events")


def _checked(check: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A check of :mod:`.install.checks` as a callback of an option."""

    def callback(_ctx: click.Context, _parameter: click.Parameter, value: Any) -> Any:
        if value is None:
            return None
        try:
            return check(value)
        except ConfigurationError as problem:
            raise click.BadParameter(str(problem)) from problem

    return callback


def _option(*names: str, check: Callable[[Any], Any] | None = None, **details: Any) -> Callable[[Command], Command]:
    return click.option(*names, callback=_checked(check) if check else None, **details)


def _all(options: Iterable[Callable[[Any], Any]], command: Command) -> Command:
    for option in reversed(tuple(options)):
        command = option(command)
    return command


_KEYS: Final = (
    _option(
        "--token", "--key", "-t", "-k", "key", metavar="KEY", check=checks.key,
        help="API key or token of the agent, - to read it from the standard input. Process lists show it: better "
        "give --token-file.",
    ),
    _option(
        "--token-file", "--key-file", "key_file", metavar="PATH", check=checks.read_key,
        help="File with the API key, - for the standard input.",
    ),
)  # fmt: skip
_KEY_FILE: Final = _option(
    "--token-file", "--key-file", "key_file", metavar="PATH", check=checks.absolute,
    help="File with the API key, on the machine of the service. Default: /etc/prefect-agent/api-key, if the API asks "
    "for a key.",
)  # fmt: skip

_EVERYWHERE: Final = (
    _option("--api", "-a", metavar="URL", check=checks.address, help="Address of the Prefect API. Default: Cloud."),
    _option("--tenant-id", metavar="UUID", check=checks.tenant, help="Tenant. Default: the one of the API key."),
    _option("--agent-config-id", metavar="ID", check=checks.printable, help="Id of an agent configuration in Cloud."),
    _option("--label", "-l", "labels", multiple=True, check=checks.labels, help="Label of the agent. Repeatable."),
    _option(
        "--env", "-e", multiple=True, metavar="KEY=VALUE", check=checks.variables,
        help="Variable for every flow run. No secrets: it is printed. Repeatable.",
    ),
)  # fmt: skip

_NAME: Final = _option("--name", check=checks.printable, help="Name of the agent. Default: agent.")
_BACKEND: Final = _option(
    "--backend", "-b", type=click.Choice(("cloud", "server")), help="Default: server with --api and no key, else cloud."
)
_IMAGE: Final = _option(
    "--image", metavar="NAME", check=checks.image, help="Image of the agent. Default: prefect-agent:VERSION."
)

_OF_JOBS: Final = (
    _option("--mem-request", metavar="AMOUNT", check=checks.quantity, help="Memory that a Job asks for."),
    _option("--mem-limit", metavar="AMOUNT", check=checks.quantity, help="Memory that a Job may have."),
    _option("--cpu-request", metavar="AMOUNT", check=checks.quantity, help="CPU that a Job asks for."),
    _option("--cpu-limit", metavar="AMOUNT", check=checks.quantity, help="CPU that a Job may have."),
    _option(
        "--image-pull-policy",
        type=click.Choice(("Always", "IfNotPresent", "Never"), case_sensitive=False),
        help="When a Job's image is pulled.",
    ),
    _option("--service-account-name", metavar="NAME", check=checks.object_name, help="ServiceAccount of the Jobs."),
)

_OF_THE_MANIFEST: Final = (
    _option(
        "--namespace", "-n", default="default", show_default=True, check=checks.namespace,
        help="Namespace of the agent and of its Jobs.",
    ),
    _option(
        "--image-pull-secrets", "-i", metavar="A,B", check=checks.object_names,
        help="Secrets that images are pulled with, the agent's and the Jobs'.",
    ),
    _option(
        "--existing-secret", metavar="NAME[/KEY]", check=lambda text: checks.secret_key(text, "api-key"),
        help="Secret that has the API key already; none is printed. KEY: api-key.",
    ),
    _option(
        "--flow-run-secret", metavar="NAME[/KEY]", check=lambda text: checks.secret_key(text, "api-key"),
        help="Secret with the API key that flow runs get in place of the agent's. KEY: api-key.",
    ),
    _option("--create-namespace", is_flag=True, help="Print the namespace too."),
    _option("--cluster-wide", is_flag=True, help="Jobs in every namespace: a ClusterRole."),
    _option("--network-policy", is_flag=True, help="Print a NetworkPolicy for the agent's pod."),
    _option("--pod-disruption-budget", is_flag=True, help="Print a PodDisruptionBudget for the agent."),
    _option(
        "--without", multiple=True, type=click.Choice(WITHOUT),
        help="Feature to switch off, and its rights with it. Repeatable.",
    ),
    _option("--offline", is_flag=True, help="Do not look in the cluster for what kubectl apply cannot replace."),
    _option("--drain", type=click.IntRange(min=1), metavar="S", help="Seconds that a stopping agent gets."),
    _option("--rbac", is_flag=True, hidden=True),
    _option("--latest", is_flag=True, hidden=True),
    _option("--resource-manager", is_flag=True, hidden=True),
)  # fmt: skip
agent: Final = _option(
    "--agent", type=click.Choice(("local", "docker", "process")), default="local", show_default=True,
    help="local and docker: flow runs become containers; process: processes.",
)  # fmt: skip
_PROGRAM: Final = _option(
    "--command", "program", metavar="PATH", check=checks.printable, help="The prefect command. Default: this one."
)
_PROCESSES: Final = (
    _option("--interpreter", metavar="PATH", check=checks.printable, help="Python that has Prefect (agent process)."),
    _option("--import-path", "-p", "import_paths", multiple=True, metavar="PATH", help="For flows (agent process)."),
)
_SHOW: Final = _option("--show-flow-logs", "-f", is_flag=True, help="Show the flow runs' output as well.")


def kubernetes(command: Command) -> Command:
    """Options of ``install kubernetes``: those of 0.6.7, 0.14 and 1.4.1, and ours."""
    return _all((*_KEYS, *_EVERYWHERE, _NAME, _BACKEND, _IMAGE, *_OF_THE_MANIFEST, *_OF_JOBS), command)


def supervisor(command: Command) -> Command:
    """Options of ``install supervisor`` and ``local install``: those of 1.4.1, and ours."""
    return _all((*_KEYS, *_EVERYWHERE, _NAME, *_PROCESSES, _SHOW, _PROGRAM), command)


def systemd(command: Command) -> Command:
    """Options of ``install systemd``."""
    user = _option("--user", check=checks.printable, help="User of this machine. Default: one that systemd makes up.")
    return _all((agent, _KEY_FILE, *_EVERYWHERE, _NAME, *_PROCESSES, user, _PROGRAM), command)


def compose(command: Command) -> Command:
    """Options of ``install compose``."""
    return _all((*_EVERYWHERE, _NAME, _IMAGE), command)
