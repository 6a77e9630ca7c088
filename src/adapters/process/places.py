"""Paths under a home directory, for users that have none: a UID without an entry in a container, for example."""

import os
import stat
import tempfile
from pathlib import Path

from prefect.agent.domain.errors import ConfigurationError


def expanded(path: str) -> Path:
    """*path* with a leading ``~`` replaced.

    Raises:
        ConfigurationError: There is no home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as problem:
        raise ConfigurationError(f"{path} is under a home directory, but this user has none: set HOME") from problem


def default(path: str) -> Path:
    """Like :func:`expanded`; without a home directory a folder of this user alone among the temporary files.

    Raises:
        ConfigurationError: That folder belongs to another user, or is open to others.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        folder = Path(tempfile.gettempdir()) / f"prefect-agent-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
        raise ConfigurationError(f"{folder} does not belong to this user alone: set HOME to a directory that does")
    return folder / Path(path).name
