"""What a state update does to a run, once for every Cloud.

Runs are mappings with the columns of their tables. Nothing is forbidden in general - a run may leave a finished state
(Failed, then Retrying) - but a claim is a compare-and-set in a Cloud that compares, and a task may not start unless its
flow run is Running.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from prefect.agent.domain.cloud.errors import VERSION_LOCKING, CloudRefusal
from prefect.agent.domain.cloud.states import ENDING, CloudState, plain
from prefect.agent.domain.cloud.strictness import STRICT, Strictness
from prefect.agent.domain.state_names import EXECUTING, FINISHED, PAUSED, SCHEDULED
from prefect.agent.domain.times import iso

DUE_NOW = SCHEDULED - {PAUSED}
"""Types that are due at once if they do not say when; a paused run waits to be resumed."""


@attrs.frozen(kw_only=True)
class Accepted:
    """The update is taken.

    Attributes:
        values: New values of the run's columns.
        history: Columns of the new history row, without ids.
        cancels_tasks: Whether all unfinished task runs get the same state.
        flow_run_values: Of a task run's update: new values of its flow run's columns.
    """

    values: Mapping[str, Any]
    history: Mapping[str, Any]
    cancels_tasks: bool = False
    flow_run_values: Mapping[str, Any] = attrs.field(factory=dict)


def set_flow_run_state(
    row: Mapping[str, Any],
    state: CloudState,
    *,
    now: datetime,
    version: int | None = None,
    locked: bool = False,
    strictness: Strictness = STRICT,
) -> Accepted:
    """Decide on an update of a flow run.

    Args:
        row: The flow run as it is.
        state: The state asked for.
        now: The Cloud's time.
        version: The version that the client believes in, if it says so.
        locked: Whether version locking is switched on for this flow.
        strictness: Of the Cloud.

    Raises:
        CloudRefusal: Refused; the text tells official clients what to do.
    """
    _check_version(row, state, version, strictness, locked=locked)
    accepted = _accept(row, state, now)
    if state.type in EXECUTING or state.type == "Submitted":
        accepted = attrs.evolve(accepted, values={**accepted.values, "heartbeat": iso(now)})
    return attrs.evolve(accepted, cancels_tasks=state.type == "Cancelled")


def set_task_run_state(
    row: Mapping[str, Any],
    state: CloudState,
    *,
    now: datetime,
    flow_run_state: str,
    version: int | None = None,
    locked: bool = False,
    strictness: Strictness = STRICT,
) -> Accepted:
    """Decide on an update of a task run; *flow_run_state* is the type of its flow run's state.

    Raises:
        CloudRefusal: Refused.
    """
    if state.type == "Running" and flow_run_state != "Running":
        raise CloudRefusal(
            f"State update failed for task run ID {row['id']}: the flow run is {flow_run_state}, not Running"
        )
    _check_version(row, state, version, strictness, locked=locked)
    old = row.get("serialized_state") or {}
    if "cached_inputs" not in state.payload and old.get("cached_inputs"):
        state = attrs.evolve(state, payload={**state.payload, "cached_inputs": old["cached_inputs"]})
    accepted = _accept(row, state, now)
    if state.type == "Running":
        return attrs.evolve(accepted, values={**accepted.values, "heartbeat": iso(now)})
    if state.type == "Submitted":
        # An agent starts the flow run again: like its first claim, this gives its process time to be heard. Without it
        # Lazarus would meet a flow run that was silent for as long as its task waited, and have it started twice.
        return attrs.evolve(accepted, flow_run_values={"heartbeat": iso(now)})
    return accepted


def cancel(state_type: str) -> CloudState | None:
    """The state that a request to cancel leads to, by the type of the present one; None if the run has finished."""
    if state_type in FINISHED:
        return None
    if state_type in EXECUTING:
        return plain("Cancelling", "Flow run is cancelling")
    return plain("Cancelled", "Flow run is cancelled")


def _check_version(
    row: Mapping[str, Any], state: CloudState, version: int | None, strictness: Strictness, *, locked: bool
) -> None:
    if strictness.compares:
        _check_claim(row, state, version)
        _check_lock(row, state, version=version, locked=locked)


def _check_claim(row: Mapping[str, Any], state: CloudState, version: int | None) -> None:
    """A claim is a compare-and-set: from a state that waits, at the version the claimant has seen.

    Knowing the version of a Submitted state one may replace it: a lease is taken over that way, or handed back.
    """
    hands_back = row["state"] == "Submitted" and state.type in SCHEDULED
    if state.type != "Submitted" and not hands_back:
        return
    takes_over = row["state"] == "Submitted" and version is not None
    if state.type == "Submitted" and row["state"] not in SCHEDULED and not takes_over:
        raise CloudRefusal(f"State update failed: this run is {row['state']} and cannot be submitted")
    if version is not None and version != row["version"]:
        raise CloudRefusal(f"State update failed: this run is at version {row['version']}, not {version}")


def _check_lock(row: Mapping[str, Any], state: CloudState, *, version: int | None, locked: bool) -> None:
    if locked and state.type == "Running" and version is not None and version != row["version"]:
        raise CloudRefusal(f"version {version} given, but the run is at {row['version']}", VERSION_LOCKING)


def _accept(row: Mapping[str, Any], state: CloudState, now: datetime) -> Accepted:
    version = row["version"] + 1
    moment = iso(now)
    if state.start_time is None and state.type in DUE_NOW:
        state = attrs.evolve(state, start_time=now, payload={**state.payload, "start_time": now.isoformat()})
    start = iso(state.start_time) if state.start_time else None
    result = state.payload.get("_result")
    values = {
        "version": version,
        "state": state.type,
        "serialized_state": state.payload,
        "state_start_time": start,
        "state_timestamp": moment,
        "state_message": state.message,
        "state_result": result,
        "updated": moment,
    }
    if state.type == "Running" and not row.get("start_time"):
        values["start_time"] = moment
    if state.type in ENDING:
        values["end_time"] = moment
    history = {
        "timestamp": moment,
        "state": state.type,
        "message": state.message,
        "result": result,
        "start_time": start,
        "version": version,
        "serialized_state": state.payload,
    }
    return Accepted(values=values, history=history)
