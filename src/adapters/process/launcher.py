"""The small shell program that executes a unit's command and keeps its directory up to date.

The shell itself gets none of the submission's environment and executes nothing but its own builtins, so nothing that a
flow's author sets can break the bookkeeping. The environment is set in the subshell that becomes the command. It comes
with the program through the shell's standard input: command lines are visible to every user.
"""

import functools
import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import attrs

from prefect.agent.adapters.process import processes
from prefect.agent.adapters.process.descriptors import soft_limit_of_children
from prefect.agent.adapters.process.processes import MARK
from prefect.agent.domain.errors import SubmissionRefused

ABOUT: Final = "PREFECT_AGENT_ABOUT"
"""Variable of the shell, not of the command: what the unit's directory says of it, should that be lost."""

SHELL: Final = "/bin/sh"

LONGEST_WORD: Final = 32 * 4096
"""Bytes of one argument or variable that Linux takes (MAX_ARG_STRLEN)."""

ROOM: Final = 8192
"""Bytes that the system itself needs beside arguments and variables."""

NOT_BEGUN: Final = 70

STAYS_FOR: Final = 0.1
"""Seconds that a process must live on to be no process that is just being killed."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_PROGRAM: Final = """{{
exec </dev/null
trap : TERM INT HUP
{limit}
unit=$1
shift
printf '%31s\\n' '' 2>/dev/null >"$unit/exit" || exit {not_begun}
(
read -r pid rest 2>/dev/null </proc/self/stat || pid=$(exec {shell} -c 'echo $PPID')
printf '%s %s\\n' "$pid" "$$" 2>/dev/null >"$unit/pid" || exit {not_begun}
umask {mask}
{{
{exports}
}} 2>/dev/null
exec "$@"
)
code=$?
began=
read -r began 2>/dev/null <"$unit/pid"
[ "$began" ] || exit {not_begun}
printf '%s\\n' "$code" 2>/dev/null 1<>"$unit/exit" || printf '' 2>/dev/null >"$unit/unkept"
exit "$code"
}}
"""
"""Handlers are not inherited through exec, so the command gets its signals with their usual meaning. The file ``exit``
is made first, with room for what is written in the end: a full disk does not lose an exit code."""


def start(
    unit: Path,
    words: Sequence[str],
    env: Mapping[str, str],
    *,
    cwd: str,
    output: IO[bytes] | None,
    keep: Sequence[int],
    about: str,
) -> "subprocess.Popen[bytes]":
    """Start the process of the unit whose directory is *unit*.

    Args:
        words: The command.
        env: The command's whole environment.
        cwd: Its working directory.
        output: Where its output goes; None for the agent's own.
        keep: Descriptors that it inherits.
        about: See ``ABOUT``.

    Raises:
        SubmissionRefused: Its command or environment cannot be given to any process of this system.
        OSError: It cannot be started now.
    """
    env = {**env, MARK: unit.name}
    _check(words, env)
    odd = {name: value for name, value in env.items() if not _NAME.fullmatch(name) and name.isprintable()}
    odd = {name: value for name, value in odd.items() if not _is_function(name, value)}
    with _in_memory(_program(env)) as program:
        return subprocess.Popen(
            [SHELL, "-s", str(unit), *words],
            cwd=cwd,
            env={**odd, MARK: unit.name, ABOUT: about},
            stdin=program,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=tuple(keep),
            umask=0o077,
        )


@attrs.frozen
class Started:
    """A unit that executes, as its own processes know it.

    Attributes:
        folder: Its directory.
        about: See ``ABOUT``.
        numbers: What the file ``pid`` says.
    """

    folder: str
    about: str
    numbers: str


def started(name: str) -> Started | None:
    """The unit of that name whose shell lives; None if there is none, or it is just being killed.

    Raises:
        OSError: Processes cannot be looked at.
    """
    members = processes.members(name)
    for shell in members:
        about, words = processes.variable(shell.pid, ABOUT), processes.words(shell.pid)
        command = next((one.pid for one in members if one.parent == shell.pid), None)
        if about is None or command is None or words[:2] != [SHELL, "-s"]:
            continue
        time.sleep(STAYS_FOR)
        if processes.is_alive(shell):
            return Started(words[2], about, f"{command} {shell.pid}")
    return None


def _is_function(name: str, value: str) -> bool:
    """Whether a shell of this or an older day takes a variable for a function to define."""
    return name.startswith("BASH_FUNC_") or value.lstrip().startswith("()")


def _program(env: Mapping[str, str]) -> bytes:
    """Names that a shell keeps to itself are passed over by it: ``command`` makes that no error."""
    sets = [f"command export {name}={shlex.quote(value)}" for name, value in env.items() if _NAME.fullmatch(name)]
    limit = soft_limit_of_children()
    text = _PROGRAM.format(
        limit=f"ulimit -S -n {limit} 2>/dev/null" if limit else ":",
        mask=_usual_mask(),
        shell=SHELL,
        not_begun=NOT_BEGUN,
        exports="\n".join([f"unset {ABOUT}", *sets]),
    )
    return os.fsencode(text)


@functools.cache
def _usual_mask() -> str:
    """The agent's own mask for new files, which its units have too."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(line.split()[1] for line in lines if line.startswith("Umask:"))
    except (OSError, StopIteration):
        mask = os.umask(0o077)
        os.umask(mask)
        return f"{mask:04o}"


def _check(words: Sequence[str], env: Mapping[str, str]) -> None:
    """Refuse what exec(2) would refuse: the agent would not hear of it."""
    given = [os.fsencode(word) for word in words]
    given += [os.fsencode(f"{name}={value}") for name, value in env.items()]
    if any(b"\0" in each for each in given):
        raise SubmissionRefused("its command or environment contains a NUL character")
    if any("=" in name or not name for name in env):
        raise SubmissionRefused("its environment has a variable whose name is empty or contains '='")
    whole = sum(len(each) + 9 for each in given)
    if whole > os.sysconf("SC_ARG_MAX") - ROOM or max(map(len, given), default=0) >= LONGEST_WORD:
        raise SubmissionRefused("its environment is larger than this system takes")


def _in_memory(content: bytes) -> IO[bytes]:
    """A file without a name, at its beginning."""
    nameless = getattr(os, "memfd_create", None)  # Linux
    file: IO[bytes] = (
        os.fdopen(nameless("prefect-unit"), "w+b") if nameless else tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes
    )
    try:
        file.write(content)
        file.seek(0)
    except OSError:
        file.close()
        raise
    return file
