"""Finds secrets of the agent that are not protected; the agent logs one sentence about each at its start."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from prefect.agent.domain.addresses import is_loopback
from prefect.agent.domain.secrets import passwords_of, without_password
from prefect.agent.entrypoints.settings.configuration import CloudLogin, Configuration

_HERE: Final = frozenset({"host.docker.internal"})
"""Names by which a container knows the machine that it runs on."""

_MOUNTED: Final = ("/run/secrets/", "/var/run/secrets/")
"""Folders of a container's own secrets, which no other user can reach."""


def of_login(login: CloudLogin, configuration: Configuration, key_files: Iterable[str | None]) -> list[str]:
    """Return sentences about the connection to the Cloud, the files of the configuration, and *key_files*."""
    files = configuration.secret_files(*key_files)
    return [*of_connection(login), *of_files(configuration.paths, files, configuration.environ)]


def of_connection(login: CloudLogin) -> Iterator[str]:
    """Yield a sentence if the key, or the address's password, is sent to another machine without TLS."""
    parts = urlsplit(login.api)
    host = parts.hostname or ""
    secret = "The API key" if login.key else "The password in the address" if passwords_of(login.api) else ""
    if parts.scheme == "http" and secret and not is_loopback(host) and host not in _HERE:
        yield (
            f"{secret} is sent to {without_password(login.api)} without TLS, so others in the network can read it. "
            "Give an https:// address"
        )


def of_files(configs: Iterable[Path], secret_files: Iterable[Path], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each configuration file that others can write, and each secret file that others can read.

    Args:
        configs: Configuration files.
        secret_files: Files that hold a secret; they may include configuration files.
        environ: Environment variables; one names systemd's folder of credentials, which systemd protects.
    """
    own = (*_MOUNTED, *(f"{folder}/" for folder in [environ.get("CREDENTIALS_DIRECTORY")] if folder))
    for path in dict.fromkeys(configs):
        if _mode(path) & (stat.S_IWGRP | stat.S_IWOTH):
            yield f"Others can write {path}, and so decide where the API key is sent. Run chmod go-w {path}"
    for path in dict.fromkeys(secret_files):
        if _mode(path) & (stat.S_IRGRP | stat.S_IROTH) and not str(path.absolute()).startswith(own):
            yield f"Others can read {path}, which holds a secret. Run chmod go-r {path}"


def _mode(path: Path) -> int:
    """Return the permission bits of a file; 0 if there is no such file."""
    if os.name == "nt":
        return 0
    try:
        return path.stat().st_mode
    except OSError:
        return 0
