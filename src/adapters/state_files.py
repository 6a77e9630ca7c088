"""Reads and writes the files and folders of a state directory safely.

A file found there is not trusted: it must be a regular file, no link is followed, no read blocks, and little is read. A
file is written whole or not at all, and only for this user. A folder in which other users can write is refused.
"""

import contextlib
import os
import stat
import uuid
from pathlib import Path
from typing import Final

from prefect.agent.domain.errors import ConfigurationError

LIMIT: Final = 64 * 1024
"""Most bytes of a state file that are read."""

PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700
WRITABLE_FOR_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def make_private(folder: Path) -> None:
    """Create *folder* and its missing parents for this user alone; make an existing one private.

    Raises:
        ConfigurationError: Another user owns it or can write in it. The message says what to do.
        OSError: It cannot be created, or is not a folder.
    """
    for each in (*reversed(folder.parents), folder):
        if not each.exists():
            each.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    about = folder.stat()
    if about.st_uid != os.geteuid() or about.st_mode & WRITABLE_FOR_OTHERS:
        raise ConfigurationError(open_to_others(folder))
    if stat.S_IMODE(about.st_mode) != PRIVATE_FOLDER:
        folder.chmod(PRIVATE_FOLDER)


def open_to_others(folder: Path) -> str:
    """Return the message that refuses *folder*, since other users can write in it."""
    return (
        f"other users can write in {folder}: run chmod go-w on it, give it to this user, or name a folder of your own"
    )


class NotAFile(OSError):
    """A link, FIFO, device or folder has the name of a state file."""


def opened(path: Path, flags: int = _READ) -> int:
    """Open a regular file; the caller closes the descriptor.

    Raises:
        FileNotFoundError: It does not exist.
        NotAFile: It is not a regular file.
        OSError: It cannot be opened.
    """
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, PRIVATE_FILE)
    except OSError as problem:
        if _is_other(path):
            raise NotAFile(problem.errno, "not a regular file", str(path)) from problem
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotAFile(0, "not a regular file", str(path))
    return handle


def read(path: Path) -> bytes | None:
    """Return the beginning of a regular file; None if it does not exist.

    Raises:
        NotAFile: It is not a regular file.
        OSError: It cannot be read.
    """
    try:
        handle = opened(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return os.read(handle, LIMIT)
    finally:
        os.close(handle)


def put(path: Path, content: bytes) -> None:
    """Write a file in place; for files whose readers ignore an incomplete one. Raises as :func:`write`."""
    handle = opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        while content:
            content = content[os.write(handle, content) :]
    finally:
        os.close(handle)


def write(path: Path, content: bytes, *, synced: bool = False) -> None:
    """Replace a file atomically; on an error it stays as it was.

    Args:
        synced: Return only after the content is on the disk.

    Raises:
        OSError: The file could not be written.
    """
    new = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content)
            file.flush()
            if synced:
                os.fsync(handle)
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    if synced:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some network file systems cannot do this
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _is_other(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode)
