"""Documents made at random from the schema itself: every one is answered, and none meets an error nobody thought of."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect.agent.entrypoints.server.documents import MAX_DEPTH
from prefect.agent.entrypoints.server.schema import schema
from unit.embedded import Embedded

UNEXPECTED: Final = "its log says why"
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


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    """One Cloud for all documents."""
    embedded = Fuzzed(tmp_path_factory.mktemp("fuzz") / "cloud.db")
    embedded.run(embedded.flow(embedded.project(), tasks=2))
    embedded.remember()
    yield embedded
    embedded.first.close()
    embedded.database.close()


def answer(cloud: Fuzzed, query: object, variables: object = None) -> tuple[int, dict[str, Any]]:
    """An answer that has the shape of protocol section 1.4, whatever was asked."""
    status, body = cloud.execute({"query": query, "variables": variables}, {})
    assert status in {200, 400}
    json.dumps(body, allow_nan=False)
    assert body.keys() <= {"data", "errors"}
    for error in body.get("errors", ()):
        assert error["message"]
        assert error["extensions"]["code"]
        assert "Traceback" not in error["message"]
    assert body.get("errors") or body["data"]
    return status, body


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_documents_of_the_schema(cloud: Fuzzed, data: st.DataObject) -> None:
    """Answered or refused with a reason, never with a failure of the Cloud itself."""
    cloud.restore()
    document = Writer(data.draw, cloud.ids).document()

    _status, body = answer(cloud, document)

    for error in body.get("errors", ()):
        assert UNEXPECTED not in error["message"], document


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.text(alphabet='{}()[]:!$@"\\ \n\tabflow_runidquery,.0123456789\x00\ud800é', max_size=80))
def test_texts_that_are_hardly_documents(cloud: Fuzzed, text: str) -> None:
    """Refused by 400, or answered."""
    answer(cloud, text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["states", "state", "flow_run_id",
        "version", "logs", "type", "name", "flow_id", "message", "level"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(["set_flow_run_states", "write_run_logs", "create_flow_run", "get_runs_in_queue"]),
    value=VALUES,
)
def test_variables_are_judged_alike_with_and_without_a_plan(cloud: Fuzzed, name: str, value: Any) -> None:
    """The short cut of hot documents gives what graphql-core gives; a directive keeps the second one off it."""
    selection = {"set_flow_run_states": "states { id }", "write_run_logs": "success", "create_flow_run": "id"}
    inner = selection.get(name, "flow_run_ids")
    short = f"mutation($input: {name}_input!) {{ {name}(input: $input) {{ {inner} }} }}"
    long = f"mutation($input: {name}_input!) {{ {name}(input: $input) @skip(if: false) {{ {inner} }} }}"

    answers = [answer(cloud, document, {"input": value}) for document in (short, long)]

    shown = [(status, [(e["message"], e["extensions"], e.get("path")) for e in body.get("errors", ())],
              body.get("data")) for status, body in answers]  # fmt: skip
    assert shown[0] == shown[1]
