"""A second record of running units, outside of the state directory: a name in the kernel that their processes hold.

Linux has socket names without a file. A name is bound atomically by one process, and is free again when the last
process that inherited the socket has ended. So a unit is not started twice even if its directory was deleted, at the
cost of one system call per start. Other systems have only the directory. Agents in different network namespaces do not
see each other's names.
"""

import errno
import os
import socket
import sys
from pathlib import Path
from typing import Final

_LIST: Final = Path("/proc/net/unix")


def is_supported() -> bool:
    """Return whether this system has such names."""
    return sys.platform == "linux"


def bind(name: str) -> socket.socket | None:
    """Bind the unit's name to a new socket; None if a living process holds it. Without such names, do not bind.

    Raises:
        OSError: The system refuses the socket for another reason.
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
    """Return the names of all units of this user that a living process holds.

    Raises:
        OSError: The list of names cannot be read.
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
