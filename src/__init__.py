"""The Prefect Agent: a small, outbound-only process that runs Prefect flow runs on your own infrastructure.

    from prefect.agent import LocalAgent
    LocalAgent().start()

Agents to start or subclass: ``LocalAgent`` (= ``DockerAgent``), ``ProcessAgent``, ``KubernetesAgent``, and ``Agent`` to
compose from ports of your own (``prefect.agent.ports``). Fakes for tests are in ``prefect.agent.testing``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from prefect.agent.domain.errors import AgentError as AgentError
    from prefect.agent.domain.model.policy import Policy as Policy
    from prefect.agent.domain.model.settings import AgentSettings as AgentSettings
    from prefect.agent.entrypoints.library.kinds import Agent as Agent
    from prefect.agent.entrypoints.library.kinds import DockerAgent as DockerAgent
    from prefect.agent.entrypoints.library.kinds import KubernetesAgent as KubernetesAgent
    from prefect.agent.entrypoints.library.kinds import LocalAgent as LocalAgent
    from prefect.agent.entrypoints.library.kinds import ProcessAgent as ProcessAgent
    from prefect.agent.entrypoints.runtime.exits import AgentExit as AgentExit

_AGENTS = "prefect.agent.entrypoints.library.kinds"

_HOMES = {
    "Agent": _AGENTS,
    "AgentError": "prefect.agent.domain.errors",
    "AgentExit": "prefect.agent.entrypoints.runtime.exits",
    "AgentSettings": "prefect.agent.domain.model.settings",
    "DockerAgent": _AGENTS,
    "KubernetesAgent": _AGENTS,
    "LocalAgent": _AGENTS,
    "Policy": "prefect.agent.domain.model.policy",
    "ProcessAgent": _AGENTS,
}
"""Where the public names live. They are loaded when asked for, so that importing the package costs next to nothing."""

__all__ = [
    "Agent",
    "AgentError",
    "AgentExit",
    "AgentSettings",
    "DockerAgent",
    "KubernetesAgent",
    "LocalAgent",
    "Policy",
    "ProcessAgent",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("prefect-agent")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})
