"""Expands paths in the home directory, also for users without one, such as an unknown UID in a container."""

import os
import stat
import tempfile
from pathlib import Path

from prefect.agent.domain.errors import ConfigurationError


def expanded(path: str) -> Path:
    """Return *path* with a leading ``~`` replaced.

    Raises:
        ConfigurationError: The user has no home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as problem:
        raise ConfigurationError(f"{path} is in a home directory, but this user has none: set HOME") from problem


def default(path: str) -> Path:
    """Return *path* with ``~`` replaced; without a home directory, by a private folder for temporary files.

    Raises:
        ConfigurationError: That folder belongs to another user, or others have access to it.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        folder = Path(tempfile.gettempdir()) / f"prefect-agent-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
        raise ConfigurationError(f"{folder} is not private to this user: set HOME to a directory that is")
    return folder / Path(path).name
