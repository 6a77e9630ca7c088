"""What is known of a unit as a table for people."""

from typing import Any

import pytest

from prefect.agent.adapters.kubernetes.facts import EventFacts, event_facts
from prefect.agent.adapters.kubernetes.unit_report import MOST_EVENTS, account
from prefect.agent.ports.platform import TEXT_LIMIT
from support.kubernetes_objects import moment, state, the_job, the_pod


def event(second: float, reason: str = "Started", **more: Any) -> EventFacts:
    """Something that happened then."""
    about = {"kind": "Pod", "name": "pod-1"}
    return event_facts({"involvedObject": about, "reason": reason, "lastTimestamp": moment(second), **more})


def test_the_whole_table() -> None:
    """Job, pods and containers, each with its state, exit code and details; then what happened, oldest first."""
    job = the_job(end="Failed", reason="BackoffLimitExceeded")
    flow = state("terminated", exitCode=137, reason="OOMKilled", signal=9)
    prepare = {**state("terminated", container="prepare", exitCode=0, reason="Completed"), "restartCount": 2}
    old = the_pod(phase="Failed", containerStatuses=[flow], initContainerStatuses=[prepare], reason="Evicted")
    new = the_pod({"is_deleting": True, "node": ""}, uid="pod-2", phase="Pending")
    events = [
        event(9, "Killing", message="Stopping  container\nflow", count=3, type="Warning"),
        event(0, "Scheduled", message="Successfully assigned"),
    ]
    assert account(job, [new, old], events).splitlines() == [
        "WHAT                      STATE                   EXIT  DETAIL",
        "Job unit                  Failed                        BackoffLimitExceeded",
        "Pod pod-1                 Failed                        on node-1; Evicted",
        "  init container prepare  terminated              0     Completed; 2 restarts",
        "  container flow          terminated              137   OOMKilled; signal 9",
        "Pod pod-2                 Pending, being deleted        on no node yet",
        "",
        "Events reported by Kubernetes:",
        "  2026-01-01T00:00:00Z  Normal   Pod pod-1: Scheduled: Successfully assigned",
        "  2026-01-01T00:00:09Z  Warning  Pod pod-1: Killing: Stopping container flow (3 times)",
    ]


@pytest.mark.parametrize(
    ("job", "state_"),
    [(the_job(), "Active"), (the_job({"is_suspended": True}), "Suspended"), (the_job(end="Complete"), "Complete")],
)
def test_jobs(job: Any, state_: str) -> None:
    """In one word."""
    assert account(job, [], []).splitlines()[1].split() == ["Job", "unit", state_]


def test_pods_that_are_gone() -> None:
    """Are told of as they were last."""
    assert "Pod pod-1  gone" in account(None, [the_pod({"is_gone": True})], [])


def test_nothing_to_tell() -> None:
    """Is nothing, not a head without a body."""
    assert account(None, [], []) == ""


def test_only_the_latest_events() -> None:
    """A pod that cannot be scheduled for a week has many."""
    lines = account(None, [], [event(second) for second in range(100)]).splitlines()
    assert len(lines) == MOST_EVENTS + 2
    assert moment(99) in lines[-1]


def test_it_is_bounded_and_text() -> None:
    """Whoever writes messages may write much, and what is no text at all."""
    pods = [the_pod({"message": "\ud800\N{SNOWMAN}" * 500, "name": f"pod-{number}"}) for number in range(200)]
    table = account(the_job(), pods, [])
    assert len(table.encode()) <= TEXT_LIMIT
    assert "?\N{SNOWMAN}" in table
