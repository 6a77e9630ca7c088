"""From the engine's words to units. Pure."""

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Final

import attrs

from prefect.agent.adapters.docker.containers import ATTEMPT, FLOW_RUN_ID, UNIT
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.units import Evidence, Unit, UnitStatus
from prefect.agent.domain.times import read_time

STATUSES: Final = {
    "created": UnitStatus.CREATED,
    "running": UnitStatus.RUNNING,
    "paused": UnitStatus.RUNNING,
    "restarting": UnitStatus.RUNNING,
    "removing": UnitStatus.FAILED,
    "exited": UnitStatus.FAILED,
    "dead": UnitStatus.FAILED,
}
"""By the engine's word for a container's state; whether an ended one succeeded is in its exit code."""

SIGNALS: Final = range(129, 193)
"""Exit codes that say by which signal."""


def listed(entry: Mapping[str, Any]) -> Unit | None:
    """A unit from an entry of the engine's list, None if it is not ours. An ended one lacks how and when it ended."""
    name = str((entry.get("Labels") or {}).get(UNIT, ""))
    if f"/{name}" not in (entry.get("Names") or ()):
        return None
    return _unit(
        name,
        entry["Labels"],
        entry["Id"],
        entry.get("State", ""),
        datetime.fromtimestamp(entry["Created"], timezone.utc),
    )


def inspected(about: Mapping[str, Any]) -> Unit | None:
    """A unit from what the engine says about a single container, None if it is not ours."""
    name, marks = str(about["Name"]).removeprefix("/"), about["Config"].get("Labels") or {}
    if marks.get(UNIT) != name:
        return None
    state = about["State"]
    # The list says whole seconds only; the same unit is to look the same from both.
    created_at = read_time(about["Created"]).replace(microsecond=0)
    unit = _unit(name, marks, about["Id"], state["Status"], created_at)
    if not unit.status.has_ended:
        return unit
    exit_code = int(state["ExitCode"])
    return _ended(unit, exit_code, evidence(state, about.get("HostConfig") or {}), _moment(state.get("FinishedAt")))


def evidence(state: Mapping[str, Any], limits: Mapping[str, Any]) -> Evidence:
    """How an ended container ended.

    Args:
        state: The engine's ``State``.
        limits: The container's ``HostConfig``.
    """
    exit_code, said = int(state["ExitCode"]), str(state.get("Error") or "")
    if exit_code and state.get("OOMKilled"):
        limit = int(limits.get("Memory") or 0)
        message = (
            f"out of memory, the limit is {limit // 2**20} MiB" if limit else "the engine's machine ran out of memory"
        )
        return Evidence(exit_code=exit_code, reason="OOMKilled", message=message)
    if exit_code in SIGNALS:
        return Evidence(exit_code=exit_code, reason="Killed", message=said or f"ended by signal {exit_code - 128}")
    return Evidence(exit_code=exit_code, reason="Error" if exit_code else "", message=said)


def _unit(name: str, marks: Mapping[str, str], container: str, state: str, created_at: datetime) -> Unit:
    return Unit(
        name=name,
        flow_run_id=FlowRunId(marks.get(FLOW_RUN_ID, "")),
        attempt=marks.get(ATTEMPT, ""),
        status=STATUSES.get(state, UnitStatus.RUNNING),
        id=container,
        info=f"Container ID: {container[:12]}",
        created_at=created_at,
    )


def _ended(unit: Unit, exit_code: int, how: Evidence, when: datetime | None) -> Unit:
    status = UnitStatus.FAILED if exit_code else UnitStatus.SUCCEEDED
    return attrs.evolve(unit, status=status, evidence=how, ended_at=when)


def _moment(text: object) -> datetime | None:
    """A time of the engine, which writes the year 1 for never."""
    moment = read_time(text) if text else None
    return moment if moment and moment.year > 1 else None
