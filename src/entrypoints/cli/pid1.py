"""The first process of a container: starts ``prefect``, forwards signals to it, and reaps orphaned processes.

A process whose parent ends becomes a child of process 1, and stays a zombie until process 1 waits for it. Flow runs
leave such processes; the agent waits for its own children only. So the image starts the agent as::

    python -m prefect.agent.entrypoints.cli.pid1 agent start

If this program is not process 1, it only runs ``prefect``: another process 1 reaps (``docker run --init``).
"""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Final

from prefect.agent.entrypoints.runtime import memory

HANDED_ON: Final = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``prefect`` with *arguments* (default: this process's own), and exit with its status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    memory.hide()  # the parent process stays, and has the same environment
    if os.getpid() == 1:
        reap_until_child_ends()
    from prefect.agent.__main__ import main as prefect  # noqa: PLC0415 - the parent above needs none of it

    prefect(words)


def reap_until_child_ends() -> None:
    """Fork. Return in the child; in the parent, reap every process that ends, and exit with the child's status.

    Call it before any thread is started.
    """
    old = signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)
    child = os.fork()
    if child:
        _hand_on_signals(child)
    signal.pthread_sigmask(signal.SIG_SETMASK, old)
    if child:
        os._exit(_reap(child))


def _hand_on_signals(child: int) -> None:
    def hand_on(number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):  # the child has just ended
            os.kill(child, number)

    for number in HANDED_ON:
        signal.signal(number, hand_on)


def _reap(child: int) -> int:
    while True:
        ended, status = os.wait()
        if ended == child:
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


if __name__ == "__main__":
    main()
