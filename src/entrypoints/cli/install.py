"""``prefect agent install``: prints the configuration to stdout, and hints for the person to stderr."""

from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, cast

import click

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.cli import install_options as options
from prefect.agent.entrypoints.cli.install_command import InstallCommand
from prefect.agent.entrypoints.install import checks
from prefect.agent.entrypoints.runtime.exits import ExitCode
from prefect.agent.entrypoints.settings.configuration import CLOUD_API, Backend

if TYPE_CHECKING:
    from prefect.agent.entrypoints.install.command_line import AgentCommand
    from prefect.agent.entrypoints.install.plan import Install

_JOBS: Final = {
    "JOB_MEM_REQUEST": "mem_request",
    "JOB_MEM_LIMIT": "mem_limit",
    "JOB_CPU_REQUEST": "cpu_request",
    "JOB_CPU_LIMIT": "cpu_limit",
    "IMAGE_PULL_POLICY": "image_pull_policy",
    "SERVICE_ACCOUNT_NAME": "service_account_name",
}
"""By variable of the official manifest, which sets a default for the Jobs: the option that gives its value."""

_AS_GIVEN: Final = (
    "namespace", "existing_secret", "tenant_id", "name", "labels", "env", "agent_config_id", "cluster_wide",
    "create_namespace", "flow_run_secret", "network_policy", "pod_disruption_budget", "agent_options",
)  # fmt: skip
"""Options whose values become attributes of :class:`Install` unchanged."""

_DECIDED: Final = frozenset({"agent_address", "api_key_secret", "kubeconfig", "context"})
"""Options of the agent that the manifest sets itself."""

_WITHOUT_EFFECT: Final = {
    "resource_manager": "--resource-manager has no effect: the agent manages its Jobs itself",
    "latest": "--latest has no effect: name the image with --image",
    "rbac": "--rbac has no effect: the permissions that the agent needs are always printed",
}


class _NotApplicable(click.ClickException):
    """``kubectl apply`` could not apply the manifest to the cluster as it is."""

    exit_code = ExitCode.CONFIGURATION


class _Install(click.Group):
    """A group of commands that calls ``kubernetes`` if the command line names none."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert ``kubernetes`` if *args* name no command."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["kubernetes", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Install)
def install() -> None:
    """Print the configuration that installs an agent. Without a command, print the YAML for Kubernetes.

    \b
    Examples:
        $ prefect agent install --token-file key.txt --namespace metrics | kubectl apply -f -
        $ prefect agent install kubernetes --help
    """


@install.command(
    "kubernetes", cls=InstallCommand, agent="kubernetes", decided=_DECIDED, short_help="Print YAML for kubectl apply"
)
@click.argument("kind", required=False, type=click.Choice(("kubernetes",)), metavar="")
@options.kubernetes
def kubernetes(kind: str | None, **given: Any) -> None:  # noqa: ARG001 - 0.6.7 takes the name at the end too
    """Print the Kubernetes YAML that installs an agent with the permissions it needs and no more.

    \b
    Examples:
        $ prefect agent install --token-file key.txt --namespace metrics | kubectl apply -f -
        $ prefect agent install --namespace metrics -- --start-trouble 300 --log-level DEBUG
    """
    from prefect.agent.entrypoints.install.kubernetes import manifest  # noqa: PLC0415 - only who installs pays for YAML
    from prefect.agent.entrypoints.install.obstacles import obstacle  # noqa: PLC0415

    try:
        checks.check_no_login(given["api"])
    except ConfigurationError as problem:
        raise click.UsageError(str(problem)) from None
    chosen = _chosen(given)
    problem_in_cluster = "" if given["offline"] else obstacle(chosen)
    if problem_in_cluster:
        raise _NotApplicable(problem_in_cluster)
    click.echo(manifest(chosen).encode(), nl=False)
    _say(*(text for option, text in _WITHOUT_EFFECT.items() if given[option]))
    if given["image"] is None:
        _say_how_to_build(chosen.image)
    if chosen.needs_key:
        _say_how_to_set_the_key(chosen.namespace)
    _say_if_loopback(chosen.api, "pod")


@install.command("supervisor", cls=InstallCommand, short_help="Print a supervisord.conf")
@options.agent
@options.supervisor
def supervisor(agent: str, **given: Any) -> None:
    """Print a supervisord.conf (supervisord.org) that starts an agent.

    \b
    Examples:
        $ prefect agent install supervisor --token-file key.txt > supervisord.conf
    """
    from prefect.agent.entrypoints.install.command_line import flat  # noqa: PLC0415

    _print_supervisor(flat(agent), given)


@install.command("local", cls=InstallCommand, agent="process", short_help="Print one for the local agent of 1.x")
@options.supervisor
def local(**given: Any) -> None:
    """Print a supervisord.conf that starts the local agent of 1.x, which runs flows as processes of this machine.

    \b
    Examples:
        $ prefect agent local install --token-file key.txt > supervisord.conf
    """
    _print_supervisor(("agent", "local", "start"), given)


def _print_supervisor(words: tuple[str, ...], given: dict[str, Any]) -> None:
    from prefect.agent.entrypoints.install.supervisor import configuration  # noqa: PLC0415

    key = _key(given)
    started = _started(words, given)
    click.echo(configuration(started, key).encode(), nl=False)
    if key:
        _say("The file holds the API key: chmod 600 supervisord.conf")
    _say_where_the_address_goes(started, "the environment of supervisord")


@install.command("systemd", cls=InstallCommand, short_help="Print a systemd unit")
@options.systemd
def systemd(agent: str, user: str | None, key_file: str | None, **given: Any) -> None:
    """Print a hardened systemd unit. systemd reads the API key as root, and passes it to the agent alone.

    \b
    Examples:
        $ prefect agent install systemd > /etc/systemd/system/prefect-agent.service
        $ prefect agent install systemd --agent process -- --limit 4
    """
    from prefect.agent.entrypoints.install.command_line import flat  # noqa: PLC0415
    from prefect.agent.entrypoints.install.systemd import (  # noqa: PLC0415
        ENV_FILE,
        KEY_FILE,
        NAME,
        SystemdUnit,
        unit,
    )

    started = _started(flat(agent), given)
    path = key_file or (KEY_FILE if _needs_key(given["api"]) else None)
    click.echo(unit(SystemdUnit(started=started, user=user, key_file=path)).encode(), nl=False)
    if path:
        _say(f"Put only the API key into {path} (owner root, mode 0600)")
        _say(f"Put other variables for the agent into {ENV_FILE}; avoid PREFECT__CLOUD__API_KEY=... there")
    _say_where_the_address_goes(started, f"{ENV_FILE} (owner root, mode 0600)")
    if started.platform == "process" and user is None:
        _say(f"Create its user: useradd --system --home-dir /var/lib/{NAME} --shell /usr/sbin/nologin {NAME}")
    if started.is_in_a_home:
        _say(
            f"{started.program} is in a home directory, which the service may not be able to read: give --command PATH"
        )
    _say(f"Save it as /etc/systemd/system/{NAME}.service, then: systemctl enable --now {NAME}")


@install.command("compose", cls=InstallCommand, decided={"agent_address"}, short_help="Print a Compose file")
@options.compose
def compose(image: str | None, **given: Any) -> None:
    """Print a compose.yaml that runs the container agent. Put the API key into a file beside it.

    \b
    Examples:
        $ prefect agent install compose > compose.yaml
    """
    from prefect.agent.entrypoints.install.command_line import flat  # noqa: PLC0415
    from prefect.agent.entrypoints.install.compose import KEY_FILE, compose_file  # noqa: PLC0415

    started, needed = _started(flat("docker"), given), _needs_key(given["api"])
    click.echo(compose_file(started, image or _default_image(), key_needed=needed).encode(), nl=False)
    if image is None:
        _say_how_to_build(_default_image())
    if needed:
        _say(f"Put the API key into {KEY_FILE} (mode 0600), as a line PREFECT__CLOUD__API_KEY=...")
    _say_where_the_address_goes(started, f"{KEY_FILE} (mode 0600)")
    _say_if_loopback(started.api, "container")


def _started(words: tuple[str, ...], given: Mapping[str, Any]) -> "AgentCommand":
    from prefect.agent.entrypoints.install.command_line import AgentCommand, own_program  # noqa: PLC0415

    values = {name: value for name, value in given.items() if value}
    return AgentCommand(**{"program": own_program(), "words": words, **values})


def _chosen(given: dict[str, Any]) -> "Install":
    from prefect.agent.entrypoints.install.plan import DRAIN, OPTIONAL, Install  # noqa: PLC0415

    key = _key(given)
    if key and given["existing_secret"]:
        raise click.UsageError("--token and --existing-secret exclude each other: give the key or the Secret")
    if given["flow_run_secret"] and given["cluster_wide"]:
        raise click.UsageError("--flow-run-secret and --cluster-wide exclude each other: a Secret is of one namespace")
    return Install(
        key=key,
        **{name: given[name] for name in _AS_GIVEN},
        image=given["image"] or _default_image(),
        api=given["api"] or CLOUD_API,
        backend=_backend(given, has_key=bool(key or given["existing_secret"])),
        jobs={variable: given[option] for variable, option in _JOBS.items() if given[option]},
        pull_secrets=given["image_pull_secrets"] or (),
        without=tuple(feature for feature in OPTIONAL if feature in given["without"]),
        drain=given["drain"] or DRAIN,
    )


def _key(given: dict[str, Any]) -> str | None:
    """Return the API key from its option or from its file, and remove both from *given*."""
    key, of_file = given.pop("key"), given.pop("key_file")
    if key and of_file:
        raise click.UsageError("--token and --token-file exclude each other: give the file")
    found: str | None = key or of_file
    return found


def _backend(given: Mapping[str, Any], *, has_key: bool) -> Backend:
    """Return the backend that ``--backend`` names, else the one that key and address imply."""
    found = given["backend"] or ("cloud" if has_key or _needs_key(given["api"]) else "server")
    if found == "server" and not given["api"]:
        raise click.UsageError("--backend server needs --api URL: the server's address as seen from the agent's pod")
    return cast("Backend", found)


def _needs_key(api: str | None) -> bool:
    return api is None or api == CLOUD_API


def _default_image() -> str:
    return f"prefect-agent:{metadata.version('prefect-agent').replace('+', '-')}"


def _say_how_to_build(image: str) -> None:
    _say(
        f"There is no public image. Build {image}, push it to your registry, and name it with --image:",
        f"  docker build --tag {image} --file Containerfile .",
    )


def _say_how_to_set_the_key(namespace: str) -> None:
    _say(
        "The Secret holds a placeholder. Set the key (read from the terminal or a pipe), and restart the agent:",
        f"  kubectl create secret generic prefect-agent --namespace {namespace} --from-file=api-key=/dev/stdin \\",
        "    --dry-run=client --output yaml | kubectl apply -f -",
        f"  kubectl rollout restart deployment/prefect-agent --namespace {namespace}",
        "From then on give --existing-secret prefect-agent: applying this YAML again would restore the placeholder.",
    )


def _say_where_the_address_goes(started: "AgentCommand", place: str) -> None:
    if started.has_secret_address:
        _say(
            "The address is not printed, because it has a password and every user can read a command line. Put it "
            f"into {place}, as a line PREFECT__CLOUD__API=https://NAME:PASSWORD@HOST"
        )


def _say_if_loopback(api: str | None, place: str) -> None:
    if api and checks.is_loopback(api):
        _say(f"From inside the agent's {place}, {api} is that {place}, not this machine: give an address it can reach")


def _say(*lines: str) -> None:
    for line in lines:
        click.echo(line, err=True)
