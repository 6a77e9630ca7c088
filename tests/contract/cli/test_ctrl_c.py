"""Ctrl-C ends every command quietly with 130, whenever it comes; what watches says what it has to."""

import signal
import socket
import subprocess
from pathlib import Path
from typing import Final

import pytest

from support.commands import PREFECT, bare_environment

INTERRUPTING: Final = """
import os, signal, sys
try:
    os.kill(os.getpid(), signal.SIGINT)
except BaseException:  # as some modules do while they look for what they can use
    print("swallowed")
sys.path.remove(os.path.dirname(__file__))
del sys.modules["click"]
import click
"""
"""A module that sends Ctrl-C while it is imported, and then is the real one."""

PROGRAMS: Final = ("prefect", "prefect-agent")


def environment(home: Path) -> dict[str, str]:
    """In which the import of the commands is interrupted."""
    (home / "click.py").write_text(INTERRUPTING, encoding="utf-8")
    return bare_environment(home) | {"PYTHONPATH": str(home)}


@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c_while_modules_are_imported_is_quiet(program: str, tmp_path: Path) -> None:
    """The first tenths of a second of any command, in which a person sees that it is the wrong one."""
    done = subprocess.run(
        [PREFECT.with_name(program), "version"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_command_whose_caller_ignores_ctrl_c_ignores_it_from_the_beginning(tmp_path: Path) -> None:
    """As nohup and the shell's "&" want it."""
    words = ["sh", "-c", f"trap '' INT; exec '{PREFECT}' version"]

    done = subprocess.run(words, env=environment(tmp_path), capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("prefect-agent ")


@pytest.mark.parametrize(
    "words",
    [("why", "crimson-dolphin"), ("run", "etl"), ("doctor", "process"), ("start", "process", "--dry-run")],
    ids=" ".join,
)
def test_ctrl_c_in_a_command_is_quiet(words: tuple[str, ...], tmp_path: Path) -> None:
    """Not 1, which means of ``why`` that something keeps the run, and of ``run`` that it failed."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        env = bare_environment(tmp_path) | {"PREFECT__CLOUD__API": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        child = subprocess.Popen(
            [PREFECT, *words], env=env | {"PREFECT__BACKEND": "server"}, stderr=subprocess.PIPE, text=True
        )
        try:
            connection, _ = silent.accept()  # the command waits for an answer now
            with connection:
                child.send_signal(signal.SIGINT)
                _, said = child.communicate(timeout=60)
        finally:
            child.kill()
            child.wait()

    assert "Traceback" not in said
    assert "Aborted" not in said
    assert child.returncode == (0 if "--dry-run" in words else 130), said
