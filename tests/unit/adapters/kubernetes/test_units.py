"""From facts to units: each state of a Job and its pods, as a table."""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.adapters.kubernetes.facts import Condition, ContainerFacts, JobFacts, PodFacts
from prefect.agent.adapters.kubernetes.units import Patience, by_age, start_problem, unit
from prefect.agent.domain.model.units import Evidence, UnitStatus
from support.kubernetes_objects import BEGIN, state, the_job, the_pod

PATIENCE: Final = Patience(trouble=60, start=600)
FAILED: Final[dict[str, Any]] = {"end": "Failed", "reason": "BackoffLimitExceeded"}
MISSES: Final = 'secret "unit-0" not found'


def waits(reason: str, message: str = "m", **facts: Any) -> PodFacts:
    """A pod whose container waits."""
    status = [state("waiting", reason=reason, message=message)]
    return the_pod(facts, phase="Pending", containerStatuses=status)


def ended(code: int, *, facts: Any = None, phase: str = "Failed", **about: Any) -> PodFacts:
    """A pod whose container has ended."""
    return the_pod(facts, phase=phase, containerStatuses=[state("terminated", exitCode=code, **about)])


def condition(reason: str, kind: str = "PodScheduled") -> Condition:
    """One of a pod."""
    return Condition(type=kind, reason=reason, message="m", since=BEGIN + timedelta(seconds=5))


GONE: Final = {"is_gone": True}
NOWHERE: Final = {"unscheduled": condition("Unschedulable")}
DELETING: Final = {"is_deleting": True}

STATES: Final[dict[str, tuple[JobFacts | None, Sequence[PodFacts], UnitStatus | None, str]]] = {
    "nothing": (None, [], None, ""),
    "made": (the_job(), [], UnitStatus.PENDING, ""),
    "suspended": (
        the_job({"is_suspended": True}),
        [],
        UnitStatus.PENDING,
        "Suspended, its Job was suspended externally",
    ),
    "no status yet": (the_job(), [the_pod(phase="")], UnitStatus.PENDING, ""),
    "creating": (the_job(), [waits("ContainerCreating")], UnitStatus.PENDING, ""),
    "no node": (the_job(), [the_pod(NOWHERE, phase="Pending")], UnitStatus.PENDING, "Unschedulable, m"),
    "no image": (the_job(), [waits("ErrImagePull")], UnitStatus.PENDING, "ErrImagePull, m"),
    "foreign secret": (
        the_job({"secret": "unit-0"}),
        [waits("CreateContainerConfigError", 'secret "other" not found')],
        UnitStatus.PENDING,
        'CreateContainerConfigError, secret "other" not found',
    ),
    "own secret": (
        the_job({"secret": "unit-0"}),
        [waits("CreateContainerConfigError", MISSES)],
        UnitStatus.CREATED,
        f"CreateContainerConfigError, {MISSES}",
    ),
    "running": (the_job(), [the_pod()], UnitStatus.RUNNING, ""),
    "running beside one that waits": (
        the_job(),
        [
            the_pod(
                phase="Pending",
                containerStatuses=[state("running"), state("waiting", container="helper", reason="ErrImagePull")],
            )
        ],
        UnitStatus.RUNNING,
        "",
    ),
    "ended beside one that waits": (
        the_job(),
        [
            the_pod(
                phase="Pending",
                containerStatuses=[
                    state("terminated", exitCode=3, reason="Error"),
                    state("waiting", container="helper", reason="ErrImagePull"),
                ],
            )
        ],
        UnitStatus.FAILED,
        "Error, exit code 3",
    ),
    "its node is lost": (
        the_job(),
        [
            the_pod(
                conditions=[{"type": "Ready", "status": "False"}],
                containerStatuses=[{**state("running"), "ready": True}],
            )
        ],
        UnitStatus.RUNNING,
        "NodeLost, node-1 does not answer, so it is not known whether the flow run still executes there",
    ),
    "not ready by the word of its node": (
        the_job(),
        [
            the_pod(
                conditions=[{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}],
                containerStatuses=[{**state("running"), "ready": True}],
            )
        ],
        UnitStatus.RUNNING,
        "",
    ),
    "an older agent noted its end": (
        the_job({"ended": "3 Error"}, end="Failed", reason="DeadlineExceeded"),
        [],
        UnitStatus.FAILED,
        "Error, exit code 3",
    ),
    "an older agent noted its good end": (
        the_job({"ended": "0"}, end="Failed", reason="DeadlineExceeded"),
        [],
        UnitStatus.SUCCEEDED,
        "exit code 0",
    ),
    "unknown": (the_job(), [the_pod(phase="Unknown")], UnitStatus.RUNNING, ""),
    "between two pods": (the_job(), [ended(1)], UnitStatus.RUNNING, ""),
    "the second pod": (the_job(), [ended(1), the_pod(uid="pod-2")], UnitStatus.RUNNING, ""),
    "a pod that was taken away": (the_job(), [the_pod(GONE)], UnitStatus.PENDING, ""),
    "ended, but a pod lives": (the_job(**FAILED), [the_pod()], UnitStatus.RUNNING, ""),
    "complete": (the_job(end="Complete"), [ended(0, phase="Succeeded")], UnitStatus.SUCCEEDED, "exit code 0"),
    "complete, nothing else known": (the_job(end="Complete"), [], UnitStatus.SUCCEEDED, "exit code 0"),
    "failed, nothing else known": (the_job(**FAILED), [], UnitStatus.FAILED, "BackoffLimitExceeded"),
    "failed": (the_job(**FAILED), [ended(3, reason="Error")], UnitStatus.FAILED, "Error, exit code 3"),
    "failed, its pod is gone": (the_job(**FAILED), [ended(3, facts=GONE)], UnitStatus.FAILED, "Error, exit code 3"),
    "its own message": (
        the_job(**FAILED),
        [ended(3, reason="Error", message="disk full")],
        UnitStatus.FAILED,
        "Error, disk full, exit code 3",
    ),
    "signal": (the_job(**FAILED), [ended(139)], UnitStatus.FAILED, "Killed, ended by signal 11, exit code 139"),
    "no signal": (the_job(**FAILED), [ended(255)], UnitStatus.FAILED, "Error, exit code 255"),
    "out of memory": (
        the_job(**FAILED),
        [ended(137, reason="OOMKilled")],
        UnitStatus.FAILED,
        "OOMKilled, out of memory, the limit is 1Gi, exit code 137",
    ),
    "out of memory at the deadline": (
        the_job(end="Failed", reason="DeadlineExceeded"),
        [ended(137, reason="OOMKilled")],
        UnitStatus.FAILED,
        "OOMKilled, out of memory, the limit is 1Gi, exit code 137",
    ),
    "deadline": (
        the_job(end="Failed", reason="DeadlineExceeded"),
        [ended(143, facts=DELETING)],
        UnitStatus.FAILED,
        "DeadlineExceeded, exit code 143",
    ),
    "evicted": (
        the_job(**FAILED),
        [ended(137, facts={"reason": "Evicted", "message": "low on memory"})],
        UnitStatus.FAILED,
        "Evicted, low on memory, exit code 137",
    ),
    "preempted": (
        the_job(**FAILED),
        [ended(143, facts={"disruption": condition("PreemptionByScheduler", "DisruptionTarget")})],
        UnitStatus.FAILED,
        "PreemptionByScheduler, m, exit code 143",
    ),
    "deleted": (
        the_job(**FAILED),
        [ended(143, facts=DELETING)],
        UnitStatus.FAILED,
        "Deleted, its pod pod-1 was deleted externally, exit code 143",
    ),
    "deleted before its start": (
        the_job(**FAILED),
        [the_pod(GONE, phase="Pending")],
        UnitStatus.FAILED,
        "Deleted, its pod pod-1 was deleted externally",
    ),
    "stopped": (
        the_job({"stopped": "ended by the agent"}, **FAILED),
        [ended(143)],
        UnitStatus.FAILED,
        "Stopped, ended by the agent, exit code 143",
    ),
    "the last of two": (
        the_job(**FAILED),
        [ended(4, facts={"uid": "pod-2", "created_at": BEGIN + timedelta(seconds=9)}), ended(3)],
        UnitStatus.FAILED,
        "Error, exit code 4",
    ),
    "being deleted, ended": (the_job(DELETING, **FAILED), [ended(3)], UnitStatus.FAILED, "Error, exit code 3"),
    "being deleted": (the_job(DELETING), [the_pod()], UnitStatus.RUNNING, ""),
    "being deleted, nothing lives": (the_job(DELETING), [ended(3)], None, ""),
    "only a pod": (None, [the_pod()], UnitStatus.RUNNING, ""),
    "only a dead pod": (None, [ended(1), the_pod(GONE)], None, ""),
}


@pytest.mark.parametrize("name", STATES)
def test_states(name: str) -> None:
    """Status and evidence."""
    job, pods, status, evidence = STATES[name]
    found = unit(job, pods, PATIENCE)
    if status is None:
        assert found is None
        return
    assert found is not None
    assert (found.status, str(found.evidence or "")) == (status, evidence)
    assert (found.name, found.flow_run_id, found.attempt, found.created_at) == ("unit", "run", "1", BEGIN)
    assert (found.id, found.info) == (
        ("job-unit", "Job unit") if job and not job.is_deleting else (found.id, found.info)
    )


@pytest.mark.parametrize(
    ("pod", "seconds"),
    [
        (waits("ErrImagePull"), 60),
        (waits("ImagePullBackOff", waiting_since=BEGIN + timedelta(seconds=30)), 90),
        (waits("InvalidImageName"), 0),
        (waits("ErrImageNeverPull"), 0),
        (waits("CreateContainerConfigError"), 60),
        (waits("WhateverComesNext"), 60),
        (waits("CrashLoopBackOff"), 600),
        (waits("ContainerCreating"), None),
        (the_pod(NOWHERE, phase="Pending"), 605),
    ],
    ids=lambda value: getattr(getattr(value, "waiting", None), "reason", ""),
)
def test_patience_with_pods(pod: PodFacts, seconds: float | None) -> None:
    """Little with what seldom passes, much with what may, none with what cannot."""
    found = unit(the_job(), [pod], PATIENCE)
    assert found is not None
    assert found.hopeless_at == (None if seconds is None else BEGIN + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest"', 60),
        ('admission webhook "w" denied the request: no', 60),
        ('Pod "x" is invalid: spec.containers[0].image: Required value', 60),
        ('pods "x" is forbidden: exceeded quota: q, requested: pods=1', 600),
        ('Internal error occurred: failed calling webhook "w": deadline exceeded', 600),
        ("etcdserver: request timed out", 600),
    ],
)
def test_patience_without_pods(message: str, seconds: float) -> None:
    """What is forbidden stays so; quotas and troubles of the cluster pass."""
    said = Evidence(reason="FailedCreate", message=message)
    found = unit(the_job(), [], PATIENCE, said=said)
    assert found is not None
    assert (found.evidence, found.hopeless_at) == (said, BEGIN + timedelta(seconds=seconds))


def test_what_events_say_comes_last() -> None:
    """Containers and conditions know better."""
    said = Evidence(reason="FailedMount", message="no such volume")
    for pod, reason in ((waits("ContainerCreating"), "FailedMount"), (waits("ErrImagePull"), "ErrImagePull")):
        found = unit(the_job(), [pod], PATIENCE, said=said)
        assert found is not None
        assert found.evidence is not None
        assert found.evidence.reason == reason
        assert found.hopeless_at is not None


@pytest.mark.parametrize("main_code", [0, None])
def test_other_containers(main_code: int | None) -> None:
    """If the flow's own container did not fail, the one that did is named."""
    flow = [] if main_code is None else [state("terminated", exitCode=main_code)]
    side = state("terminated", container="shipper", exitCode=9, reason="Error")
    for key, kind in (("containerStatuses", "container"), ("initContainerStatuses", "init container")):
        status: dict[str, Any] = {
            "containerStatuses": flow,
            key: [*(flow if key == "containerStatuses" else []), side],
        }
        found = unit(the_job(**FAILED), [the_pod(phase="Failed", **status)], PATIENCE)
        assert found is not None
        assert found.evidence == Evidence(
            exit_code=main_code, reason="Error", message=f"the {kind} shipper ended with exit code 9"
        )


def test_kinds_of_problems() -> None:
    """One word for what is one trouble in two words of the node."""
    pods = [
        waits("ErrImagePull"),
        waits("ImagePullBackOff"),
        waits("CreateContainerError"),
        the_pod(NOWHERE),
        the_pod(),
    ]
    assert [start_problem(pod) for pod in pods] == ["image", "image", "container", "node", ""]


def test_age() -> None:
    """Oldest first; a pod without a date is old."""
    young, old, none = (
        the_pod({"created_at": BEGIN}, uid="a"),
        the_pod({"created_at": BEGIN - timedelta(1)}, uid="b"),
        the_pod({"created_at": None}, uid="c"),
    )
    assert by_age([young, old, none]) == [none, old, young]


texts = st.sampled_from(["", "Error", "OOMKilled", "ErrImagePull", "InvalidImageName", "Evicted", "FailedCreate"])
times = st.sampled_from([None, BEGIN, *(each.replace(tzinfo=timezone.utc) for each in (datetime.min, datetime.max))])
conditions = st.builds(
    Condition,
    type=st.sampled_from(["Complete", "Failed", "Suspended", "PodScheduled", ""]),
    reason=texts,
    message=texts,
    since=times,
)
containers = st.builds(
    ContainerFacts,
    name=st.sampled_from(["flow", "", "side"]),
    state=st.sampled_from(["waiting", "running", "terminated", ""]),
    reason=texts,
    message=texts,
    exit_code=st.none() | st.integers(-1, 300),
    is_init=st.booleans(),
)
jobs = st.builds(
    JobFacts,
    name=st.just("unit"),
    created_at=times,
    completed_at=times,
    secret=texts,
    stopped=texts,
    conditions=st.lists(conditions, max_size=2).map(tuple),
    ended=st.sampled_from(["", "0", "3 Error", "137 OOMKilled", "x"]),
    retries_left=st.integers(0, 1),
)
pods_ = st.builds(
    PodFacts,
    name=texts,
    uid=texts,
    unit=st.just("unit"),
    phase=st.sampled_from(["", "Pending", "Running", "Succeeded", "Failed", "Unknown"]),
    reason=texts,
    main=st.sampled_from(["flow", ""]),
    created_at=times,
    waiting_since=times,
    unscheduled=st.none() | conditions,
    disruption=st.none() | conditions,
    containers=st.lists(containers, max_size=3).map(tuple),
)
saids = st.none() | st.builds(Evidence, reason=texts, message=texts)


@given(st.none() | jobs, st.lists(pods_, max_size=3), saids)
def test_whatever_the_facts(job: JobFacts | None, pods: list[PodFacts], said: Evidence | None) -> None:
    """There is an answer; nothing that lives has ended, what has ended has evidence, and hope is for those who wait.

    A pod whose main container has ended does not live, whatever goes on beside it.
    """
    found = unit(job, pods, PATIENCE, said=said)
    lives = any(pod.is_alive and pod.ended_main is None for pod in pods)
    if found is None:
        assert not lives
        return
    assert found.name == "unit"
    assert not (lives and found.status.has_ended)
    assert not (found.status.has_ended and found.evidence is None)
    assert not found.lingers or found.status.has_ended
    assert found.hopeless_at is None or found.status is UnitStatus.PENDING
