"""Reads plain YAML as kubectl does, with limits for bytes, values and depth, so that parsing is always cheap.

The document is measured before anything is built from it, by libyaml if PyYAML has it. An alias counts as much as the
value it refers to. Dates and base-60 numbers are texts, as they are for kubectl; a decimal number has at most 64
characters.
"""

from collections.abc import Iterator
from typing import Any, Final

import attrs
import yaml

LONGEST_NUMBER: Final = 64
"""Most characters of a decimal number."""

_TAG: Final = "tag:yaml.org,2002:"
_TAGS: Final = frozenset(
    {f"{_TAG}{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq", "binary")} | {"!"}
)
_NUMBERS: Final = frozenset({f"{_TAG}int", f"{_TAG}float"})
_TEXTS: Final = frozenset({f"{_TAG}timestamp", f"{_TAG}value"})
"""Tags that YAML 1.1 gives plain scalars and kubectl does not."""

_Parser: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class NotPlainYaml(Exception):
    """A text is not one document of plain YAML within the budget.

    The message completes a sentence ("is nested more than 50 levels deep") and shows nothing of the text.
    """


@attrs.frozen(kw_only=True)
class Budget:
    """The limits of one document.

    Attributes:
        bytes: Bytes of the text.
        values: Mappings, lists, keys and scalars; those that an alias refers to count each time.
        depth: Levels of nesting.
        text: Characters of all scalars together; those that an alias refers to count each time.
    """

    bytes: int
    values: int
    depth: int
    text: int


def load(document: bytes, budget: Budget) -> Any:
    """Return the value of *document*: dicts, lists and scalars.

    Raises:
        NotPlainYaml: It is not plain YAML, or exceeds the budget.
    """
    measure(document, budget)
    with _understood():
        return yaml.load(document, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader


def measure(document: bytes, budget: Budget) -> None:
    """Check *document* against *budget* without building anything. Raises as :func:`load`."""
    if len(document) > budget.bytes:
        raise NotPlainYaml(f"is larger than {budget.bytes // 1024} KiB")
    meter = _Meter(budget)
    with _understood():
        for event in _events(document):
            meter.take(event)


def _events(document: bytes) -> Iterator[yaml.Event]:
    parser = _Parser(document)
    try:
        while (event := parser.get_event()) is not None:
            yield event
    finally:
        parser.dispose()


class _understood:  # noqa: N801 - reads as a statement
    """Turns errors of PyYAML in the block into NotPlainYaml, without the parts of the text that their messages show."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, problem: BaseException | None, _trace: object) -> None:
        if isinstance(problem, yaml.MarkedYAMLError):
            mark = problem.problem_mark
            where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
            raise NotPlainYaml(f"is not one document of plain YAML{where}") from None
        if isinstance(problem, yaml.YAMLError | ValueError | TypeError | LookupError | AttributeError | RecursionError):
            raise NotPlainYaml("is not plain YAML") from None  # the last ones: PyYAML's constructors


@attrs.define
class _Size:
    values: int = 0
    text: int = 0


@attrs.define
class _Meter:
    """Adds up the size of a document, event by event.

    Attributes:
        open: The collections around the current event, each as its anchor and the size counted before it.
        anchored: By anchor: the size of its value.
    """

    budget: Budget
    total: _Size = attrs.field(factory=_Size)
    open: list[tuple[str | None, _Size]] = attrs.field(factory=list)
    anchored: dict[str, _Size] = attrs.field(factory=dict)

    def take(self, event: yaml.Event) -> None:
        """Add the size of *event*; raise NotPlainYaml as soon as the total exceeds the budget."""
        if isinstance(event, yaml.AliasEvent):
            self._add(self._behind(event.anchor))
        elif isinstance(event, yaml.ScalarEvent):
            size = _Size(1, len(event.value))
            self._add(size)
            self._keep(event.anchor, size)
        elif isinstance(event, yaml.CollectionStartEvent):
            self.open.append((event.anchor, attrs.evolve(self.total)))
            self._add(_Size(1))
            if len(self.open) > self.budget.depth + 1:
                raise self._too_deep()
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self.open.pop()
            self._keep(anchor, _Size(self.total.values - before.values, self.total.text - before.text))
        if (getattr(event, "tag", None) or "!") not in _TAGS:
            raise NotPlainYaml("is not one document of plain YAML: it has a tag that kubectl does not know")

    def _behind(self, anchor: str | None) -> _Size:
        """Return the size of the value an alias refers to; refuse one that refers to a collection around it."""
        if any(anchor == each for each, _ in self.open):
            raise self._too_deep()
        return self.anchored.get(anchor or "", _Size(1))  # the parser refuses an unknown anchor

    def _too_deep(self) -> NotPlainYaml:
        return NotPlainYaml(f"is nested more than {self.budget.depth} levels deep")

    def _keep(self, anchor: str | None, size: _Size) -> None:
        if anchor is not None:
            self.anchored[anchor] = size

    def _add(self, size: _Size) -> None:
        self.total.values += size.values
        self.total.text += size.text
        if self.total.values > self.budget.values or self.total.text > self.budget.text:
            limits = f"more than {self.budget.values} values or {self.budget.text} characters"
            raise NotPlainYaml(f"is too large: {limits} when its aliases are written out")


class _PlainLoader(_Parser):  # type: ignore[misc]
    """Builds the value of a document that was measured."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """Return the tag of a node without an explicit one."""
        tag = str(super().resolve(kind, value, implicit))
        if kind is yaml.ScalarNode and (tag in _TEXTS or (tag in _NUMBERS and ":" in value)):
            return f"{_TAG}str"
        return tag

    def number(self, node: yaml.ScalarNode) -> int | float:
        """Return a node's number; refuse a long decimal one, whose conversion takes more time than its length."""
        is_power_of_two = node.tag == f"{_TAG}int" and node.value.lstrip("+-").startswith("0")
        if len(node.value) > LONGEST_NUMBER and not is_power_of_two:
            raise NotPlainYaml(f"is not plain YAML: it has a number of more than {LONGEST_NUMBER} characters")
        build = self.construct_yaml_int if node.tag == f"{_TAG}int" else self.construct_yaml_float
        found: int | float = build(node)
        return found


for _each in _NUMBERS:
    _PlainLoader.add_constructor(_each, _PlainLoader.number)
