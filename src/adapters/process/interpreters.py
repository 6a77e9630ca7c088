"""Finds the program that executes flow runs: a given Python, or the ``prefect`` command on PATH."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from prefect.agent.domain.errors import ConfigurationError, PlatformUnavailable

INHERITED: Final = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM", "LD_LIBRARY_PATH",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip
"""Variables that flow runs inherit from the agent, besides ``LC_*``. All others come from --env or the run config."""

CHANCE: Final = frozenset({"TERM", "SHELL", "LOGNAME"})
"""Inherited variables that depend on how the agent was started, and that do not affect flows."""

_CREDENTIALS: Final = re.compile(r"//[^/@]*@")

_VERSION: Final = "import importlib.metadata as m; print(m.version('prefect'))"


def base_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that flow runs inherit from the agent; none of them holds a secret (promise P5)."""
    return {name: value for name, value in environ.items() if name in INHERITED or name.startswith("LC_")}


def resolve(interpreter: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the absolute path of a given interpreter; None if none is given.

    Raises:
        ConfigurationError: The program does not exist.
    """
    if not interpreter:
        return None
    found = shutil.which(interpreter, path=environ.get("PATH"))
    if found is None:
        raise ConfigurationError(f"--interpreter {interpreter!r} is not a program that can be executed: correct it")
    return str(Path(found).absolute())


def command_line(command: Sequence[str], interpreter: str | None, environ: Mapping[str, str]) -> list[str]:
    """Return the command line to execute for the command ``prefect ...``.

    Raises:
        PlatformUnavailable: No Prefect is installed for flow runs.
    """
    if command[0] != "prefect":
        return list(command)
    if interpreter:
        return [interpreter, "-m", *command]
    return [_prefect_on_path(environ), *command[1:]]


def check(interpreter: str | None, environ: Mapping[str, str]) -> None:
    """Raise PlatformUnavailable unless the interpreter can execute flow runs of the 0.x and 1.x lines."""
    if interpreter is None:
        _prefect_on_path(environ)
        return
    try:
        result = subprocess.run(
            [interpreter, "-c", _VERSION],
            env=base_environment(environ),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise PlatformUnavailable(f"the interpreter {interpreter} does not work: {problem}") from problem
    version = result.stdout.strip()
    if result.returncode:
        raise PlatformUnavailable(f"{interpreter} has no Prefect: install prefect==1.4.1 there, or name another Python")
    if version.partition(".")[0] not in {"0", "1"}:
        raise PlatformUnavailable(f"{interpreter} has Prefect {version}; install prefect<2, or name another Python")


def version_command(interpreter: str | None, environ: Mapping[str, str]) -> list[str]:
    """The words to execute for the version of the Prefect that executes flow runs: the last word of the output.

    Raises:
        PlatformUnavailable: There is no Prefect to execute flow runs with.
    """
    return [interpreter, "-c", _VERSION] if interpreter else [_prefect_on_path(environ), "version"]


def fingerprint(interpreter: str | None, import_paths: Sequence[str], environ: Mapping[str, str], *, show: bool) -> str:
    """Return a digest, without secrets, of all settings that shape units: equal settings give an equal digest."""
    shaping = {name: value for name, value in base_environment(environ).items() if name not in CHANCE}
    facts = {
        "program": _program(interpreter, environ),
        "import_paths": list(import_paths),
        "variables": {name: _without_credentials(value) for name, value in shaping.items()},
        "cwd": str(Path.cwd()),
        "user": os.getuid(),
        "show_flow_logs": show,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _program(interpreter: str | None, environ: Mapping[str, str]) -> str:
    """Return the program's path without links, but keep the link to Python that identifies a virtual environment."""
    if interpreter:
        path = Path(interpreter)
        return str(path.parent.resolve() / path.name)
    try:
        return str(Path(_prefect_on_path(environ)).resolve())
    except PlatformUnavailable:
        return ""


def _without_credentials(value: str) -> str:
    """Return *value* without the logins in its addresses: a proxy's address may hold a password."""
    return _CREDENTIALS.sub("//", value)


def _prefect_on_path(environ: Mapping[str, str]) -> str:
    """Return the first ``prefect`` on PATH that is not this package's own command."""
    folders = {Path(sys.executable).parent, Path(sys.argv[0]).absolute().parent}
    own = {(folder / "prefect").resolve() for folder in folders}
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        found = shutil.which("prefect", path=folder) if folder else None
        if found and Path(found).resolve() not in own:
            return str(Path(found).absolute())
    raise PlatformUnavailable(
        "PATH has no Prefect to execute flow runs: install prefect==1.4.1 in a virtual environment of its own, and "
        "name its Python with --interpreter"
    )
