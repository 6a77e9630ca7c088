"""The GraphQL schema, generated from the tables and the registered mutations, with its resolvers.

graphql-core parses, validates and executes. The resolvers of root fields read the whole selected tree, with one SQL
statement for each level. Types of queries are named as Hasura does, those of mutations ``<mutation>_input``.
"""

import logging
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeVar

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    StringValueNode,
    ValueNode,
    build_schema,
    get_argument_values,
    get_named_type,
    value_from_ast_untyped,
)
from graphql.execution.collect_fields import collect_sub_fields

from prefect.agent.domain.cloud.errors import INTERNAL, CloudRefusal, PartlyDone
from prefect.agent.domain.cloud.logs import LEVELS
from prefect.agent.domain.times import stored_time
from prefect.agent.entrypoints.server.graphql import resolvers
from prefect.agent.entrypoints.server.graphql.json_text import is_json, read_json
from prefect.agent.entrypoints.server.mutations import INPUTS, MUTATIONS
from prefect.agent.entrypoints.server.mutations.registry import Mutation, Request
from prefect.agent.entrypoints.server.storage.database import code_of_mistake, explain
from prefect.agent.entrypoints.server.storage.filters import JSON_OPERATORS, OPERATORS
from prefect.agent.entrypoints.server.storage.row_trees import (
    AGGREGATE,
    TYPE_NAME,
    Ask,
    count_rows,
    read_by_id,
    read_rows,
)
from prefect.agent.entrypoints.server.storage.tables import (
    BOOL,
    HIDDEN,
    INT,
    JSON,
    TABLES,
    TEXT,
    TIME,
    UUID,
    Table,
    ToOne,
)

_log: Final = logging.getLogger(__name__)
_TYPES: Final = {UUID: "uuid", TEXT: "String", INT: "Int", BOOL: "Boolean", JSON: "jsonb", TIME: "timestamptz"}
_SHOWN: Final = {name: table for name, table in TABLES.items() if name not in HIDDEN}


@cache
def schema() -> GraphQLSchema:
    """Return the schema, ready to execute requests whose context is a :class:`Request`."""
    built = build_schema(_sdl())
    for name, scalar in _SCALARS.items():
        kind = built.type_map[name]
        assert isinstance(kind, GraphQLScalarType)
        # The schema's language has no way to say how a scalar is read.
        kind.parse_value = scalar  # type: ignore[method-assign,assignment]
        kind.parse_literal = _literal(scalar)  # type: ignore[method-assign]
    _resolve_objects(built)
    assert built.query_type is not None and built.mutation_type is not None  # noqa: PT018
    for table in _SHOWN.values():
        built.query_type.fields[table.name].resolve = _rows(table)
        built.query_type.fields[f"{table.name}_by_pk"].resolve = _by_id(table)
        built.query_type.fields[f"{table.name}{AGGREGATE}"].resolve = _count(table)
    for name, resolve in resolvers.QUERIES.items():
        built.query_type.fields[name].resolve = _plain(resolve.run)
    for name, mutation in MUTATIONS.items():
        built.mutation_type.fields[name].resolve = _change(mutation)
    return built


# --- the schema's text ---


def _sdl() -> str:
    queries = [line for table in _SHOWN.values() for line in _query_fields(table)]
    queries += [f"{name}{resolve.signature}" for name, resolve in resolvers.QUERIES.items()]
    changes = [f"{name}(input: {change.input_type}!): {name}_payload" for name, change in MUTATIONS.items()]
    parts = [f"scalar {name}" for name in _SCALARS]
    parts += [_comparison(kind) for kind in sorted(set(_TYPES.values()))]
    parts += [text for table in _SHOWN.values() for text in _table_types(table)]
    parts += ["type count_fields { count: Int }", "type count_result { aggregate: count_fields }"]
    parts += ["type run_state_result { id: UUID status: String message: String }", resolvers.TYPES]
    parts += [f"enum log_level {{ {' '.join(LEVELS)} }}"]
    parts += [f"input {name} {{ {fields} }}" for name, fields in INPUTS.items()]
    for name, change in MUTATIONS.items():
        parts += [f"input {change.input_type} {{ {change.takes} }}", f"type {name}_payload {{ {change.gives} }}"]
    parts += [_block("type Query", queries), _block("type Mutation", changes)]
    return "\n".join(parts)


def _block(head: str, lines: Iterable[str]) -> str:
    return head + " {\n  " + "\n  ".join(lines) + "\n}"


def _arguments(name: str) -> str:
    return (
        f"(where: {name}_bool_exp, order_by: {name}_order_by, limit: Int, offset: Int, "
        f"distinct_on: [{name}_select_column!])"
    )


def _query_fields(table: Table) -> list[str]:
    name = table.name
    return [
        f"{name}{_arguments(name)}: [{name}!]!",
        f"{name}_by_pk(id: uuid!): {name}",
        f"{name}{AGGREGATE}{_arguments(name)}: count_result!",
    ]


def _table_types(table: Table) -> list[str]:
    name = table.name
    columns = {column: _TYPES[kind] for column, kind in table.all_columns.items()}
    fields = [f"{c}: {t}" for c, t in columns.items()]
    conditions = [f"{column}: {kind}_comparison_exp" for column, kind in columns.items()]
    conditions += [f"{word}: [{name}_bool_exp]" for word in ("_and", "_or")] + [f"_not: {name}_bool_exp"]
    for relation_name, relation in table.relations.items():
        other = relation.table
        conditions.append(f"{relation_name}: {other}_bool_exp")
        if isinstance(relation, ToOne):
            fields.append(f"{relation_name}: {other}")
        else:
            fields.append(f"{relation_name}{_arguments(other)}: [{other}!]!")
            fields.append(f"{relation_name}{AGGREGATE}{_arguments(other)}: count_result!")
    return [
        _block(f"type {name}", fields),
        _block(f"input {name}_bool_exp", conditions),
        f"enum {name}_select_column {{ {' '.join(columns)} }}",
        # A scalar, not an input object: the order of its keys means something, and graphql-core does not keep it.
        f"scalar {name}_order_by",
    ]


def _comparison(kind: str) -> str:
    several = {"_in": f"[{kind}!]", "_nin": f"[{kind}!]", "_is_null": "Boolean"}
    operators = (*OPERATORS, *JSON_OPERATORS) if kind == _TYPES[JSON] else OPERATORS
    return _block(f"input {kind}_comparison_exp", [f"{op}: {several.get(op, kind)}" for op in operators])


# --- scalars ---


def _json(value: Any) -> Any:
    return value


_DASHED: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def _uuid(value: Any) -> str:
    if isinstance(value, str) and _DASHED.fullmatch(value):
        return value
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        raise GraphQLError(f"{value!r:.80} is not a UUID") from None


def _time(value: Any) -> str:
    try:
        return stored_time(value)
    except ValueError:
        raise GraphQLError(f"{value!r:.80} is not a time") from None


_SCALARS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "JSON": _json,
    "jsonb": _json,
    "UUID": _uuid,
    "uuid": _uuid,
    "DateTime": _time,
    "timestamptz": _time,
}


def _literal(parse: Callable[[Any], Any]) -> Callable[..., Any]:
    def read(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
        if parse is _json and isinstance(node, StringValueNode):
            try:  # a JSON scalar in the document's text is a quoted string that holds JSON (protocol section 1.3)
                return read_json(node.value)
            except ValueError:
                return node.value
        value = value_from_ast_untyped(node, variables)
        if parse is _json and not is_json(value):
            raise GraphQLError("A number is too large for JSON")
        return parse(value)

    return read


# --- resolvers ---

Resolver = Callable[..., Any]


def _resolve_objects(built: GraphQLSchema) -> None:
    """Let fields below the root return the value that was read with the root, by their key in the answer."""
    for kind in built.type_map.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            for name, field in kind.fields.items():
                field.resolve = _by_key if kind.name in _SHOWN else _by_name(name)


def _by_key(source: Mapping[str, Any], info: GraphQLResolveInfo, **_args: Any) -> Any:
    return source[str(info.path.key)]


def _by_name(name: str) -> Resolver:
    return lambda source, _info, **_args: source.get(name)


def _rows(table: Table) -> Resolver:
    def resolve(_root: Any, info: GraphQLResolveInfo, **args: Any) -> list[dict[str, Any]]:
        return _guard(info, lambda: read_rows(info.context.tx, table, Ask("", table.name, args, _asks(info))))

    return resolve


def _by_id(table: Table) -> Resolver:
    def resolve(_root: Any, info: GraphQLResolveInfo, **args: Any) -> dict[str, Any] | None:
        return _guard(info, lambda: read_by_id(info.context.tx, table, Ask("", table.name, args, _asks(info))))

    return resolve


def _count(table: Table) -> Resolver:
    def resolve(_root: Any, info: GraphQLResolveInfo, **args: Any) -> dict[str, Any]:
        return _guard(info, lambda: {"aggregate": {"count": count_rows(info.context.tx, table, args)}})

    return resolve


def _plain(run: Callable[..., Any]) -> Resolver:
    def resolve(_root: Any, info: GraphQLResolveInfo, **args: Any) -> Any:
        return _guard(info, lambda: run(info.context, **args))

    return resolve


def _change(mutation: Mutation) -> Resolver:
    def resolve(_root: Any, info: GraphQLResolveInfo, **args: Any) -> Any:
        return run_change(info.context, mutation, args["input"])

    return resolve


def run_change(request: Request, mutation: Mutation, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Execute one mutation completely or not at all, unless it raises :class:`PartlyDone` to keep a part.

    Raises:
        GraphQLError: The mutation was refused, or failed.
    """

    def run() -> Mapping[str, Any]:
        request.permit(mutation.name)
        with request.tx.savepoint():
            try:
                return mutation.run(request, given)
            except PartlyDone as problem:
                refusal = problem
        raise refusal

    return _explained(run)


Read = TypeVar("Read")


def _guard(info: GraphQLResolveInfo, run: Callable[[], Read]) -> Read:
    """Read the value of a root field if the caller is permitted to."""

    def permitted() -> Read:
        info.context.permit(info.field_name)
        return run()

    return _explained(permitted)


def _explained(run: Callable[[], Read]) -> Read:
    try:
        return run()
    except CloudRefusal as refusal:
        raise GraphQLError(refusal.message, extensions={"code": refusal.code}) from refusal
    except GraphQLError:
        raise
    except Exception as problem:
        raise failure(problem) from problem


def failure(problem: Exception) -> GraphQLError:
    """Log an unexpected exception and return the error that the client receives; call it in the ``except`` block."""
    why = explain(problem)
    mistake = code_of_mistake(problem)
    if mistake is not None:
        return GraphQLError(why or str(problem), extensions={"code": mistake})
    if why is None:
        _log.exception("A request failed")
        why = "This failed within the Cloud; its log says why"
    else:
        _log.error("%s", why)
    return GraphQLError(why, extensions={"code": INTERNAL})


def _asks(info: GraphQLResolveInfo) -> tuple[Ask, ...]:
    kind = get_named_type(info.return_type)
    assert isinstance(kind, GraphQLObjectType)
    return _asks_of(info, kind, info.field_nodes)


def _asks_of(info: GraphQLResolveInfo, kind: GraphQLObjectType, nodes: Sequence[FieldNode]) -> tuple[Ask, ...]:
    """Return the fields selected below *nodes*, with fragments and directives applied."""
    selected = collect_sub_fields(info.schema, info.fragments, info.variable_values, kind, list(nodes))
    found = []
    for key, fields in selected.items():
        name = fields[0].name.value
        field = kind.fields.get(name)
        if field is None:
            found.append(Ask(key, TYPE_NAME))
            continue
        inner = get_named_type(field.type)
        children = _asks_of(info, inner, fields) if isinstance(inner, GraphQLObjectType) else ()
        found.append(Ask(key, name, get_argument_values(field, fields[0], info.variable_values), children))
    return tuple(found)
