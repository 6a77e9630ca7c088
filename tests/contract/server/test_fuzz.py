"""Documents made at random from the schema itself: every one is answered, and none meets an error nobody thought of."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.fuzzing import TEXTS, Fuzzed, Writer

UNEXPECTED: Final = "its log says why"


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
    found = cloud.execute({"query": query, "variables": variables}, {})
    status, body = found.status, found.body
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
