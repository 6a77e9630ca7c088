"""What is deleted after a while, if that is asked for: logs of finished flow runs, and these runs themselves."""

from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Final

import attrs

from prefect.agent.domain.state_names import FINISHED
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.storage.database import Database, Tx

PERIOD: Final = 3600.0
"""Seconds from one round to the next."""

RUNS: Final = 25
"""Most flow runs that one step looks at."""

PORTION: Final = 500
"""Most rows that one step deletes; with a task run go its states."""

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
    """How long what belongs to finished flow runs is kept; None: for ever.

    Attributes:
        logs: From the end of a run to the end of its logs.
        runs: From its end to that of the run with all that belongs to it.
    """

    logs: timedelta | None = None
    runs: timedelta | None = None

    def __bool__(self) -> bool:
        return self.logs is not None or self.runs is not None


@attrs.frozen
class _Past:
    """When a run must have finished, and for when it must have been planned.

    One that was cancelled ahead of its time stays until then: it says that this time of its schedule is dealt with.
    """

    finished_before: str
    planned_before: str

    @property
    def params(self) -> list[str]:
        """Parameters of ``_OLD``."""
        return [*_FINISHED, self.finished_before, self.planned_before]

    def has(self, tx: Tx, run_id: str) -> bool:
        """Whether a flow run is as old; anew, as it may have come to life again meanwhile."""
        return tx.one(f"{_OLD} AND id = ?", [*self.params, run_id]) is not None


def prune(database: Database, retention: Retention, now: datetime) -> Generator[int]:
    """Delete what is old enough; each step is a transaction of its own, and yields how many rows it deleted."""
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
    """Delete a portion of what a run has in *table*, unless it has come to life again meanwhile."""
    with database.write() as tx:
        if not past.has(tx, run_id):
            return 0
        some = f"SELECT id FROM {table} WHERE flow_run_id = ? LIMIT {PORTION}"
        return tx.execute(f"DELETE FROM {table} WHERE id IN ({some})", [run_id])
