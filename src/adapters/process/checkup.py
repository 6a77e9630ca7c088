"""What a doctor looks at where flow runs are processes: the interpreter, and where units are kept."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from prefect.agent.adapters.folders import look_at
from prefect.agent.adapters.process import interpreters
from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.domain.model.checks import Fact, Program, Step

PATIENCE: Final = 60.0
"""Seconds for a program to say its version; the first start of a large one takes a while."""

BELOW: Final = "2"
"""The first version of Prefect that does not know the commands of flow runs of the 1.x line."""

REMEDY: Final = "install prefect==1.4.1 in a virtual environment of its own, and name its Python with --interpreter"


def steps(interpreter: str | None, environ: Mapping[str, str], directory: Path) -> Sequence[Step]:
    """The steps, in order."""

    def program() -> Iterator[Fact]:
        words = interpreters.version_command(interpreter, environ)
        version = _output(words, environ)
        known = version if version or interpreter else None
        yield Program(path=words[0], version=known, below=BELOW, remedy=REMEDY)

    def units() -> Iterator[Fact]:
        yield look_at(directory, "units and their output")

    return (Step(name="interpreter", ask=program), Step(name="units-directory", ask=units))


def _output(words: Sequence[str], environ: Mapping[str, str]) -> str:
    """The last line that a program prints; empty if it fails."""
    try:
        done = subprocess.run(
            words,
            env=interpreters.base_environment(environ),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise PlatformUnavailable(f"{words[0]} does not work: {problem}") from problem
    lines = done.stdout.split()
    return lines[-1] if lines and not done.returncode else ""
