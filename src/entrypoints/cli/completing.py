"""What a shell proposes for an argument: platforms, labels, agents that run here, files. The Cloud is never asked."""

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from prefect.agent.domain.errors import AgentError
from prefect.agent.entrypoints import platforms

Propose = Callable[[str], Iterable[CompletionItem]]
"""Takes the beginning of a word, returns what a shell proposes for it."""


class Proposed(click.types.StringParamType):
    """A text for which a shell proposes something. Any other text is accepted, too: the command checks it."""

    def __init__(self, propose: Propose) -> None:
        self._propose = propose

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's own names
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Return what is proposed for *incomplete*."""
        return [*self._propose(incomplete)]


def _one_of(words: Callable[[], Iterable[str]]) -> Propose:
    """Propose those of the words that begin so."""
    return lambda incomplete: [CompletionItem(word) for word in sorted({*words()}) if word.startswith(incomplete)]


def _path(kind: str) -> Propose:
    """Let the shell propose paths: of a ``file``, or of a ``dir``."""
    return lambda incomplete: [CompletionItem(incomplete, type=kind)]


def _platforms() -> Iterable[str]:
    return {*platforms.agent_names(), *platforms.platform_names()}


def _labels() -> Iterator[str]:
    """Yield the labels of the settings and of the agents that run here, and this machine's name: none is a secret."""
    from prefect.agent.entrypoints.cli.asking import running_agents  # noqa: PLC0415 - most calls complete nothing
    from prefect.agent.entrypoints.settings.configuration import Configuration, labels  # noqa: PLC0415

    yield socket.gethostname()
    with suppress(AgentError):  # the command itself says what is wrong with the settings
        yield from labels(Configuration.load(os.environ, None), ())
    for agent in running_agents():
        yield from map(str, agent.facts["agent"]["labels"])


def _agents() -> Iterator[str]:
    from prefect.agent.entrypoints.cli.asking import running_agents  # noqa: PLC0415 - as above

    return (agent.name for agent in running_agents())


PLATFORM: Final[Any] = Proposed(_one_of(_platforms))
"""The name of a platform, or another spelling of an agent."""

LABEL: Final[Any] = Proposed(_one_of(_labels))
"""A label of an agent or a flow run."""

AGENT: Final[Any] = Proposed(_one_of(_agents))
"""The name of an agent that runs on this machine."""

FILE: Final[Any] = Proposed(_path("file"))
FOLDER: Final[Any] = Proposed(_path("dir"))
