"""Documents that come all the time, without the general machinery: mutations whose inputs are variables.

Agents and flow processes report with a handful of documents. For these the way from variables to answer is worked out
once per document; it gives what graphql-core would give. Everything else - other shapes, inputs that do not fit - is
left to graphql-core, whose words about it are then the answer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import attrs
from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLEnumType,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    Undefined,
    VariableNode,
    located_error,
)

from prefect.agent.entrypoints.server.graphql.schema import run_change, schema
from prefect.agent.entrypoints.server.mutations import MUTATIONS
from prefect.agent.entrypoints.server.mutations.registry import Mutation, Request

Reader = Callable[[Any], Any]


class Misfit(Exception):
    """The variables do not fit, or need more care than a plan takes."""


@attrs.frozen
class Pick:
    """One field of an answer; *picks* is None for a leaf."""

    key: str
    name: str
    picks: tuple["Pick", ...] | None


@attrs.frozen
class Step:
    """One root field."""

    node: FieldNode
    key: str
    mutation: Mutation
    variable: str
    picks: tuple[Pick, ...]


Plan = tuple[Step, ...]


def make_plan(document: DocumentNode) -> Plan | None:
    """The plan of a valid document, if it is of the kind that has one."""
    if len(document.definitions) != 1:
        return None
    [operation] = document.definitions
    if not isinstance(operation, OperationDefinitionNode) or operation.operation is not OperationType.MUTATION:
        return None
    if operation.directives or any(v.default_value or v.directives for v in operation.variable_definitions):
        return None
    try:
        steps = tuple(_step(node) for node in _fields(operation.selection_set))
    except Misfit:
        return None
    return steps


def run_plan(plan: Plan, request: Request, variables: Mapping[str, Any]) -> tuple[dict[str, Any], list[GraphQLError]]:
    """Data and errors.

    Raises:
        Misfit: The variables do not fit; nothing was done.
    """
    try:
        inputs = [_input_of(step.mutation.name)(variables[step.variable]) for step in plan]
    except (GraphQLError, KeyError, TypeError, ValueError) as problem:
        raise Misfit from problem
    data: dict[str, Any] = {}
    errors = []
    for step, given in zip(plan, inputs, strict=True):
        try:
            data[step.key] = _picked(run_change(request, step.mutation, given), step.picks)
        except GraphQLError as problem:
            data[step.key] = None
            errors.append(located_error(problem, [step.node], [step.key]))
    return data, errors


# --- documents ---


def _fields(selected: SelectionSetNode) -> Sequence[FieldNode]:
    """Plain fields, each with a key of its own."""
    nodes = [node for node in selected.selections if isinstance(node, FieldNode) and not node.directives]
    keys = {_key(node) for node in nodes}
    if len(nodes) != len(selected.selections) or len(keys) != len(nodes):
        raise Misfit
    return nodes


def _key(node: FieldNode) -> str:
    return (node.alias or node.name).value


def _step(node: FieldNode) -> Step:
    mutation = MUTATIONS.get(node.name.value)
    if mutation is None or len(node.arguments) != 1 or node.selection_set is None:
        raise Misfit
    [argument] = node.arguments
    if not isinstance(argument.value, VariableNode):
        raise Misfit
    return Step(node, _key(node), mutation, argument.value.name.value, _picks(node.selection_set))


def _picks(selected: SelectionSetNode) -> tuple[Pick, ...]:
    found = []
    for node in _fields(selected):
        if node.arguments or node.name.value.startswith("__"):
            raise Misfit
        found.append(Pick(_key(node), node.name.value, _picks(node.selection_set) if node.selection_set else None))
    return tuple(found)


def _picked(value: Any, picks: Iterable[Pick]) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        return [_picked(item, picks) for item in value]
    return {
        pick.key: value.get(pick.name) if pick.picks is None else _picked(value.get(pick.name), pick.picks)
        for pick in picks
    }


# --- inputs ---


@cache
def _input_of(mutation: str) -> Reader:
    return _required(_reader(schema().type_map[MUTATIONS[mutation].input_type]))


def _reader(kind: object) -> Reader:
    """What graphql-core's coercion does for values that fit; for others it raises."""
    if isinstance(kind, GraphQLNonNull):
        return _required(_reader(kind.of_type))
    if isinstance(kind, GraphQLList):
        return _list(_reader(kind.of_type))
    if isinstance(kind, GraphQLInputObjectType):
        return _object(kind)
    if isinstance(kind, GraphQLScalarType | GraphQLEnumType):
        return _leaf(kind)
    return _never


def _never(_value: Any) -> Any:
    raise Misfit


def _required(read: Reader) -> Reader:
    def required(value: Any) -> Any:
        if value is None:
            raise Misfit
        return read(value)

    return required


def _leaf(kind: GraphQLScalarType | GraphQLEnumType) -> Reader:
    parse: Final = kind.parse_value
    return lambda value: None if value is None else parse(value)


def _list(read: Reader) -> Reader:
    def several(value: Any) -> Any:
        if value is None:
            return None
        return [read(item) for item in value] if isinstance(value, list) else [read(value)]

    return several


def _object(kind: GraphQLInputObjectType) -> Reader:
    if any(field.default_value is not Undefined for field in kind.fields.values()):
        return _never
    readers = {name: _reader(field.type) for name, field in kind.fields.items()}
    needed = {name for name, field in kind.fields.items() if isinstance(field.type, GraphQLNonNull)}

    def fields(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, dict) or not needed <= value.keys() or not value.keys() <= readers.keys():
            raise Misfit
        return {name: read(value[name]) for name, read in readers.items() if name in value}

    return fields
