"""The agents that people start: :class:`Agent` with a platform."""

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.agent import Agent, process_environ

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
        options = {
            "base_url": base_url,
            "no_pull": no_pull,
            "volumes": volumes,
            "show_flow_logs": show_flow_logs or None,
            "networks": networks,
            "reg_allow_list": reg_allow_list,
            "docker_client_timeout": docker_client_timeout,
        }
        super().__init__(*args, **_with_options(kwargs, options))


class ProcessAgent(Agent):
    """Starts flow runs as processes of this machine. Arguments of the 1.4.1 local agent, and those of :class:`Agent`.

    Args:
        import_paths: Put on the flow runs' ``PYTHONPATH``.
        show_flow_logs: Let the flow runs' output through to the agent's own.
        hostname_label: Add this machine's name to the labels, as 1.4.1 does.
        interpreter: Path of a Python that has Prefect. Default: setting ``PREFECT_AGENT_INTERPRETER``, else ``PATH``.
    """

    platform_name = "process"

    def __init__(
        self,
        *args: Any,
        import_paths: Iterable[str] | None = None,
        show_flow_logs: bool = False,
        hostname_label: bool = False,
        interpreter: str | None = None,
        **kwargs: Any,
    ) -> None:
        options = {
            "import_paths": import_paths,
            "show_flow_logs": show_flow_logs or None,
            "interpreter": interpreter or (kwargs.get("environ") or process_environ()).get("PREFECT_AGENT_INTERPRETER"),
        }
        self._hostname_label = hostname_label
        super().__init__(*args, **_with_options(kwargs, options))

    def _merge(self, *args: Any) -> AgentSettings:
        settings = super()._merge(*args)
        if not self._hostname_label:
            return settings
        import socket  # noqa: PLC0415

        return attrs.evolve(settings, labels=(*settings.labels, socket.gethostname()))


class LocalAgent(DockerAgent):
    """The default agent: containers on this machine's Docker engine, as the Local Agent of the 0.x documentation."""


class KubernetesAgent(Agent):
    """Starts flow runs as Kubernetes Jobs, on a platform named ``kubernetes`` if this installation has one."""

    platform_name = "kubernetes"

    def __init__(self, *args: Any, namespace: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **_with_options(kwargs, {"namespace": namespace}))


def _with_options(kwargs: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Put platform options that somebody set among the keywords of :class:`Agent`."""
    chosen = {name: value for name, value in options.items() if value is not None}
    return {**kwargs, "platform_options": {**chosen, **(kwargs.get("platform_options") or {})}}
