"""Documents that differ in their literals only are prepared once, and answered as if each had been prepared itself."""

from pathlib import Path
from typing import Any

import pytest
from graphql import parse

from prefect.agent.entrypoints.server.graphql.documents import INVALID, UNPARSABLE, DocumentRefused, Documents
from prefect.agent.entrypoints.server.graphql.parse_cache import outline
from support.embedded import Embedded

ONE, TWO = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"


def by_id(value: str, more: str = "") -> str:
    """A document with a literal id."""
    return f"query {{ flow_by_pk(id: {value}) {{ id }} {more} }}"


def tree(documents: Documents, text: str) -> dict[str, Any]:
    """What is executed for a text."""
    return documents.prepare(text).document.to_dict()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{ a(b: "x", c: -12) }', '{ a(b: "_", c: 0) }'),
        ('{ a(b: ["x","y"]) }', '{ a(b: ["_","_"]) }'),
        ('{ a1(b: "") b_2: c }', '{ a1(b: "_") b_2: c }'),
        ('query($i0: Int = 3) { c0: a(b: 1.5, c: 1e5, d: 2) }', 'query($i0: Int = 0) { c0: a(b: 1.5, c: 1e5, d: 0) }'),
        ('{ a(b: "x", c: "say \\"7\\" or 8", d: "é 9") }', '{ a(b: "_", c: "say \\"7\\" or 8", d: "é 9") }'),
        ("{ a(b: 4294967296, c: 007, d: --1) }", None),
        ('{ a(b: "x") } # "y"', None),
        ('{ a(b: """x""", c: "y") }', None),
        ("{ a { b } }", None),
    ],
)  # fmt: skip
def test_what_is_taken_out(text: str, expected: str | None) -> None:
    """Plain strings and short whole numbers; nothing within names, fractions, other strings or comments."""
    outlined = outline(text)

    assert (outlined.outline if outlined else None) == expected


def test_an_outline_is_prepared_once() -> None:
    """The second document gets the first one's tree, with its own literals in it."""
    documents = Documents()
    first = documents.prepare(by_id(f'"{ONE}"'))
    second = documents.prepare(by_id(f'"{TWO}"'))

    assert second.document is first.document
    assert second.document.to_dict() == parse(by_id(f'"{TWO}"')).to_dict()


@pytest.mark.parametrize("value", ['"no uuid"', "7", '""', '"a\\u0041"'])
def test_a_literal_that_does_not_fit_is_refused_as_ever(value: str) -> None:
    """By validation, with its words and its place in this document; what fits is answered afterwards."""
    documents, fresh = Documents(), Documents()
    documents.prepare(by_id(f'"{ONE}"'))

    said = []
    for prepare in (documents.prepare, fresh.prepare):
        with pytest.raises(DocumentRefused) as refused:
            prepare(by_id(value))
        said.append([error.formatted for error in refused.value.errors])

    assert said[0] == said[1]
    assert refused.value.code == INVALID
    assert tree(documents, by_id(f'"{TWO}"')) == parse(by_id(f'"{TWO}"')).to_dict()


def test_a_broken_text_is_refused_by_the_parser() -> None:
    """However much of its outline is known."""
    documents = Documents()
    documents.prepare(by_id(f'"{ONE}"'))

    with pytest.raises(DocumentRefused) as refused:
        documents.prepare(by_id(f'"{ONE}'))

    assert refused.value.code == UNPARSABLE


def test_a_text_that_looks_like_an_outline_is_its_own() -> None:
    """The placeholder is a literal like any other."""
    documents = Documents()
    documents.prepare('{ flow(where: { name: { _eq: "a" } }) { id } }')

    text = '{ flow(where: { name: { _eq: "_" } }) { id } }'

    assert tree(documents, text) == parse(text).to_dict()


def test_fields_of_one_key_must_agree_in_every_document() -> None:
    """They may where their literals are equal, so each such document is judged by itself."""
    documents = Documents()
    documents.prepare(by_id(f'"{ONE}"', f'flow_by_pk(id: "{ONE}") {{ name }}'))

    with pytest.raises(DocumentRefused) as refused:
        documents.prepare(by_id(f'"{ONE}"', f'flow_by_pk(id: "{TWO}") {{ name }}'))

    assert "flow_by_pk" in refused.value.errors[0].message


@pytest.mark.parametrize(
    "where",
    [
        'labels: { _contains: "[\\"a\\", 1]" }',
        "labels: { _contains: [1, 2] }",
        'parameters: { _contains: { x: "a", y: [3, $v] } }',
        f'id: {{ _in: ["{ONE}", "{TWO}"] }}',
        f'id: {{ _in: "{ONE}" }}',
        "version: { _eq: 3 }",
        'created: { _lt: "2020-01-01" }',
    ],
)
def test_literals_of_every_kind(tmp_path: Path, where: str) -> None:
    """In lists, within JSON, in place of a list: a document that comes again is answered, and from its outline."""
    cloud = Embedded(tmp_path / "cloud.db")
    variables = {"v": 1} if "$v" in where else None
    head = "query($v: Int)" if variables else "query"
    document = f'{head} {{ flow_run(where: {{ name: {{ _neq: "%s" }}, {where} }}, limit: 5) {{ id }} }}'

    assert [cloud.ask(document % name, variables) for name in ("a", "b")] == [{"flow_run": []}] * 2

    prepared = [cloud.execute._documents.prepare(document % name) for name in ("c", "d")]
    assert prepared[0].document is prepared[1].document
    cloud.database.close()


def test_errors_point_into_the_text_that_was_sent(tmp_path: Path) -> None:
    """Lines and columns are those of this document, although another one was parsed."""
    cloud, fresh = Embedded(tmp_path / "cloud.db"), Embedded(tmp_path / "fresh.db")
    text = '{ flow(where: { name: { _eq: "%s" } }) { id }\n  b: secret_value(name: "%s") c: secret_value(name: "%s") }'
    cloud.send(text % ("", "x", "y"))

    answers = [each.send(text % (40 * "z", "none", "of these")) for each in (cloud, fresh)]

    assert answers[0] == answers[1]
    places = [error["locations"] for error in answers[0][1]["errors"]]
    assert [place[0]["line"] for place in places] == [2, 2]
    for each in (cloud, fresh):
        each.database.close()
