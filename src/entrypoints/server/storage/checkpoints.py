"""Checkpoints: what the log of the database holds is moved into the database, while requests are answered.

SQLite does so within the commit that makes the log too long, and all requests wait for that commit and for the disk.
Here a thread does it on a connection of its own, for which neither readers nor writers wait (SQLite's page
"Write-Ahead Logging"). If it falls behind, a commit does it (``LONGEST_LOG`` in opening.py).
"""

import asyncio
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import attrs

from prefect.agent.entrypoints.server.storage.database import Database

PERIOD: Final = 0.5
"""Seconds from one look at the database to the next."""

CHANGED_ROWS: Final = 500
"""After so many changed rows a checkpoint is worth its wait for the disk; a row takes about one page of the log."""

_log: Final = logging.getLogger(__name__)


@attrs.define
class Checkpoints:
    """Moves the log of one database into the database.

    Attributes:
        period: Seconds from one look to the next.
    """

    database: Database
    period: float = PERIOD
    _has_failed: bool = attrs.field(default=False, init=False)

    async def run(self) -> None:
        """Work until cancelled."""
        moved = self.database.changed_rows
        while True:
            await asyncio.sleep(self.period)
            changed = self.database.changed_rows
            if changed - moved >= CHANGED_ROWS:
                await asyncio.to_thread(self._move)
                moved = changed

    def _move(self) -> None:
        try:
            move_log(self.database.path)
        except sqlite3.Error as problem:  # commits do it, and say what is wrong with the disk
            if not self._has_failed:
                _log.warning("The log of %s cannot be moved into it: %s", self.database.path, problem)
            self._has_failed = True
        else:
            self._has_failed = False


def move_log(path: Path) -> tuple[int, int]:
    """Move what was committed into the database file, beside readers and writers.

    Returns:
        Pages that the log holds, and how many of them are in the database file now.

    Raises:
        sqlite3.Error: The file cannot be read or written.
    """
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None)) as connection:
        _busy, pages, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return pages, moved
