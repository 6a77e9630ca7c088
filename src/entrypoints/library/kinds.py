"""The agents that people start: :class:`Agent` with a platform."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.policy import OPEN, Policy
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.library.agent import Agent, process_environ
from prefect.agent.entrypoints.library.declared_options import options_in
from prefect.agent.entrypoints.platforms import options_of
from prefect.agent.entrypoints.settings.configuration import Configuration
from prefect.agent.entrypoints.settings.policies import policy_of, with_template_paths
from prefect.agent.entrypoints.settings.precedence import Given, agent_settings
from prefect.agent.entrypoints.settings.values import as_flag, own, own_list
from prefect.agent.ports.platform_options import PlatformOption

__all__ = ["Agent", "DockerAgent", "KubernetesAgent", "LocalAgent", "ProcessAgent"]


class DockerAgent(Agent):
    """Starts flow runs as Docker containers. Arguments of 1.4.1 (protocol section 6.5), and those of :class:`Agent`."""

    platform_name = "docker"

    def __init__(
        self,
        *args: Any,
        base_url: str | None = None,
        no_pull: bool | None = None,
        volumes: Iterable[str] | None = None,
        show_flow_logs: bool = False,
        networks: Iterable[str] | None = None,
        reg_allow_list: Iterable[str] | None = None,
        docker_client_timeout: int | None = None,
        **kwargs: Any,
    ) -> None:
        environ = _environ(kwargs)
        options = {
            "base_url": base_url,
            "no_pull": no_pull,
            "volumes": volumes,
            "show_flow_logs": show_flow_logs or None,
            "networks": networks,
            "reg_allow_list": reg_allow_list or None,
            "docker_client_timeout": docker_client_timeout,
        }
        super().__init__(*args, **_with_options(kwargs, options, environ, options_of("docker")))


class ProcessAgent(Agent):
    """Starts flow runs as processes of this machine. Arguments of the 1.4.1 local agent, and those of :class:`Agent`.

    Args:
        import_paths: Put on the flow runs' ``PYTHONPATH``.
        show_flow_logs: Let the flow runs' output through to the agent's own.
        hostname_label: Add this machine's name to the labels, as 1.4.1 does.
        interpreter: Path of a Python that has Prefect. Default: setting ``PREFECT_AGENT_INTERPRETER``, else ``PATH``.
        output_limit: MiB that the output of one flow run may take on disk, 0 for no limit. Default: setting
            ``PREFECT_AGENT_OUTPUT_LIMIT``, else 100.
    """

    platform_name = "process"

    def __init__(
        self,
        *args: Any,
        import_paths: Iterable[str] | None = None,
        show_flow_logs: bool = False,
        hostname_label: bool = False,
        interpreter: str | None = None,
        output_limit: int | None = None,
        **kwargs: Any,
    ) -> None:
        environ = _environ(kwargs)
        options = {
            "import_paths": import_paths,
            "show_flow_logs": show_flow_logs or None,
            "interpreter": interpreter or None,
            "output_limit": output_limit,
        }
        self._hostname_label = hostname_label
        super().__init__(*args, **_with_options(kwargs, options, environ, options_of("process")))

    def _decide(self, found: Configuration, given: Given, settings: AgentSettings | None) -> AgentSettings:
        decided = super()._decide(found, given, settings)
        if not self._hostname_label:
            return decided
        import socket  # noqa: PLC0415

        return attrs.evolve(decided, labels=(*decided.labels, socket.gethostname()))


class LocalAgent(DockerAgent):
    """The default agent: containers on this machine's Docker engine, as the Local Agent of the 0.x documentation."""


class KubernetesAgent(Agent):
    """Starts flow runs as Kubernetes Jobs. Arguments of 1.4.1 (protocol section 7.1), and those of :class:`Agent`.

    What is not given is looked for in the variables that the manifests of 1.x and ours set, see :data:`VARIABLES`.

    Args:
        namespace: For the Jobs.
        job_template_path: Of the agent's own Job template: a file, or an http(s), s3 or gs address.
        delete_finished_jobs: Whether finished Jobs are removed after their keep time.
        volumes, volume_mounts: Added to every Job, in the words of the Kubernetes API.
        template_paths: Places more from where job templates of run configs are read: a folder or file of this
            machine, or an address. Default: ``PREFECT_AGENT_TEMPLATE_PATHS``. See docs/policy.md.
        kwargs: Also every other attribute of ``prefect.agent.adapters.kubernetes.options.Options``.
    """

    platform_name = "kubernetes"

    def __init__(
        self,
        agent_config_id: str | None = None,
        namespace: str | None = None,
        service_account_name: str | None = None,
        image_pull_secrets: Iterable[str] | None = None,
        job_template_path: str | None = None,
        *args: Any,
        delete_finished_jobs: bool | None = None,
        policy: Policy | str | None = None,
        template_paths: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        environ = _environ(kwargs)
        given = {
            "namespace": namespace,
            "service_account_name": service_account_name,
            "image_pull_secrets": image_pull_secrets,
            "job_template_path": job_template_path,
            **{name: kwargs.pop(name) for name in KUBERNETES_OPTIONS & kwargs.keys()},
        }
        chosen = {**kubernetes_options(environ), **{name: value for name, value in given.items() if value is not None}}
        configured = as_flag(environ.get("DELETE_FINISHED_JOBS"), "DELETE_FINISHED_JOBS")
        wanted = delete_finished_jobs is not False and configured is not False
        self._keeps_jobs = not wanted or "clean-up" in chosen.get("without", ())
        allowed = with_template_paths(policy_of(policy, environ), template_paths, environ)
        places = None if allowed.template_paths == OPEN.template_paths else allowed.template_paths
        keywords = _with_options({**kwargs, "policy": allowed}, {**chosen, "template_paths": places}, environ)
        if self._keeps_jobs:
            keywords["platform_options"].setdefault("job_ttl", None)
        super().__init__(agent_config_id, *args, **keywords)
        login = self._options.connection
        if login is not None and login.flow_run_key and self._options.platform_options.get("api_key_secret"):
            raise ConfigurationError(
                "--flow-run-key and --api-key-secret exclude each other: name the Secret with the flow runs' key alone"
            )

    def _decide(self, found: Configuration, given: Given, settings: AgentSettings | None) -> AgentSettings:
        decided = agent_settings(found, given, settings, {"parallel": KUBERNETES_PARALLEL})
        return attrs.evolve(decided, keep_ended=None) if self._keeps_jobs else decided


KUBERNETES_PARALLEL: Final = 16
"""Units created at the same time if no setting says how many: more than by a Docker engine."""

KUBERNETES_OPTIONS: Final = frozenset(
    {
        "api_key_secret",
        "burst",
        "cluster_wide",
        "context",
        "image_pull_policy",
        "job_cpu_limit",
        "job_cpu_request",
        "job_mem_limit",
        "job_mem_request",
        "job_security",
        "job_ttl",
        "kubeconfig",
        "qps",
        "start_deadline",
        "start_trouble",
        "template_paths",
        "volume_mounts",
        "volumes",
        "without",
    }
)
"""Options of the Kubernetes platform that 1.x did not have, or that it read from variables only."""

_OF_MANIFESTS: Final = {
    "image_pull_policy": "IMAGE_PULL_POLICY",
    "job_cpu_request": "JOB_CPU_REQUEST",
    "job_cpu_limit": "JOB_CPU_LIMIT",
    "job_mem_request": "JOB_MEM_REQUEST",
    "job_mem_limit": "JOB_MEM_LIMIT",
}
"""By option of the Kubernetes platform that the command line does not have: the variable in manifests of 1.x."""

VARIABLES: Final = {
    **{option.name: option.variable for option in options_of("kubernetes") if option.variable},
    **_OF_MANIFESTS,
    "without": "PREFECT_AGENT_WITHOUT",  # manifests switch off ``secret``, too, which the command line does not offer
}
"""By option of the Kubernetes platform: the variable that the manifest of 1.x or of ``prefect agent install`` sets."""


def kubernetes_options(environ: Mapping[str, str]) -> dict[str, Any]:
    """Options of the Kubernetes platform that *environ* sets; an empty variable sets nothing.

    Raises:
        ConfigurationError: A value cannot be; the message names its variable.
    """
    found = options_in(environ, options_of("kubernetes"))
    found |= {name: text for name, variable in _OF_MANIFESTS.items() if (text := own(environ, variable))}
    if "image_pull_secrets" in found:  # one text; in a variable it may be written as a list
        found["image_pull_secrets"] = ",".join(own_list(environ, VARIABLES["image_pull_secrets"]))
    without = own_list(environ, VARIABLES["without"])
    return {**found, "without": without} if without else found


def agent_on(platform: str) -> type[Agent]:
    """Return the class of agents on a platform that has none of its own; the options that it declares are arguments.

    Raises:
        ConfigurationError: The platform declares its options wrongly.
    """
    declared = options_of(platform)

    class OtherAgent(Agent):
        """Starts flow runs on a platform without an agent of its own."""

        platform_name = platform

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            environ = _environ(kwargs)
            given = {option.name: kwargs.pop(option.name, None) for option in declared}
            super().__init__(*args, **_with_options(kwargs, given, environ, declared))

    OtherAgent.__name__ = OtherAgent.__qualname__ = "Agent"  # what the Cloud shows as its type
    return OtherAgent


def _environ(kwargs: dict[str, Any]) -> Mapping[str, str]:
    """The variables that an agent with these keywords reads; the files are read here, once for all."""
    if kwargs.get("configuration") is None:
        environ: Mapping[str, str] | None = kwargs.get("environ")
        kwargs["configuration"] = Configuration.load(process_environ() if environ is None else environ)
    found: Configuration = kwargs["configuration"]
    return found.environ


def _with_options(
    kwargs: dict[str, Any],
    given: Mapping[str, Any],
    environ: Mapping[str, str],
    declared: Iterable[PlatformOption] = (),
) -> dict[str, Any]:
    """Put the platform's options among the keywords of :class:`Agent`.

    Args:
        given: By arguments; None where an argument says nothing.
        declared: Options whose variables in *environ* count where nothing is given.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    chosen |= kwargs.get("platform_options") or {}
    configured = options_in(environ, [option for option in declared if option.name not in chosen])
    return {**kwargs, "platform_options": {**configured, **chosen}}
