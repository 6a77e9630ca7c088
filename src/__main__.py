"""The way in from a command line: ``prefect``, ``prefect-agent``, and ``python -m prefect.agent`` for the former.

It imports nothing that takes time, so that Ctrl-C ends the program without a traceback while the commands are imported.
"""

import os
import signal
from collections.abc import Sequence
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as shells have it."""


def main(words: Sequence[str] | None = None) -> None:
    """Run ``prefect`` with *words* (default: this process's own)."""
    _run("prefect", words)


def agent_main() -> None:
    """Run ``prefect-agent``."""
    _run("prefect-agent", None)


def _run(program: str, words: Sequence[str] | None) -> None:
    usual = signal.getsignal(signal.SIGINT)
    is_quiet = usual is signal.default_int_handler  # else the caller has SIGINT ignored, as nohup does
    if is_quiet:
        signal.signal(signal.SIGINT, _leave)
    from prefect.agent.entrypoints import cli  # noqa: PLC0415 - takes longer than a person needs for Ctrl-C

    try:
        if is_quiet:
            signal.signal(signal.SIGINT, usual)
        cli.run(program, words)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _leave(_number: int, _frame: FrameType | None) -> None:
    """End at once: nothing is open yet. An exception could be swallowed by what is being imported."""
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
