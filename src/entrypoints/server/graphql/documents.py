"""Prepare documents for execution: check limits, parse, validate, and cache the result."""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import attrs
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    SelectionSetNode,
    get_operation_ast,
    parse,
    validate,
)

from prefect.agent.entrypoints.server.graphql.fast_path import FastPath, make_fast_path
from prefect.agent.entrypoints.server.graphql.parse_cache import Outlined, Template, make_template, outline
from prefect.agent.entrypoints.server.graphql.schema import schema

INVALID: Final = "GRAPHQL_VALIDATION_FAILED"
UNPARSABLE: Final = "GRAPHQL_PARSE_FAILED"
BAD_INPUT: Final = "BAD_USER_INPUT"

MAX_TOKENS: Final = 50_000
"""Tokens of the longest document, so that no request keeps the parser busy."""

MAX_DEPTH: Final = 7
"""Levels of fields below a root field (protocol section 1.4)."""

MAX_FIELDS: Final = 2_000
"""Fields of a document, each fragment counted wherever it is used."""

MAX_INTROSPECTED: Final = 300
"""Fields about the schema; tools that show the schema need fewer than 200."""

MAX_ALIKE: Final = 10
"""Fields with the same key in one selection, because validation compares each pair."""

_REMEMBERED: Final = 150_000
"""Characters of documents in each cache; a parsed document takes about a hundred times the memory of its text."""


class DocumentRefused(Exception):
    """The document cannot be executed."""

    def __init__(self, errors: Sequence[GraphQLError], code: str) -> None:
        super().__init__(code)
        self.errors, self.code = errors, code


@attrs.frozen
class Prepared:
    """A valid document with one operation; execute it before preparing the next one, which may reuse its tree.

    Attributes:
        fast_path: How to execute the document without graphql-core; None if that is not possible.
    """

    document: DocumentNode
    operation: OperationDefinitionNode
    fast_path: FastPath | None
    _template: Template | None = None
    _outlined: Outlined | None = None

    def locate(self, errors: Sequence[GraphQLError]) -> None:
        """Correct the locations in errors of the execution, so that they refer to the text of this document."""
        if self._template is not None and self._outlined is not None:
            self._template.locate(errors, self._outlined)


Kept = TypeVar("Kept")


@attrs.define
class _Cache(Generic[Kept]):
    """A cache by text that drops what was not used for longest."""

    _known: OrderedDict[str, Kept] = attrs.field(factory=OrderedDict, init=False)
    _size: int = attrs.field(default=0, init=False)

    def get(self, text: str) -> Kept | None:
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
        return known

    def keep(self, text: str, thing: Kept) -> None:
        self._size += 0 if text in self._known else len(text)
        self._known[text] = thing
        while self._size > _REMEMBERED:
            self._size -= len(self._known.popitem(last=False)[0])


@attrs.define
class Documents:
    """Prepares documents and caches the latest, because most documents differ from earlier ones only in literals."""

    _texts: _Cache[Prepared] = attrs.field(factory=_Cache, init=False)
    _outlines: _Cache[tuple[Prepared, Template]] = attrs.field(factory=_Cache, init=False)

    def prepare(self, text: str) -> Prepared:
        """Return the document, ready to be executed.

        Raises:
            DocumentRefused: The document is not valid, or too large.
        """
        known = self._texts.get(text)
        if known is not None:
            return known
        outlined = outline(text)
        alike = self._outlines.get(outlined.outline) if outlined else None
        if outlined and alike and alike[1].fill(outlined):
            return attrs.evolve(alike[0], template=alike[1], outlined=outlined)
        try:
            prepared = _prepare(text)
            template = make_template(prepared.document, outlined) if outlined else None
        except RecursionError:
            raise DocumentRefused([GraphQLError("The document is nested too deeply")], UNPARSABLE) from None
        if outlined and template:
            self._outlines.keep(outlined.outline, (prepared, template))
        else:
            self._texts.keep(text, prepared)
        return prepared


def _prepare(text: str) -> Prepared:
    try:
        document = parse(text, max_tokens=MAX_TOKENS)
    except GraphQLError as problem:
        raise DocumentRefused([problem], UNPARSABLE) from problem
    too_much = _Measure(document).complaint()
    if too_much:
        raise DocumentRefused([GraphQLError(too_much)], INVALID)
    errors = validate(schema(), document)
    if errors:
        raise DocumentRefused(errors, INVALID)
    operation = get_operation_ast(document)
    if operation is None:
        raise DocumentRefused([GraphQLError("A request holds exactly one operation")], INVALID)
    return Prepared(document, operation, make_fast_path(document))


_ABOUT_SCHEMA: Final = frozenset({"__schema", "__type"})


def _is_of_rows(fragment: FragmentDefinitionNode) -> bool:
    """Return whether a fragment selects stored rows, not the schema."""
    return not fragment.type_condition.name.value.startswith("__")


class _Measure:
    """Measures the depth and the size of a document, each fragment counted where it is used.

    Fields about the schema have a limit of their own and may be deeper; ``__typename`` counts like other fields.
    """

    def __init__(self, document: DocumentNode) -> None:
        self._roots = [n.selection_set for n in document.definitions if isinstance(n, OperationDefinitionNode)]
        self._fragments = {n.name.value: n for n in document.definitions if isinstance(n, FragmentDefinitionNode)}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._introspected = 0

    def complaint(self) -> str | None:
        """Return which limit the document exceeds; None if it exceeds none."""
        selections = [*self._roots, *(one.selection_set for one in self._fragments.values() if _is_of_rows(one))]
        measured = [self._size(selected) for selected in selections]
        depth, fields = max(d for d, _ in measured) if measured else 0, sum(n for _, n in measured)
        if depth > MAX_DEPTH + 1:
            return f"The document selects more than {MAX_DEPTH} levels deep"
        if fields > MAX_FIELDS:
            return f"The document selects more than {MAX_FIELDS} fields"
        if self._introspected > MAX_INTROSPECTED:
            return f"The document asks for more than {MAX_INTROSPECTED} fields of the schema"
        return None

    def _size(self, selected: SelectionSetNode) -> tuple[int, int]:
        """Return how many levels and how many fields a selection has."""
        keys = Counter((n.alias or n.name).value for n in selected.selections if isinstance(n, FieldNode))
        if keys and max(keys.values()) > MAX_ALIKE:
            return 0, MAX_FIELDS + 1
        depth = fields = 0
        for node in selected.selections:
            if isinstance(node, FieldNode):
                if node.name.value in _ABOUT_SCHEMA:
                    self._introspected += self._size(node.selection_set)[1] + 1 if node.selection_set else 1
                    fields += 1
                    continue
                below = self._size(node.selection_set) if node.selection_set else (0, 0)
                inner = below[0] + 1, below[1] + 1
            elif isinstance(node, FragmentSpreadNode):
                inner = self._fragment(node.name.value)
            else:
                inner = self._size(node.selection_set)  # type: ignore[attr-defined]
            depth, fields = max(depth, inner[0]), fields + inner[1]
        return depth, fields

    def _fragment(self, name: str) -> tuple[int, int]:
        if name not in self._sizes:
            self._sizes[name] = (0, 0)  # one that holds itself is refused by validation
            if name in self._fragments:
                self._sizes[name] = self._size(self._fragments[name].selection_set)
        return self._sizes[name]
