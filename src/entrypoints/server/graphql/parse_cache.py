"""Parse and validate documents once that differ only in their literals.

Official clients write ids and times into the text of their documents, so hardly any text occurs twice. A text is split
into its outline, which has a placeholder for every plain literal, and the literals. The first document of an outline is
parsed and validated in full. For later ones, the literals are put into the tree of the first, and each is checked
against its type as validation does. A document that does not fit is parsed and validated in full as well.

Why this is correct: without comments and block strings, a quotation mark outside of a string can only begin one, so the
scanner below and GraphQL's lexer find the same strings. Only literals that mean exactly what is written are
replaced: strings of a few harmless characters, and short whole numbers that touch no name and no fraction. Two rules of
validation depend on the value of a literal: whether the literal fits its type, which is checked again; and whether
fields with the same key have equal arguments, so a document with such fields has no outline.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLNamedType,
    GraphQLNonNull,
    IntValueNode,
    ListValueNode,
    Node,
    OperationDefinitionNode,
    SelectionSetNode,
    Source,
    StringValueNode,
    TypeInfo,
    TypeInfoVisitor,
    Undefined,
    ValueNode,
    Visitor,
    get_location,
    get_named_type,
    is_leaf_type,
    is_list_type,
    visit,
)

from prefect.agent.entrypoints.server.graphql.schema import schema

_LITERAL: Final = re.compile(r'"(?:[^"\\\n\r]|\\.)*"?|(?<![\w.$@-])-?(?:0|[1-9][0-9]{0,8})(?![\w.])')
"""Also matches a string without its closing quote: otherwise scanning would take quadratic time."""

_PLAIN: Final = re.compile(r'"[-0-9A-Za-z_:.+ ]*"|-?[0-9]+')

Spans = Sequence[tuple[int, int]]


@attrs.frozen
class Outlined:
    """A text, its outline, and where its literals are.

    Attributes:
        outline: The text with a placeholder for each literal.
        spans: Start and end of each literal in the text.
    """

    text: str
    outline: str
    spans: Spans

    def literals(self) -> list[str]:
        """The literals as they are written."""
        return [self.text[start:end] for start, end in self.spans]


def outline(text: str) -> Outlined | None:
    """Split a text; return None if it has no plain literal, or has something that this scanner does not support."""
    if "#" in text or '"""' in text:
        return None
    parts, spans, last = [], [], 0
    for found in _LITERAL.finditer(text):
        written = found[0]
        if _PLAIN.fullmatch(written) is None:
            continue
        start, end = found.span()
        parts += [text[last:start], '"_"' if written[0] == '"' else "0"]
        spans.append((start, end))
        last = end
    if not spans:
        return None
    return Outlined(text, "".join((*parts, text[last:])), spans)


@attrs.frozen
class Template:
    """The tree of the first document of an outline. Each use changes it: execute one document at a time.

    Attributes:
        first: That document's text.
        nodes: Its literals, in order.
        checks: For each value with literals, a function that returns whether the value fits its type.
    """

    first: Outlined
    nodes: Sequence[StringValueNode | IntValueNode]
    checks: Sequence[Callable[[], bool]]

    def fill(self, document: Outlined) -> bool:
        """Insert the literals of another document with the same outline; return whether all of them fit their types."""
        for node, written in zip(self.nodes, document.literals(), strict=True):
            node.value = written[1:-1] if written[0] == '"' else written
        return all(fits() for fits in self.checks)

    def locate(self, errors: Sequence[GraphQLError], document: Outlined) -> None:
        """Correct locations in errors: they refer to the first document's text, not to that of *document*."""
        source = Source(document.text)
        for error in errors:
            if error.positions:
                error.locations = [get_location(source, self._moved(at, document)) for at in error.positions]

    def _moved(self, position: int, document: Outlined) -> int:
        shift = 0
        for (_, was), (_, now) in zip(self.first.spans, document.spans, strict=True):
            if was > position:
                break
            shift = now - was
        return position + shift


def make_template(document: DocumentNode, first: Outlined) -> Template | None:
    """Return the template of a valid document; None if the document cannot be one."""
    if len(document.definitions) != 1 or not _is_simple(document.definitions[0]):
        return None
    finder = _Finder(TypeInfo(schema()))
    visit(document, TypeInfoVisitor(finder.types, finder))
    nodes = sorted(finder.nodes, key=_start)
    places = [(_start(node), node.loc.end if node.loc else -1) for node in nodes]
    known = set(first.spans)
    kept = [node for node, place in zip(nodes, places, strict=True) if place in known]
    if len(kept) != len(first.spans):
        return None
    return Template(first, kept, finder.checks)


def _start(node: Node) -> int:
    return node.loc.start if node.loc else -1


def _is_simple(definition: Node) -> bool:
    """Return whether a definition is one operation of plain fields, no two of which have the same key."""
    return isinstance(definition, OperationDefinitionNode) and _has_own_keys(definition.selection_set)


def _has_own_keys(selected: SelectionSetNode) -> bool:
    fields = [node for node in selected.selections if isinstance(node, FieldNode)]
    keys = {(node.alias or node.name).value for node in fields}
    return len(keys) == len(selected.selections) and all(
        node.selection_set is None or _has_own_keys(node.selection_set) for node in fields
    )


class _Finder(Visitor):
    """Finds all literals, and the outermost values that are checked as a whole because their type is a leaf."""

    def __init__(self, types: TypeInfo) -> None:
        super().__init__()
        self.types = types
        self.nodes: list[StringValueNode | IntValueNode] = []
        self.checks: list[Callable[[], bool]] = []
        self._checked: tuple[ValueNode, GraphQLNamedType, int] | None = None

    def enter(self, node: Node, *_args: Any) -> None:
        """Note a literal, and the beginning of a value that is checked as a whole."""
        if not isinstance(node, ValueNode):
            return
        if self._checked is None and not self._is_list(node):
            kind = get_named_type(self.types.get_input_type())
            if kind is not None and is_leaf_type(kind):
                self._checked = node, kind, len(self.nodes)
        if isinstance(node, (StringValueNode, IntValueNode)):
            self.nodes.append(node)

    def leave(self, node: Node, *_args: Any) -> None:
        """Note the end of such a value; it needs a check only if it contains a literal."""
        if self._checked is not None and node is self._checked[0]:
            value, kind, literals = self._checked
            self._checked = None
            if len(self.nodes) > literals:
                self.checks.append(_check(kind, value))

    def _is_list(self, node: ValueNode) -> bool:
        """Return whether *node* is a list at a place for a list, so that its items are checked one by one."""
        parent = self.types.get_parent_input_type()
        within = parent.of_type if isinstance(parent, GraphQLNonNull) else parent
        return isinstance(node, ListValueNode) and is_list_type(within)


def _check(kind: GraphQLNamedType, node: ValueNode) -> Callable[[], bool]:
    parse: Final[Callable[[ValueNode], Any]] = kind.parse_literal  # type: ignore[attr-defined]

    def fits() -> bool:
        try:
            return parse(node) is not Undefined
        except Exception:  # noqa: BLE001 - validation refuses the value, whatever the reason is
            return False

    return fits
