"""Where the sockets of running agents are: one folder for each user."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.settings.values import expanded, home_of

VARIABLE: Final = "PREFECT_AGENT_RUNTIME_DIRECTORY"
SYSTEM: Final = Path("/run")
"""Where systemd makes the runtime directories of services."""


def runtime_directory(environ: Mapping[str, str]) -> Path | None:
    """The folder of an agent with this environment: its own variable, systemd's, the session's, or below home.

    None if the environment has none of them.

    Raises:
        ConfigurationError: The agent's own variable names a home directory that does not exist.
    """
    return next(_places(environ), None)


def looked_at(environ: Mapping[str, str]) -> list[Path]:
    """Every folder in which agents of this machine may have their sockets, the own one first.

    Raises:
        ConfigurationError: As above.
    """
    services = sorted(SYSTEM.glob("prefect-agent*")) if SYSTEM.is_dir() else []
    return list(dict.fromkeys([*_places(environ), *services]))


def _places(environ: Mapping[str, str]) -> Iterator[Path]:
    own = environ.get(VARIABLE, "").strip()
    if own:
        place = expanded(own, environ)
        if place.startswith("~"):
            raise ConfigurationError(f"{VARIABLE} is {own!r}, but there is no such home: write the whole path")
        yield Path(place)
        return
    service = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if service:
        yield Path(service)
    session = environ.get("XDG_RUNTIME_DIR", "").strip()
    if session:
        yield Path(session) / "prefect-agent"
    home = home_of(environ)
    if home is not None:
        yield home / ".prefect-agent" / "run"
