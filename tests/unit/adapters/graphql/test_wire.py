"""Between the backend's JSON and the domain's values: nothing that a backend sends can make it raise."""

import json
from datetime import datetime, timezone
from typing import Any

import attrs
from hypothesis import example, given
from hypothesis import strategies as st

from prefect.agent.adapters.graphql import documents, records, wire
from prefect.agent.adapters.graphql.run_configs import read_run_config, read_storage
from prefect.agent.domain.model.run_configs import RunConfig, UnusableRunConfig
from prefect.agent.domain.model.units import unit_name
from support.builders import a_record, a_run
from support.graphql import work

LATE = datetime(2030, 1, 1, tzinfo=timezone.utc)
"""After everything in the vectors was due."""

TEXT = st.lists(st.one_of(st.characters(), st.sampled_from("aA/-\ud800")), max_size=5).map("".join)
"""Half surrogate pairs included: JSON can hold them."""

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(["Scheduled", "Running", "Submitted", "Retrying", "Failed"])


def mostly(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values as they should be, and others."""
    return st.one_of(right, right, right, JSON)


TIMES = st.datetimes().map(str)
_KINDS_OF_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "claimed_at": TIMES,
    "create_until": TIMES,
    "recoveries": st.integers(),
}
RECORDS = st.fixed_dictionaries(
    {field.name: mostly(_KINDS_OF_FIELDS.get(field.name, TEXT)) for field in attrs.fields(type(a_record(a_run())))}
)
STATES = st.fixed_dictionaries(
    {"type": mostly(KINDS)},
    optional={
        "message": JSON,
        "start_time": mostly(st.datetimes().map(str)),
        "context": mostly(st.fixed_dictionaries({records.RECORD_KEY: mostly(RECORDS)})),
    },
)
HISTORY = st.fixed_dictionaries(
    {"state": mostly(KINDS), "version": mostly(st.integers()), "timestamp": mostly(TIMES), "serialized_state": STATES}
)
CLAIMED_TASKS = st.fixed_dictionaries({"claims": mostly(st.lists(HISTORY, max_size=2))})
TASK_RUNS = st.fixed_dictionaries(
    {"id": mostly(TEXT), "version": mostly(st.integers()), "serialized_state": mostly(STATES)},
    optional={"state": mostly(KINDS), "state_timestamp": mostly(TIMES)},
)
RUN_CONFIGS = st.fixed_dictionaries(
    {"type": mostly(st.sampled_from(["UniversalRun", "LocalRun", "DockerRun", "KubernetesRun"]))},
    optional={
        "env": mostly(st.dictionaries(TEXT, JSON, max_size=3)),
        "image": JSON,
        "ports": mostly(st.lists(JSON, max_size=3)),
        "host_config": JSON,
        "working_dir": JSON,
        "job_template": JSON,
        "cpu_limit": JSON,
        "memory_request": JSON,
        "image_pull_secrets": mostly(st.lists(JSON, max_size=3)),
    },
)
STORAGES = st.fixed_dictionaries(
    {"type": mostly(st.sampled_from(["Docker", "Local"]))},
    optional={"image_name": JSON, "image_tag": JSON, "registry_url": JSON},
)
ROWS = st.fixed_dictionaries(
    {"id": mostly(TEXT), "version": mostly(st.integers()), "serialized_state": mostly(STATES)},
    optional={
        "state": mostly(KINDS),
        "name": JSON,
        "run_config": mostly(RUN_CONFIGS),
        "flow": mostly(st.fixed_dictionaries({"id": JSON, "core_version": JSON, "storage": mostly(STORAGES)})),
        "task_runs": mostly(st.lists(TASK_RUNS, max_size=3)),
        "claims": mostly(st.lists(HISTORY, max_size=2)),
        "claimed": mostly(st.lists(CLAIMED_TASKS, max_size=2)),
    },
)


HALF = "\ud800"
HALF_TASK = {"id": HALF, "version": 1, "serialized_state": {"type": "Retrying", "start_time": "2022-05-04T07:03:32Z"}}
"""Half a surrogate pair, as the id of a task run."""


@given(st.one_of(JSON, ROWS, ROWS))
@example({"id": "a", "version": 1, "state": "Running", "task_runs": [HALF_TASK]})
def test_a_row_is_a_run_or_nothing(row: Any) -> None:
    """Hostile data about one run makes that run unusable at most, and everything said of it can be used."""
    run = wire.read_flow_run(row, LATE)

    if run is not None:
        assert run.id == row["id"]
        assert str(run.attempt)
        assert work(run).command[0] == "prefect"


@given(ROWS)
def test_a_run_that_could_be_read_can_be_claimed(row: Any) -> None:
    """Unit name and claim document of any run that was read can be made and sent."""
    run = wire.read_flow_run(row, LATE)
    if run is None:
        return
    record = a_record(run)
    state = records.submitted_state(row.get("serialized_state"), record)
    document, variables = documents.updates([(documents.SET_FLOW_RUN, {"flow_run_id": run.id, "state": state})])

    assert record.unit == unit_name(run.id, run.attempt)
    assert json.dumps([document, variables]).encode()


@given(ROWS)
def test_an_attempt_is_the_same_whenever_it_is_read(row: Any) -> None:
    """Two agents that read the same row make the same unit name, in whatever order task runs come."""
    first = wire.read_flow_run(row, LATE)
    tasks = row.get("task_runs")
    turned = {**row, "task_runs": tasks[::-1]} if isinstance(tasks, list) else row

    second = wire.read_flow_run(turned, LATE)

    if first is None or second is None:
        assert first is second
        return
    if len({task_run.id for task_run in first.due_task_runs}) == len(first.due_task_runs):
        assert first.attempt == second.attempt


@given(st.one_of(JSON, RUN_CONFIGS))
@example({"type": []})
@example({"type": "LocalRun", "working_dir": True})
def test_any_json_is_a_run_config(value: Any) -> None:
    """What makes no sense becomes a sentence for its maker."""
    config = read_run_config(value)

    assert isinstance(config, RunConfig)
    assert {type(word) for pair in config.env.items() for word in pair} <= {str}
    assert not isinstance(config, UnusableRunConfig) or len(config.reason) > 10


@given(st.one_of(JSON, STORAGES))
def test_any_json_is_a_storage(value: Any) -> None:
    """An image is a text or absent, and a storage without sense says so."""
    storage = read_storage(value)

    assert storage.image is None or isinstance(storage.image, str)
    assert storage.problem is None or not storage.image
