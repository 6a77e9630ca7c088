"""Keys of files, and variables of the 1.x line, that look like settings of the agent and are none. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from prefect.agent.domain.texts import nearest
from prefect.agent.entrypoints.settings.names import OWN_TABLE, PREFIX, SETTINGS, unknown, variable_of

_KNOWN: Final = frozenset(setting.key for setting in SETTINGS if setting.in_file)
_OF_VARIABLES: Final = frozenset(setting.key for setting in SETTINGS if not (setting.in_file or setting.name.isupper()))
"""Settings of the 1.x line that only variables set."""

_AGENT: Final = "cloud.agent"
_OF_THE_CLIENT: Final = frozenset(
    {"cloud.graphql", "cloud.use_local_secrets", "cloud.heartbeat_interval", "cloud.heartbeat_mode",
     "cloud.check_cancellation_interval", "cloud.diagnostics", "cloud.request_timeout", "cloud.logging_heartbeat",
     "cloud.queue_interval", "cloud.agent.resource_manager"}
)  # fmt: skip
"""Settings of the 1.x client, which reads the same file."""


_SECTIONS_OF_THE_CLIENT: Final = frozenset(
    {"server.database", "server.graphql", "server.hasura", "server.telemetry", "server.ui"}
)
"""Sections of the 1.x client that hold keys which are called like settings of the agent."""


def unknown_keys(files: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield a sentence for each key of a file, and each variable of 1.x in *environ*, that does nothing.

    Under ``[cloud.agent]`` and ``[agent]`` that is every unknown key, elsewhere only those that look misspelt: the 1.x
    client has settings of its own. Variables of the agent alone are left to :func:`.names.unknown_settings`.
    """
    for name in sorted(_names(files)):
        meant = _meant(name)
        if meant is not None:
            yield unknown(name, meant)
    for variable in sorted(environ or ()):
        key = variable.removeprefix(PREFIX).lower().replace("__", ".")
        if not variable.startswith(PREFIX) or _is_ours(key) or not (environ or {})[variable].strip():
            continue
        meant = _meant(key)
        if meant:
            yield unknown(variable, variable_of(meant))


def _meant(name: str) -> str | None:
    """Return the setting that *name* may mean, empty if none is close; None if *name* is right as it is."""
    if name in _KNOWN | _OF_THE_CLIENT | _OF_VARIABLES or ".".join(name.split(".")[:2]) in _SECTIONS_OF_THE_CLIENT:
        return None
    near = nearest(name, sorted(_KNOWN), least=0.75 if _is_ours(name) else 0.9)
    return near[0] if near else "" if _is_ours(name) else None


def _is_ours(name: str) -> bool:
    return name.startswith((f"{_AGENT}.", f"{OWN_TABLE}."))


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
