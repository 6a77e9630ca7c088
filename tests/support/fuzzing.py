"""Documents made at random from the schema itself, and a Cloud to try them on."""

import json
import sqlite3
from collections.abc import Callable
from typing import Any, Final

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    get_named_type,
)
from hypothesis import strategies as st

from prefect.agent.entrypoints.server.graphql.documents import MAX_DEPTH
from prefect.agent.entrypoints.server.graphql.schema import schema
from support.embedded import Embedded

TEXTS: Final = ("", "t-0", "flow", "'; DROP TABLE flow; --", "%_[*?", "\x00", "\ud800", "é" * 40, "Scheduled", "INFO")
TIMES: Final = ("2022-01-02T03:04:05+00:00", "2022-01-02 03:04:05", "0001-01-01T00:00:00+14:00", "no time", "")
JSONS: Final[tuple[Any, ...]] = (
    None,
    {},
    [],
    "x",
    3,
    {"type": "Running"},
    {"type": "Scheduled", "start_time": "no"},
    {"a": {"b": [1]}},
)

Draw = Callable[[st.SearchStrategy[Any]], Any]


class Writer:
    """Writes documents: ids are of rows that exist, or nearly."""

    def __init__(self, draw: Draw, ids: list[str]) -> None:
        self.draw, self.ids = draw, ids

    def document(self) -> str:
        """One operation with a few root fields."""
        kind = self.draw(st.sampled_from(["query", "mutation"]))
        built = schema()
        root = built.query_type if kind == "query" else built.mutation_type
        assert root is not None
        names = self.draw(st.lists(st.sampled_from(sorted(root.fields)), min_size=1, max_size=3))
        fields = [f"k{n}: {self.field(name, root.fields[name], 0)}" for n, name in enumerate(names)]
        return f"{kind} {{ {' '.join(fields)} }}"

    def field(self, name: str, field: GraphQLField, depth: int) -> str:
        """One field with arguments and selection."""
        given = [f"{key}: {value}" for key, arg in field.args.items() if (value := self.argument(arg)) is not None]
        inner = get_named_type(field.type)
        selected = self.selection(inner, depth) if isinstance(inner, GraphQLObjectType) else ""
        return f"{name}{'(' + ', '.join(given) + ')' if given else ''} {selected}"

    def selection(self, kind: GraphQLObjectType, depth: int) -> str:
        """Some fields; leaves only where it gets deep."""
        leaves = [n for n, f in kind.fields.items() if not isinstance(get_named_type(f.type), GraphQLObjectType)]
        names = sorted(kind.fields) if depth < MAX_DEPTH - 3 or not leaves else leaves
        chosen = self.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
        return "{ " + " ".join(self.field(name, kind.fields[name], depth + 1) for name in chosen) + " }"

    def argument(self, argument: GraphQLArgument) -> str | None:
        """A value, or None to leave it out."""
        if not isinstance(argument.type, GraphQLNonNull) and self.draw(st.booleans()):
            return None
        return self.value(argument.type, 0)

    def value(self, kind: Any, depth: int) -> str:
        """A literal of a type."""
        if isinstance(kind, GraphQLNonNull):
            return self.value(kind.of_type, depth)
        if isinstance(kind, GraphQLList):
            several = self.draw(st.integers(0, 2))
            return "[" + ", ".join(self.value(kind.of_type, depth + 1) for _ in range(several)) + "]"
        if isinstance(kind, GraphQLInputObjectType):
            return self.object(kind, depth)
        if isinstance(kind, GraphQLEnumType):
            return str(self.draw(st.sampled_from(sorted(kind.values))))
        return self.scalar(kind.name)

    def object(self, kind: GraphQLInputObjectType, depth: int) -> str:
        """Needed fields, and some others."""
        needed = [name for name, field in kind.fields.items() if isinstance(field.type, GraphQLNonNull)]
        others = [name for name in kind.fields if name not in needed] if depth < 4 else []
        chosen = self.draw(st.lists(st.sampled_from(others), max_size=3, unique=True)) if others else []
        return "{ " + ", ".join(f"{n}: {self.value(kind.fields[n].type, depth + 1)}" for n in [*needed, *chosen]) + " }"

    def scalar(self, name: str) -> str:
        """A value that fits, mostly."""
        if name in {"uuid", "UUID"}:
            return json.dumps(self.draw(st.sampled_from(self.ids)))
        if name in {"timestamptz", "DateTime"}:
            return json.dumps(self.draw(st.sampled_from(TIMES[:3])))
        if name in {"JSON", "jsonb"}:
            return json.dumps(json.dumps(self.draw(st.sampled_from(JSONS))))
        if name.endswith("_order_by"):
            return str(self.draw(st.sampled_from(["{ id: asc }", "{ created: desc, id: asc }", "[]", "3"])))
        if name == "Int":
            return str(self.draw(st.sampled_from([-(2**31), -1, 0, 1, 25, 2**31 - 1])))
        if name == "Boolean":
            return str(self.draw(st.sampled_from(["true", "false"])))
        return json.dumps(self.draw(st.sampled_from(TEXTS)))


class Fuzzed(Embedded):
    """A Cloud that can be put back to how it was at first, so that each example finds the same rows."""

    ids: list[str]
    first: sqlite3.Connection

    def remember(self) -> None:
        """Keep what there is now."""
        tables = ("flow_run", "flow", "task", "task_run", "flow_group", "tenant", "project")
        data = self.ask("query { " + " ".join(f"{t}(limit: 2) {{ id }}" for t in tables) + " }")
        self.ids = ["00000000-0000-0000-0000-000000000000", *(row["id"] for table in tables for row in data[table])]
        self.first = sqlite3.connect(":memory:")
        self.database._connection.backup(self.first)

    def restore(self) -> None:
        """Make it so again."""
        self.first.backup(self.database._connection)
