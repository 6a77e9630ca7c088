"""Submissions say what is to run; one is planned from a flow run: image, command, environment (protocol 6.1 to 6.3)."""

import re
from collections.abc import Mapping
from typing import Final

import attrs

from prefect.agent.domain.errors import SubmissionRefused
from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId
from prefect.agent.domain.model.run_configs import RunConfig, UniversalRun, UnusableRunConfig, frozen_mapping
from prefect.agent.domain.model.units import UNIT_NAME_LIMIT, Owner, unit_name
from prefect.agent.domain.model.variable_names import is_reserved, plain_name
from prefect.agent.domain.texts import readable_name

MAX_ENV_BYTES: Final = 512 * 1024
"""Linux refuses larger environments at exec (ARG_MAX is shared with argv); better said before than after."""


MAX_VARIABLE_BYTES: Final = 128 * 1024
"""Linux refuses a larger single variable, too (MAX_ARG_STRLEN, see execve(2))."""


_LONE: Final = re.compile(r"[\ud800-\udfff]")
"""Surrogates, which JSON can spell, and no encoding takes."""


@attrs.frozen(kw_only=True)
class Submission:
    """A submission holds everything that a platform needs to start one unit of execution.

    Attributes:
        name: From ``unit_name``; a platform refuses a second unit of that name by itself.
        owner: Kept with the unit; None leaves it unmarked.
        attempt: ``str()`` of the attempt; goes into labels so that a unit found later is not mistaken for its siblings.
        image: Only for platforms that run images.
        image_is_default: Whether *image* is only the default: a template of the platform's own may name a better one.
        image_variable: Name of a variable in *env* that carries the image, to be changed with it.
        command: List of arguments, never a shell line.
        env: Plain variables, precedence already applied.
        secret_env: Variables that must never be shown: by Secret reference where the platform has such a thing.
        address_variables: Names in *env* whose value is the Cloud's address as the agent's machine sees it. A platform
            whose units live on another network may have to rewrite a loopback address in them.
        reserved: Names (``plain_name``) that neither the flow run nor its template may set.
        ignored: Names of the run config's variables that are left out because they are reserved.
        run_config: What the flow run asks of this very platform (resources, template, ports, ...).
    """

    name: str = attrs.field(validator=attrs.validators.max_len(UNIT_NAME_LIMIT))
    flow_run_id: FlowRunId
    attempt: str
    command: tuple[str, ...]
    image: str | None = None
    image_is_default: bool = False
    image_variable: str | None = None
    env: Mapping[str, str] = attrs.field(factory=dict, converter=frozen_mapping)
    secret_env: Mapping[str, str] = attrs.field(factory=dict, converter=frozen_mapping, repr=False)
    address_variables: frozenset[str] = frozenset()
    reserved: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ()
    run_config: RunConfig = UniversalRun()
    flow_id: str = ""
    flow_name: str = attrs.field(default="", converter=readable_name)
    flow_run_name: str = attrs.field(default="", converter=readable_name)
    owner: Owner | None = None


@attrs.frozen(kw_only=True)
class Workload:
    """A workload says what a process needs to execute a flow run, as only the backend's adapter can know.

    Attributes:
        command: What to run inside the unit.
        default_image: The image if neither the run nor its flow names one.
        defaults: Variables that agent and run config may override.
        fixed: Variables that neither agent nor run config may override (which run this is, where the Cloud is).
        secrets: Like *fixed*, but never to be shown.
        image_variable: Name of a variable that is to carry the resolved image, if the backend has one.
        kept: Names, as :func:`plain_name` writes them, that a run config may not set: where the Cloud is, and the key.
        address_variables: Names of *defaults* that hold the Cloud's address as this machine sees it.
    """

    command: tuple[str, ...]
    default_image: str | None = None
    defaults: Mapping[str, str] = attrs.field(factory=dict, converter=frozen_mapping)
    fixed: Mapping[str, str] = attrs.field(factory=dict, converter=frozen_mapping)
    secrets: Mapping[str, str] = attrs.field(factory=dict, converter=frozen_mapping, repr=False)
    image_variable: str | None = None
    address_variables: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()

    @property
    def reserved(self) -> frozenset[str]:
        """Return the names, as :func:`plain_name` writes them, whose value no run config decides."""
        return self.kept | {plain_name(name) for name in (*self.fixed, *self.secrets)}


@attrs.frozen(kw_only=True)
class PlatformTraits:
    """Traits say what a platform can run, so that a flow run can be refused before anything is created.

    Attributes:
        kind: For people and for agent registration: ``docker``, ``kubernetes``, ``process``.
        run_config: The run config type of its own.
        has_units: Whether what is started shows on the platform; not where code of the agent's user starts it.
        runs_images: Whether a unit is made from an image. If not, flows stored in an image cannot run here.
        default_image: The image of the agent's own template, if any; beats the backend's default.
        units_are: What its units are, in the plural, for people.
        rights: What a unit may do if the policy refuses nothing, as a sentence about flow authors ("they are root").
    """

    kind: str
    run_config: type[RunConfig] = UniversalRun
    has_units: bool = True
    runs_images: bool = True
    default_image: str | None = None
    units_are: str = "units"
    rights: str = ""


def plan_submission(
    run: FlowRun, workload: Workload, traits: PlatformTraits, *, agent_env: Mapping[str, str]
) -> Submission:
    """Plan the unit of *run*: decide completely what is to run.

    Args:
        run: The claimed flow run.
        workload: What the backend says about executing it.
        traits: What the platform can do.
        agent_env: Variables of ``--env``.

    Raises:
        SubmissionRefused: The run cannot run on this platform; the message says why and where it could.
    """
    config = own_run_config(run, traits)
    asked = asked_image(run, config)
    image = resolve_image(run, config, workload, traits) if traits.runs_images else None
    own, ignored = split_env(config.env, workload)
    env = {**workload.defaults, **agent_env, **own, **workload.fixed}
    if image and workload.image_variable:
        env[workload.image_variable] = image
    chosen = workload.address_variables & agent_env.keys()  # an address of the agent's own is no secret of the Cloud's
    secrets = {name: value for name, value in workload.secrets.items() if name not in chosen}
    env = {name: value for name, value in env.items() if name not in secrets}
    _check_env({**env, **secrets})
    return Submission(
        name=unit_name(run.id, run.attempt),
        flow_run_id=run.id,
        attempt=str(run.attempt),
        command=workload.command,
        image=image,
        image_is_default=image is not None and asked is None,
        image_variable=workload.image_variable if image else None,
        env=env,
        secret_env=secrets,
        reserved=workload.reserved,
        ignored=ignored,
        address_variables=frozenset(n for n in workload.address_variables if env.get(n) == workload.defaults.get(n)),
        run_config=config,
        flow_id=run.flow.id,
        flow_name=run.flow.name,
        flow_run_name=run.name,
    )


def split_env(env: Mapping[str, str], workload: Workload) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the variables of a run config that count, and the sorted names of those that do not.

    Address and key of the Cloud belong together: otherwise a run config could send the key to an address of its own.
    """
    reserved = workload.reserved
    own = {name: value for name, value in env.items() if not is_reserved(name, reserved)}
    return own, tuple(sorted(env.keys() - own.keys()))


def own_run_config(run: FlowRun, traits: PlatformTraits) -> RunConfig:
    """Return the run config in the platform's own type: its own as it is, a universal one converted.

    All others are refused.
    """
    config = run.run_config
    if isinstance(config, UnusableRunConfig):
        raise SubmissionRefused(config.reason)
    if run.flow.storage.problem:
        raise SubmissionRefused(run.flow.storage.problem)
    if run.flow.storage.type == "Docker" and not traits.runs_images:
        raise SubmissionRefused(
            f"the flow is stored in a Docker image, which a {traits.kind} agent cannot run; "
            "use a Docker or Kubernetes agent, or another storage"
        )
    if isinstance(config, traits.run_config):
        return config
    if type(config) in {UniversalRun, RunConfig}:
        return traits.run_config(env=config.env)
    raise SubmissionRefused(
        f"the flow run has a {type(config).__name__} run config, but this is a {traits.kind} agent; it runs "
        f"{traits.run_config.__name__} and UniversalRun. "
        "Change the run config, or its labels so that another agent takes it"
    )


def asked_image(run: FlowRun, config: RunConfig) -> str | None:
    """Return the image that was asked for: the one that stores the flow, else the run config's, else the flow's own."""
    image: str | None = run.flow.storage.image or getattr(config, "image", None) or run.flow.image
    return image


def resolve_image(run: FlowRun, config: RunConfig, workload: Workload, traits: PlatformTraits) -> str:
    """Return the image to run: storage, run config, agent, backend default; first match wins (protocol section 6.1).

    For flows that are older than run configs the image of the flow's environment takes the run config's place.
    """
    image = asked_image(run, config) or traits.default_image or workload.default_image
    if not image:
        raise SubmissionRefused("no image: neither the flow's storage nor the run config names one")
    return str(image)


def _check_env(env: Mapping[str, str]) -> None:
    """Refuse variables that no operating system takes."""
    for name, value in env.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise SubmissionRefused(f"{name!r} cannot be an environment variable: empty, or holds '=' or a NUL byte")
        if _LONE.search(name) or _LONE.search(value):
            raise SubmissionRefused(f"{name!r} cannot be an environment variable: it holds half of a character")
    for name, value in env.items():
        if len(f"{name}={value}".encode(errors="surrogatepass")) >= MAX_VARIABLE_BYTES:
            raise SubmissionRefused(
                f"the environment variable {name!r} is larger than {MAX_VARIABLE_BYTES // 1024} KiB"
            )
    size = sum(len(f"{name}={value}".encode(errors="surrogatepass")) + 1 for name, value in env.items())
    if size > MAX_ENV_BYTES:
        raise SubmissionRefused(f"the environment is larger than {MAX_ENV_BYTES // 1024} KiB")
