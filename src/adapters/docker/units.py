"""Reads units from the engine's descriptions of containers. Pure.

No function trusts its input: fields that are missing or of the wrong kind are skipped, and a unit is read as far as
possible. *doubt* is called with a short description of each part that could not be read.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, Final

import attrs

from prefect.agent.adapters.docker.containers import ATTEMPT, CLOUD, FLOW_RUN_ID, OWNER, UNIT
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.units import Evidence, Owner, Unit, UnitStatus
from prefect.agent.domain.times import read_time

STATUSES: Final = {
    "created": UnitStatus.CREATED,
    "running": UnitStatus.RUNNING,
    "paused": UnitStatus.RUNNING,
    "restarting": UnitStatus.RUNNING,
    "removing": UnitStatus.FAILED,
    "exited": UnitStatus.FAILED,
    "stopped": UnitStatus.FAILED,
    "dead": UnitStatus.FAILED,
}
"""By the engine's name of a container's state. Whether an ended container succeeded depends on its exit code."""

_EXITED: Final = re.compile(r"Exited \((\d{1,3})\)")
"""The status text of an ended container in a list."""

Doubt = Callable[[str], object]


def ignore(_what: str) -> None:
    """Ignore a doubt."""


def claimed_name(entry: object) -> str:
    """Return the unit name in the labels of an entry of the engine's list, verified or not; empty if there is none."""
    return _text(_map(_map(entry).get("Labels")).get(UNIT))


def listed(entry: object, doubt: Doubt = ignore) -> Unit | None:
    """Return the unit in an entry of the engine's list; None if the entry is not a unit.

    For an ended unit, the list has at most the exit code.
    """
    found, name = _map(entry), claimed_name(entry)
    names = found.get("Names")
    if not isinstance(names, list | tuple):
        doubt("its names cannot be read, so it is ignored")
        return None
    if not name or f"/{name}" not in names:
        return None
    unit = _unit(name, _map(found.get("Labels")), found, _text(found.get("State")), doubt)
    if unit is None or not unit.status.has_ended:
        return unit
    exited = _EXITED.match(_text(found.get("Status")))
    if exited is None:
        return attrs.evolve(unit, evidence=Evidence(message="the engine does not report how it ended"))
    exit_code = int(exited[1])
    return _ended(unit, exit_code, evidence({"ExitCode": exit_code}, {}), None)


def inspected(about: object, doubt: Doubt = ignore) -> Unit | None:
    """Return the unit in the engine's description of one container; None if the container is not a unit.

    A container has ended only if the engine says so and names no process of it.
    """
    found = _map(about)
    name, marks = _text(found.get("Name")).removeprefix("/"), _map(_map(found.get("Config")).get("Labels"))
    if not name or marks.get(UNIT) != name:
        return None
    state = _map(found.get("State"))
    unit = _unit(name, marks, found, _text(state.get("Status")), doubt)
    if unit is None or not unit.status.has_ended:
        return unit
    if state.get("Running") is True or _number(state.get("Pid")):
        return attrs.evolve(unit, status=UnitStatus.RUNNING)
    how, when = evidence(state, _map(found.get("HostConfig"))), _moment(state.get("FinishedAt"))
    if how.exit_code is None:
        doubt("its exit code cannot be read")
        return attrs.evolve(unit, evidence=how, ended_at=when)
    return _ended(unit, how.exit_code, how, when)


def evidence(state: Mapping[str, Any], limits: Mapping[str, Any]) -> Evidence:
    """Return the evidence of how a container ended.

    Args:
        state: The engine's ``State``.
        limits: The container's ``HostConfig``.
    """
    exit_code, said = _number(state.get("ExitCode")), _text(state.get("Error"))
    if exit_code is None:
        return Evidence(message=said or "the engine does not report how it ended")
    if exit_code and state.get("OOMKilled") is True:
        limit = _number(limits.get("Memory")) or 0
        message = (
            f"out of memory, the limit is {limit // 2**20} MiB" if limit else "the engine's machine ran out of memory"
        )
        return Evidence(exit_code=exit_code, reason="OOMKilled", message=message)
    return Evidence.of_exit_code(exit_code, message=said)


def owner(marks: Mapping[str, Any]) -> Owner | None:
    """Return the owner that these labels name; None if they name none, or cannot be read."""
    try:
        return Owner(cloud=marks.get(CLOUD, ""), agent=marks.get(OWNER, ""))
    except (ValueError, TypeError):
        return None


def _unit(name: str, marks: Mapping[str, Any], found: Mapping[str, Any], state: str, doubt: Doubt) -> Unit | None:
    """Return a unit with the facts of every state. One with an unknown state counts as running, since it may be."""
    run_id, container = _text(marks.get(FLOW_RUN_ID)), _text(found.get("Id"))
    if not run_id:
        doubt("its flow run's id cannot be read, so it is ignored")
        return None
    if state not in STATUSES:
        doubt(f"its state {state!r:.40} is unknown, so it counts as running")
    return Unit(
        name=name,
        flow_run_id=FlowRunId(run_id),
        attempt=_text(marks.get(ATTEMPT)),
        status=STATUSES.get(state, UnitStatus.RUNNING),
        id=container,
        info=f"Container ID: {container[:12]}",
        created_at=_created(found.get("Created")),
        owner=owner(marks),
    )


def _ended(unit: Unit, exit_code: int, how: Evidence, when: datetime | None) -> Unit:
    status = UnitStatus.FAILED if exit_code else UnitStatus.SUCCEEDED
    return attrs.evolve(unit, status=status, evidence=how, ended_at=when)


def _created(said: object) -> datetime | None:
    """Return the time of creation in whole seconds, as in the list, so that a unit looks the same from both sources."""
    if isinstance(said, str):
        moment = _moment(said)
        return moment.replace(microsecond=0) if moment else None
    try:
        return datetime.fromtimestamp(_number(said) or 0, timezone.utc) if said else None
    except (ValueError, OverflowError, OSError):
        return None


def _moment(said: object) -> datetime | None:
    """Return a time of the engine; None for the year 1, by which it means never."""
    try:
        moment = read_time(said) if said else None
    except ValueError:
        return None
    return moment if moment and moment.year > 1 else None


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
