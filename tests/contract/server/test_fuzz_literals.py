"""Documents whose outline is known are answered to the letter as if they were met for the first time."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import parse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect.agent.entrypoints.server.graphql.documents import DocumentRefused, Documents
from prefect.agent.entrypoints.server.graphql.parse_cache import outline
from support.fuzzing import TEXTS, Fuzzed, Writer

SAME = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
QUOTED = (*TEXTS, "2022-01-02T03:04:05+00:00", "_", "0", "-1", "no uuid", 'a"b', "\\", "#")
BARE = ("0", "-1", "7", "999999999", "9999999999", "1.5", "1e3", "-0", "007", "true", "null", "asc", "[]")
LITERALS = st.sampled_from([*map(json.dumps, QUOTED), *BARE])


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    """One Cloud for all documents."""
    embedded = Fuzzed(tmp_path_factory.mktemp("fuzz") / "cloud.db")
    embedded.run(embedded.flow(embedded.project(), tasks=2))
    embedded.remember()
    yield embedded
    embedded.first.close()
    embedded.database.close()


def outcome(documents: Documents, text: str) -> Any:
    """The tree that is executed, or why it is refused."""
    try:
        return documents.prepare(text).document.to_dict()
    except DocumentRefused as refused:
        return refused.code, [error.formatted for error in refused.errors]


def with_literals(text: str, values: list[str]) -> str:
    """The document with other literals; those that are not replaced stay."""
    found = outline(text)
    if found is None:
        return text
    parts, last = [], 0
    for (start, end), value in zip(found.spans, values, strict=False):
        parts += [text[last:start], value]
        last = end
    return "".join((*parts, text[last:]))


@SAME
@given(data=st.data())
def test_other_literals_in_a_known_outline(cloud: Fuzzed, data: st.DataObject) -> None:
    """The tree, or the refusal, is that of the ordinary way; so is the answer of a query."""
    writer = Writer(data.draw, cloud.ids)
    first = writer.document()
    ids = st.sampled_from(cloud.ids).map(json.dumps)
    second = with_literals(first, data.draw(st.lists(ids | LITERALS, max_size=6)))
    known = Documents()
    outcome(known, first)

    assert outcome(known, second) == outcome(Documents(), second)

    if first.startswith("query"):
        cloud.restore()
        cloud.execute({"query": first}, {})
        warm = cloud.execute({"query": second}, {})
        cloud.execute._documents.__init__()  # type: ignore[misc]  # forget everything
        assert warm == cloud.execute({"query": second}, {})


@SAME
@given(data=st.data())
def test_damaged_documents(cloud: Fuzzed, data: st.DataObject) -> None:
    """Whatever is put into a known document somewhere: it is understood, or refused, as GraphQL has it."""
    first = Writer(data.draw, cloud.ids).document()
    noise = data.draw(st.text(alphabet='"\\#.-+$@!:,{}()[]e0159_a \n\té\x00', max_size=4))
    at = data.draw(st.integers(0, len(first)))
    second = first[:at] + noise + first[at + data.draw(st.integers(0, 3)) :]
    known = Documents()
    outcome(known, first)

    found = outcome(known, second)

    assert found == outcome(Documents(), second)
    if isinstance(found, dict):
        assert found == parse(second).to_dict()
