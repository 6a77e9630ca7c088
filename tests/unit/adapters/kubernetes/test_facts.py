"""Objects of the API server, also such as it would never send: facts come out, or nothing."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.adapters.kubernetes.facts import BEFORE_ALL, KEPT_TEXT, event_facts, job_facts, pod_facts, version_of
from prefect.agent.adapters.kubernetes.unit_report import account
from prefect.agent.adapters.kubernetes.units import Patience, unit
from support.kubernetes_objects import BEGIN, a_job_object, a_pod_object, moment, state

FIELDS = [
    *("metadata", "spec", "status", "labels", "annotations", "name", "namespace", "uid", "resourceVersion"),
    *("prefect.io/unit", "prefect.io/attempt", "creationTimestamp", "deletionTimestamp", "conditions", "type"),
    *("phase", "containers", "containerStatuses", "initContainerStatuses", "state", "terminated", "waiting"),
    *("exitCode", "reason", "message", "restartCount", "resources", "limits", "memory", "suspend", "completionTime"),
    *("involvedObject", "series", "count", "lastTimestamp", "eventTime", "lastObservedTime", "lastTransitionTime"),
]
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["True", "Failed", "PodScheduled", "0001-01-01T00:00:00+24:00", "9999-12-31T23:59:59Z", "unit"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=25,
)
objects = st.dictionaries(st.sampled_from(FIELDS), values, max_size=4)


def marked(thing: dict[str, Any]) -> dict[str, Any]:
    """With what makes it one of ours."""
    meta = thing.get("metadata")
    named = {**(meta if isinstance(meta, dict) else {}), "name": "unit", "uid": "1"}
    return {**thing, "metadata": {**named, "labels": {"prefect.io/unit": "unit"}}}


@given(objects, objects, objects)
def test_hostile_shapes(one: dict[str, Any], other: dict[str, Any], event: dict[str, Any]) -> None:
    """Nothing is raised, from the object to the unit and its account."""
    assert version_of(one) >= 0
    job, pod, happened = job_facts(marked(one)), pod_facts(marked(other)), event_facts(event)
    assert job is not None
    assert pod is not None
    unit(job, [pod], Patience())
    assert account(job, [pod], [happened]).startswith("WHAT")


def test_a_job() -> None:
    """What is kept of it."""
    made = a_job_object(version=7, end="Complete", reason="CompletionsReached", completionTime=moment(8))
    made["spec"] = {"suspend": True}
    made["metadata"]["annotations"] |= {"prefect.io/secret": "unit-0", "prefect.io/stopped": "why"}
    facts = job_facts(made)
    assert facts is not None
    assert (facts.name, facts.namespace, facts.uid, facts.version) == ("unit", "metrics", "job-unit", 7)
    assert (facts.flow_run_id, facts.attempt, facts.secret, facts.stopped) == ("run", "1", "unit-0", "why")
    assert (facts.created_at, facts.completed_at) == (BEGIN, BEGIN + timedelta(seconds=8))
    assert (facts.is_suspended, facts.is_deleting) == (True, False)
    end = facts.condition("Failed", "Complete")
    assert end is not None
    assert (end.type, end.reason, end.since) == ("Complete", "CompletionsReached", BEGIN + timedelta(seconds=9))
    assert facts.condition("Failed") is None


def test_conditions_that_do_not_hold() -> None:
    """They are none."""
    facts = job_facts(a_job_object(conditions=[{"type": "Failed", "status": "False"}]))
    assert facts is not None
    assert facts.conditions == ()


@pytest.mark.parametrize("label", [None, "", "another", 7, ["unit"]])
def test_a_job_that_is_not_ours(label: object) -> None:
    """The label must hold the Job's own name."""
    made = a_job_object()
    made["metadata"]["labels"]["prefect.io/unit"] = label
    assert job_facts(made) is None


def test_a_pod() -> None:
    """What is kept of it."""
    made = a_pod_object(
        version=3,
        phase="Pending",
        conditions=[
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no"},
            {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"},
            "nonsense",
        ],
        initContainerStatuses=[state("terminated", container="prepare", exitCode=1)],
        containerStatuses=[state("waiting", reason="PodInitializing"), state("running", container="side")],
    )
    facts = pod_facts(made)
    assert facts is not None
    assert (facts.unit, facts.uid, facts.version, facts.phase, facts.node) == ("unit", "pod-1", 3, "Pending", "node-1")
    assert (facts.main, facts.memory_limit) == ("flow", "1Gi")
    assert facts.unscheduled is not None
    assert facts.disruption is not None
    assert [(each.name, each.state, each.is_init) for each in facts.containers] == [
        ("prepare", "terminated", True),
        ("flow", "waiting", False),
        ("side", "running", False),
    ]
    assert facts.main_container is facts.containers[1]
    assert facts.waiting is None
    assert facts.is_alive


def test_texts_are_cut() -> None:
    """Somebody else writes them, and there are many Jobs."""
    facts = pod_facts(a_pod_object(message="x" * 10_000))
    assert facts is not None
    assert len(facts.message) == KEPT_TEXT


def test_events() -> None:
    """Old and new ones differ in where they have count and time."""
    old = event_facts({"count": 3, "lastTimestamp": moment(1), "type": "Warning", "involvedObject": {"kind": "Pod"}})
    new = event_facts({"series": {"count": 4, "lastObservedTime": moment(2)}, "eventTime": moment(0)})
    single = event_facts({"eventTime": "2026-01-01T00:00:00.123456Z", "involvedObject": {"kind": "Job", "name": "u"}})
    assert (old.count, old.at, old.type, old.about) == (3, BEGIN + timedelta(seconds=1), "Warning", "Pod")
    assert (new.count, new.at, new.type, new.about) == (4, BEGIN + timedelta(seconds=2), "Normal", "")
    assert (single.count, single.at.microsecond, single.about) == (1, 123456, "Job u")
    assert event_facts({}).at == BEFORE_ALL


@pytest.mark.parametrize(("text", "number"), [("12", 12), ("", 0), ("x", 0), ("-1", 0), (5, 0), (None, 0)])
def test_versions(text: object, number: int) -> None:
    """Numbers, or nothing."""
    assert version_of({"metadata": {"resourceVersion": text}}) == number
