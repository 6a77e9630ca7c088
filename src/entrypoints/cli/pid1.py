"""The first process of a container: starts ``prefect``, hands signals on, and reaps what others leave behind.

A process whose parent ends becomes a child of process 1, and stays a zombie if that does not wait for it. Flow runs
leave such processes; the agent waits for its own children only. So the image starts the agent as::

    python -m prefect.agent.entrypoints.cli.pid1 agent start

Elsewhere than as process 1 this is ``prefect`` and nothing else: somebody reaps already (``docker run --init``).
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
    """Run ``prefect`` with *arguments* and end as it ends."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    memory.hide()  # the parent that stays has the same environment
    if os.getpid() == 1:
        reap_until_child_ends()
    from prefect.agent.entrypoints.cli import prefect  # noqa: PLC0415
    from prefect.agent.entrypoints.runtime import outlet  # noqa: PLC0415 - the parent above needs none of it

    outlet.install()
    prefect(words, prog_name="prefect")


def reap_until_child_ends() -> None:
    """Fork. Return in the child; in the parent reap every process that ends, and end with the child's status.

    Must be called before any thread is started.
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
        with suppress(ProcessLookupError):  # it has just ended
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
