"""Extracts the facts of Jobs and pods that are needed to derive a unit's status. Pure."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, Final

import attrs

from prefect.agent.adapters.kubernetes import manifest
from prefect.agent.adapters.kubernetes.pods import CONTAINER
from prefect.agent.domain.model.units import Owner
from prefect.agent.domain.times import read_time

KEPT_TEXT: Final = 1000
"""Most characters of a message that are kept, since there may be 10,000 Jobs."""

_NODES_REASONS: Final = frozenset(
    {"ContainersNotReady", "ReadinessGatesNotReady", "PodCompleted", "PodFailed", "UnknownContainerStatuses"}
)
"""Reasons that a living node reports for a pod that is not ready."""

BEFORE_ALL: Final = datetime.min.replace(tzinfo=timezone.utc)
"""The time of an event without a known time."""


@attrs.frozen(kw_only=True)
class Condition:
    """A condition that holds (``status: True``), or a ``PodScheduled`` that does not hold."""

    type: str
    reason: str
    message: str
    since: datetime | None


@attrs.frozen(kw_only=True)
class JobFacts:
    """The facts of a unit's Job (Kubernetes API, batch/v1 Job).

    Attributes:
        version: See :func:`version_of`.
        secret: Name of the Secret that was created for it, if any.
        ended: How its main container ended, if an agent then ended the other containers; see :data:`manifest.ENDED`.
        retries_left: Number of pods that its controller may still create to replace failed ones.
        stopped: Why an agent ended it; empty if no agent did.
        conditions: The conditions that hold.
        pods_ended: Number of its pods that have ended, counted by its controller.
        pods_read: Whether its pods were read after its end; kept by the mirror.
        owner: Its owner; None if its labels name none, or cannot be read.
    """

    name: str
    namespace: str
    uid: str
    version: int
    flow_run_id: str
    attempt: str
    created_at: datetime | None
    completed_at: datetime | None
    is_suspended: bool
    is_deleting: bool
    secret: str
    stopped: str
    conditions: tuple[Condition, ...]
    ended: str = ""
    retries_left: int = 0
    pods_ended: int = 0
    pods_read: bool = False
    owner: Owner | None = None

    @property
    def end(self) -> Condition | None:
        """The condition that shows how it ended; None before its end."""
        return self.condition("Complete", "Failed")

    def condition(self, *types: str) -> Condition | None:
        """Return the first condition of these types that holds; None if none does."""
        return next((each for each in self.conditions if each.type in types), None)


@attrs.frozen(kw_only=True)
class ContainerFacts:
    """The facts of a container of a pod (core/v1 ContainerStatus).

    Attributes:
        state: ``waiting``, ``running`` or ``terminated``; empty if the node has not reported it yet.
        is_init: Whether it is an init container.
        ended_at: When it ended, if it has.
        last_exit_code: Exit code before its last restart.
    """

    name: str
    state: str = ""
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None
    restarts: int = 0
    is_init: bool = False
    ended_at: datetime | None = None
    last_exit_code: int | None = None


@attrs.frozen(kw_only=True)
class PodFacts:
    """The facts of a pod of a unit's Job (core/v1 Pod).

    Attributes:
        unit: Name of the unit it belongs to.
        main: Name of the container that executes the flow run.
        restarts_failed: Whether its node restarts a failed container.
        lost: The condition of a pod whose node no longer answers.
        is_gone: Whether the pod was deleted; these are then its last facts.
        waiting_since: When the current reason for its waiting was first observed; kept by the mirror.
        owner: Its owner, as for a Job.
    """

    name: str
    namespace: str
    uid: str
    version: int
    unit: str
    flow_run_id: str
    attempt: str
    phase: str
    reason: str
    message: str
    node: str
    created_at: datetime | None
    is_deleting: bool
    main: str
    memory_limit: str
    unscheduled: Condition | None
    disruption: Condition | None
    containers: tuple[ContainerFacts, ...]
    is_gone: bool = False
    restarts_failed: bool = False
    lost: Condition | None = None
    waiting_since: datetime | None = None
    owner: Owner | None = None

    @property
    def is_alive(self) -> bool:
        """Whether a container of it may execute."""
        return not self.is_gone and self.phase not in {"Succeeded", "Failed"}

    @property
    def has_begun(self) -> bool:
        """Whether the main container has started; the pod counts as Pending while any other one waits."""
        main = self.main_container
        return self.phase not in {"Pending", ""} or (main is not None and main.state == "running")

    @property
    def is_silent(self) -> bool:
        """Whether it began and was deleted without a report of how it ended."""
        return self.is_gone and self.phase == "Running"

    @property
    def main_container(self) -> ContainerFacts | None:
        """The container that executes the flow run; None before its node reports it."""
        return next((each for each in self.containers if each.name == self.main and not each.is_init), None)

    @property
    def ended_main(self) -> ContainerFacts | None:
        """The container that executes the flow run if it has ended finally; other containers may continue."""
        main = self.main_container
        is_over = main is not None and main.exit_code is not None and not (self.restarts_failed and main.exit_code)
        return main if is_over else None

    @property
    def waiting(self) -> ContainerFacts | None:
        """The first container that waits for another reason than the usual start."""
        idle = {"ContainerCreating", "PodInitializing", ""}
        return next((each for each in self.containers if each.state == "waiting" and each.reason not in idle), None)


@attrs.frozen(kw_only=True)
class EventFacts:
    """The facts of an event about a Job or pod (core/v1 Event).

    Attributes:
        about: Kind and name of the object.
        type: ``Normal`` or ``Warning``.
        count: Number of times it happened.
        at: When it happened last.
    """

    about: str
    type: str
    reason: str
    message: str
    count: int
    at: datetime


def job_facts(job: object) -> JobFacts | None:
    """Return the facts of a Job; None if it is not a unit."""
    if not isinstance(job, Mapping):
        return None
    meta, spec, status = _map(job, "metadata"), _map(job, "spec"), _map(job, "status")
    labels, notes = _map(meta, "labels"), _map(meta, "annotations")
    name = _text(meta, "name")
    if not name or labels.get(manifest.UNIT) != name:
        return None
    return JobFacts(
        name=name,
        namespace=_text(meta, "namespace"),
        uid=_text(meta, "uid"),
        version=version_of(job),
        flow_run_id=_text(notes, manifest.FLOW_RUN_ID) or _text(labels, manifest.FLOW_RUN_ID_LABEL),
        attempt=_text(notes, manifest.ATTEMPT),
        created_at=_time(meta, "creationTimestamp"),
        completed_at=_time(status, "completionTime"),
        is_suspended=spec.get("suspend") is True,
        is_deleting=meta.get("deletionTimestamp") is not None,
        secret=_text(notes, manifest.SECRET),
        stopped=_text(notes, manifest.STOPPED),
        ended=_text(notes, manifest.ENDED),
        retries_left=(_number(spec, "backoffLimit") or 0) - (_number(status, "failed") or 0),
        conditions=tuple(_condition(each) for each in _list(status, "conditions") if each.get("status") == "True"),
        pods_ended=(_number(status, "succeeded") or 0) + (_number(status, "failed") or 0),
        owner=_owner(_text(labels, manifest.CLOUD_LABEL), _text(labels, manifest.OWNER_LABEL)),
    )


def pod_facts(pod: object) -> PodFacts | None:
    """Return the facts of a pod; None if it belongs to no unit."""
    if not isinstance(pod, Mapping):
        return None
    meta, spec, status = _map(pod, "metadata"), _map(pod, "spec"), _map(pod, "status")
    labels, notes = _map(meta, "labels"), _map(meta, "annotations")
    unit, uid = _text(labels, manifest.UNIT), _text(meta, "uid")
    if not unit or not uid:
        return None
    main = _main(list(_list(spec, "containers")), _text(notes, manifest.CONTAINER))
    conditions = list(_list(status, "conditions"))
    return PodFacts(
        name=_text(meta, "name"),
        namespace=_text(meta, "namespace"),
        uid=uid,
        version=version_of(pod),
        unit=unit,
        flow_run_id=_text(notes, manifest.FLOW_RUN_ID) or _text(labels, manifest.FLOW_RUN_ID_LABEL),
        attempt=_text(notes, manifest.ATTEMPT),
        phase=_text(status, "phase"),
        reason=_text(status, "reason"),
        message=_text(status, "message"),
        node=_text(spec, "nodeName"),
        created_at=_time(meta, "creationTimestamp"),
        is_deleting=meta.get("deletionTimestamp") is not None,
        main=_text(main, "name"),
        memory_limit=_text(_map(_map(main, "resources"), "limits"), "memory"),
        restarts_failed=_text(spec, "restartPolicy") in {"OnFailure", "Always"},
        lost=_lost(status, conditions),
        unscheduled=_pick(conditions, "PodScheduled", "False"),
        disruption=_pick(conditions, "DisruptionTarget", "True"),
        containers=(
            *(_container(each, is_init=True) for each in _list(status, "initContainerStatuses")),
            *(_container(each, is_init=False) for each in _list(status, "containerStatuses")),
        ),
        owner=_owner(_text(labels, manifest.CLOUD_LABEL), _text(labels, manifest.OWNER_LABEL)),
    )


def event_facts(event: Mapping[str, Any]) -> EventFacts:
    """Return the facts of an event."""
    about, series = _map(event, "involvedObject"), _map(event, "series")
    last = _time(series, "lastObservedTime") or _time(event, "lastTimestamp") or _time(event, "eventTime")
    return EventFacts(
        about=f"{_text(about, 'kind')} {_text(about, 'name')}".strip(),
        type=_text(event, "type") or "Normal",
        reason=_text(event, "reason"),
        message=_text(event, "message"),
        count=_number(event, "count") or _number(series, "count") or 1,
        at=last or BEFORE_ALL,
    )


def version_of(thing: Mapping[str, Any]) -> int:
    """Return the resourceVersion of an object or list, which grows with each change; 0 if it has none."""
    found = _text(_map(thing, "metadata"), "resourceVersion")
    return int(found) if found.isdecimal() else 0


@lru_cache(maxsize=256)  # one object for all units of an agent
def _owner(cloud: str, agent: str) -> Owner | None:
    try:
        return Owner(cloud=cloud, agent=agent)
    except ValueError:
        return None


def _container(status: Mapping[str, Any], *, is_init: bool) -> ContainerFacts:
    states = _map(status, "state")
    word = next((each for each in ("terminated", "running", "waiting") if each in states), "")
    state, last = _map(states, word), _map(_map(status, "lastState"), "terminated")
    return ContainerFacts(
        name=_text(status, "name"),
        state=word,
        reason=_text(state, "reason"),
        message=_text(state, "message"),
        exit_code=_number(state, "exitCode"),
        signal=_number(state, "signal"),
        restarts=_number(status, "restartCount") or 0,
        is_init=is_init,
        ended_at=_time(state, "finishedAt"),
        last_exit_code=_number(last, "exitCode"),
    )


def _main(containers: list[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """Return the container that executes the flow run, by name, since webhooks may add others before it."""
    by_name = {_text(each, "name"): each for each in reversed(containers)}
    return by_name.get(name) or by_name.get(CONTAINER) or next(iter(containers), {})


def _lost(status: Mapping[str, Any], conditions: list[Mapping[str, Any]]) -> Condition | None:
    """Return the condition of a pod whose node does not answer: the pod is not ready, but its containers are.

    A living node itself reports why a pod is not ready.
    """
    if _text(status, "phase") != "Running":
        return None
    unready = _pick(conditions, "Ready", "False")
    if unready is None or unready.reason in _NODES_REASONS:
        return None
    ready = any(each.get("ready") is True for each in _list(status, "containerStatuses"))
    return unready if ready else None


def _condition(condition: Mapping[str, Any]) -> Condition:
    return Condition(
        type=_text(condition, "type"),
        reason=_text(condition, "reason"),
        message=_text(condition, "message"),
        since=_time(condition, "lastTransitionTime"),
    )


def _pick(conditions: list[Mapping[str, Any]], kind: str, status: str) -> Condition | None:
    found = (each for each in conditions if each.get("type") == kind and each.get("status") == status)
    return next(map(_condition, found), None)


def _map(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, Mapping) else {}


def _list(value: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    found = value.get(name)
    return (each for each in found if isinstance(each, Mapping)) if isinstance(found, list) else iter(())


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    return found[:KEPT_TEXT] if isinstance(found, str) else ""


def _number(value: Mapping[str, Any], name: str) -> int | None:
    found = value.get(name)
    return found if isinstance(found, int) else None


def _time(value: Mapping[str, Any], name: str) -> datetime | None:
    found = _text(value, name)
    try:
        return read_time(found) if found else None
    except ValueError:
        return None
