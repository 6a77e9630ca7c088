"""Starts a unit as a small shell program, which executes the unit's command and updates the unit's directory.

The shell itself gets none of the submission's environment and executes only its own builtins, so nothing that a flow's
author sets can break the bookkeeping. The subshell that becomes the command sets the environment. It arrives with the
program through the shell's standard input, because every user can see command lines.
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
"""Variable of the shell, not of the command: a copy of the unit's description, in case its directory is deleted."""

SHELL: Final = "/bin/sh"

LONGEST_WORD: Final = 32 * 4096
"""Most bytes of one argument or variable that Linux accepts (MAX_ARG_STRLEN)."""

ROOM: Final = 8192
"""Bytes that the system itself needs besides arguments and variables."""

NOT_BEGUN: Final = 70
"""Exit code of a launcher whose unit did not begin."""

STAYS_FOR: Final = 0.1
"""Seconds for which a process must continue to live to show that it is not just being killed."""

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
[ "$code" = 0 ] || kill -TERM 0 2>/dev/null
exit "$code"
}}
"""
"""The shell's program. Signal handlers are not inherited through exec, so the command gets signals with their usual
effect. The file ``exit`` is created first, with room for the exit code, so that a full disk does not lose it. What a
command that failed or was killed left behind is asked to end, as a container's processes end with its first one: a
heartbeat of Prefect 1.x would otherwise go on for ever, and say that the flow run executes."""


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
    """Start the unit whose directory is *unit*, and return its shell.

    Args:
        words: The command.
        env: The command's whole environment.
        cwd: Its working directory.
        output: The file for its output; None for the agent's own output.
        keep: Descriptors that it inherits.
        about: See ``ABOUT``.

    Raises:
        SubmissionRefused: This system cannot start any process with that command or environment.
        OSError: The process cannot be started now.
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
class RunningUnit:
    """A running unit as its own processes describe it.

    Attributes:
        folder: The unit's directory.
        about: See ``ABOUT``.
        numbers: The content of the file ``pid``.
    """

    folder: str
    about: str
    numbers: str


def started(name: str) -> RunningUnit | None:
    """Return the unit *name* if its shell lives; None if there is none, or if it is just being killed.

    Raises:
        OSError: Processes cannot be read.
    """
    members = processes.members(name)
    for shell in members:
        about, words = processes.variable(shell.pid, ABOUT), processes.words(shell.pid)
        command = next((one.pid for one in members if one.parent == shell.pid), None)
        if about is None or command is None or words[:2] != [SHELL, "-s"]:
            continue
        time.sleep(STAYS_FOR)
        if processes.is_alive(shell):
            return RunningUnit(words[2], about, f"{command} {shell.pid}")
    return None


def _is_function(name: str, value: str) -> bool:
    """Return whether some shell, also an older one, would define a function from a variable."""
    return name.startswith("BASH_FUNC_") or value.lstrip().startswith("()")


def _program(env: Mapping[str, str]) -> bytes:
    """Return the shell's program; ``command`` avoids an error for variables that a shell does not allow to set."""
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
    """Return the agent's own mask for new files, which its units get, too."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(line.split()[1] for line in lines if line.startswith("Umask:"))
    except (OSError, StopIteration):
        mask = os.umask(0o077)
        os.umask(mask)
        return f"{mask:04o}"


def _check(words: Sequence[str], env: Mapping[str, str]) -> None:
    """Raise SubmissionRefused for a command that exec(2) would refuse, since that error would not reach the agent."""
    given = [os.fsencode(word) for word in words]
    given += [os.fsencode(f"{name}={value}") for name, value in env.items()]
    if any(b"\0" in each for each in given):
        raise SubmissionRefused("its command or environment contains a NUL character")
    if any("=" in name or not name for name in env):
        raise SubmissionRefused("its environment has a variable whose name is empty or contains '='")
    whole = sum(len(each) + 9 for each in given)
    if whole > os.sysconf("SC_ARG_MAX") - ROOM or max(map(len, given), default=0) >= LONGEST_WORD:
        raise SubmissionRefused("its environment is too large for this system")


def _in_memory(content: bytes) -> IO[bytes]:
    """Return a file without a name that holds *content*, positioned at its beginning."""
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
