"""The files of a configuration: which they are, and what they hold."""

import io
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import attrs

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.settings.names import DEFAULTS
from prefect.agent.entrypoints.settings.values import at_home, home_of, own, resolved

VARIABLE: Final = "PREFECT_AGENT_CONFIG"
"""Variable with the path of a file that is read in place of ``config.toml`` and ``backend.toml``."""

NO_HOME: Final = Path("/nonexistent")
"""Stands for the home of an environment that names none; nothing is there, and nothing is made there."""

LONGEST: Final = 1024 * 1024
"""Bytes of a file at most: more is no file of settings, and a device has no end."""

USUAL: Final = "config.toml or backend.toml"
"""What messages call the files of the 1.x line."""


@attrs.frozen
class Files:
    """What the files of a configuration hold.

    Attributes:
        settings: Tables with settings.
        auth: Logins that the 1.x client stored.
        paths: The files, whether they exist or not; the file with logins is the last one.
        shown: What messages call the files with settings.
        homes: By table or key at the top of a file: the file that it is from.
    """

    settings: Mapping[str, Any]
    auth: Mapping[str, Any] = attrs.field(repr=False)
    paths: tuple[Path, ...]
    shown: str = USUAL
    homes: Mapping[str, Path] = attrs.field(factory=dict)


def read_files(environ: Mapping[str, str], given: str | None = None) -> Files:
    """Read *given*, else the file that ``PREFECT_AGENT_CONFIG`` names, else those of the 1.x line; and the logins.

    A file of the 1.x line that does not exist counts as empty.

    Args:
        given: The path that an option names; None or empty if there is no such option.

    Raises:
        ConfigurationError: A file cannot be read as TOML, or a file that *given* or the variable names does not exist.
    """
    home = _path("PREFECT__HOME_DIR", environ) or (home_of(environ) or NO_HOME) / ".prefect"
    auth = home / "auth.toml"
    chosen = given or own(environ, VARIABLE)
    if chosen:
        named = at_home(chosen, "--config" if given else VARIABLE)
        settings = _read_named(named, "--config" if given else VARIABLE)
        return Files(settings, _read(auth), (named, auth), str(named), dict.fromkeys(settings, named))
    config = _path("PREFECT__USER_CONFIG_PATH", environ) or home / "config.toml"
    backend = _path("PREFECT__BACKEND_CONFIG_PATH", environ) or home / "backend.toml"
    first, second = _read(config), _read(backend)
    homes = {**dict.fromkeys(first, config), **dict.fromkeys(second, backend)}
    return Files({**first, **second}, _read(auth), (config, backend, auth), USUAL, homes)


def _path(variable: str, environ: Mapping[str, str]) -> Path | None:
    """Return the path that an environment variable holds; None if it is not set."""
    text = environ.get(variable, "").strip()
    return at_home(resolved(text, environ, DEFAULTS.get, variable), variable) if text else None


def _read_named(path: Path, source: str) -> dict[str, Any]:
    if not os.path.lexists(path):
        raise ConfigurationError(f"there is no file {str(path)[:200]}, which {source} names")
    return _read(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
        if len(content) > LONGEST:
            raise ConfigurationError(f"{str(path)[:200]} is larger than 1 MiB: name a file of settings")
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig").read()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as problem:
        if isinstance(problem, PermissionError) and not os.path.lexists(path):
            return {}  # in a folder of another user: the file may or may not exist
        raise ConfigurationError(f"cannot read {str(path)[:200]}: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise ConfigurationError(f"cannot read {path}: it is not text in UTF-8") from problem
    try:
        return _toml_loads()(text)
    except RecursionError as problem:
        raise ConfigurationError(f"{path} is nested too deeply") from problem
    except ValueError as problem:
        raise ConfigurationError(f"{path} is not valid TOML: {problem}") from problem


def _toml_loads() -> Callable[[str], dict[str, Any]]:
    try:
        toml = import_module("tomllib")
    except ModuleNotFoundError:  # Python 3.10
        toml = import_module("tomli")
    loads: Callable[[str], dict[str, Any]] = toml.loads
    return loads
