"""Execute frequent documents without graphql-core's general machinery: mutations whose inputs are variables.

Agents and flow processes report with a handful of documents. The way from variables to answer is worked out once for
each of these documents, and gives what graphql-core would give. Every other document, and inputs that do not fit,
go to graphql-core, which also writes the error messages.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

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


class DoesNotFit(Exception):
    """The document or its variables need graphql-core."""


@attrs.frozen
class SelectedField:
    """One field of a payload.

    Attributes:
        key: Its key in the answer.
        name: Its name in the payload.
        below: The fields selected below it; None for a leaf.
    """

    key: str
    name: str
    below: tuple["SelectedField", ...] | None


@attrs.frozen
class RootField:
    """One mutation of a document, with the variable that holds its input."""

    node: FieldNode
    key: str
    mutation: Mutation
    variable: str
    selected: tuple[SelectedField, ...]


FastPath = tuple[RootField, ...]
"""The root fields of a document that can be executed without graphql-core, in order."""


def make_fast_path(document: DocumentNode) -> FastPath | None:
    """Return the fast path of a valid document; None if the document needs graphql-core."""
    if len(document.definitions) != 1:
        return None
    [operation] = document.definitions
    if not isinstance(operation, OperationDefinitionNode) or operation.operation is not OperationType.MUTATION:
        return None
    if operation.directives or any(v.default_value or v.directives for v in operation.variable_definitions):
        return None
    try:
        return tuple(_root_field(node) for node in _plain_fields(operation.selection_set))
    except DoesNotFit:
        return None


def run_fast_path(
    path: FastPath, request: Request, variables: Mapping[str, Any]
) -> tuple[dict[str, Any], list[GraphQLError]]:
    """Execute the mutations in order; return data and errors.

    Raises:
        DoesNotFit: The variables do not fit; nothing was executed.
    """
    try:
        inputs = [_input_of(root.mutation.name)(variables[root.variable]) for root in path]
    except (GraphQLError, KeyError, TypeError, ValueError) as problem:
        raise DoesNotFit from problem
    data: dict[str, Any] = {}
    errors = []
    for root, given in zip(path, inputs, strict=True):
        try:
            data[root.key] = _select(run_change(request, root.mutation, given), root.selected)
        except GraphQLError as problem:
            data[root.key] = None
            errors.append(located_error(problem, [root.node], [root.key]))
    return data, errors


# --- documents ---


def _plain_fields(selection: SelectionSetNode) -> Sequence[FieldNode]:
    """Return the fields of a selection that holds nothing but plain fields with different keys."""
    nodes = [node for node in selection.selections if isinstance(node, FieldNode) and not node.directives]
    keys = {_key(node) for node in nodes}
    if len(nodes) != len(selection.selections) or len(keys) != len(nodes):
        raise DoesNotFit
    return nodes


def _key(node: FieldNode) -> str:
    return (node.alias or node.name).value


def _root_field(node: FieldNode) -> RootField:
    mutation = MUTATIONS.get(node.name.value)
    if mutation is None or len(node.arguments) != 1 or node.selection_set is None:
        raise DoesNotFit
    [argument] = node.arguments
    if not isinstance(argument.value, VariableNode):
        raise DoesNotFit
    return RootField(node, _key(node), mutation, argument.value.name.value, _selected_fields(node.selection_set))


def _selected_fields(selection: SelectionSetNode) -> tuple[SelectedField, ...]:
    found = []
    for node in _plain_fields(selection):
        if node.arguments or node.name.value.startswith("__"):
            raise DoesNotFit
        below = _selected_fields(node.selection_set) if node.selection_set else None
        found.append(SelectedField(_key(node), node.name.value, below))
    return tuple(found)


def _select(value: Any, selected: Iterable[SelectedField]) -> Any:
    """Return the selected fields of a payload, or of each payload in a list."""
    if value is None:
        return None
    if isinstance(value, list):
        return [_select(item, selected) for item in value]
    return {
        field.key: value.get(field.name) if field.below is None else _select(value.get(field.name), field.below)
        for field in selected
    }


# --- inputs ---


@cache
def _input_of(mutation: str) -> Reader:
    read = _reader(schema().type_map[MUTATIONS[mutation].input_type])

    def required(value: Any) -> Any:
        if value is None:
            raise DoesNotFit
        return read(value)

    return required


def _reader(kind: object) -> Reader:
    """Return a function that coerces a value other than None as graphql-core does, and raises DoesNotFit for others.

    Where None may stand is known by what holds the value.
    """
    if isinstance(kind, GraphQLNonNull):
        return _reader(kind.of_type)
    if isinstance(kind, GraphQLList):
        return _list(kind.of_type)
    if isinstance(kind, GraphQLInputObjectType):
        return _object(kind)
    if isinstance(kind, GraphQLScalarType | GraphQLEnumType):
        return kind.parse_value
    return _never


def _never(_value: Any) -> Any:
    raise DoesNotFit


def _list(kind: object) -> Reader:
    read, needed = _reader(kind), isinstance(kind, GraphQLNonNull)

    def several(value: Any) -> Any:
        items = value if isinstance(value, list) else [value]
        if needed and None in items:
            raise DoesNotFit
        return [None if item is None else read(item) for item in items]

    return several


def _object(kind: GraphQLInputObjectType) -> Reader:
    if any(field.default_value is not Undefined for field in kind.fields.values()):
        return _never
    readers = {name: _reader(field.type) for name, field in kind.fields.items()}
    needed = {name for name, field in kind.fields.items() if isinstance(field.type, GraphQLNonNull)}

    def fields(value: Any) -> Any:
        if not isinstance(value, dict) or not needed <= value.keys() or not value.keys() <= readers.keys():
            raise DoesNotFit
        found = {}
        for name, given in value.items():
            if given is not None:
                found[name] = readers[name](given)
            elif name in needed:
                raise DoesNotFit
            else:
                found[name] = None
        return found

    return fields
