"""Checkpoints beside the answers: the log is moved into the database, and nobody waits for it."""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from prefect.agent.entrypoints.server.storage.checkpoints import CHANGED_ROWS, Checkpoints, move_log
from prefect.agent.entrypoints.server.storage.database import Database

LOOKS = 200


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A new database, whose file holds all that its log had."""
    with closing(Database(tmp_path / "a folder" / "cloud 1?.db")) as opened:
        move_log(opened.path)
        yield opened


def write(database: Database, rows: int) -> None:
    """Change so many rows, each in a transaction of its own."""
    for number in range(rows):
        with database.write() as tx:
            tx.insert("tenant", {"name": f"number {number}", "slug": uuid.uuid4().hex})


def holds(database: Database, name: str) -> bool:
    """Whether the database file itself holds this text."""
    return name.encode() in database.path.read_bytes()


def look(worker: Checkpoints, changes: int) -> None:
    """Let a worker look *LOOKS* times after so many changes; it has ended what it began."""

    async def looking() -> None:
        task = asyncio.create_task(worker.run())
        await asyncio.sleep(0)  # it has begun to count
        write(worker.database, changes)
        for _ in range(LOOKS):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()

    asyncio.run(looking())  # waits for its threads


def test_many_changes_are_moved(database: Database) -> None:
    """After many changes the worker moves the log into the file; commits do not."""
    write(database, CHANGED_ROWS)
    last = f"number {CHANGED_ROWS - 1}"
    assert not holds(database, last)

    look(Checkpoints(database, period=0), CHANGED_ROWS)

    assert holds(database, last)


def test_few_changes_stay_in_the_log(database: Database) -> None:
    """A few changes are not worth a wait for the disk."""
    look(Checkpoints(database, period=0), 10)

    assert not holds(database, "number 9")


def test_a_writer_does_not_wait(database: Database) -> None:
    """What is committed is moved while a transaction is open, which is committed afterwards."""
    write(database, 10)
    with database.write() as tx:
        tx.insert("tenant", {"name": "an open one", "slug": "open"})
        pages, moved = move_log(database.path)
        assert pages == moved > 0
        assert holds(database, "number 9")
        assert not holds(database, "an open one")

    move_log(database.path)

    assert holds(database, "an open one")


def test_a_failure_is_said_once(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """While the file cannot be opened, the worker goes on, and says so once."""
    worker = Checkpoints(database, period=0)
    database.path.rename(database.path.with_name("elsewhere"))

    for _ in range(2):
        look(worker, CHANGED_ROWS)

    assert [record.getMessage() for record in caplog.records] == [
        f"The log of {database.path} cannot be moved into it: unable to open database file"
    ]
    assert not database.path.exists()
