"""Stores reports so that they outlive the agent's process."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from prefect.agent.adapters.reports.disk import DiskReports
from prefect.agent.adapters.reports.places import USUAL
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.ports.reports import MemoryReports, ReportStore

VARIABLES: Final = ("PREFECT_AGENT_STATE_DIRECTORY", "STATE_DIRECTORY")
"""Variables that name the state directory; the second one is set by systemd and may name several directories."""

HOME: Final = "~/.prefect-agent"
"""The default state directory."""


def reports_store(
    directory: str | None,
    owner: str,
    *,
    environ: Mapping[str, str] | None = None,
    home: str = HOME,
    is_strict: bool = False,
) -> ReportStore:
    """Return a store on disk, or in memory if the directory cannot be used.

    The reason is in :attr:`ReportStore.problem` if a person named the directory, or if other users can write in it. A
    home that does not exist or is read-only is normal in a container; then only :attr:`ReportStore.where` says so.

    Args:
        directory: The state directory; None for the environment's, or ``~/.prefect-agent``.
        owner: Name of the group of agents that may send each other's reports.
        environ: Environment variables; None for those of the process.
        home: The directory to use if none is named.
        is_strict: Raise an error for a directory in which other users can write, instead of using memory.

    Raises:
        ConfigurationError: Other users can write in the directory, and *is_strict*. The message says what to do.
    """
    given = directory or _named(os.environ if environ is None else environ)
    try:
        return DiskReports(Path(given or home).expanduser().absolute(), owner)
    except (ConfigurationError, ValueError) as problem:
        if is_strict and isinstance(problem, ConfigurationError):
            raise
        return MemoryReports(problem=str(problem))
    except (OSError, RuntimeError) as problem:
        text = f"{given or home} cannot be used: {getattr(problem, 'strerror', None) or problem}"
        if not given and (not isinstance(problem, OSError) or problem.errno in USUAL):
            return MemoryReports(reason=text)
        return MemoryReports(problem=text)


def state_directory(directory: str | None, *, environ: Mapping[str, str] | None = None) -> tuple[Path, bool]:
    """Where the state directory is, as :func:`reports_store` finds it, and whether a person named it."""
    given = directory or _named(os.environ if environ is None else environ)
    return Path(given or HOME), bool(given)


def _named(environ: Mapping[str, str]) -> str:
    found = [environ[name] for name in VARIABLES if environ.get(name)]
    return found[0].split(":")[0] if found else ""


__all__ = ["DiskReports", "reports_store", "state_directory"]
