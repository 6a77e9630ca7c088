"""Reports that outlive the agent's process."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from prefect.agent.adapters.reports.disk import DiskReports
from prefect.agent.adapters.reports.places import USUAL
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.ports.reports import MemoryReports, ReportStore

VARIABLES: Final = ("PREFECT_AGENT_STATE_DIRECTORY", "STATE_DIRECTORY")
"""Variables that name the state directory; the second one is systemd's and may name several."""

HOME: Final = "~/.prefect-agent"
"""The state directory that no person named."""


def reports_store(
    directory: str | None,
    owner: str,
    *,
    environ: Mapping[str, str] | None = None,
    home: str = HOME,
    is_strict: bool = False,
) -> ReportStore:
    """A store on disk, or in memory if the place cannot be used.

    If a person named the place, or other users can write there, :attr:`ReportStore.problem` says why; a home that does
    not exist or cannot be written to is normal in a container: then only :attr:`ReportStore.where` says so.

    Args:
        directory: The state directory; None for that of the environment, or ``~/.prefect-agent``.
        owner: Mark of the agents that may send each other's reports.
        environ: Variables; None for those of the process.
        home: The directory if none is named.
        is_strict: Refuse a place where other users can write, instead of keeping reports in memory.

    Raises:
        ConfigurationError: Other users can write there, and *is_strict*. The message says what to do.
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
