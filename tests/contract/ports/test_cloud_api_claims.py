"""Claims and ends over GraphQL as backends answer them that are not the embedded Cloud."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

import attrs
import pytest

from prefect.agent.adapters.graphql import GraphQLCloudApi
from prefect.agent.adapters.system import SystemClock
from prefect.agent.domain.errors import CloudUnavailable, OutcomeUnknown, Unauthorised
from prefect.agent.domain.model.ends import End, EndKind, EndVerdict
from prefect.agent.domain.model.flow_runs import Claimed, Deferred, FlowRunId, Lost, Refused, SimpleAttempt
from prefect.agent.ports.cloud_api import CloudApi
from support.stub_cloud import (
    CLAIMED,
    ROW,
    RUN,
    STATE,
    SUBMITTED,
    Asked,
    Reply,
    Stub,
    a_request,
    a_run,
    refusal,
    says,
    taken,
)

LOCKED: Final = "State update failed: this run has already been submitted."
HUNG_UP: Final = "request to http://apollo:4200 failed, reason: socket hang up"
REJECTED: Final = {"message": "bad document", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}
FAILED_ROW: Final = {**CLAIMED, "version": 3, "state": "Failed", "serialized_state": {"type": "Failed"}}


# --- claims ---


@pytest.mark.parametrize("header", [None, "compare-and-set", "Compare-And-Set", "none"])
def test_a_backend_says_whether_it_compares(cloud: CloudApi, stub: Stub, header: str | None) -> None:
    """Claims are compared and set only where the backend says so; each answer counts anew."""
    headers = {"Prefect-Claims": header} if header else {}
    stub.answers(says(200, headers, data={"flow_run": []}), says(data={"flow_run": []}))

    assert not cloud.compares
    cloud.flow_runs([RUN])
    assert cloud.compares == (header is not None and header.lower() == "compare-and-set")
    cloud.flow_runs([RUN])
    assert not cloud.compares


def test_an_attempt_of_another_adapter_is_not_sent(cloud: CloudApi, stub: Stub) -> None:
    """A run that was not read from this Cloud is refused; its neighbours are claimed."""
    good = a_request()
    bad = attrs.evolve(good, run=attrs.evolve(good.run, attempt=SimpleAttempt("1")))
    stub.answers(says(data={"c0": taken()}))

    outcomes = cloud.claim([bad, good, bad])

    assert [type(outcome) for outcome in outcomes] == [Refused, Claimed, Refused]
    assert len(stub.asked) == 1
    assert list(stub.asked[0].variables) == ["i0"]
    assert [type(outcome) for outcome in cloud.claim([bad])] == [Refused]
    assert len(stub.asked) == 1


@pytest.mark.parametrize("state", ["Running", "Cancelling", "Success", "Failed", "NoSuchState"])
def test_a_run_that_does_not_wait_is_not_claimed(cloud: CloudApi, stub: Stub, state: str) -> None:
    """A Cloud that compares nothing would take the claim: it is lost without being sent."""
    request = a_request(a_run(state=state, serialized_state={"type": state}))

    assert [type(outcome) for outcome in cloud.claim([request])] == [Lost]
    assert stub.asked == []


def test_a_claim_over_sends_the_original_waiting_state(cloud: CloudApi, stub: Stub) -> None:
    """A Submitted run is claimed over at the version that was read, around the state that waited first."""
    request = a_request(a_run(**CLAIMED))
    stub.answers(says(data={"c0": taken()}))

    (outcome,) = cloud.claim([request])

    (entry,) = stub.asked[-1].variables["i0"]["states"]
    assert isinstance(outcome, Claimed)
    assert (entry["version"], entry["state"]["type"], entry["state"]["state"]) == (2, "Submitted", STATE)


def test_claimed_task_runs_are_claimed_over(cloud: CloudApi, stub: Stub) -> None:
    """A Running run without due task runs is claimed over by its Submitted ones."""
    retry = {"type": "Retrying", "start_time": STATE["start_time"]}
    task_run = {"id": "t1", "version": 7, "state": "Submitted", "serialized_state": {**SUBMITTED, "state": retry}}
    run = a_run(state="Running", serialized_state={"type": "Running"}, task_runs=[task_run])
    stub.answers(says(data={"c0": taken()}))

    (outcome,) = cloud.claim([a_request(run)])

    (entry,) = stub.asked[-1].variables["i0"]["states"]
    assert isinstance(outcome, Claimed)
    assert (entry["task_run_id"], entry["version"], entry["state"]["state"]) == ("t1", 7, retry)


def test_a_locked_run_is_lost_or_tried_later(cloud: CloudApi, stub: Stub) -> None:
    """Prefect Server refuses a second claim for 30 s: a claim over waits for that, any other claim is lost."""
    waiting, held = a_request(), a_request(a_run(**CLAIMED))
    answers = [refusal("c0", LOCKED), refusal("c1", LOCKED)]
    stub.answers(says(data={"c0": None, "c1": None}, errors=answers))
    before = SystemClock().now()

    lost, later = cloud.claim([waiting, held])

    assert isinstance(lost, Lost)
    assert isinstance(later, Deferred)
    assert later.until is not None
    assert timedelta(seconds=25) < later.until - before < timedelta(seconds=60)


def test_a_batch_that_is_rejected_is_halved(cloud: CloudApi, stub: Stub) -> None:
    """A document that is rejected as a whole hides one bad claim: all others are made."""
    requests = [a_request(a_run(id=f"run-{number}")) for number in range(25)]

    def answer(asked: Asked) -> Reply:
        names = _entries(asked, "flow_run_id")
        if "run-7" in names:
            return says(400, errors=[REJECTED])
        return says(data={f"c{number}": taken() for number in range(len(names))})

    stub.script = answer
    outcomes = cloud.claim(requests)

    kinds = {outcome.run.id: type(outcome) for outcome in outcomes}
    assert [outcome.run.id for outcome in outcomes] == [request.run.id for request in requests]
    assert kinds.pop(FlowRunId("run-7")) is Refused
    assert set(kinds.values()) == {Claimed}
    assert len(stub.asked) < 15


@pytest.mark.parametrize("status", [400, 409, 422])
def test_a_gateway_says_nothing_about_a_run(cloud: CloudApi, stub: Stub, status: int) -> None:
    """A 4xx without a code of the API leaves the outcome of claims unknown; nothing is refused, or sent again."""
    request = a_request()
    stub.answers(says(status, errors=[{"message": "request blocked", "extensions": {"code": "WAF"}}]))

    with pytest.raises(OutcomeUnknown):
        cloud.claim([request])
    assert len(stub.asked) == 1


# --- ends ---


def ends(count: int, kind: EndKind = EndKind.FAILED) -> list[End]:
    """Ends of that many runs."""
    return [End(run_id=FlowRunId(f"run-{n:02}"), unit="u", kind=kind, message="gone") for n in range(count)]


def _entries(asked: Asked, name: str) -> list[str]:
    return [each["states"][0].get(name) for each in asked.variables.values()]


@attrs.define
class Backend:
    """Runs that are Submitted until an update of theirs is applied; *change* answers the updates."""

    change: Callable[["Backend", Asked], Reply]
    rows: dict[str, dict[str, Any]] = attrs.field(factory=dict)

    def __call__(self, asked: Asked) -> Reply:
        """Answer."""
        if asked.query.startswith("mutation"):
            return self.change(self, asked)
        wanted = [run_id for run_id in (f"run-{n:02}" for n in range(99)) if f'"{run_id}"' in asked.query]
        return says(data={"flow_run": [self.rows.get(run_id) or {**CLAIMED, "id": run_id} for run_id in wanted]})

    def apply(self, asked: Asked, but: Sequence[str] = ()) -> None:
        """Carry the updates out, but for some runs."""
        for run_id in _entries(asked, "flow_run_id"):
            if run_id not in but:
                self.rows[run_id] = {**FAILED_ROW, "id": run_id}


def applied(backend: Backend, asked: Asked) -> Reply:
    """All is well."""
    backend.apply(asked)
    return says(data={f"c{n}": taken() for n in range(len(asked.variables))})


def test_an_end_names_the_version_that_was_read(cloud: CloudApi, stub: Stub) -> None:
    """Where the Cloud can compare, a run that moved on in between is not overwritten."""
    stub.script = Backend(applied)

    (outcome,) = cloud.end(ends(1))

    (entry,) = stub.asked[1].variables["i0"]["states"]
    assert outcome.verdict is EndVerdict.SETTLED
    assert (entry["version"], entry["state"]["type"], entry["state"]["message"]) == (2, "Failed", "gone")
    assert len(stub.asked) == 3


def test_an_end_is_settled_by_what_is_read_back(cloud: CloudApi, stub: Stub) -> None:
    """A Cloud that says yes and does nothing has not settled anything."""
    stub.script = Backend(lambda _backend, _asked: says(data={"c0": taken()}))

    (outcome,) = cloud.end(ends(1))

    assert outcome.verdict is EndVerdict.UNKNOWN
    assert "still Submitted" in outcome.reason


@pytest.mark.parametrize("is_applied", [True, False])
@pytest.mark.parametrize(
    "reply",
    [
        says(data={"c0": None}, errors=[refusal("c0", HUNG_UP)]),
        says(data=None, errors=[{"message": HUNG_UP, "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]),
        says(data=None, errors=[{"message": "busy", "extensions": {"code": "API_ERROR"}}]),
        Reply(500),
        Reply(502, b"<html>"),
        says(409, errors=[{"message": "conflict"}]),
        Reply(drops=True),
    ],
    ids=["hung up", "whole", "API_ERROR", "500", "502", "409", "dropped"],
)
def test_an_unknown_outcome_is_read_back(cloud: CloudApi, stub: Stub, reply: Reply, *, is_applied: bool) -> None:
    """Whatever the answer to an update says, only codes that name the request refuse it; the run itself decides."""

    def change(backend: Backend, asked: Asked) -> Reply:
        if is_applied:
            backend.apply(asked)
        return reply

    stub.script = Backend(change)

    (outcome,) = cloud.end(ends(1))

    assert outcome.verdict is (EndVerdict.SETTLED if is_applied else EndVerdict.UNKNOWN)
    assert bool(outcome.reason) is not is_applied
    assert len(stub.asked) == 3


def test_a_refused_end_is_an_outcome_of_its_own(cloud: CloudApi, stub: Stub) -> None:
    """One update that the API calls wrong says why; its neighbours are settled."""

    def change(backend: Backend, asked: Asked) -> Reply:
        backend.apply(asked, but=["run-01"])
        return says(data={"c0": taken(), "c1": None, "c2": taken()}, errors=[refusal("c1", "bad", "BAD_USER_INPUT")])

    stub.script = Backend(change)

    outcomes = cloud.end(ends(3))

    assert [each.verdict.name for each in outcomes] == ["SETTLED", "REFUSED", "SETTLED"]
    assert outcomes[1].reason == "bad"


def test_a_rejected_batch_of_ends_is_halved(cloud: CloudApi, stub: Stub) -> None:
    """The culprit is refused alone, all others are carried out."""

    def change(backend: Backend, asked: Asked) -> Reply:
        if "run-13" in _entries(asked, "flow_run_id"):
            return says(400, errors=[REJECTED])
        return applied(backend, asked)

    stub.script = Backend(change)

    outcomes = cloud.end(ends(25))

    assert [n for n, each in enumerate(outcomes) if each.verdict is not EndVerdict.SETTLED] == [13]
    assert outcomes[13].verdict is EndVerdict.REFUSED
    assert "bad document" in outcomes[13].reason


def test_an_id_that_spoils_the_reading_is_refused_alone(cloud: CloudApi, stub: Stub) -> None:
    """An id that the API cannot read keeps no other end from being carried out."""
    backend = Backend(applied)
    stub.script = lambda asked: says(400, errors=[REJECTED]) if '"run-02"' in asked.query else backend(asked)

    outcomes = cloud.end(ends(5))

    assert [each.verdict.name for each in outcomes] == ["SETTLED", "SETTLED", "REFUSED", "SETTLED", "SETTLED"]


@pytest.mark.parametrize(
    ("reply", "error"), [(Reply(503), CloudUnavailable), (Reply(429), CloudUnavailable), (Reply(401), Unauthorised)]
)
def test_a_cloud_that_takes_no_change_is_reported(cloud: CloudApi, stub: Stub, reply: Reply, error: type) -> None:
    """If nothing was changed at all, the caller learns why, and when to come again."""
    stub.script = Backend(lambda _backend, _asked: reply)

    with pytest.raises(error):
        cloud.end(ends(3))


def test_later_batches_may_fail_alone(cloud: CloudApi, stub: Stub) -> None:
    """What the first batch settled is not thrown away with the second."""

    def change(backend: Backend, asked: Asked) -> Reply:
        return applied(backend, asked) if not backend.rows else Reply(503)

    stub.script = Backend(change)

    outcomes = cloud.end(ends(30))

    assert [each.verdict for each in outcomes] == [EndVerdict.SETTLED] * 25 + [EndVerdict.UNKNOWN] * 5


def test_a_run_that_cannot_be_read_back_is_not_settled(cloud: CloudApi, stub: Stub) -> None:
    """Without a last look nothing is confirmed."""
    backend = Backend(applied)
    stub.script = lambda asked: Reply(500) if backend.rows and "query" in asked.query[:5] else backend(asked)

    (outcome,) = cloud.end(ends(1))

    assert outcome.verdict is EndVerdict.UNKNOWN
    assert "not read back" in outcome.reason


@pytest.mark.parametrize("row", [{"id": "run-00"}, {**ROW, "id": "run-00", "version": None}])
def test_a_run_without_sense_is_not_taken_for_a_deleted_one(cloud: CloudApi, stub: Stub, row: object) -> None:
    """What cannot be read may exist: the end is tried again."""
    stub.answers(says(data={"flow_run": [row]}))

    (outcome,) = cloud.end(ends(1))

    assert outcome.verdict is EndVerdict.UNKNOWN


def test_a_run_is_handed_back_at_the_clouds_time(stub: Stub) -> None:
    """It waits a minute by the Cloud's clock, as it waited before, and remembers the recovery."""
    date = "Fri, 01 Jan 2100 00:00:00 GMT"
    backend = Backend(lambda _backend, _asked: says(data={"c0": taken()}))
    stub.script = lambda asked: attrs.evolve(backend(asked), headers={"Date": date})
    cloud = GraphQLCloudApi(stub.url, clock=SystemClock())
    cloud.end(ends(1, EndKind.HANDED_BACK))
    cloud.close()

    (entry,) = stub.asked[1].variables["i0"]["states"]
    assert (entry["state"]["type"], entry["version"]) == ("Scheduled", 2)
    assert entry["state"]["start_time"].startswith("2100-01-01T00:0")
    assert entry["state"]["context"] == {"prefect_agent": {"recoveries": 1}}
