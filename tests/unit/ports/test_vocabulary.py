"""``prefect.agent.ports`` has every type that the author of an adapter names, and its docstrings are sentences."""

import ast
import inspect
import re
import typing
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NewType, get_args, get_type_hints

import attrs
import pytest

from prefect.agent import ports
from prefect.agent.domain import errors
from prefect.agent.domain.model import run_configs

PORTS: Final = (ports.ExecutionPlatform, ports.CloudApi, ports.Clock, ports.Presence, ports.ReportStore)
FOLDER: Final = Path(ports.__file__).parent
OURS: Final = "prefect.agent."


def names_in(hint: Any) -> Iterator[Any]:
    """The classes and new types of this package that a type hint mentions, at any depth."""
    if isinstance(hint, list | tuple):
        for each in hint:
            yield from names_in(each)
    elif isinstance(hint, NewType) or (inspect.isclass(hint) and hint.__module__.startswith(OURS)):
        yield hint
    else:
        yield from names_in(get_args(hint))


def functions_of(cls: type) -> Iterator[Callable[..., Any]]:
    """Public methods and the getters of public properties."""
    for name, member in inspect.getmembers(cls):
        function = member.fget if isinstance(member, property) else member
        if not name.startswith("_") and inspect.isfunction(function):
            yield function


def mentioned_by(cls: type) -> Iterator[Any]:
    """What the fields and public signatures of a class mention."""
    for function in functions_of(cls):
        yield from names_in(list(get_type_hints(function).values()))
    if attrs.has(cls):
        hints = get_type_hints(cls)
        for field in attrs.fields(cls):
            yield from names_in(hints[field.name])


def reachable(found: set[Any], cls: Any) -> set[Any]:
    """*found* with all that is mentioned from *cls* on, recursively."""
    found.add(cls)
    for each in mentioned_by(cls) if inspect.isclass(cls) else ():
        if each not in found:
            reachable(found, each)
    return found


def exported() -> set[Any]:
    """The classes and new types that ``prefect.agent.ports`` exports."""
    values = [getattr(ports, name) for name in ports.__all__]
    return {value for value in values if inspect.isclass(value) or isinstance(value, NewType)}


@pytest.mark.parametrize("port", PORTS, ids=lambda port: port.__name__)
def test_every_type_that_a_port_mentions_is_exported(port: type) -> None:
    """Parameters, results, and the fields of both, recursively: an author imports from one place."""
    found = reachable(set(), port)

    assert len(found) > 1 or port in {ports.Presence, ports.ReportStore}
    assert sorted(each.__name__ for each in found - exported()) == []


def test_every_error_is_exported() -> None:
    """Errors are in no signature, but an adapter raises them."""
    defined = {each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, errors.AgentError)}

    assert defined <= exported()


def test_every_run_config_is_exported() -> None:
    """A platform names one, and a Cloud adapter makes them; each can be made of ``env`` alone, but for the unusable."""
    defined = {
        each for each in vars(run_configs).values() if inspect.isclass(each) and issubclass(each, ports.RunConfig)
    }

    assert defined <= exported()
    for config in defined - {ports.UnusableRunConfig}:
        assert config(env={"A": "1"}).env == {"A": "1"}


def test_nothing_is_exported_that_an_author_does_not_need() -> None:
    """A class is exported because a port mentions it, or it is an error, a subclass or a value of what one mentions."""
    wanted: set[Any] = {ports.Event, ports.Wake}
    for port in PORTS:
        reachable(wanted, port)
    wanted |= {errors.AgentError, ports.PlatformOption}  # an option is declared beside a factory

    assert [each.__name__ for each in exported() if not wanted & {*getattr(each, "__mro__", [each])}] == []


def test_aliases_are_the_unions_that_signatures_use() -> None:
    """An alias is dissolved in a signature: those that are exported are compared by their parts."""
    assert set(get_args(ports.ClaimOutcome)) == {ports.Claimed, ports.Lost, ports.Deferred, ports.Refused}
    assert typing.get_origin(ports.Entry) is not None
    assert [*names_in(ports.EventSink)] == [ports.Event]


def docstrings() -> Iterator[tuple[str, str]]:
    """Where each docstring of the ports stands, and its text; those of constants and attributes too."""
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                yield f"{path.name}:{node.lineno}", inspect.cleandoc(node.value.value)


def test_every_public_part_of_a_port_has_a_docstring() -> None:
    """Methods and properties included; only a magic method needs none."""
    bare = [
        f"{path.name}:{node.lineno}"
        for path in sorted(FOLDER.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not ast.get_docstring(node)
    ]

    assert bare == []


def test_docstrings_are_sentences_in_the_words_of_the_field() -> None:
    """Each begins with a capital, ends its first paragraph with a stop, and avoids the words of the old dialect."""
    words = "whoever|somebody|nobody|everybody|trouble|told|tells|lets go|hear of|nonsense"
    dialect = re.compile(rf"\b({words})\b", re.IGNORECASE)
    wrong = [
        f"{where} {text.splitlines()[0]}"
        for where, text in docstrings()
        if not re.match(r"[A-Z\"]", text)
        or not text.split("\n\n")[0].rstrip().endswith((".", ":"))
        or dialect.search(text)
    ]

    assert wrong == []


def test_every_event_says_when_it_is_reported() -> None:
    """A name that is added needs a docstring of its own: sinks of other people are written from them."""
    body = ast.parse((FOLDER / "events.py").read_text(encoding="utf-8")).body
    bare = [
        node.target.id
        for node, following in pairwise(body)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not isinstance(following, ast.Expr)
    ]

    assert bare == []
