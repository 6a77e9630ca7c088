"""Finds the processes of a unit by a mark in their environment, which all descendants inherit. Needs /proc.

On systems without /proc, only the unit's lock and process group are known. A process is not found if it clears its
environment, leaves the unit's sessions and closes all descriptors, or if it runs as another user.
"""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

import attrs

MARK: Final = "PREFECT_AGENT_UNIT"
"""Environment variable whose value is the unit's name."""

PROC: Final = Path("/proc")

ENVIRON_LIMIT: Final = 8 * 1024 * 1024
"""Most bytes of a process's environment that are read; Linux does not start a program with more."""

LOOKS: Final = 20
"""How often a process that is just ending is examined again."""

PAUSE: Final = 0.001
"""Seconds until a process that was just ending is examined again."""

_GONE: Final = {errno.ENOENT, errno.ESRCH}


@attrs.frozen
class Process:
    """A process as /proc describes it; a later process with the same id has another *start* (clock ticks)."""

    pid: int
    state: str = "?"
    parent: int = 0
    group: int = 0
    session: int = 0
    start: int = 0


def can_look() -> bool:
    """Return whether this system shows its processes."""
    return (PROC / "self" / "environ").exists()


def process(pid: int) -> Process | None:
    """Return the process with this id; None if there is none."""
    content = _content(pid, "stat")
    if not content:
        return None
    words = content.rpartition(b")")[2].split()
    parent, group, session = (int(word) for word in words[1:4])
    return Process(pid, words[0].decode(), parent, group, session, int(words[19]))


def variable(pid: int, name: str) -> str | None:
    """Return a variable of the process's initial environment; None if it is not set, or cannot be read."""
    return _variable(_content(pid, "environ"), name)


def words(pid: int) -> list[str]:
    """Return the command line of a process; empty if it has ended."""
    return [word.decode(errors="surrogateescape") for word in _content(pid, "cmdline").split(b"\0")]


def living(names: Collection[str], among: Iterable[int] | None = None) -> set[str]:
    """Return those of the units *names* of which a process lives.

    Args:
        among: Ids of the processes to examine; None for all processes.
    """
    wanted = list(_pids() if among is None else among) if names else []
    found: set[str] = set()
    for _ in range(LOOKS):
        unsure = []
        for pid in wanted:
            content = _content(pid, "environ")
            mark = _variable(content, MARK)
            if mark in names:
                found.add(str(mark))
            elif not content and _is_ending(pid):
                unsure.append(pid)
        if not unsure or len(found) == len(set(names)):
            break
        time.sleep(PAUSE)  # its children become orphans once it has ended
        wanted = list(_pids() if among is None else {*wanted, *(orphans() or ())})
    return found


def orphans() -> set[int] | None:
    """Return the children of this process's ancestors and of process 1: an agent's orphans are among or below them.

    A process whose parent ends becomes a child of one of those (not of this process, which is not a subreaper). Returns
    None if the system does not list children.
    """
    found: set[int] = set()
    pid, ancestors = os.getppid(), {1}
    while pid > 0 and (one := process(pid)) is not None:
        ancestors.add(pid)
        pid = one.parent
    for ancestor in ancestors:
        children = _children(ancestor)
        if children is None:
            return None
        found |= children
    return found


def members(name: str) -> list[Process]:
    """Return all living processes of a unit: those with its mark, and those in a session that one of them leads."""
    found = [one for pid in _pids() if (one := process(pid)) is not None and one.state not in "ZX"]
    marked = {one.pid for one in found if variable(one.pid, MARK) == name}
    alive = {one.pid for one in found}
    sessions = {one.session for one in found if one.pid in marked}
    sessions = {each for each in sessions if each in marked or each not in alive} - {0, os.getsid(0)}
    return [one for one in found if one.pid in marked or (one.session in sessions and one.pid != os.getpid())]


def holders(file: Path) -> list[Process]:
    """Return the living processes of this user that have this file open."""
    about = file.stat()
    return [one for pid in _pids() if _has_open(pid, about) and (one := process(pid)) is not None]


def send(one: Process, number: int) -> None:
    """Send a signal to this process, but not to a later one with the same id.

    Raises:
        PermissionError: The process belongs to another user.
    """
    try:
        handle = os.pidfd_open(one.pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno not in {errno.ENOSYS, errno.EPERM}:
            raise
        if is_alive(one):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, number)
        return
    try:
        if is_alive(one):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def is_alive(one: Process) -> bool:
    """Return whether this process, and not a later one with the same id, still executes."""
    now = process(one.pid)
    return now is not None and now.start == one.start and now.state not in "ZX"


def _pids() -> list[int]:
    own = os.getpid()
    return [pid for name in os.listdir(PROC) if name.isdigit() and (pid := int(name)) != own]  # noqa: PTH208 - names


def _children(pid: int) -> set[int] | None:
    found: set[int] = set()
    folder = f"{PROC}/{pid}/task"
    try:
        threads = os.listdir(folder)  # noqa: PTH208 - names
    except (FileNotFoundError, ProcessLookupError):
        return None if _is_hidden(pid) else found
    except PermissionError:
        return None
    for thread in threads:
        try:
            with open(f"{folder}/{thread}/children", "rb") as file:  # noqa: PTH123 - many
                found.update(map(int, file.read().split()))
        except FileNotFoundError:
            if Path(f"{folder}/{thread}").exists():
                return None
        except ProcessLookupError:
            continue
        except PermissionError:
            return None
    return found


def _is_hidden(pid: int) -> bool:
    """Return whether a process exists that /proc does not show: those of other users may be hidden (``hidepid``)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_ending(pid: int) -> bool:
    """Return whether a process of this user without a readable environment is just ending; kernel threads are not."""
    one = process(pid)
    if one is None or one.state in "ZX" or 2 in {one.pid, one.parent}:
        return False
    try:
        return (PROC / str(pid)).stat().st_uid == os.geteuid() and not _content(pid, "cmdline")
    except OSError:
        return False


def _has_open(pid: int, about: os.stat_result) -> bool:
    folder = PROC / str(pid) / "fd"
    try:
        handles = os.listdir(folder)  # noqa: PTH208 - names
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    for handle in handles:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            other = os.stat(folder / handle)  # noqa: PTH116 - many
            if (other.st_dev, other.st_ino) == (about.st_dev, about.st_ino):
                return True
    return False


def _content(pid: int, name: str) -> bytes:
    """Return the content of a process's file; empty if the process has ended or is another user's."""
    try:
        handle = os.open(f"{PROC}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return b""
    except OSError as problem:
        if problem.errno in _GONE:
            return b""
        raise
    try:
        content = b""
        while len(content) < ENVIRON_LIMIT and (more := os.read(handle, 256 * 1024)):
            content += more
    except OSError as problem:
        if problem.errno in _GONE | {errno.EACCES, errno.EPERM, errno.EIO}:  # it ends while it is read
            return b""
        raise
    finally:
        os.close(handle)
    return content


def _variable(content: bytes, name: str) -> str | None:
    wanted = f"\0{name}=".encode()
    content = b"\0" + content
    at = content.find(wanted)
    if at < 0:
        return None
    return content[at + len(wanted) :].split(b"\0", 1)[0].decode(errors="replace")
