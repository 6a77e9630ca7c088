"""Creates the folders for an agent's reports, in which no other user can write."""

import errno
import hashlib
import os
import re
import stat
from pathlib import Path
from typing import Final

from prefect.agent.adapters.state_files import PRIVATE_FOLDER, WRITABLE_FOR_OTHERS, open_to_others
from prefect.agent.domain.errors import ConfigurationError

USUAL: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR})
"""Error numbers that are normal for the default directory, for example in a container."""


def private_folder(directory: Path, *names: str) -> Path:
    """Return the folder *names* in *directory*; create what is missing of it, for this user alone.

    Raises:
        ConfigurationError: Another user can write in one of the folders.
        OSError: It cannot be created, or is not a folder.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    about = directory.stat()
    if about.st_uid not in {0, os.geteuid()} or about.st_mode & stat.S_IWOTH:
        raise ConfigurationError(open_to_others(directory))
    folder = directory
    for name in names:
        folder /= name
        folder.mkdir(exist_ok=True, mode=PRIVATE_FOLDER)
        about = folder.lstat()
        if stat.S_ISLNK(about.st_mode):
            raise ConfigurationError(f"{folder} is a link; replace it by a folder that belongs to this user")
        if about.st_uid != os.geteuid() or about.st_mode & WRITABLE_FOR_OTHERS:
            raise ConfigurationError(open_to_others(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    return folder


def safe_name(owner: str) -> str:
    """Return *owner* as a safe name of a folder: unchanged, or as a digest."""
    is_safe = re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,63}", owner)
    return owner if is_safe else hashlib.sha256(owner.encode(errors="surrogatepass")).hexdigest()[:16]
