"""Which program executes flow runs: a stated Python, or the ``prefect`` command that PATH finds."""

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
"""Variables of the agent that flow runs get; ``LC_*`` too. Everything else is given by --env or the run config."""

CHANCE: Final = frozenset({"TERM", "SHELL", "LOGNAME"})
"""Those that depend on how the agent was started, and on which no flow depends."""

_CREDENTIALS: Final = re.compile(r"//[^/@]*@")

_VERSION: Final = "import importlib.metadata as m; print(m.version('prefect'))"


def base_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What every flow run needs of the agent's environment, and nothing that could be a secret (promise P5)."""
    return {name: value for name, value in environ.items() if name in INHERITED or name.startswith("LC_")}


def resolve(interpreter: str | None, environ: Mapping[str, str]) -> str | None:
    """The absolute path of a stated interpreter; None if none is stated.

    Raises:
        ConfigurationError: There is no such program.
    """
    if not interpreter:
        return None
    found = shutil.which(interpreter, path=environ.get("PATH"))
    if found is None:
        raise ConfigurationError(f"--interpreter {interpreter!r} is not a program that can be executed")
    return str(Path(found).absolute())


def command_line(command: Sequence[str], interpreter: str | None, environ: Mapping[str, str]) -> list[str]:
    """The words to execute for ``prefect ...``.

    Raises:
        PlatformUnavailable: There is no Prefect to execute flow runs with.
    """
    if command[0] != "prefect":
        return list(command)
    if interpreter:
        return [interpreter, "-m", *command]
    return [_prefect_on_path(environ), *command[1:]]


def check(interpreter: str | None, environ: Mapping[str, str]) -> None:
    """Raise unless flow runs of the 0.x and 1.x lines can be executed."""
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
        raise PlatformUnavailable(f"{interpreter} has no Prefect: install prefect==1.4.1 there, or name another one")
    if version.partition(".")[0] not in {"0", "1"}:
        raise PlatformUnavailable(f"{interpreter} has Prefect {version}; flow runs of this Cloud need prefect<2")


def version_command(interpreter: str | None, environ: Mapping[str, str]) -> list[str]:
    """The words to execute for the version of the Prefect that executes flow runs: the last word of the output.

    Raises:
        PlatformUnavailable: There is no Prefect to execute flow runs with.
    """
    return [interpreter, "-c", _VERSION] if interpreter else [_prefect_on_path(environ), "version"]


def fingerprint(interpreter: str | None, import_paths: Sequence[str], environ: Mapping[str, str], *, show: bool) -> str:
    """A digest of what shapes units beside their submission: equal if they would be made equal. No secret goes in."""
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
    """Where the program really is. A link to a Python inside a virtual environment stands for that environment."""
    if interpreter:
        path = Path(interpreter)
        return str(path.parent.resolve() / path.name)
    try:
        return str(Path(_prefect_on_path(environ)).resolve())
    except PlatformUnavailable:
        return ""


def _without_credentials(value: str) -> str:
    """Proxies' addresses may hold a password."""
    return _CREDENTIALS.sub("//", value)


def _prefect_on_path(environ: Mapping[str, str]) -> str:
    """The first ``prefect`` on PATH that is not this package's own command."""
    folders = {Path(sys.executable).parent, Path(sys.argv[0]).absolute().parent}
    own = {(folder / "prefect").resolve() for folder in folders}
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        found = shutil.which("prefect", path=folder) if folder else None
        if found and Path(found).resolve() not in own:
            return str(Path(found).absolute())
    raise PlatformUnavailable(
        "there is no Prefect to execute flow runs with: say which Python has it with --interpreter "
        "(a virtual environment of its own, with prefect==1.4.1)"
    )
