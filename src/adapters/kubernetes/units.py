"""Derives a unit from the facts of its Job and pods: its status, its end, and what it waits for. Pure."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from prefect.agent.adapters.kubernetes.facts import Condition, ContainerFacts, JobFacts, PodFacts
from prefect.agent.adapters.kubernetes.waits import HOPELESS_IMAGES, IMAGE_ERRORS, NO_QUOTA, suspended, waits
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.units import Evidence, Unit, UnitStatus

RESTARTED: Final = "CrashLoopBackOff"
"""Reason of a waiting container that has started before; the template decides how often it may start again."""

FORBIDS: Final = re.compile("is forbidden|denied the request|is invalid")
"""Messages about a pod that Kubernetes will never create; a full quota also forbids pods, but only for a time."""

_SILENT: Final = "does not answer, so it is not known whether the flow run still executes there"


@attrs.frozen(kw_only=True)
class Patience:
    """How long a unit may wait for its start.

    Attributes:
        trouble: Seconds for which an image cannot be pulled, or a container cannot be created, until the unit fails.
        start: Seconds for which a pod finds no node, or a Job gets no pod, until the unit fails.
    """

    trouble: float = 60.0
    start: float = 6 * 3600.0


def unit(
    job: JobFacts | None, pods: Sequence[PodFacts], patience: Patience, *, said: Evidence | None = None
) -> Unit | None:
    """Return the unit of a Job and the pods of its name; None if neither the Job nor a living pod is left.

    Args:
        job: None if it was deleted; its living pods are still the unit.
        pods: The pods, also deleted ones with their last facts.
        said: What the unit waits for by events, if neither Job nor pods show it.
    """
    pods = by_age(pods)
    if job is None or (job.is_deleting and job.end is None):
        return _headless([pod for pod in pods if pod.is_alive and pod.ended_main is None])
    end = job.end
    over = _ended_by_main(job, pods) if any(pod.is_alive for pod in pods) else _as_noted(job, pods)
    if over is None and end is not None and not any(pod.is_alive for pod in pods):
        return _ended(job, end, pods)
    if over is not None:
        return over
    made = _made(job)
    alive = next((pod for pod in reversed(pods) if pod.is_alive), None)
    if alive is None and any(not pod.is_gone for pod in pods):
        return attrs.evolve(made, status=UnitStatus.RUNNING)  # the controller has not counted its end yet
    if alive is None:
        return _without_pod(made, job, patience, said)
    if _lacks_its_secret(job, alive):
        return attrs.evolve(made, status=UnitStatus.CREATED, evidence=_secret_to_come(alive))
    if not alive.has_begun:
        evidence = _waiting_evidence(alive) or said
        hopeless_at = None if evidence is None else _hopeless_at(alive, patience)
        return attrs.evolve(made, evidence=evidence, hopeless_at=hopeless_at)
    return attrs.evolve(made, status=UnitStatus.RUNNING, evidence=_disturbance(alive))


def barely(job: JobFacts | None, pods: Sequence[PodFacts]) -> Unit | None:
    """Return the unit as running, without reading details; None if it has neither Job nor living pods."""
    if job is not None and job.flow_run_id:
        return attrs.evolve(_made(job), status=UnitStatus.RUNNING)
    return _headless([pod for pod in pods if pod.is_alive and pod.flow_run_id])


def by_age(pods: Sequence[PodFacts]) -> list[PodFacts]:
    """Return the pods, oldest first."""
    return sorted(pods, key=lambda pod: (pod.created_at.timestamp() if pod.created_at else 0.0, pod.name))


def start_problem(pod: PodFacts) -> str:
    """Return one word for what keeps a pod from starting: image, container or node; empty if nothing does."""
    waiting = pod.waiting
    if waiting is not None:
        return "image" if waiting.reason in IMAGE_ERRORS | HOPELESS_IMAGES else "container"
    return "node" if pod.unscheduled is not None else ""


def _headless(alive: Sequence[PodFacts]) -> Unit | None:
    """Return the unit of pods whose Job was deleted: they will end, but still execute."""
    if not alive:
        return None
    pod = alive[-1]
    return Unit(
        name=pod.unit,
        flow_run_id=FlowRunId(pod.flow_run_id),
        attempt=pod.attempt,
        status=UnitStatus.RUNNING,
        id=pod.uid,
        info=f"Pod {pod.name}",
        created_at=pod.created_at,
        owner=pod.owner,
    )


def _made(job: JobFacts) -> Unit:
    return Unit(
        name=job.name,
        flow_run_id=FlowRunId(job.flow_run_id),
        attempt=job.attempt,
        status=UnitStatus.PENDING,
        id=job.uid,
        info=f"Job {job.name}",
        created_at=job.created_at,
        owner=job.owner,
    )


def _without_pod(made: Unit, job: JobFacts, patience: Patience, said: Evidence | None) -> Unit:
    if job.is_suspended:
        return attrs.evolve(made, evidence=suspended(job))
    if said is None:
        return made
    forbidden = said.reason == "FailedCreate" and FORBIDS.search(said.message) and NO_QUOTA not in said.message
    seconds = patience.trouble if forbidden else patience.start
    return attrs.evolve(made, evidence=said, hopeless_at=_later(job.created_at, seconds))


def _lacks_its_secret(job: JobFacts, pod: PodFacts) -> bool:
    """Return whether the agent that created the Job ended before it created the Job's Secret."""
    waiting = pod.waiting
    return (
        bool(job.secret)
        and waiting is not None
        and waiting.reason == "CreateContainerConfigError"
        and f'secret "{job.secret}" not found' in waiting.message
    )


def _secret_to_come(pod: PodFacts) -> Evidence:
    """Return the evidence of a pod without its Secret: no kind of wait, since creating the unit again mends it."""
    return Evidence() if pod.waiting is None else Evidence(reason=pod.waiting.reason, message=pod.waiting.message)


def _waiting_evidence(pod: PodFacts) -> Evidence | None:
    why = pod.waiting or pod.unscheduled
    return None if why is None else waits(why.reason, why.message)


def _hopeless_at(pod: PodFacts, patience: Patience) -> datetime | None:
    waiting = pod.waiting
    if waiting is None:
        since = pod.unscheduled.since if pod.unscheduled is not None else None
        return _later(since or pod.created_at, patience.start)
    if waiting.reason in HOPELESS_IMAGES:
        return pod.created_at
    seconds = patience.start if waiting.reason == RESTARTED else patience.trouble
    return _later(pod.waiting_since or pod.created_at, seconds)


def _later(moment: datetime | None, seconds: float) -> datetime | None:
    try:
        return None if moment is None else moment + timedelta(seconds=seconds)
    except OverflowError:  # after the end of the calendar
        return None


def note_of(unit: Unit) -> str:
    """Return how the main container of a lingering unit ended, for :data:`manifest.ENDED`; empty for other units."""
    if not unit.lingers or unit.evidence is None:
        return ""
    return f"{unit.evidence.exit_code or 0} {unit.evidence.reason}".strip()


def _disturbance(pod: PodFacts) -> Evidence | None:
    """Return why a running pod is at risk: its node does not answer, or Kubernetes is evicting it."""
    if pod.disruption is not None:
        return Evidence(reason=pod.disruption.reason, message=pod.disruption.message)
    if pod.lost is not None:
        return Evidence(reason=pod.lost.reason or "NodeLost", message=pod.lost.message or f"{pod.node} {_SILENT}")
    return None


def _ended_by_main(job: JobFacts, pods: Sequence[PodFacts]) -> Unit | None:
    """Return the unit if its main container has ended finally while other containers continue; else None."""
    alive = [pod for pod in pods if pod.is_alive]
    if job.stopped or any(pod.ended_main is None for pod in alive):
        return None
    pod, main = alive[-1], alive[-1].ended_main
    was_made_to = not job.ended and (pod.is_deleting or pod.reason or pod.disruption is not None)
    if main is None or (main.exit_code and (was_made_to or job.retries_left > 0)):
        return None  # the pod says more once it has ended, and the Job's controller may make the next one
    evidence = _of_main(pod, main) or Evidence(exit_code=0)
    status = UnitStatus.FAILED if main.exit_code else UnitStatus.SUCCEEDED
    return attrs.evolve(_made(job), status=status, evidence=evidence, ended_at=main.ended_at, lingers=True)


def _as_noted(job: JobFacts, pods: Sequence[PodFacts]) -> Unit | None:
    """Return the unit if an agent noted how its main container ended before that agent ended the Job; else None."""
    word, _, reason = job.ended.partition(" ")
    if not re.fullmatch(r"-?\d{1,10}", word):
        return None
    code = int(word)
    pod = next((pod for pod in reversed(pods) if pod.main_container and pod.main_container.exit_code == code), None)
    known = None if pod is None or pod.main_container is None else _of_main(pod, pod.main_container)
    evidence = (known or Evidence(exit_code=code, reason=reason or "Error")) if code else Evidence(exit_code=0)
    status = UnitStatus.FAILED if code else UnitStatus.SUCCEEDED
    at = pod.main_container.ended_at if pod is not None and pod.main_container is not None else None
    ended_at = at or (job.end.since if job.end else None)
    # Until the Job has ended, too, its controller may make another pod.
    return attrs.evolve(_made(job), status=status, evidence=evidence, ended_at=ended_at, lingers=job.end is None)


def _ended(job: JobFacts, end: Condition, pods: Sequence[PodFacts]) -> Unit:
    good = end.type == "Complete"
    return attrs.evolve(
        _made(job),
        status=UnitStatus.SUCCEEDED if good else UnitStatus.FAILED,
        evidence=Evidence(exit_code=0) if good else _why(job, end, pods),
        ended_at=(job.completed_at if good else None) or end.since,
    )


def _why(job: JobFacts, end: Condition, pods: Sequence[PodFacts]) -> Evidence:
    """Return why a Job failed: by its containers' states, else by its pod, else by the Job itself."""
    pod = next((pod for pod in reversed(pods) if pod.phase != "Succeeded"), None)
    main = pod.main_container if pod is not None else None
    exit_code = main.exit_code if main is not None else None
    if job.stopped:
        return Evidence(exit_code=exit_code, reason="Stopped", message=job.stopped)
    if pod is not None:
        found = _of_container(pod, main) or _of_pod(pod, exit_code)
        if found is not None and (end.reason != "DeadlineExceeded" or found.reason == "OOMKilled"):
            return found
    return Evidence(exit_code=exit_code, reason=end.reason, message=end.message)


def _of_container(pod: PodFacts, main: ContainerFacts | None) -> Evidence | None:
    out_of_memory = next((each for each in pod.containers if each.reason == "OOMKilled"), None)
    if out_of_memory is not None:
        return _out_of_memory(pod, out_of_memory)
    if main is None or pod.reason or pod.disruption is not None:
        return None
    if pod.restarts_failed and main.last_exit_code and (pod.is_deleting or pod.is_gone):
        # The Job's controller deletes such a pod once its retries are used up, so it was not deleted externally.
        tries = f"the container {main.name} failed {main.restarts} times: the Job's backoffLimit is used up"
        return Evidence(exit_code=main.last_exit_code, reason="Error", message=tries)
    return None if pod.is_deleting else _of_main(pod, main)


def _of_main(pod: PodFacts, main: ContainerFacts) -> Evidence | None:
    """Return how the flow's container failed; None if it did not fail."""
    if not main.exit_code:
        return None
    if main.reason == "OOMKilled":
        return _out_of_memory(pod, main)
    return Evidence.of_exit_code(main.exit_code, reason=main.reason, message=main.message)


def _out_of_memory(pod: PodFacts, container: ContainerFacts) -> Evidence:
    is_main = container is pod.main_container
    limit = f", the limit is {pod.memory_limit}" if pod.memory_limit and is_main else ""
    where = "" if is_main else f" in the container {container.name}"
    return Evidence(exit_code=container.exit_code, reason="OOMKilled", message=f"out of memory{where}{limit}")


def blamed(pod: PodFacts) -> str:
    """Return the container whose output explains the end: the main one, unless another one prevented its start."""
    main = pod.main_container
    if main is not None and (main.exit_code or main.state == "running"):
        return pod.main
    failed = (each for each in pod.containers if each.exit_code or each.reason == RESTARTED)
    return next((each.name for each in failed if each.name != pod.main), pod.main)


def _of_pod(pod: PodFacts, exit_code: int | None) -> Evidence | None:
    if pod.reason:  # Evicted, Preempting, NodeShutdown, UnexpectedAdmissionError ...
        return Evidence(exit_code=exit_code, reason=pod.reason, message=pod.message)
    if pod.disruption is not None:
        return Evidence(exit_code=exit_code, reason=pod.disruption.reason, message=pod.disruption.message)
    if pod.is_deleting or pod.is_gone:
        return Evidence(exit_code=exit_code, reason="Deleted", message=f"its pod {pod.name} was deleted externally")
    other = next((each for each in pod.containers if each.exit_code and each.name != pod.main), None)
    if other is None:
        return None
    kind = "init container" if other.is_init else "container"
    message = f"the {kind} {other.name} ended with exit code {other.exit_code}"
    return Evidence(exit_code=exit_code, reason=other.reason or "Error", message=message)
