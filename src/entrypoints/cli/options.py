"""Options of ``prefect agent``, declared once for both spellings."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class ClickOption(click.Option):
    """An option for the agents of some platforms only.

    Attributes:
        platforms: Names of these platforms.
    """

    def __init__(self, *arguments: Any, platforms: tuple[str, ...], **details: Any) -> None:
        super().__init__(*arguments, **details)
        self.platforms = platforms


def platforms_of(parameter: click.Parameter) -> tuple[str, ...]:
    """Return the names of the platforms that have *parameter*; empty if all platforms have it."""
    return parameter.platforms if isinstance(parameter, ClickOption) else ()


_docker = partial(click.option, cls=ClickOption, platforms=("docker",))
_process = partial(click.option, cls=ClickOption, platforms=("process",))
_docker_or_process = partial(click.option, cls=ClickOption, platforms=("docker", "process"))
_kubernetes = partial(click.option, cls=ClickOption, platforms=("kubernetes",))

_COMMON: Final = (
    click.option(
        "--token",
        "--key",
        "-t",
        "-k",
        "key",
        metavar="KEY",
        help="API key or token. Process lists show it: prefer --token-file.",
    ),
    click.option(
        "--token-file",
        "--key-file",
        "key_file",
        metavar="PATH",
        help="Read the API key from this file; - reads the standard input. Default: PREFECT__CLOUD__API_KEY_FILE, else "
        "PREFECT__CLOUD__API_KEY.",
    ),
    click.option(
        "--flow-run-key",
        metavar="KEY",
        help="Give flow runs this API key instead of the agent's. Process lists show it: prefer --flow-run-key-file.",
    ),
    click.option(
        "--flow-run-key-file",
        metavar="PATH",
        help="Read the API key for flow runs from this file. Default: PREFECT_AGENT_FLOW_RUN_KEY_FILE, else "
        "PREFECT_AGENT_FLOW_RUN_KEY, else the agent's own key.",
    ),
    click.option(
        "--api",
        "-a",
        metavar="URL",
        help="Address of the Prefect API. Default: PREFECT__CLOUD__API, else Prefect Cloud.",
    ),
    click.option(
        "--tenant-id",
        metavar="UUID",
        help="Id of the tenant. Default: PREFECT__CLOUD__TENANT_ID, else the tenant of the API key.",
    ),
    click.option(
        "--config",
        metavar="FILE",
        help="Read settings from this file instead of ~/.prefect/config.toml and backend.toml. Default: "
        "PREFECT_AGENT_CONFIG, else those files.",
    ),
    click.option(
        "--strict",
        is_flag=True,
        default=None,
        help="Exit if a key of a file, or a variable, looks like a setting but is none, or if a label looks like a "
        "list. Default: PREFECT_AGENT_STRICT, else only warn.",
    ),
    click.option(
        "--agent-config-id", metavar="ID", help="Id of an agent configuration that Prefect Cloud keeps. Default: none."
    ),
    click.option("--name", "-n", help="Name of the agent. Default: PREFECT__CLOUD__AGENT__NAME, else agent."),
    click.option(
        "--label",
        "-l",
        "labels",
        multiple=True,
        help="Start flow runs that have this label. Repeatable. Default: PREFECT__CLOUD__AGENT__LABELS, else no label.",
    ),
    click.option(
        "--env",
        "-e",
        "env",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set this environment variable in every flow run. Repeatable. Default: PREFECT__CLOUD__AGENT__ENV_VARS, "
        "else none.",
    ),
    click.option(
        "--policy",
        metavar="open|restricted|FILE",
        help="Limit what flow runs may ask the platform for. Default: PREFECT_AGENT_POLICY, else open: no limit, as in "
        "1.4.1.",
    ),
    click.option("--max-polls", type=click.IntRange(min=1), metavar="N", help="Stop after N polls. Default: never."),
    click.option(
        "--dry-run",
        is_flag=True,
        default=None,
        help="Connect and check, claim nothing, and say what the agent would do with each flow run that is due.",
    ),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        metavar="N",
        help="Run at most N flow runs of this agent at the same time. Default: PREFECT_AGENT_LIMIT, else no limit.",
    ),
    click.option(
        "--max-lateness",
        type=click.FloatRange(min=0, min_open=True),
        metavar="S",
        help="Do not start flow runs that are overdue by more than S seconds. Default: PREFECT_AGENT_MAX_LATENESS, "
        "else no limit.",
    ),
    click.option(
        "--poll-interval",
        type=click.FloatRange(min=0, min_open=True),
        metavar="S",
        help="Ask for flow runs at least every S seconds, more often while there is work. Default: "
        "PREFECT_AGENT_POLL_INTERVAL, else 10.",
    ),
    click.option(
        "--drain-timeout",
        type=click.FloatRange(min=0),
        metavar="S",
        help="When stopping, wait up to S seconds for calls that do not return. Default: PREFECT_AGENT_DRAIN_TIMEOUT, "
        "else 30.",
    ),
    click.option(
        "--state-directory",
        metavar="DIR",
        help="Keep reports in this folder until Prefect confirms them. Default: PREFECT_AGENT_STATE_DIRECTORY, else "
        "systemd's STATE_DIRECTORY, else ~/.prefect-agent.",
    ),
    click.option(
        "--start-patience",
        type=click.FloatRange(min=0),
        metavar="S",
        help="At start, wait up to S seconds until Prefect and the platform answer. Default: "
        "PREFECT_AGENT_START_PATIENCE, else 300.",
    ),
    click.option("--no-wait", is_flag=True, help="At start, exit if Prefect or the platform does not answer at once."),
    click.option(
        "--auth-patience",
        type=click.FloatRange(min=0),
        metavar="S",
        help="Exit if Prefect refuses, for S seconds, a key that it accepted before. Default: "
        "PREFECT_AGENT_AUTH_PATIENCE, else 600.",
    ),
    click.option(
        "--agent-address",
        metavar="URL",
        help="Serve /api/health and /api/poke at this address, for example http://127.0.0.1:8080. Default: "
        "PREFECT__CLOUD__AGENT__AGENT_ADDRESS, else no server.",
    ),
    click.option(
        "--no-cloud-logs",
        is_flag=True,
        help="Do not send flow runs' logs to Prefect. Default: PREFECT__CLOUD__SEND_FLOW_RUN_LOGS, else send them.",
    ),
    click.option(
        "--log-level",
        type=click.Choice(LEVELS, case_sensitive=False),
        help="Log messages of this level and above. Default: PREFECT__CLOUD__AGENT__LEVEL, else INFO.",
    ),
    click.option(
        "--log-format",
        type=click.Choice(("text", "json")),
        default="text",
        show_default=True,
        help="Write the agent's log as lines of text, or as one JSON object per line.",
    ),
    click.option("--verbose", "-v", is_flag=True, help="Log at level DEBUG, and show tracebacks."),
)

_DOCKER: Final = (
    _docker(
        "--base-url",
        "-b",
        metavar="URL",
        help="Address of the Docker engine. Default: DOCKER_HOST, else the engine's local socket.",
    ),
    _docker("--no-pull", is_flag=True, default=None, help="Never pull images: use those that the engine has."),
    _docker(
        "--volume",
        "volumes",
        multiple=True,
        metavar="SPEC",
        help="Mount this volume in flow runs; written as for docker run. Repeatable. Default: none.",
    ),
    _docker(
        "--reg-allow-list",
        "reg_allow_list",
        multiple=True,
        metavar="REGISTRY",
        help="Use only images from this registry. Repeatable. Default: PREFECT_AGENT_REG_ALLOW_LIST, else all.",
    ),
    _docker(
        "--network",
        "networks",
        multiple=True,
        metavar="NAME",
        help="Connect flow runs to this network. Repeatable. Default: the engine's default network.",
    ),
    _docker(
        "--docker-client-timeout",
        type=click.IntRange(min=1),
        metavar="S",
        help="Wait up to S seconds for each answer of the Docker engine. Default: 60.",
    ),
)

_SHOW: Final = (
    _docker_or_process(
        "--show-flow-logs", "-f", is_flag=True, default=None, help="Show the output of flow runs in the agent's output."
    ),
)

_PROCESS: Final = (
    _process(
        "--interpreter",
        metavar="PATH",
        help="Python interpreter that has Prefect installed. Default: PREFECT_AGENT_INTERPRETER, else the one of the "
        "prefect command on PATH.",
    ),
    _process(
        "--import-path",
        "-p",
        "import_paths",
        multiple=True,
        metavar="PATH",
        help="Add this folder to the PYTHONPATH of flow runs. Repeatable. Default: none.",
    ),
    _process(
        "--output-limit",
        type=click.IntRange(min=0, max=10**9),
        metavar="MIB",
        help="Keep only the last MIB mebibytes of each flow run's output; 0 keeps all of it. Default: "
        "PREFECT_AGENT_OUTPUT_LIMIT, else 100.",
    ),
)

_KUBERNETES: Final = (
    _kubernetes(
        "--namespace",
        metavar="NAME",
        help="Create Jobs in this namespace. Default: NAMESPACE, else the agent's own namespace.",
    ),
    _kubernetes(
        "--job-template",
        "job_template_path",
        metavar="PATH",
        help="Make Jobs from the template in this file or at this address. Default: YAML_TEMPLATE, else the built-in "
        "template.",
    ),
    _kubernetes(
        "--template-path",
        "template_paths",
        multiple=True,
        metavar="PREFIX",
        help="Let run configs name job templates below this folder, file or address, too. Repeatable. Default: "
        "PREFECT_AGENT_TEMPLATE_PATHS, else only public web addresses.",
    ),
    _kubernetes(
        "--service-account-name",
        metavar="NAME",
        help="Service account of the Jobs' pods. Default: SERVICE_ACCOUNT_NAME, else the namespace's default.",
    ),
    _kubernetes(
        "--image-pull-secrets",
        metavar="A,B",
        help="Secrets with the logins for pulling the Jobs' images. Default: IMAGE_PULL_SECRETS, else none.",
    ),
    _kubernetes(
        "--disable-job-deletion",
        "delete_finished_jobs",
        flag_value=False,
        default=None,
        type=bool,
        help="Do not delete finished Jobs. Default: delete them, unless DELETE_FINISHED_JOBS is False.",
    ),
    _kubernetes(
        "--kubeconfig",
        metavar="PATH",
        help="Kubeconfig file to use. Default: the pod's service account, else KUBECONFIG, else ~/.kube/config.",
    ),
    _kubernetes("--context", metavar="NAME", help="Kubeconfig context to use. Default: the file's current context."),
    _kubernetes(
        "--api-key-secret",
        metavar="NAME/KEY",
        help="Give Jobs the API key from this Secret. Default: PREFECT_AGENT_API_KEY_SECRET, else the agent creates a "
        "Secret for each Job.",
    ),
    _kubernetes(
        "--job-security",
        type=click.Choice(("restricted", "none")),
        help="Pod security settings of Jobs whose template sets none. Default: PREFECT_AGENT_JOB_SECURITY, else "
        "restricted.",
    ),
    _kubernetes(
        "--cluster-wide",
        is_flag=True,
        default=None,
        help="Let job templates name any namespace. Default: PREFECT_AGENT_CLUSTER_WIDE, else only the agent's.",
    ),
    _kubernetes(
        "--without",
        multiple=True,
        type=click.Choice(("clean-up", "cancel", "logs", "events")),
        help="Switch off this feature, which then needs no permissions. Repeatable. Default: PREFECT_AGENT_WITHOUT, "
        "else none.",
    ),
    _kubernetes(
        "--start-trouble",
        type=click.FloatRange(min=0),
        metavar="S",
        help="Give up on a pod whose image cannot be pulled for S seconds. Default: 60.",
    ),
    _kubernetes(
        "--start-deadline",
        type=click.FloatRange(min=0),
        metavar="S",
        help="Give up on a pod that no node, or no quota, has room for during S seconds. Default: 21600.",
    ),
    _kubernetes(
        "--qps",
        type=click.FloatRange(min=0, min_open=True),
        metavar="N",
        help="Send the API server at most N requests per second on average. Default: 200.",
    ),
    _kubernetes(
        "--burst",
        type=click.IntRange(min=1),
        metavar="N",
        help="Send the API server at most N requests at once. Default: 400.",
    ),
)


def common(command: Command) -> Command:
    """Add the options that every agent has to *command*."""
    return _all(_COMMON, command)


def docker(command: Command) -> Command:
    """Add the options of the Docker agent to *command*."""
    return _all((*_DOCKER, *_SHOW), command)


def process(command: Command) -> Command:
    """Add the options of the process agent to *command*."""
    return _all((*_PROCESS, *_SHOW, _hostname_label(default=True)), command)


def kubernetes(command: Command) -> Command:
    """Add the options of the Kubernetes agent to *command*."""
    return _all(_KUBERNETES, command)


def every_platform(command: Command) -> Command:
    """Add the options of all platforms to *command*, whose argument names the platform."""
    return _all((*_DOCKER, *_SHOW, *_PROCESS, *_KUBERNETES, _hostname_label(default=None)), command)


def _hostname_label(*, default: bool | None) -> Callable[[Any], Any]:
    return _process(
        "--hostname-label/--no-hostname-label",
        default=default,
        help=f"Add this machine's name to the agent's labels. Default: {'add it' if default else 'do not add it'}.",
    )


def _all(options: Iterable[Callable[[Any], Any]], command: Command) -> Command:
    for option in reversed(tuple(options)):
        command = option(command)
    return command
