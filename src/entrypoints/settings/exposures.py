"""What leaves a secret of the agent unprotected: one sentence for each, said at start."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from prefect.agent.domain.addresses import is_loopback
from prefect.agent.domain.secrets import passwords_of, without_password
from prefect.agent.entrypoints.settings.configuration import Configuration, Connection

_HERE: Final = frozenset({"host.docker.internal"})
"""Names of the own machine, as a container on it knows it."""

_MOUNTED: Final = ("/run/secrets/", "/var/run/secrets/")
"""Where a container has its own secrets: no other user is in there."""


def of_login(login: Connection, configuration: Configuration, key_files: Iterable[str | None]) -> list[str]:
    """Sentences about the way to the Cloud, and about the files that the configuration and *key_files* are."""
    files = configuration.secret_files(*key_files)
    return [*of_connection(login), *of_files(configuration.paths, files, configuration.environ)]


def of_connection(login: Connection) -> Iterator[str]:
    """Whether the key, or without one the password in the address, is sent to another machine in the clear."""
    parts = urlsplit(login.api)
    host = parts.hostname or ""
    secret = "The API key" if login.key else "The password in the address" if passwords_of(login.api) else ""
    if parts.scheme == "http" and secret and not is_loopback(host) and host not in _HERE:
        yield (
            f"{secret} is sent to {without_password(login.api)} without TLS: others on the way can read it. "
            "Give an https:// address"
        )


def of_files(configs: Iterable[Path], secret_files: Iterable[Path], environ: Mapping[str, str]) -> Iterator[str]:
    """Whether others can write configuration, or read files with secrets.

    Args:
        configs: Files with settings.
        secret_files: Files that hold a secret; configuration may be among them.
        environ: Says where systemd has put credentials, which it protects itself.
    """
    own = (*_MOUNTED, *(f"{folder}/" for folder in [environ.get("CREDENTIALS_DIRECTORY")] if folder))
    for path in dict.fromkeys(configs):
        if _mode(path) & (stat.S_IWGRP | stat.S_IWOTH):
            yield f"Others can write {path}, and so decide where the API key is sent: chmod go-w {path}"
    for path in dict.fromkeys(secret_files):
        if _mode(path) & (stat.S_IRGRP | stat.S_IROTH) and not str(path.absolute()).startswith(own):
            yield f"Others can read {path}, which holds a secret: chmod go-r {path}"


def _mode(path: Path) -> int:
    """The permissions of a file; none if there is no such file."""
    if os.name == "nt":
        return 0
    try:
        return path.stat().st_mode
    except OSError:
        return 0
