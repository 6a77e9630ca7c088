"""Loggers belong to the process: what one test sets up would be there in the next one, whose records are then lost."""

import logging
from typing import Final

__all__ = ["reset"]

SET_UP: Final = ("prefect.agent", "asyncio", "uvicorn")
"""The loggers that the agent's and the server's log set up, with all below them."""


def reset() -> None:
    """Let those loggers be as they are before any log is set up: every record goes up to the root."""
    for name in list(logging.root.manager.loggerDict):
        if f"{name}.".startswith(tuple(f"{each}." for each in SET_UP)):
            logger = logging.getLogger(name)
            logger.handlers[:] = []
            logger.setLevel(logging.NOTSET)
            logger.propagate = True
