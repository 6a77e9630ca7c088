"""Delete logs of finished flow runs, and these runs themselves, after a time that the user chooses."""

from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Final

import attrs

from prefect.agent.domain.state_names import FINISHED
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.storage.database import Database, Tx

PERIOD: Final = 3600.0
"""Seconds from one round of deletions to the next."""

RUNS: Final = 25
"""How many flow runs one step examines at most."""

PORTION: Final = 500
"""How many rows one step deletes at most; a task run's states go with it."""

_FINISHED: Final = tuple(sorted(FINISHED))
_OLD: Final = (
    f"SELECT id, state_timestamp FROM flow_run WHERE state IN ({', '.join('?' * len(_FINISHED))}) "
    "AND state_timestamp < ? AND coalesce(scheduled_start_time, '') < ?"
)
_NEXT: Final = "AND (state_timestamp, id) > (?, ?) ORDER BY state_timestamp, id LIMIT ?"
_LOGS: Final = ("log",)
_ALL: Final = ("log", "task_run", "flow_run_state")


@attrs.frozen
class Retention:
    """How long the data of finished flow runs is kept; None: for ever.

    Attributes:
        logs: The time from the end of a run to the deletion of its logs.
        runs: The time from the end of a run to its deletion, with all its data.
    """

    logs: timedelta | None = None
    runs: timedelta | None = None

    def __bool__(self) -> bool:
        return self.logs is not None or self.runs is not None


@attrs.frozen
class _Past:
    """The times before which a run must have finished, and must have been scheduled, to be deleted.

    A run that was cancelled before its scheduled time stays until then, so that the schedule does not create it again.
    """

    finished_before: str
    planned_before: str

    @property
    def params(self) -> list[str]:
        """Return the parameters of ``_OLD``."""
        return [*_FINISHED, self.finished_before, self.planned_before]

    def has(self, tx: Tx, run_id: str) -> bool:
        """Return whether a flow run is old enough; read it again, as it may have been restarted."""
        return tx.one(f"{_OLD} AND id = ?", [*self.params, run_id]) is not None


def prune(database: Database, retention: Retention, now: datetime) -> Generator[int]:
    """Delete old data; each step is a transaction of its own, and yields how many rows it deleted."""
    if retention.runs is not None:
        yield from _prune(database, _Past(iso(now - retention.runs), iso(now)), _ALL, whole=True)
    if retention.logs is not None:
        yield from _prune(database, _Past(iso(now - retention.logs), iso(now)), _LOGS, whole=False)


def _prune(database: Database, past: _Past, tables: tuple[str, ...], *, whole: bool) -> Generator[int]:
    last = ("", "")
    while True:
        with database.read() as tx:
            runs = tx.all(f"{_OLD} {_NEXT}", [*past.params, *last, RUNS])
        for run in runs:
            for table in tables:
                while deleted := _delete(database, run["id"], past, table):
                    yield deleted
            if whole:
                with database.write() as tx:
                    is_old = past.has(tx, run["id"])
                    yield tx.execute("DELETE FROM flow_run WHERE id = ?", [run["id"]]) if is_old else 0
        if len(runs) < RUNS:
            return
        last = (runs[-1]["state_timestamp"], runs[-1]["id"])


def _delete(database: Database, run_id: str, past: _Past, table: str) -> int:
    """Delete some rows of a run in *table*, unless the run was restarted."""
    with database.write() as tx:
        if not past.has(tx, run_id):
            return 0
        some = f"SELECT id FROM {table} WHERE flow_run_id = ? LIMIT {PORTION}"
        return tx.execute(f"DELETE FROM {table} WHERE id IN ({some})", [run_id])
