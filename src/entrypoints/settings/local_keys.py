"""The key of a Cloud on this machine, in a file that only one user may read: the server writes it, the agent finds it.

``prefect server start --require-key`` keeps beside its database ``key-PORT``, for agents and their flow runs, and
``admin-key-PORT``, for people: only commands that the server prints read that one. An agent without a key looks for its
file in ``~/.prefect-agent``, and only if the address of its API is ``http`` to that port of the loopback.
"""

import os
import secrets
import stat
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from prefect.agent.domain.addresses import THIS_MACHINE
from prefect.agent.domain.errors import ConfigurationError

FOLDER: Final = ".prefect-agent"
"""Below the home directory: where a Cloud is kept if nothing else is said."""


_MAX_KEY: Final = 500
"""Bytes of a key that is read."""

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def key_file(folder: Path, port: int) -> Path:
    """Where the key of the Cloud at *port* is, whose database is in *folder*."""
    return folder / f"key-{port}"


def admin_key_file(folder: Path, port: int) -> Path:
    """Where its key for people is."""
    return folder / f"admin-key-{port}"


def find_key(api: str, home: Path) -> str | None:
    """The key for *api*, if that is a Cloud on this machine whose key is kept below *home*; else None.

    Raises:
        ConfigurationError: The file is not one that only this user can read.
    """
    parts = urlsplit(api)
    if parts.scheme != "http" or parts.hostname not in THIS_MACHINE or parts.username is not None:
        return None
    return read_key(key_file(home / FOLDER, parts.port or 80))


def read_key(path: Path) -> str | None:
    """The key in the file *path*; None if there is no file.

    Raises:
        ConfigurationError: It is not a file that only this user can read, or it holds no key.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError as problem:
        raise ConfigurationError(f"cannot read the key in {path}: {problem.strerror}; remove it") from problem
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & _OTHERS:
            raise ConfigurationError(f"{path} holds a key and is not a file of yours alone; chmod 600 it, or remove it")
        text = os.read(handle, _MAX_KEY).strip()
    finally:
        os.close(handle)
    if not text.isascii() or not text.decode("ascii").isprintable() or not text:
        raise ConfigurationError(f"{path} holds no key; remove it")
    return text.decode("ascii")


def write_key(path: Path, key: str) -> None:
    """Keep *key* in a file that only this user can read; what was there before is replaced.

    Raises:
        OSError: It cannot be written.
    """
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{key}\n")
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
