"""Options of ``prefect agent install``, each with the check of its value."""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import click

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.cli.completing import FILE, LABEL
from prefect.agent.entrypoints.install import checks

Command = TypeVar("Command", bound=Callable[..., Any])

WITHOUT: Final = ("clean-up", "cancel", "logs", "events")


def _checked(check: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Wrap a check of :mod:`.install.checks` as an option's callback; click then reports its error as wrong usage."""

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
        help="API key or token of the agent; - reads it from the standard input. Process lists show it: prefer "
        "--token-file.",
    ),
    _option(
        "--token-file", "--key-file", "key_file", metavar="PATH", type=FILE, check=checks.read_key,
        help="Read the API key from this file; - reads the standard input. Default: the key of --token, if any.",
    ),
)  # fmt: skip
_KEY_FILE: Final = _option(
    "--token-file", "--key-file", "key_file", metavar="PATH", type=FILE, check=checks.absolute,
    help="File that holds the API key on the service's machine. Default: /etc/prefect-agent/api-key, if the API "
    "requires a key.",
)  # fmt: skip

_EVERYWHERE: Final = (
    _option(
        "--api", "-a", metavar="URL", check=checks.address, help="Address of the Prefect API. Default: Prefect Cloud."
    ),
    _option(
        "--tenant-id", metavar="UUID", check=checks.tenant, help="Id of the tenant. Default: the tenant of the API key."
    ),
    _option(
        "--agent-config-id", metavar="ID", check=checks.printable,
        help="Id of an agent configuration that Prefect Cloud keeps. Default: none.",
    ),
    _option(
        "--label", "-l", "labels", type=LABEL, multiple=True, check=checks.labels,
        help="Let the agent start flow runs that have this label. Repeatable. Default: no label.",
    ),
    _option(
        "--env", "-e", multiple=True, metavar="KEY=VALUE", check=checks.variables,
        help="Set this environment variable in every flow run. It is printed: give no secrets. Repeatable.",
    ),
)  # fmt: skip

_NAME: Final = _option("--name", check=checks.printable, help="Name of the agent. Default: agent.")
_BACKEND: Final = _option(
    "--backend", "-b", type=click.Choice(("cloud", "server")),
    help="Kind of the Prefect API. Default: server if --api is given without a key, else cloud.",
)  # fmt: skip
_IMAGE: Final = _option(
    "--image", metavar="NAME", check=checks.image, help="Image of the agent. Default: prefect-agent:VERSION."
)

_OF_JOBS: Final = (
    _option(
        "--mem-request", metavar="AMOUNT", check=checks.quantity, help="Memory that each Job requests. Default: none."
    ),
    _option(
        "--mem-limit",
        metavar="AMOUNT",
        check=checks.quantity,
        help="Memory that each Job may use at most. Default: no limit.",
    ),
    _option(
        "--cpu-request", metavar="AMOUNT", check=checks.quantity, help="CPU that each Job requests. Default: none."
    ),
    _option(
        "--cpu-limit",
        metavar="AMOUNT",
        check=checks.quantity,
        help="CPU that each Job may use at most. Default: no limit.",
    ),
    _option(
        "--image-pull-policy",
        type=click.Choice(("Always", "IfNotPresent", "Never"), case_sensitive=False),
        help="When Kubernetes pulls a Job's image. Default: Kubernetes decides.",
    ),
    _option(
        "--service-account-name",
        metavar="NAME",
        check=checks.object_name,
        help="Service account of the Jobs. Default: that of the namespace.",
    ),
)

_OF_THE_MANIFEST: Final = (
    _option(
        "--namespace", "-n", default="default", show_default=True, check=checks.namespace,
        help="Install the agent, and create its Jobs, in this namespace.",
    ),
    _option(
        "--image-pull-secrets", "-i", metavar="A,B", check=checks.object_names,
        help="Secrets with the logins for pulling the images of the agent and of the Jobs. Default: none.",
    ),
    _option(
        "--existing-secret", metavar="NAME[/KEY]", check=lambda text: checks.secret_key(text, "api-key"),
        help="Use the API key in this existing Secret, and print no Secret. Default: print one. Default of "
        "KEY: api-key.",
    ),
    _option(
        "--flow-run-secret", metavar="NAME[/KEY]", check=lambda text: checks.secret_key(text, "api-key"),
        help="Give flow runs the API key in this Secret instead of the agent's. Default: the agent's. Default "
        "of KEY: api-key.",
    ),
    _option("--create-namespace", is_flag=True, help="Print the Namespace, too."),
    _option("--cluster-wide", is_flag=True, help="Let job templates name any namespace: print a ClusterRole."),
    _option("--network-policy", is_flag=True, help="Print a NetworkPolicy for the agent's pod."),
    _option("--pod-disruption-budget", is_flag=True, help="Print a PodDisruptionBudget for the agent."),
    _option(
        "--without", multiple=True, type=click.Choice(WITHOUT),
        help="Switch off this feature, and grant no permissions for it. Repeatable.",
    ),
    _option("--offline", is_flag=True, help="Do not check the cluster for objects that kubectl apply cannot replace."),
    _option(
        "--drain", type=click.IntRange(min=1), metavar="S",
        help="Give a stopping agent S seconds to finish. Default: enough for the calls under way.",
    ),
    _option("--rbac", is_flag=True, hidden=True),
    _option("--latest", is_flag=True, hidden=True),
    _option("--resource-manager", is_flag=True, hidden=True),
)  # fmt: skip
agent: Final = _option(
    "--agent", type=click.Choice(("local", "docker", "process")), default="local", show_default=True,
    help="Start flow runs as containers (local, docker) or as processes (process).",
)  # fmt: skip
_PROGRAM: Final = _option(
    "--command",
    "program",
    metavar="PATH",
    type=FILE,
    check=checks.printable,
    help="Path of prefect. Default: this installation's.",
)
_PROCESSES: Final = (
    _option(
        "--interpreter", metavar="PATH", type=FILE, check=checks.printable,
        help="Python interpreter that has Prefect installed. Only for the process agent. Default: the one of the "
        "prefect command on PATH.",
    ),
    _option(
        "--import-path", "-p", "import_paths", type=FILE, multiple=True, metavar="PATH",
        help="Add this folder to the PYTHONPATH of flow runs. Repeatable. Only for the process agent.",
    ),
)  # fmt: skip
_SHOW: Final = _option(
    "--show-flow-logs", "-f", is_flag=True, help="Show the output of flow runs in the agent's output."
)


def kubernetes(command: Command) -> Command:
    """Add the options of ``install kubernetes``: those of 0.6.7, 0.14 and 1.4.1, and new ones."""
    return _all((*_KEYS, *_EVERYWHERE, _NAME, _BACKEND, _IMAGE, *_OF_THE_MANIFEST, *_OF_JOBS), command)


def supervisor(command: Command) -> Command:
    """Add the options of ``install supervisor`` and ``local install``: those of 1.4.1, and new ones."""
    return _all((*_KEYS, *_EVERYWHERE, _NAME, *_PROCESSES, _SHOW, _PROGRAM), command)


def systemd(command: Command) -> Command:
    """Add the options of ``install systemd``."""
    user = _option("--user", check=checks.printable, help="Run as this user. Default: a user that systemd creates.")
    return _all((agent, _KEY_FILE, *_EVERYWHERE, _NAME, *_PROCESSES, user, _PROGRAM), command)


def compose(command: Command) -> Command:
    """Add the options of ``install compose``."""
    return _all((*_EVERYWHERE, _NAME, _IMAGE), command)
