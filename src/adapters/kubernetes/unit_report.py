"""Formats the facts of a unit as a table for people: its Job, pods, containers, and their events. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from prefect.agent.adapters.kubernetes.facts import BEFORE_ALL, ContainerFacts, EventFacts, JobFacts, PodFacts
from prefect.agent.domain.model.units import Unit
from prefect.agent.ports.platform import TEXT_LIMIT

MOST_EVENTS: Final = 30
"""Events that an account shows, the latest ones."""

Row = tuple[str, str, str, str]


def looks(unit: Unit) -> tuple[object, ...]:
    """What of a unit makes a change worth reporting."""
    return unit.status, unit.evidence, unit.hopeless_at


def saying(unit: Unit, ignored: Sequence[str]) -> Unit:
    """The same unit, whose info names what of its job template was ignored."""
    if not ignored:
        return unit
    return attrs.evolve(unit, info=f"{unit.info}; ignored of its job template: {', '.join(ignored)}")


def account(job: JobFacts | None, pods: Sequence[PodFacts], events: Iterable[EventFacts]) -> str:
    """Return the table of a unit.

    Args:
        events: Events of the Job and its pods; the latest ones are shown.
    """
    rows: list[Row] = [("WHAT", "STATE", "EXIT", "DETAIL")]
    if job is not None:
        end = job.condition("Complete", "Failed")
        state = end.type if end else "Suspended" if job.is_suspended else "Active"
        rows.append((f"Job {job.name}", state, "", _detail(end.reason, end.message) if end else ""))
    for pod in sorted(pods, key=lambda pod: pod.name):
        rows += _pod(pod)
    happened = [_event(each) for each in sorted(events, key=lambda each: each.at)][-MOST_EVENTS:]
    lines = _table(rows) if len(rows) > 1 else []
    if happened:
        lines += ["", "Events reported by Kubernetes:", *happened]
    return "\n".join(lines).encode(errors="replace")[:TEXT_LIMIT].decode(errors="ignore")


def _pod(pod: PodFacts) -> list[Row]:
    state = "gone" if pod.is_gone else f"{pod.phase or 'Unknown'}{', being deleted' if pod.is_deleting else ''}"
    why = pod.unscheduled or pod.disruption
    detail = _detail(pod.reason, pod.message) or (_detail(why.reason, why.message) if why is not None else "")
    where = f"on {pod.node}" if pod.node else "on no node yet"
    return [
        (f"Pod {pod.name}", state, "", "; ".join(filter(None, (where, detail)))),
        *(_container(each) for each in pod.containers),
    ]


def _container(container: ContainerFacts) -> Row:
    kind = "init container" if container.is_init else "container"
    detail = _detail(container.reason, container.message)
    if container.signal:
        detail = "; ".join(filter(None, (detail, f"signal {container.signal}")))
    if container.restarts:
        detail = "; ".join(filter(None, (detail, f"{container.restarts} restarts")))
    code = "" if container.exit_code is None else str(container.exit_code)
    return (f"  {kind} {container.name}", container.state or "unknown", code, detail)


def _detail(reason: str, message: str) -> str:
    return ": ".join(filter(None, (reason, " ".join(message.split()))))


def _table(rows: Sequence[Row]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join((*(word.ljust(width) for word, width in zip(row, widths, strict=False)), row[3])).rstrip()
        for row in rows
    ]


def _event(event: EventFacts) -> str:
    at = "" if event.at == BEFORE_ALL else event.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    times = f" ({event.count} times)" if event.count > 1 else ""
    return f"  {at:<20}  {event.type:<7}  {event.about}: {_detail(event.reason, event.message)}{times}"
