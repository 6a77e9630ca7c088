"""What the GraphQL adapter makes of the data it gets: outcomes of claims, rows without sense, errors of GraphQL."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from prefect.agent.adapters.system import SystemClock
from prefect.agent.domain.errors import CloudUnavailable, OutcomeUnknown, RequestRejected
from prefect.agent.domain.model.flow_runs import Claimed, Deferred, FlowRun, Lost, Refused
from prefect.agent.domain.model.run_configs import UniversalRun, UnusableRunConfig
from prefect.agent.ports.cloud_api import AgentIdentity, CloudApi, LogLine
from support.stub_cloud import (
    CLAIMED,
    ROW,
    RUN,
    STATE,
    Reply,
    Stub,
    a_request,
    a_run,
    refusal,
    says,
    taken,
)


def ready(cloud: CloudApi, limit: int = 5) -> list[FlowRun]:
    """What is due now."""
    return list(cloud.ready_flow_runs(labels=["z", "y"], before=SystemClock().now(), limit=limit))


REFUSED: Final[dict[str, Callable[[CloudApi], object]]] = {
    "connect": lambda cloud: cloud.connect(),
    "register": lambda cloud: cloud.register(AgentIdentity(name="a", type="DockerAgent")),
    "ready_flow_runs": ready,
    "flow_runs": lambda cloud: cloud.flow_runs([RUN]),
    "write_logs": lambda cloud: cloud.write_logs([LogLine(flow_run_id=RUN, message="m")]),
}


WRAPPED: Final = {
    "code": "INTERNAL_SERVER_ERROR",
    "exception": {"response": {"body": {"errors": [{"extensions": {"code": "BAD_USER_INPUT"}}]}}},
}
"""What a gateway makes of a refusal of the service behind it."""


# --- errors of GraphQL ---


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("status", [200, 400])
def test_a_request_that_is_refused(cloud: CloudApi, stub: Stub, name: str, status: int) -> None:
    """The Cloud understood and says no to all of it: the text has its reason."""
    error = {"message": 'Cannot query field "x"', "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}
    stub.answers(says(status, errors=[error]))
    with pytest.raises(RequestRejected, match="Cannot query field"):
        REFUSED[name](cloud)


def test_a_passing_failure_behind_the_api(cloud: CloudApi, stub: Stub) -> None:
    """API_ERROR is a failure of the Cloud: repeat a read, find out about a change."""
    stub.answers(says(errors=[{"message": "busy", "extensions": {"code": "API_ERROR"}}], data=None))
    with pytest.raises(CloudUnavailable):
        cloud.flow_runs([RUN])
    with pytest.raises(OutcomeUnknown):
        cloud.write_logs([LogLine(flow_run_id=RUN, message="m")])


def test_a_claim_behind_a_failing_api(cloud: CloudApi, stub: Stub) -> None:
    """API_ERROR without a path, as an answer to a claim, leaves its outcome unknown."""
    request = a_request()
    stub.answers(says(errors=[{"message": "busy", "extensions": {"code": "API_ERROR"}}], data=None))
    with pytest.raises(OutcomeUnknown):
        cloud.claim([request])


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"data": {"c0": taken()}}, Claimed),
        ({"data": {"c0": taken("QUEUED", "limit reached")}}, Deferred),
        ({"data": {"c0": None}, "errors": [refusal("c0", "version mismatch", "VERSION_LOCKING_ERROR")]}, Lost),
        ({"data": {"c0": None}, "errors": [refusal("c0", "State update failed: already submitted.")]}, Lost),
        ({"data": {"c0": None}, "errors": [refusal("c0", "bad", "BAD_USER_INPUT")]}, Refused),
        ({"data": {"c0": None}, "errors": [refusal("c0", "database is away")]}, Deferred),
        (
            {"data": {"c0": None}, "errors": [refusal("c0", "request to http://x failed, reason: socket hang up")]},
            Deferred,
        ),
        ({"data": {"c0": None}, "errors": [refusal("c0", "the text has BAD_USER_INPUT in it")]}, Deferred),
        ({"data": {"c0": None}, "errors": [refusal("c0", "after: State update failed")]}, Deferred),
        ({"data": {"c0": None}, "errors": [{**refusal("c0", "x"), "extensions": WRAPPED}]}, Refused),
        ({"data": {"c0": None}}, Deferred),
        ({"data": {"c0": {"states": []}}}, Deferred),
        ({"data": {"c0": {"states": "SUCCESS"}}}, Deferred),
        ({"data": {"other": taken()}}, Deferred),
    ],
)
def test_answers_to_a_claim(cloud: CloudApi, stub: Stub, answer: dict[str, Any], outcome: type) -> None:
    """What the Cloud says about one claim; silence is never a yes."""
    request = a_request()
    stub.answers(says(**answer))

    (found,) = cloud.claim([request])

    assert type(found) is outcome
    assert found.run == request.run
    if isinstance(found, Deferred) and "QUEUED" in str(answer):
        assert found.message == "limit reached"


def test_one_bad_claim_among_many(cloud: CloudApi, stub: Stub) -> None:
    """One alias fails, the others succeed: each request has its own outcome."""
    requests = [a_request(a_run(id=f"run-{number}")) for number in range(3)]
    data = {"c0": taken(), "c1": None, "c2": taken()}
    stub.answers(says(data=data, errors=[refusal("c1", "State update failed: already submitted.")]))

    outcomes = cloud.claim(requests)

    assert [(outcome.run.id, type(outcome)) for outcome in outcomes] == [
        ("run-0", Claimed),
        ("run-1", Lost),
        ("run-2", Claimed),
    ]


def test_what_a_claim_sends(cloud: CloudApi, stub: Stub) -> None:
    """A claim names version and Submitted state; the state wraps the one that waits and carries the record."""
    request = a_request()
    stub.answers(says(data={"c0": taken()}))

    cloud.claim([request])

    (entry,) = stub.asked[-1].variables["i0"]["states"]
    assert (entry["flow_run_id"], entry["version"]) == (RUN, 1)
    assert (entry["state"]["type"], entry["state"]["state"]) == ("Submitted", STATE)
    assert entry["state"]["context"]["prefect_agent"]["claimant"] == "c"


def test_an_unknown_outcome_in_a_later_batch(cloud: CloudApi, stub: Stub) -> None:
    """If the answer for some batches is known, those outcomes are not thrown away with the rest."""
    requests = [a_request(a_run(id=f"run-{number}")) for number in range(30)]
    stub.answers(says(data={f"c{number}": taken() for number in range(25)}), Reply(drops=True))

    outcomes = cloud.claim(requests)

    assert [type(outcome) for outcome in outcomes[:25]] == [Claimed] * 25
    assert Claimed not in {type(outcome) for outcome in outcomes[25:]}
    assert len(outcomes) == 30


def test_an_unavailable_cloud_in_a_later_batch(cloud: CloudApi, stub: Stub) -> None:
    """A Cloud that is away for the second batch takes nothing from what the first one claimed."""
    requests = [a_request(a_run(id=f"run-{number}")) for number in range(30)]
    stub.answers(says(data={f"c{number}": taken() for number in range(25)}), Reply(503))

    outcomes = cloud.claim(requests)

    assert [type(outcome) for outcome in outcomes[:25]] == [Claimed] * 25
    assert Claimed not in {type(outcome) for outcome in outcomes[25:]}


# --- rows ---


@pytest.mark.parametrize(
    "row",
    [
        None,
        7,
        [],
        {},
        {**ROW, "id": None},
        {**ROW, "id": 3},
        {**ROW, "id": ""},
        {**ROW, "version": None},
        {**ROW, "version": "1"},
        {**ROW, "version": True},
        {**ROW, "state": None, "serialized_state": None},
        {**ROW, "state": 5},
    ],
)
def test_a_row_that_names_no_run_is_left_out(
    cloud: CloudApi, stub: Stub, row: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A row without id, version or state is left out with a warning; its neighbours are read."""
    stub.answers(says(data={"flow_run": [row, {**ROW, "id": "good"}]}))

    assert [run.id for run in cloud.flow_runs([RUN])] == ["good"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("rows", [None, {}, "text", 5])
def test_rows_that_are_no_list(cloud: CloudApi, stub: Stub, rows: object) -> None:
    """Anything but a list of rows holds no runs."""
    stub.answers(says(data={"flow_run": rows}))
    assert list(cloud.flow_runs([RUN])) == []
    assert list(cloud.claimed_flow_runs(platform="p")) == []


@pytest.mark.parametrize(
    ("columns", "usable"),
    [
        ({"name": None}, True),
        ({"name": ["x"]}, True),
        ({"flow": None}, True),
        ({"flow": "f"}, True),
        ({"serialized_state": "text"}, True),
        ({"serialized_state": {**STATE, "start_time": "soon"}}, True),
        ({"serialized_state": {**STATE, "start_time": 10**30}}, True),
        ({"task_runs": None}, True),
        ({"task_runs": {"a": 1}}, True),
        ({"run_config": None}, True),
        ({"run_config": "UniversalRun"}, False),
        ({"run_config": {"type": ["UniversalRun"]}}, False),
        ({"run_config": {"type": "UniversalRun", "env": [1]}}, False),
        ({"run_config": {"type": "UniversalRun", "env": {"A": {"b": 1}}}}, False),
        ({"run_config": {"type": "Nonsense"}}, False),
    ],
)
def test_nonsense_about_one_run(columns: dict[str, Any], usable: bool) -> None:
    """Columns of wrong types never raise: the run is read, and what cannot be honoured is said on it."""
    run = a_run(**columns)

    assert run.id == RUN
    assert isinstance(run.run_config, UniversalRun if usable else UnusableRunConfig)


@pytest.mark.parametrize("storage", ["Local", {"type": 5}, {"type": "Docker"}, {"type": "Docker", "image_name": 1}])
def test_storage_without_sense(storage: object) -> None:
    """Storage that makes no sense is said on the run."""
    run = a_run(flow={"id": "f", "storage": storage})
    assert run.flow.storage.problem


@pytest.mark.parametrize("found", [None, "x", {"flow_run_ids": None}, {"flow_run_ids": [None, 3, {}]}])
def test_a_queue_without_sense(cloud: CloudApi, stub: Stub, found: object) -> None:
    """A queue that is none holds nothing, and nothing more is asked."""
    stub.answers(says(data={"get_runs_in_queue": found}))
    assert ready(cloud) == []
    assert len(stub.asked) == 1


def test_a_queue_that_gives_more_than_it_should(cloud: CloudApi, stub: Stub) -> None:
    """More ids than asked for, and one twice: the limit holds, each comes once, in the queue's order."""
    queue = says(data={"get_runs_in_queue": {"flow_run_ids": ["b", "a", "b", "c"]}})
    stub.answers(queue, says(data={"flow_run": [{**ROW, "id": "a"}, {**ROW, "id": "b"}, {**ROW, "id": "b"}]}))

    runs = ready(cloud, limit=2)

    assert [run.id for run in runs] == ["b", "a"]
    assert stub.asked[0].variables["input"]["labels"] == ["y", "z"]
    assert '"c"' not in stub.asked[1].query


@pytest.mark.parametrize("state", ["Running", "Submitted", "Success", "Cancelled", "NoSuchState"])
def test_runs_that_do_not_wait_are_not_offered(cloud: CloudApi, stub: Stub, state: str) -> None:
    """A run that moved on between the queue's answer and the look at it is not offered."""
    queue = says(data={"get_runs_in_queue": {"flow_run_ids": ["a", "b"]}})
    moved = {**ROW, "id": "a", "state": state, "serialized_state": {"type": state}}
    stub.answers(queue, says(data={"flow_run": [moved, {**ROW, "id": "b"}]}))

    assert [run.id for run in ready(cloud)] == ["b"]


def test_runs_that_were_not_asked_for_are_not_offered(cloud: CloudApi, stub: Stub) -> None:
    """A run that the queue did not name is not offered, even if the Cloud sends it."""
    queue = says(data={"get_runs_in_queue": {"flow_run_ids": ["a"]}})
    stub.answers(queue, says(data={"flow_run": [{**ROW, "id": "a"}, {**ROW, "id": "uninvited"}]}))

    runs = ready(cloud)

    assert [run.id for run in runs] == ["a"]


@pytest.mark.parametrize("rows", [None, [], "x", [None], [{"id": None}]])
def test_no_tenant(cloud: CloudApi, stub: Stub, rows: object) -> None:
    """Without a tenant there is nothing to do, and the text says so."""
    stub.answers(says(data={"tenant": rows}))
    with pytest.raises(RequestRejected, match="tenant"):
        cloud.connect()


@pytest.mark.parametrize("answer", [None, {}, {"id": None}, {"id": 5}, "x"])
def test_no_agent_id(cloud: CloudApi, stub: Stub, answer: object) -> None:
    """An agent that gets no id is an error."""
    stub.answers(says(data={"register_agent": answer}))
    with pytest.raises(RequestRejected):
        cloud.register(AgentIdentity(name="a", type="DockerAgent"))


def test_pages_that_never_end(cloud: CloudApi, stub: Stub) -> None:
    """A Cloud that sends the same full page for ever does not keep the adapter busy for ever."""
    page = [{**ROW, "id": f"{number:04}", "state": "Submitted"} for number in range(1000)]
    stub.answers(says(data={"flow_run": page}))
    assert list(cloud.claimed_flow_runs(platform="p")) == []
    assert len(stub.asked) <= 3


def test_a_claimed_page_with_rows_without_sense(cloud: CloudApi, stub: Stub) -> None:
    """A full page with one bad row is a full page: the runs of the next one are found as well."""
    first = [{**CLAIMED, "id": f"{number:04}"} for number in range(999)] + [{**CLAIMED, "id": "0999", "version": None}]
    stub.answers(says(data={"flow_run": first}), says(data={"flow_run": [{**CLAIMED, "id": "1000"}]}))

    found = {run.id for run in cloud.claimed_flow_runs(platform="p")}

    assert "1000" in found
    assert len(found) == 1000


def test_rows_to_choose_from_are_light(cloud: CloudApi, stub: Stub) -> None:
    """Nothing that is needed only to start a run is read for runs that live."""
    light = {name: CLAIMED[name] for name in ("id", "version", "state", "name", "claims")}
    stub.answers(says(data={"flow_run": [light]}))

    (run,) = cloud.claimed_flow_runs(platform="p")

    assert run.claim is not None
    assert (run.claim.unit, run.state.name) == ("u", "Submitted")
    for word in ("run_config", "flow {", "parameters"):
        assert word not in stub.asked[-1].query
