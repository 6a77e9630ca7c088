"""Migrate a database from the schema of any earlier version to the present one.

The text of a migration never changes: the present tables are in ``tables.py``, earlier ones only here. A test compares
the schema of a new file with that of a migrated one.
"""

import sqlite3
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Final

from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.storage.tables import TABLES

_TO_2: Final = """
CREATE TABLE flow_concurrency_limit (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  name TEXT,
  slots INTEGER,
  FOREIGN KEY (tenant_id) REFERENCES tenant(id) ON DELETE CASCADE,
  UNIQUE (tenant_id, name)
) WITHOUT ROWID;
CREATE INDEX flow_concurrency_limit_0 ON flow_concurrency_limit (tenant_id);
CREATE TABLE task_tag_limit (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  tag TEXT,
  slots INTEGER,
  FOREIGN KEY (tenant_id) REFERENCES tenant(id) ON DELETE CASCADE,
  UNIQUE (tenant_id, tag)
) WITHOUT ROWID;
CREATE INDEX task_tag_limit_0 ON task_tag_limit (tenant_id);
CREATE TABLE auth_api_key (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  user_id TEXT,
  name TEXT,
  expires_at TEXT,
  FOREIGN KEY (tenant_id) REFERENCES tenant(id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX auth_api_key_0 ON auth_api_key (tenant_id);
CREATE TABLE api_key_hash (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  auth_api_key_id TEXT,
  hash TEXT,
  FOREIGN KEY (auth_api_key_id) REFERENCES auth_api_key(id) ON DELETE CASCADE,
  UNIQUE (hash)
) WITHOUT ROWID;
CREATE INDEX api_key_hash_0 ON api_key_hash (auth_api_key_id);
CREATE TABLE cloud_hook (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  version_group_id TEXT,
  name TEXT,
  type TEXT,
  states TEXT,
  config TEXT,
  active INTEGER,
  FOREIGN KEY (tenant_id) REFERENCES tenant(id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX cloud_hook_0 ON cloud_hook (tenant_id);
CREATE TABLE message (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  user_id TEXT,
  type TEXT,
  text TEXT,
  content TEXT,
  read INTEGER,
  FOREIGN KEY (tenant_id) REFERENCES tenant(id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX message_0 ON message (tenant_id);
"""

_TO_3: Final = """
DROP INDEX project_0;
DROP INDEX flow_group_0;
DROP INDEX task_0;
DROP INDEX flow_run_0;
DROP INDEX flow_run_6;
DROP INDEX task_run_3;
DROP INDEX task_run_4;
DROP INDEX log_2;
DROP INDEX flow_concurrency_limit_0;
DROP INDEX task_tag_limit_0;
CREATE INDEX task_run_3 ON task_run (flow_run_id, state, state_start_time);
ALTER TABLE flow_run ADD COLUMN due TEXT;
UPDATE flow_run SET due = state_start_time WHERE state IN ('Scheduled', 'Resume', 'Retrying', 'Paused', 'Queued');
UPDATE flow_run SET due = (
  SELECT min(state_start_time) FROM task_run
  WHERE flow_run_id = flow_run.id AND state IN ('Scheduled', 'Resume', 'Retrying', 'Paused', 'Queued')
) WHERE state = 'Running';
CREATE INDEX flow_run_0 ON flow_run (tenant_id, labels, due) WHERE due IS NOT NULL;
"""

_TO_4: Final = """
CREATE INDEX flow_run_6 ON flow_run (state_timestamp);
CREATE INDEX flow_run_7 ON flow_run (state, state_start_time);
DROP INDEX task_run_0;
CREATE INDEX task_run_0 ON task_run (state, state_timestamp);
"""

_TO_5: Final = """
CREATE TABLE cloud_lock (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  why TEXT
) WITHOUT ROWID;
INSERT INTO cloud_lock (id, created, updated, why)
  SELECT id, created, created, 'a key was made' FROM auth_api_key ORDER BY created LIMIT 1;
"""

_TO_6: Final = """
ALTER TABLE auth_api_key ADD COLUMN scope TEXT;
ALTER TABLE auth_api_key ADD COLUMN made_by TEXT;
UPDATE auth_api_key SET scope = 'admin';
"""

_TO_7: Final = """
DROP INDEX flow_run_6;
CREATE INDEX flow_run_6 ON flow_run (state_timestamp, state, flow_id, tenant_id);
"""

_TO_8: Final = """
CREATE INDEX flow_run_8 ON flow_run (labels);
CREATE INDEX flow_run_9 ON flow_run (scheduled_start_time);
CREATE INDEX flow_run_10 ON flow_run (end_time);
"""

STEPS: Final[Mapping[int, str]] = {2: _TO_2, 3: _TO_3, 4: _TO_4, 5: _TO_5, 6: _TO_6, 7: _TO_7, 8: _TO_8}
"""SQL that makes a version from the one before it."""

SCHEMA_VERSION: Final = max(STEPS)


def migrate(connection: sqlite3.Connection, application_id: int) -> None:
    """Migrate a file to the present schema, or create the schema in an empty one, in one transaction.

    Args:
        application_id: The ``application_id`` that an empty file gets.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        return
    if version:
        script = "\n".join(STEPS[step] for step in range(version + 1, SCHEMA_VERSION + 1))
    else:
        script = f"{_new()}\nPRAGMA application_id = {application_id};"
    connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {SCHEMA_VERSION};\nCOMMIT;")


def _new() -> str:
    """Create all tables, and the tenant that every client needs."""
    now = iso(datetime.now(timezone.utc))
    tables = "\n".join(table.ddl for table in TABLES.values())
    return (
        f"{tables}\nINSERT INTO tenant (id, created, updated, name, slug, info, settings) "
        f"VALUES ('{uuid.uuid4()}', '{now}', '{now}', 'default', 'default', '{{}}', '{{}}');"
    )
