"""What clients send - states, flows, times - is read or refused, never believed."""

import base64
import gzip
import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefect.agent.domain import state_names
from prefect.agent.domain.cloud import registration, states
from prefect.agent.domain.cloud.errors import CloudRefusal

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
STATES = st.fixed_dictionaries(
    {"type": st.one_of(JSON, st.sampled_from(sorted(state_names.PARENTS)))},
    optional={"message": JSON, "start_time": JSON, "_result": JSON, "context": JSON},
)
DEEP = "[" * 100_000


@given(st.one_of(JSON, STATES, STATES.map(json.dumps)))
@example({"type": "Scheduled", "start_time": ""})
@example({"type": ["Running"]})
def test_a_payload_is_a_state_or_refused(payload: Any) -> None:
    """Whatever a client sends: a state of a known type, or a CloudRefusal whose text official agents understand."""
    try:
        state = states.read_state(payload)
    except CloudRefusal:
        return
    assert state.type in state_names.PARENTS
    assert state.message is None or isinstance(state.message, str)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"type": "Aborted"}, "State update failed: 'Aborted' is not a state type"),
        ({"message": "x"}, "None is not a state type"),
        ([], "a state is an object"),
        ("nonsense", "the state is not JSON"),
        ({"type": "Failed", "message": "x" * 1_000_001}, "larger than 1000000 bytes"),
        ({"type": "Scheduled", "start_time": "tomorrow"}, "'tomorrow' is not a time"),
    ],
    ids=["unknown", "untyped", "list", "text", "large", "time"],
)
def test_what_is_wrong_with_a_state_is_said(payload: Any, words: str) -> None:
    """The refusal names the fault."""
    with pytest.raises(CloudRefusal, match=words):
        states.read_state(payload)


def test_a_state_written_as_json_within_json_is_read() -> None:
    """A JSON scalar may come as a quoted literal (protocol section 1.3)."""
    payload = {"type": "Scheduled", "message": "m", "start_time": "2022-05-04T06:48:30", "extra": [1]}

    state = states.read_state(json.dumps(payload))

    assert (state.type, state.message) == ("Scheduled", "m")
    assert state.start_time == datetime(2022, 5, 4, 6, 48, 30, tzinfo=timezone.utc)
    assert state.payload == payload


def test_states_form_a_family() -> None:
    """The groups follow from the table of parents (protocol section 4A)."""
    assert state_names.ancestors("Cached") == {"Cached", "Success", "Finished"}
    assert state_names.ancestors("Pending") == {"Pending"}
    assert {"Scheduled", "Resume", "Retrying", "Paused", "Queued"} == state_names.SCHEDULED
    assert "Cancelled" in state_names.FINISHED
    assert "Cancelling" not in state_names.FINISHED
    assert {"Running", "Cancelling"} == state_names.EXECUTING
    assert {"Success", "Cached", "Mapped", "Skipped"} == state_names.SUCCESSFUL
    assert {"Submitted", "Running", "Cancelling"} == state_names.OPEN


def test_states_of_the_cloud_itself_can_be_read_back() -> None:
    """What the Cloud stores by itself is a state like any other."""
    moment = datetime(2022, 5, 4, tzinfo=timezone.utc)

    for state in (states.scheduled(moment, "m"), states.plain("Cancelled", "c")):
        assert states.read_state(state.payload) == state


def packed(flow: object) -> str:
    """A flow as clients compress it."""
    return base64.b64encode(gzip.compress(json.dumps(flow).encode())).decode()


def test_a_compressed_flow_is_unpacked() -> None:
    """base64(gzip(JSON)), as `prefect register` sends it (protocol section 12.4)."""
    assert registration.decompress_flow(packed({"name": "f", "tasks": []})) == {"name": "f", "tasks": []}


@given(st.one_of(st.text(), st.binary().map(lambda raw: base64.b64encode(raw).decode()), JSON.map(packed)))
@example(base64.b64encode(gzip.compress(b"{}")[:-5]).decode())
def test_what_is_no_flow_is_refused(text: str) -> None:
    """Whatever comes in a flow's place: a CloudRefusal, nothing else."""
    try:
        flow = registration.decompress_flow(text)
    except CloudRefusal:
        return
    assert isinstance(flow["name"], str)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_flow_that_was_damaged_on_its_way_is_refused(place: int, flip: int) -> None:
    """One wrong byte in the compressed data is refused like any other nonsense, or does not matter."""
    data = bytearray(gzip.compress(json.dumps({"name": "f", "tasks": list(range(99))}).encode()))
    data[place % len(data)] ^= flip
    try:
        registration.decompress_flow(base64.b64encode(bytes(data)).decode())
    except CloudRefusal:
        return
    assert data[:2] == b"\x1f\x8b"


def test_a_small_request_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow that unpacks to more than the limit is refused without being unpacked whole."""
    monkeypatch.setattr(registration, "MAX_FLOW_BYTES", 1000)

    with pytest.raises(CloudRefusal, match="larger than"):
        registration.decompress_flow(packed({"name": "f" * 2000}))


@pytest.mark.parametrize("flow", [None, [], {}, {"name": ""}, {"name": 3}, "[]", "{"])
def test_a_flow_is_an_object_with_a_name(flow: object) -> None:
    """Anything else is refused."""
    with pytest.raises(CloudRefusal):
        registration.check_flow(flow)


@pytest.mark.parametrize(
    "read", [states.read_state, registration.check_flow, registration.decompress_flow], ids=lambda read: read.__name__
)
def test_json_that_is_nested_too_deeply_is_refused(read: Callable[[str], object]) -> None:
    """JSON within JSON that exhausts the interpreter's stack is a client's fault like any other nonsense."""
    text = base64.b64encode(gzip.compress(DEEP.encode())).decode() if read is registration.decompress_flow else DEEP
    try:
        read(text)
    except CloudRefusal:
        return
    except RecursionError:
        pytest.fail("RecursionError instead of CloudRefusal", pytrace=False)
    pytest.fail("nonsense was believed")


@pytest.mark.parametrize(
    ("flow", "version"),
    [
        ({"run_config": {"__version__": "1"}, "storage": {"__version__": "2"}, "__version__": "3"}, "1"),
        ({"environment": {"__version__": "1"}, "storage": {"__version__": "2"}}, "1"),
        ({"run_config": None, "storage": {"__version__": "2"}, "__version__": "3"}, "2"),
        ({"__version__": "3"}, "3"),
        ({"run_config": {"__version__": 5}}, None),
        ({}, None),
    ],
)
def test_the_version_that_made_a_flow(flow: dict[str, Any], version: str | None) -> None:
    """Of its run config or environment, storage, or itself: the first that says so."""
    assert registration.core_version(flow) == version


def test_a_task_becomes_columns() -> None:
    """Trigger, retries and tags are what the serialized task says, or their defaults."""
    task = {"slug": "a-1", "name": "a", "type": "x.Task", "retry_delay": 30, "trigger": {"fn": "t"}, "mapped": 1}

    columns = registration.task_columns(task, reference=True)

    assert columns["slug"] == "a-1"
    assert (columns["retry_delay"], columns["trigger"], columns["max_retries"]) == ("30", "t", 0)
    assert (columns["mapped"], columns["is_reference_task"], columns["tags"]) == (True, True, [])


@pytest.mark.parametrize("task", [None, [], {}, {"slug": 1}, "x"])
def test_a_task_without_a_slug_is_refused(task: Any) -> None:
    """Edges and task runs name tasks by slug."""
    with pytest.raises(CloudRefusal):
        registration.task_columns(task, reference=False)


def test_edges_tell_where_a_task_stands() -> None:
    """What has nothing upstream is a root, what has nothing downstream is terminal, what is mapped over is mapped."""
    edges: list[dict[str, Any]] = [
        {"upstream_task": {"slug": "a"}, "downstream_task": {"slug": "b"}},
        {"upstream_task": {"slug": "b"}, "downstream_task": {"slug": "c"}, "mapped": True},
    ]

    assert registration.edge_slugs(edges) == ({"b", "c"}, {"a", "b"}, {"c"})


@pytest.mark.parametrize("edge", [{}, None, [], {"upstream_task": {"slug": "a"}}, {"upstream_task": "a"}])
def test_an_edge_with_one_end_is_refused(edge: Any) -> None:
    """Both ends are named by slug."""
    with pytest.raises(CloudRefusal):
        registration.edge_ends(edge)
