"""A file of an earlier version is brought to the present one, whole or not at all."""

import sqlite3
from pathlib import Path

import pytest

from prefect.agent.entrypoints.server.storage import migrations
from prefect.agent.entrypoints.server.storage.database import APPLICATION_ID, Database, DatabaseProblem
from prefect.agent.entrypoints.server.storage.tables import TABLES
from support.embedded import Embedded

PAST = Path(__file__).parent / "schema_v1.sql"
"""What version 1 made its files with."""

TENANT, PROJECT, GROUP, FLOW, RUN, AGAIN, TASK = (f"00000000-0000-4000-8000-00000000000{n}" for n in range(1, 8))
THEN = "2022-01-01T00:00:00.000000+00:00"


def old_file(path: Path) -> None:
    """A file of version 1 with a flow run that waits in it, and a Running one with a task run that waits."""
    rows: dict[str, dict[str, object]] = {
        "tenant": {"id": TENANT, "name": "default", "slug": "default", "info": "{}", "settings": "{}"},
        "project": {"id": PROJECT, "tenant_id": TENANT, "name": "kept"},
        "flow_group": {"id": GROUP, "tenant_id": TENANT, "name": "g", "settings": "{}", "default_parameters": "{}"},
        "flow": {"id": FLOW, "tenant_id": TENANT, "project_id": PROJECT, "flow_group_id": GROUP, "name": "f"}
        | {"version": 3, "version_group_id": "g", "archived": 0, "settings": "{}", "parameters": "[]"},
        "flow_run": {"id": RUN, "tenant_id": TENANT, "flow_id": FLOW, "name": "r", "labels": '["a"]', "version": 1}
        | {"state": "Scheduled", "state_start_time": THEN, "serialized_state": '{"type":"Scheduled"}'},
        "secret": {"id": RUN, "tenant_id": TENANT, "name": "s", "value": "3"},
    }
    connection = sqlite3.connect(path)
    connection.executescript(PAST.read_text(encoding="utf-8"))
    running = {**rows["flow_run"], "id": AGAIN, "state": "Running", "state_start_time": None}
    task: dict[str, object] = {"id": TASK, "tenant_id": TENANT, "flow_id": FLOW, "slug": "t"}
    retry: dict[str, object] = {
        "id": TASK,
        "tenant_id": TENANT,
        "flow_run_id": AGAIN,
        "task_id": TASK,
        "map_index": -1,
        "version": 1,
    } | {
        "state": "Retrying",
        "state_start_time": THEN,
        "serialized_state": '{"type":"Retrying"}',
    }
    for table, row in [*rows.items(), ("flow_run", running), ("task", task), ("task_run", retry)]:
        full = {**row, "created": THEN, "updated": THEN}
        marks = ", ".join("?" * len(full))
        connection.execute(f"INSERT INTO {table} ({', '.join(full)}) VALUES ({marks})", list(full.values()))
    connection.commit()
    connection.close()


def schema_of(path: Path) -> dict[str, str]:
    """Name and SQL of everything in a file."""
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    return {name: " ".join(sql.split()) for name, sql in found}  # a column that is added gets no line of its own


def content_of(path: Path) -> dict[str, list[dict[str, object]]]:
    """All rows of all tables that are not empty, without the columns that nobody can ask for."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")] for name in tables}
    connection.close()
    for name, rows in found.items():
        for row in rows:
            for column in TABLES[name].private:
                row.pop(column, None)
    return {name: rows for name, rows in found.items() if rows}


def version_of(path: Path) -> tuple[int, int]:
    """Schema version and mark of a file."""
    connection = sqlite3.connect(path)
    marks = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")]
    connection.close()
    return marks[0], marks[1]


def test_a_migrated_file_is_like_a_new_one(tmp_path: Path) -> None:
    """The same tables and indexes, to the word."""
    old_file(tmp_path / "old.db")
    Database(tmp_path / "old.db").close()
    Database(tmp_path / "new.db").close()

    assert schema_of(tmp_path / "old.db") == schema_of(tmp_path / "new.db")
    assert version_of(tmp_path / "old.db") == (migrations.SCHEMA_VERSION, APPLICATION_ID)


def test_data_is_untouched(tmp_path: Path) -> None:
    """And a second start changes nothing more."""
    path = tmp_path / "old.db"
    old_file(path)
    before = content_of(path)
    assert set(before) == {"tenant", "project", "flow_group", "flow", "flow_run", "task", "task_run", "secret"}

    for _ in range(2):
        Database(path).close()
        assert content_of(path) == before


def test_a_migrated_cloud_works(tmp_path: Path) -> None:
    """With the old flow run and with what is new."""
    old_file(tmp_path / "old.db")
    cloud = Embedded(tmp_path / "old.db")

    assert cloud.queue("a") == [RUN, AGAIN]
    cloud.change("update_flow_concurrency_limit", "id", label="a", limit=0)
    assert cloud.set_state(RUN, "Running")["status"] == "QUEUED"
    assert cloud.ask('{ secret_value(name: "s") }') == {"secret_value": 3}
    cloud.database.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half way through its statements."""
    path = tmp_path / "old.db"
    old_file(path)
    schema, content, steps = schema_of(path), content_of(path), dict(migrations.STEPS)
    with monkeypatch.context() as broken:
        broken.setitem(steps, 2, f"{migrations.STEPS[2]}\nDELETE FROM tenant; INSERT INTO nowhere;")
        broken.setattr(migrations, "STEPS", steps)
        with pytest.raises(DatabaseProblem, match="left as it is"):
            Database(path)

    assert (schema_of(path), content_of(path)) == (schema, content)
    assert version_of(path) == (1, APPLICATION_ID)

    Database(path).close()
    assert version_of(path)[0] == migrations.SCHEMA_VERSION


def test_there_is_a_step_for_every_version() -> None:
    """None is left out."""
    assert sorted(migrations.STEPS) == list(range(2, migrations.SCHEMA_VERSION + 1))
