"""The 1.x spelling: ``from prefect.agent.local import LocalAgent`` is the agent that starts processes."""

from typing import Any

from prefect.agent.entrypoints.library.kinds import ProcessAgent

__all__ = ["LocalAgent"]


class LocalProcessAgent(ProcessAgent):
    """The local agent of 1.x (protocol section 8.1): processes, and this machine's name among the labels.

    In 0.x, and as ``from prefect.agent import LocalAgent``, the agent of this name starts Docker containers.
    """

    type_name = "LocalAgent"

    def __init__(self, *args: Any, hostname_label: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, hostname_label=hostname_label, **kwargs)


LocalAgent = LocalProcessAgent
