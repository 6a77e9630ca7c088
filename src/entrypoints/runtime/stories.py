"""The story of one flow run on an agent, as events tell it: where it is, and what its time was spent on. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from prefect.agent.domain.texts import MAX_NAME, cut, escaped_lines, readable_name
from prefect.agent.domain.wait_kinds import WaitKind
from prefect.agent.ports import events
from prefect.agent.ports.events import Event

LONGEST_TEXT: Final = 2000
"""Characters of a message that is kept."""

MOMENTS: Final = {
    events.CLAIMED: "claimed_at",
    events.UNIT_CREATED: "created_at",
    events.RUN_ENDED: "ended_at",
    events.UNIT_ENDED: "ended_at",
    events.RUN_FAILED: "failed_at",
    events.UNIT_STOPPED: "stopped_at",
    events.RUN_DROPPED: "dropped_at",
    events.UNIT_RETRIED: "retried_at",
    events.RUN_RECOVERED: "recovered_at",
}
"""By event: the member of a run's story that has its time."""

SETTLED: Final = frozenset({"created_at", "ended_at", "failed_at", "dropped_at", "stopped_at"})
"""Members of a run's story that say that it is not being started any more."""

STAGES: Final = {
    events.CLAIMED: "starting",
    events.RUN_RECOVERED: "starting",
    events.UNIT_RETRIED: "retrying",
    events.UNIT_CREATED: "executing",
    events.UNIT_ENDED: "ended",
    events.RUN_ENDED: "ended",
    events.RUN_FAILED: "failed",
    events.UNIT_STOPPED: "stopped",
    events.RUN_DROPPED: "dropped",
}
"""By event: where a flow run is after it."""

_NAMES: Final = ("flow_run_name", "flow_name", "unit", "state")
"""Fields of events that become members of a run's story under the same name."""

_OVER: Final = ("ended_at", "failed_at", "stopped_at", "dropped_at")
"""Members of a run's story that say when it was over, in the order in which they count."""

_BEGINS: Final = frozenset({events.CLAIMED})
"""Events with which a story begins anew: a flow run that is claimed again is another attempt."""


def shown_text(text: str) -> str:
    """*text* of others without active characters, cut to ``LONGEST_TEXT``."""
    return escaped_lines(cut(text, LONGEST_TEXT))


def shown_kind(kind: WaitKind) -> str | None:
    """Return the kind of a wait as a document has it: null if it is not known."""
    return None if kind is WaitKind.UNKNOWN else kind.value


def continued(story: Mapping[str, Any], event: Event, at: datetime) -> dict[str, Any]:
    """The story after *event*, which is one of ``MOMENTS`` and names the run.

    Args:
        story: What is known so far; empty if nothing is.
    """
    run_id = str(event.fields["flow_run_id"])[:MAX_NAME]
    run = {"flow_run_id": run_id, **({} if event.name in _BEGINS else story)}
    run[MOMENTS[event.name]] = at.isoformat()
    run["stage"] = STAGES[event.name]
    run.update({name: readable_name(str(event.fields[name])) for name in _NAMES if event.fields.get(name)})
    if event.fields.get("late_s") is not None:
        run["late_s"] = event.fields["late_s"]
    if event.name == events.UNIT_CREATED:
        run["create_s"] = event.fields.get("duration_s")
    elif "duration_s" in event.fields:
        run["duration_s"] = event.fields["duration_s"]
    run["message"] = shown_text(event.message)
    run["problem"] = shown_text(str(event.fields["problem"])) if "problem" in event.fields else None
    run["wait_kind"] = shown_kind(WaitKind(event.fields.get("wait_kind")))
    return run


def phases(run: Mapping[str, Any], now: datetime) -> dict[str, float]:
    """Seconds that the run was late before its unit was made, that making it took, and that the run executes.

    A phase that has not begun is left out; the last one goes on until *now* if the run is not over.
    """
    found = {}
    create = run.get("create_s")
    if create is not None:
        found["create_s"] = float(create)
    if run.get("late_s") is not None:
        found["late_s"] = round(max(0.0, float(run["late_s"]) - (create or 0.0)), 3)
    executing = _executing(run, now)
    if executing is not None:
        found["executing_s"] = round(max(0.0, executing), 3)
    return found


def _executing(run: Mapping[str, Any], now: datetime) -> float | None:
    if "duration_s" in run and "ended_at" in run:
        return float(run["duration_s"])
    if "created_at" not in run:
        return None
    over = next((run[member] for member in _OVER if member in run), None)
    until = now if over is None else datetime.fromisoformat(over)
    return (until - datetime.fromisoformat(run["created_at"])).total_seconds()


def remedy_of(message: str) -> str | None:
    """What *message* says is to be done, if it says so: what follows its last ``Do:``."""
    _, found, remedy = message.rpartition(" Do: ")
    return remedy.strip() or None if found else None


_CHECKS: Final = {
    events.CLOUD_TROUBLE: "see whether the Cloud runs; prefect agent doctor checks the way to it",
    events.PLATFORM_TROUBLE: "see whether the platform runs; prefect agent doctor checks what the agent needs of it",
}
"""By event: what finds the cause of a trouble whose message says nothing to do."""


def remedy_for(event: Event) -> str | None:
    """What helps: what the event's message says is to be done, or its kind of wait, or what finds its cause."""
    of_kind = "; or ".join(WaitKind(event.fields.get("wait_kind")).remedies)
    return remedy_of(shown_text(event.message)) or of_kind or _CHECKS.get(event.name)
