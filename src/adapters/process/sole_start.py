"""A second record of what executes, outside of the state directory: a name in the kernel that a unit's processes hold.

Linux has socket names that no file stands for. Each is bound once, atomically, and is free again when the last process
that inherited the socket is gone. So a unit is not started a second time though its directory was lost, at the cost of
one system call per start. Elsewhere there is only the directory. Agents in different network namespaces do not see
each other's names.
"""

import errno
import os
import socket
import sys
from pathlib import Path
from typing import Final

_LIST: Final = Path("/proc/net/unix")


def is_supported() -> bool:
    """Whether this system has such names."""
    return sys.platform == "linux"


def bind(name: str) -> socket.socket | None:
    """Take the unit's name; None if a living process holds it. Where there are no names: a socket without one.

    Raises:
        OSError: It cannot be found out.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if is_supported():
            made.bind(_address(name))
    except OSError as problem:
        made.close()
        if problem.errno == errno.EADDRINUSE:
            return None
        raise
    return made


def held() -> set[str]:
    """Names of all units of this user that a living process holds.

    Raises:
        OSError: It cannot be found out.
    """
    if not is_supported():
        return set()
    start = _address("")[1:]
    try:
        lines = _LIST.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return set()
    ends = (line.rpartition(" ")[2] for line in lines)
    return {end[1 + len(start) :] for end in ends if end[1:].startswith(start)}


def _address(name: str) -> str:
    return f"\0prefect-agent/{os.getuid()}/{name}"
