"""Options of ``prefect agent``, declared once for both spellings."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class PlatformOption(click.Option):
    """An option that the agents of some platforms have.

    Attributes:
        platforms: Their names.
    """

    def __init__(self, *arguments: Any, platforms: tuple[str, ...], **details: Any) -> None:
        super().__init__(*arguments, **details)
        self.platforms = platforms


def platforms_of(parameter: click.Parameter) -> tuple[str, ...]:
    """Names of the platforms it is for; none if it is for all."""
    return parameter.platforms if isinstance(parameter, PlatformOption) else ()


_docker = partial(click.option, cls=PlatformOption, platforms=("docker",))
_process = partial(click.option, cls=PlatformOption, platforms=("process",))
_docker_or_process = partial(click.option, cls=PlatformOption, platforms=("docker", "process"))
_kubernetes = partial(click.option, cls=PlatformOption, platforms=("kubernetes",))

_COMMON: Final = (
    click.option(
        "--token",
        "--key",
        "-t",
        "-k",
        "key",
        metavar="KEY",
        help="API key or token. It shows in process lists: better give --token-file.",
    ),
    click.option(
        "--token-file",
        "--key-file",
        "key_file",
        metavar="PATH",
        help="File with the API key, - for the standard input. Default: PREFECT__CLOUD__API_KEY_FILE, else "
        "PREFECT__CLOUD__API_KEY.",
    ),
    click.option(
        "--flow-run-key",
        metavar="KEY",
        help="API key that flow runs get in place of the agent's. It shows in process lists: better give "
        "--flow-run-key-file.",
    ),
    click.option(
        "--flow-run-key-file",
        metavar="PATH",
        help="File with the API key that flow runs get. Default: PREFECT_AGENT_FLOW_RUN_KEY_FILE, else "
        "PREFECT_AGENT_FLOW_RUN_KEY, else the agent's own key.",
    ),
    click.option("--api", "-a", metavar="URL", help="Address of the Prefect API. Default: Prefect Cloud."),
    click.option("--tenant-id", metavar="UUID", help="Tenant. Default: the one of the API key."),
    click.option("--agent-config-id", metavar="ID", help="Id of an agent configuration kept in Prefect Cloud."),
    click.option("--name", "-n", help="Name of the agent. Default: agent."),
    click.option("--label", "-l", "labels", multiple=True, help="Take flow runs with this label. Repeatable."),
    click.option(
        "--env", "-e", "env", multiple=True, metavar="KEY=VALUE", help="Variable for every flow run. Repeatable."
    ),
    click.option(
        "--policy",
        metavar="open|restricted|FILE",
        help="What flow runs may ask for. Default: PREFECT_AGENT_POLICY, else open: everything, as in 1.4.1.",
    ),
    click.option("--max-polls", type=click.IntRange(min=1), metavar="N", help="Stop after N polls. Default: never."),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        metavar="N",
        help="Keep at most N units of this agent alive at once. Default: PREFECT_AGENT_LIMIT, else no limit.",
    ),
    click.option(
        "--max-lateness",
        type=click.FloatRange(min=0, min_open=True),
        metavar="S",
        help="Do not start flow runs that are more than S seconds late. Default: PREFECT_AGENT_MAX_LATENESS, else "
        "start them however late.",
    ),
    click.option(
        "--state-directory",
        metavar="DIR",
        help="Keep reports that Prefect has not confirmed here. Default: PREFECT_AGENT_STATE_DIRECTORY, systemd's "
        "STATE_DIRECTORY, else ~/.prefect-agent.",
    ),
    click.option(
        "--start-patience",
        type=click.FloatRange(min=0),
        metavar="S",
        help="Wait up to S seconds for Prefect and the platform at start. Default: PREFECT_AGENT_START_PATIENCE, else "
        "300.",
    ),
    click.option("--no-wait", is_flag=True, help="End at once if Prefect or the platform does not answer at start."),
    click.option(
        "--auth-patience",
        type=click.FloatRange(min=0),
        metavar="S",
        help="End after S seconds of refusals of a key that was accepted before. Default: PREFECT_AGENT_AUTH_PATIENCE, "
        "else 600.",
    ),
    click.option(
        "--agent-address",
        metavar="URL",
        help="Serve /api/health and /api/poke here, for example http://127.0.0.1:8080. Default: nowhere.",
    ),
    click.option("--no-cloud-logs", is_flag=True, help="Flow runs do not send their logs to Prefect."),
    click.option("--log-level", type=click.Choice(LEVELS, case_sensitive=False), help="Default: INFO."),
    click.option("--log-format", type=click.Choice(("text", "json")), default="text", show_default=True),
    click.option("--verbose", "-v", is_flag=True, help="Log at level DEBUG, and show tracebacks."),
)

_DOCKER: Final = (
    _docker("--base-url", "-b", metavar="URL", help="Docker engine. Default: DOCKER_HOST, else the local socket."),
    _docker("--no-pull", is_flag=True, default=None, help="Run images that are there; never pull."),
    _docker("--volume", "volumes", multiple=True, metavar="SPEC", help="Volume for flow runs, as of docker run."),
    _docker(
        "--reg-allow-list",
        "reg_allow_list",
        multiple=True,
        metavar="REGISTRY",
        help="Use images of this registry only. Repeatable. Default: PREFECT_AGENT_REG_ALLOW_LIST, else of all.",
    ),
    _docker("--network", "networks", multiple=True, metavar="NAME", help="Network for flow runs. Repeatable."),
    _docker(
        "--docker-client-timeout",
        type=click.IntRange(min=1),
        metavar="S",
        help="Wait up to S seconds for an answer of the engine. Default: 60.",
    ),
)

_SHOW: Final = (
    _docker_or_process(
        "--show-flow-logs", "-f", is_flag=True, default=None, help="Show the flow runs' output as well."
    ),
)

_PROCESS: Final = (
    _process("--interpreter", metavar="PATH", help="Python that has Prefect. Default: the prefect on PATH."),
    _process(
        "--import-path", "-p", "import_paths", multiple=True, metavar="PATH", help="Goes on the flow runs' PYTHONPATH."
    ),
    _process(
        "--output-limit",
        type=click.IntRange(min=0, max=10**9),
        metavar="MIB",
        help="Keep at most MIB mebibytes of each flow run's output, its end; 0: all. Default: "
        "PREFECT_AGENT_OUTPUT_LIMIT, else 100.",
    ),
)

_KUBERNETES: Final = (
    _kubernetes("--namespace", metavar="NAME", help="Namespace for the Jobs. Default: the agent's own."),
    _kubernetes(
        "--job-template", "job_template_path", metavar="PATH", help="Template for the Jobs: a file or an address."
    ),
    _kubernetes(
        "--template-path",
        "template_paths",
        multiple=True,
        metavar="PREFIX",
        help="Read templates that run configs name from here too: a folder, a file, an address. Repeatable. Default: "
        "PREFECT_AGENT_TEMPLATE_PATHS, else public web addresses only.",
    ),
    _kubernetes("--service-account-name", metavar="NAME", help="Service account of the Jobs."),
    _kubernetes("--image-pull-secrets", metavar="A,B", help="Secrets to pull the Jobs' images with."),
    _kubernetes(
        "--disable-job-deletion",
        "delete_finished_jobs",
        flag_value=False,
        default=None,
        type=bool,
        help="Keep finished Jobs.",
    ),
    _kubernetes("--kubeconfig", metavar="PATH", help="Default: the pod's service account, else KUBECONFIG."),
    _kubernetes("--context", metavar="NAME", help="Use this context of the kubeconfig. Default: its current one."),
    _kubernetes(
        "--api-key-secret",
        metavar="NAME/KEY",
        help="Secret that holds the API key, for the Jobs to refer to. Default: the agent makes one for each Job.",
    ),
    _kubernetes(
        "--job-security",
        type=click.Choice(("restricted", "none")),
        help="Pod security of the Jobs where their template says nothing. Default: restricted.",
    ),
    _kubernetes(
        "--cluster-wide", is_flag=True, default=None, help="Job templates may name other namespaces than the agent's."
    ),
    _kubernetes(
        "--without",
        multiple=True,
        type=click.Choice(("clean-up", "cancel", "logs", "events")),
        help="Do without a feature and its permissions. Repeatable.",
    ),
    _kubernetes(
        "--start-trouble",
        type=click.FloatRange(min=0),
        metavar="S",
        help="Give up on a pod whose image cannot be pulled after S seconds. Default: 60.",
    ),
    _kubernetes(
        "--start-deadline",
        type=click.FloatRange(min=0),
        metavar="S",
        help="Give up on a pod that finds no node after S seconds. Default: 21600.",
    ),
    _kubernetes("--qps", type=click.FloatRange(min=0, min_open=True), help="Requests per second. Default: 200."),
    _kubernetes("--burst", type=click.IntRange(min=1), help="Requests at once. Default: 400."),
)


def common(command: Command) -> Command:
    """Options that every agent has."""
    return _all(_COMMON, command)


def docker(command: Command) -> Command:
    """Options of the Docker agent."""
    return _all((*_DOCKER, *_SHOW), command)


def process(command: Command) -> Command:
    """Options of the process agent."""
    return _all((*_PROCESS, *_SHOW, _hostname_label(default=True)), command)


def kubernetes(command: Command) -> Command:
    """Options of the Kubernetes agent."""
    return _all(_KUBERNETES, command)


def every_platform(command: Command) -> Command:
    """Options of all platforms together, for the spelling where the platform is an argument."""
    return _all((*_DOCKER, *_SHOW, *_PROCESS, *_KUBERNETES, _hostname_label(default=None)), command)


def _hostname_label(*, default: bool | None) -> Callable[[Any], Any]:
    return _process(
        "--hostname-label/--no-hostname-label", default=default, help="Add this machine's name to the labels (default)."
    )


def _all(options: Iterable[Callable[[Any], Any]], command: Command) -> Command:
    for option in reversed(tuple(options)):
        command = option(command)
    return command
