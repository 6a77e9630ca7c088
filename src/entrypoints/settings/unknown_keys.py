"""Keys of ``config.toml`` that look like settings of the agent and are none. Pure."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from prefect.agent.entrypoints.settings.names import SETTINGS

_KNOWN: Final = frozenset(setting.name for setting in SETTINGS)
_AGENT: Final = "cloud.agent"
_OF_THE_CLIENT: Final = frozenset(
    {"cloud.graphql", "cloud.use_local_secrets", "cloud.heartbeat_interval", "cloud.heartbeat_mode",
     "cloud.check_cancellation_interval", "cloud.diagnostics", "cloud.request_timeout", "cloud.logging_heartbeat",
     "cloud.queue_interval", "cloud.agent.resource_manager"}
)  # fmt: skip
"""Settings of the 1.x client, which reads the same file."""


def unknown_keys(files: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each key that does nothing: any under ``[cloud.agent]``, elsewhere those that look misspelt."""
    for name in sorted(_names(files)):
        if name in _KNOWN | _OF_THE_CLIENT:
            continue
        is_ours = name.startswith(f"{_AGENT}.")
        close = difflib.get_close_matches(name, sorted(_KNOWN), 1, 0.75 if is_ours else 0.9)
        if is_ours or close:
            yield f"{name} is no setting of the agent" + (f": is {close[0]} meant?" if close else ", it does nothing")


def _names(files: Mapping[str, Any]) -> Iterator[str]:
    """Dotted names of what the file sets, no deeper than settings are; tables of variables count as one."""
    for first, value in files.items():
        for second, inner in _items(value):
            name = f"{first}.{second}"
            if name == _AGENT and isinstance(inner, Mapping):
                yield from (f"{name}.{third}" for third in inner)
            else:
                yield name
        if not isinstance(value, Mapping):
            yield str(first)


def _items(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        yield from ((str(key), inner) for key, inner in value.items())
