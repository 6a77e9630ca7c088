"""Keep the database readable by its user alone: it holds secrets and results in clear text."""

import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_BESIDE: Final = ("", "-wal", "-shm", "-journal", ".lock")

_log: Final = logging.getLogger(__name__)


def make_folder(folder: Path) -> None:
    """Make a folder that only its user can enter, unless it exists.

    Raises:
        OSError: The folder cannot be made.
    """
    if not folder.is_dir():
        make_folder(folder.parent)  # each of them: who may write to a parent can replace what is in it
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


def make_file(path: Path) -> None:
    """Make an empty file that only its user can read, unless a file exists; SQLite reports a failure later."""
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, PRIVATE_FILE))


def planted(path: Path) -> str | None:
    """Return one sentence about a file that another user put beside the database and SQLite would read; or None.

    Files of root and of the owner of the database are accepted.
    """
    own = {os.geteuid(), 0, *(found.st_uid for found in _found(path))}
    for end in _BESIDE:
        one = Path(f"{path}{end}")
        for found in _found(one):
            if not stat.S_ISREG(found.st_mode) or found.st_uid not in own:
                return f"{one} is not a file of the owner of {path}: remove it, or choose another --database"
    return None


def _found(path: Path) -> list[os.stat_result]:
    """Return the status of the file at *path*, without following a link; empty if there is none."""
    try:
        return [path.lstat()]
    except OSError:
        return []


def keep_private(path: Path) -> str | None:
    """Remove other users' access to the database at *path* and the files beside it.

    Returns:
        One sentence if other users can still read the file or replace it; else None.
    """
    wide = [one for one in _files(path) if one.stat().st_mode & _OTHERS]
    mine = [one for one in wide if one.stat().st_uid == os.geteuid()]
    for one in mine:
        one.chmod(stat.S_IMODE(one.stat().st_mode) & ~_OTHERS)
    if mine:
        _log.warning("%s could be read by other users; now only its owner can", path)
    if len(mine) < len(wide):
        return f"{path} is another user's and can be read by others: let its owner chmod 600 it"
    folder, file = path.parent.stat(), path.stat()
    if folder.st_uid not in {os.geteuid(), 0, file.st_uid}:
        return f"the folder of {path} is another user's, who can put another file in its place; choose another one"
    if folder.st_mode & _OTHERS_WRITE and not folder.st_mode & stat.S_ISVTX:
        return f"others can put another file in the place of {path}: chmod go-w {path.parent}"
    return None


def _files(path: Path) -> Iterator[Path]:
    return (one for end in _BESIDE if (one := Path(f"{path}{end}")).is_file())
