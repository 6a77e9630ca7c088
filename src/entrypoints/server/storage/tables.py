"""The tables of the Cloud as data, from which SQL and the GraphQL schema are generated."""

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

UUID: Final = "uuid"
TEXT: Final = "text"
INT: Final = "int"
BOOL: Final = "bool"
JSON: Final = "json"
TIME: Final = "timestamptz"

_SQL_TYPES: Final = {UUID: "TEXT", TEXT: "TEXT", INT: "INTEGER", BOOL: "INTEGER", JSON: "TEXT", TIME: "TEXT"}


@attrs.frozen
class ToOne:
    """A row refers to one row of another table through its own *column*."""

    table: str
    column: str


@attrs.frozen
class ToMany:
    """Rows of another table refer to a row through their *column*."""

    table: str
    column: str


@attrs.frozen(kw_only=True)
class Table:
    """One table.

    Attributes:
        columns: Name to type, without ``id``, ``created``, ``updated``.
        defaults: Values of columns that a new row does not name.
        unique: Groups of columns that are unique together.
        indexes: Column lists, as SQL; those of a partial index end in ``WHERE`` and a condition.
        cascades: Columns whose row's deletion deletes this row.
        private: Columns that the API does not show, with their types.
    """

    name: str
    columns: Mapping[str, str]
    relations: Mapping[str, ToOne | ToMany] = attrs.field(factory=dict)
    defaults: Mapping[str, object] = attrs.field(factory=dict)
    unique: tuple[tuple[str, ...], ...] = ()
    indexes: tuple[str, ...] = ()
    cascades: Mapping[str, str] = attrs.field(factory=dict)
    private: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def all_columns(self) -> Mapping[str, str]:
        """Every column with its type."""
        return {"id": UUID, "created": TIME, "updated": TIME, **self.columns}

    @property
    def keys(self) -> Sequence[tuple[str, ...]]:
        """Columns by which an index finds rows: the id, unique groups, complete indexes."""
        whole = [tuple(text.split(", ")) for text in self.indexes if " WHERE " not in text]
        return [("id",), *self.unique, *whole, *((column,) for column in self.cascades)]

    @property
    def ddl(self) -> str:
        """Return the SQL that creates the table and its indexes."""
        columns = {**self.all_columns, **self.private}.items()
        lines = [f"{c} {_SQL_TYPES[t]}{' PRIMARY KEY' if c == 'id' else ''}" for c, t in columns]
        lines += [
            f"FOREIGN KEY ({column}) REFERENCES {table}(id) ON DELETE CASCADE"
            for column, table in self.cascades.items()
        ]
        lines += [f"UNIQUE ({', '.join(group)})" for group in self.unique]
        # Deleting a row looks for what goes with it by index; one that begins with that column will do.
        led = {text.split(",")[0] for text in self.indexes if " WHERE " not in text} | {one[0] for one in self.unique}
        numbered = enumerate((*self.indexes, *self.cascades))
        indexes = [_index(self.name, n, text) for n, text in numbered if n < len(self.indexes) or text not in led]
        return "\n".join([f"CREATE TABLE {self.name} (\n  " + ",\n  ".join(lines) + "\n) WITHOUT ROWID;", *indexes])


def _index(table: str, number: int, text: str) -> str:
    columns, where, condition = text.partition(" WHERE ")
    return f"CREATE INDEX {table}_{number} ON {table} ({columns}){where}{condition};"


_STATE: Final = {
    "heartbeat": TIME,
    "start_time": TIME,
    "end_time": TIME,
    "version": INT,
    "state": TEXT,
    "state_timestamp": TIME,
    "state_message": TEXT,
    "state_result": JSON,
    "state_start_time": TIME,
    "serialized_state": JSON,
}
_HISTORY: Final = {
    "timestamp": TIME,
    "state": TEXT,
    "message": TEXT,
    "result": JSON,
    "start_time": TIME,
    "version": INT,
    "serialized_state": JSON,
}

_ALL: Final = (
    Table(
        name="tenant",
        columns={"name": TEXT, "slug": TEXT, "info": JSON, "settings": JSON},
        relations={
            "flows": ToMany("flow", "tenant_id"),
            "flow_groups": ToMany("flow_group", "tenant_id"),
            "projects": ToMany("project", "tenant_id"),
        },
        defaults={"info": {}, "settings": {}},
        unique=(("slug",),),
    ),
    Table(
        name="project",
        columns={"tenant_id": UUID, "name": TEXT, "description": TEXT},
        relations={"tenant": ToOne("tenant", "tenant_id"), "flows": ToMany("flow", "project_id")},
        unique=(("tenant_id", "name"),),
        cascades={"tenant_id": "tenant"},
    ),
    Table(
        name="flow_group",
        columns={
            "tenant_id": UUID,
            "name": TEXT,
            "description": TEXT,
            "labels": JSON,
            "schedule": JSON,
            "run_config": JSON,
            "default_parameters": JSON,
            "settings": JSON,
        },
        relations={"tenant": ToOne("tenant", "tenant_id"), "flows": ToMany("flow", "flow_group_id")},
        defaults={"default_parameters": {}, "settings": {}},
        unique=(("tenant_id", "name"),),
        cascades={"tenant_id": "tenant"},
    ),
    Table(
        name="flow",
        columns={
            "tenant_id": UUID,
            "project_id": UUID,
            "flow_group_id": UUID,
            "name": TEXT,
            "version": INT,
            "version_group_id": TEXT,
            "archived": BOOL,
            "core_version": TEXT,
            "description": TEXT,
            "environment": JSON,
            "run_config": JSON,
            "storage": JSON,
            "parameters": JSON,
            "serialized_flow": JSON,
            "schedule": JSON,
            "is_schedule_active": BOOL,
            "settings": JSON,
        },
        relations={
            "project": ToOne("project", "project_id"),
            "flow_group": ToOne("flow_group", "flow_group_id"),
            "tenant": ToOne("tenant", "tenant_id"),
            "tasks": ToMany("task", "flow_id"),
            "edges": ToMany("edge", "flow_id"),
            "flow_runs": ToMany("flow_run", "flow_id"),
        },
        defaults={"archived": False, "is_schedule_active": False, "settings": {}, "parameters": []},
        indexes=("name", "version_group_id"),
        cascades={"tenant_id": "tenant", "project_id": "project", "flow_group_id": "flow_group"},
    ),
    Table(
        name="task",
        columns={
            "tenant_id": UUID,
            "flow_id": UUID,
            "name": TEXT,
            "slug": TEXT,
            "description": TEXT,
            "type": TEXT,
            "max_retries": INT,
            "retry_delay": TEXT,
            "trigger": TEXT,
            "tags": JSON,
            "mapped": BOOL,
            "auto_generated": BOOL,
            "cache_key": TEXT,
            "is_root_task": BOOL,
            "is_terminal_task": BOOL,
            "is_reference_task": BOOL,
        },
        relations={
            "flow": ToOne("flow", "flow_id"),
            "task_runs": ToMany("task_run", "task_id"),
            "upstream_edges": ToMany("edge", "downstream_task_id"),
            "downstream_edges": ToMany("edge", "upstream_task_id"),
        },
        defaults={"mapped": False, "auto_generated": False, "tags": [], "max_retries": 0},
        unique=(("flow_id", "slug"),),
        cascades={"flow_id": "flow"},
    ),
    Table(
        name="edge",
        columns={
            "tenant_id": UUID,
            "flow_id": UUID,
            "upstream_task_id": UUID,
            "downstream_task_id": UUID,
            "key": TEXT,
            "mapped": BOOL,
        },
        relations={
            "flow": ToOne("flow", "flow_id"),
            "upstream_task": ToOne("task", "upstream_task_id"),
            "downstream_task": ToOne("task", "downstream_task_id"),
        },
        defaults={"mapped": False},
        indexes=("upstream_task_id", "downstream_task_id"),
        cascades={"flow_id": "flow"},
    ),
    Table(
        name="agent_config",
        columns={"tenant_id": UUID, "name": TEXT, "settings": JSON},
        relations={"agents": ToMany("agent", "agent_config_id")},
        defaults={"settings": {}},
    ),
    Table(
        name="agent",
        columns={"tenant_id": UUID, "agent_config_id": UUID, "name": TEXT, "type": TEXT, "core_version": TEXT}
        | {"labels": JSON, "last_queried": TIME},
        relations={
            "agent_config": ToOne("agent_config", "agent_config_id"),
            "flow_runs": ToMany("flow_run", "agent_id"),
        },
        defaults={"labels": []},
    ),
    Table(
        name="flow_run",
        columns={
            "tenant_id": UUID,
            "flow_id": UUID,
            "name": TEXT,
            "labels": JSON,
            "parameters": JSON,
            "context": JSON,
            "run_config": JSON,
            "scheduled_start_time": TIME,
            "auto_scheduled": BOOL,
            "times_resurrected": INT,
            "idempotency_key": TEXT,
            "agent_id": UUID,
            **_STATE,
        },
        relations={
            "flow": ToOne("flow", "flow_id"),
            "tenant": ToOne("tenant", "tenant_id"),
            "agent": ToOne("agent", "agent_id"),
            "states": ToMany("flow_run_state", "flow_run_id"),
            "task_runs": ToMany("task_run", "flow_run_id"),
            "logs": ToMany("log", "flow_run_id"),
        },
        defaults={"labels": [], "parameters": {}, "context": {}}
        | {"auto_scheduled": False, "times_resurrected": 0, "version": 0},
        unique=(("flow_id", "idempotency_key"),),
        indexes=(
            "tenant_id, labels, due WHERE due IS NOT NULL",
            "state, id",
            "created",
            "start_time",
            "name",
            "agent_id",
            "state_timestamp, state, flow_id, tenant_id",  # all that a count over time needs
            "state, state_start_time",
            "labels",
            "scheduled_start_time",
            "end_time",
        ),
        cascades={"flow_id": "flow"},
        private={"due": TIME},  # when it is to be given to an agent (domain.cloud.selection.due_time)
    ),
    Table(
        name="task_run",
        columns={
            "tenant_id": UUID,
            "flow_run_id": UUID,
            "task_id": UUID,
            "map_index": INT,
            "name": TEXT,
            "cache_key": TEXT,
            **_STATE,
        },
        relations={
            "flow_run": ToOne("flow_run", "flow_run_id"),
            "task": ToOne("task", "task_id"),
            "tenant": ToOne("tenant", "tenant_id"),
            "states": ToMany("task_run_state", "task_run_id"),
            "logs": ToMany("log", "task_run_id"),
        },
        defaults={"map_index": -1, "version": 0},
        unique=(("flow_run_id", "task_id", "map_index"),),
        indexes=(
            "state, state_timestamp",
            "task_id, state, state_timestamp",
            "cache_key, state, state_timestamp",
            "flow_run_id, state, state_start_time",
        ),
        cascades={"flow_run_id": "flow_run", "task_id": "task"},
    ),
    Table(
        name="flow_run_state",
        columns={"tenant_id": UUID, "flow_run_id": UUID, **_HISTORY},
        relations={"flow_run": ToOne("flow_run", "flow_run_id")},
        cascades={"flow_run_id": "flow_run"},
    ),
    Table(
        name="task_run_state",
        columns={"tenant_id": UUID, "task_run_id": UUID, **_HISTORY},
        relations={"task_run": ToOne("task_run", "task_run_id")},
        cascades={"task_run_id": "task_run"},
    ),
    Table(
        name="log",
        columns={
            "tenant_id": UUID,
            "flow_run_id": UUID,
            "task_run_id": UUID,
            "timestamp": TIME,
            "name": TEXT,
            "level": TEXT,
            "message": TEXT,
            "info": JSON,
        },
        relations={"flow_run": ToOne("flow_run", "flow_run_id"), "task_run": ToOne("task_run", "task_run_id")},
        indexes=("flow_run_id, timestamp", "task_run_id, timestamp"),
        cascades={"flow_run_id": "flow_run"},
    ),
    Table(
        name="task_run_artifact",
        columns={"tenant_id": UUID, "task_run_id": UUID, "kind": TEXT, "data": JSON},
        relations={"task_run": ToOne("task_run", "task_run_id")},
        cascades={"task_run_id": "task_run"},
    ),
    Table(name="key_value", columns={"tenant_id": UUID, "key": TEXT, "value": JSON}, unique=(("tenant_id", "key"),)),
    Table(name="secret", columns={"tenant_id": UUID, "name": TEXT, "value": JSON}, unique=(("tenant_id", "name"),)),
    # "limit" is a word of SQL: these two are stored with "slots" and shown by resolvers.py.
    Table(
        name="flow_concurrency_limit",
        columns={"tenant_id": UUID, "name": TEXT, "slots": INT},
        unique=(("tenant_id", "name"),),
        cascades={"tenant_id": "tenant"},
    ),
    Table(
        name="task_tag_limit",
        columns={"tenant_id": UUID, "tag": TEXT, "slots": INT},
        unique=(("tenant_id", "tag"),),
        cascades={"tenant_id": "tenant"},
    ),
    Table(
        name="auth_api_key",
        columns={"tenant_id": UUID, "user_id": UUID, "name": TEXT, "expires_at": TIME, "scope": TEXT},
        defaults={"scope": "admin"},
        private={"made_by": TEXT},  # what stands for the key through which it was made
        cascades={"tenant_id": "tenant"},
    ),
    Table(
        name="api_key_hash",
        columns={"auth_api_key_id": UUID, "hash": TEXT},
        unique=(("hash",),),
        cascades={"auth_api_key_id": "auth_api_key"},
    ),
    Table(name="cloud_lock", columns={"why": TEXT}),  # with a row in it, every request needs a key
    Table(
        name="cloud_hook",
        columns={"tenant_id": UUID, "version_group_id": TEXT, "name": TEXT, "type": TEXT}
        | {"states": JSON, "config": JSON, "active": BOOL},
        cascades={"tenant_id": "tenant"},
    ),
    Table(
        name="message",
        columns={"tenant_id": UUID, "user_id": UUID, "type": TEXT, "text": TEXT, "content": JSON, "read": BOOL},
        cascades={"tenant_id": "tenant"},
    ),
)

TABLES: Final[Mapping[str, Table]] = {table.name: table for table in _ALL}
HIDDEN: Final = frozenset({"secret", "api_key_hash", "cloud_lock", "flow_concurrency_limit", "task_tag_limit"})
"""Tables that are stored but not shown by the API, or not as they are."""
