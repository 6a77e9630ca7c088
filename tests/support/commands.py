"""Our commands as processes of their own, in an environment in which nothing of Prefect is set."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

PREFECT: Final = Path(sys.executable).parent / "prefect-agent"


def bare_environment(home: Path, flow: str = "exec sleep 60") -> dict[str, str]:
    """Variables for a command.

    Args:
        home: For everything that it writes; gets a program ``prefect`` in ``bin``.
        flow: What that program does, in words of a shell.
    """
    program = home / "bin" / "prefect"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{flow}\n", encoding="utf-8")
    program.chmod(0o755)
    keep = {
        name: os.environ[name] for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG") if name in os.environ
    }
    return {**keep, "HOME": str(home), "PATH": f"{program.parent}:/usr/bin:/bin", "LANG": "C.UTF-8"}


@attrs.frozen
class CommandHarness:
    """A home, and the address of a Cloud to which commands there speak."""

    home: Path
    url: str

    @property
    def env(self) -> dict[str, str]:
        """Variables of a person who has told where the Cloud is, but no key."""
        return bare_environment(self.home) | {"PREFECT__BACKEND": "server", "PREFECT__CLOUD__API": self.url}


def run(env: Mapping[str, str], *words: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    """Run the command to its end; *given* is its input."""
    return subprocess.run(
        [PREFECT, *words],
        env=dict(env),
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=env["HOME"],
    )
