"""Paths under a home directory, for users that have none: a UID without an entry in a container, for example."""

from pathlib import Path

from prefect.agent.domain.errors import ConfigurationError


def expanded(path: str) -> Path:
    """*path* with a leading ``~`` replaced.

    Raises:
        ConfigurationError: There is no home directory, or no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as problem:
        raise ConfigurationError(f"{path} is under a home directory that does not exist: set HOME") from problem
