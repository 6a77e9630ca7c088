"""What agents say of themselves decides whether a run that waits is kept by them."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from prefect.agent.domain.model.asked_agents import AskedAgent, busy
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.waiting import Hold, SeenAgent, WaitFacts

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)
VM = frozenset({"vm"})


def seen(name: str, ago: timedelta = SECOND) -> SeenAgent:
    """An agent as the Cloud knows it."""
    return SeenAgent(name=name, labels=VM, last_seen=NOW - ago)


def facts(*agents: SeenAgent, **more: Any) -> WaitFacts:
    """Of a run that is due."""
    return WaitFacts(**{"labels": VM, "agents": agents, "due": NOW - SECOND, "at": NOW, **more})


def asked(name: str = "ann", **more: Any) -> AskedAgent:
    """An agent that answers."""
    return AskedAgent(**{"where": "here", "name": name, "labels": VM, "units": 2, **more})


RUN = FlowRunId("run")
FULL, FREE, PAUSED = asked(limit=2), asked("bob", limit=3), asked("cid", state="paused")
DECLINES = asked(declined={RUN: "it is late"})


@pytest.mark.parametrize(
    ("known", "agents", "causes"),
    [
        (facts(seen("ann")), [FULL], ["agent-full"]),
        (facts(seen("ann")), [asked(limit=1)], ["agent-full"]),
        (facts(), [FULL], ["agent-full"]),
        (facts(seen("ann"), seen("bob")), [FULL, FREE], ["+agent-full", "+agent-has-room"]),
        (facts(seen("ann"), seen("cid")), [FULL, PAUSED], ["agent-full", "agent-paused"]),
        (facts(seen("ann"), seen("dan")), [FULL], ["+agent-full"]),
        (facts(seen("ann"), seen("dan", timedelta(hours=1))), [FULL], ["agent-full"]),
        (facts(seen("ann")), [asked(state="unhealthy", reason="the Cloud is away")], ["agent-unhealthy"]),
        (facts(seen("ann")), [asked(state="starting")], ["agent-unhealthy"]),
        (facts(seen("ann")), [asked(state="stopping")], ["agent-stopping"]),
        (facts(seen("ann")), [asked()], ["+agent-has-room"]),
        (facts(seen("ann")), [DECLINES], ["agent-declines"]),
        (facts(seen("ann"), seen("bob")), [DECLINES, FREE], ["+agent-declines", "+agent-has-room"]),
        (facts(seen("ann")), [asked(declined={"other": "it is late"})], ["+agent-has-room"]),
        (facts(seen("ann")), [asked(labels=frozenset({"gpu"}), limit=1)], []),
        (facts(seen("ann"), due=NOW + SECOND), [FULL], ["+agent-full"]),
        (facts(seen("ann"), hold=Hold.LIMIT), [FULL], ["+agent-full"]),
        (facts(seen("ann")), [AskedAgent(where="there", silence="it is away")], ["+agent-unseen"]),
    ],
)
def test_agents_keep_a_run_if_none_of_them_has_room(
    known: WaitFacts, agents: list[AskedAgent], causes: list[str]
) -> None:
    """A plus marks what does not stop it: it is not due, or another agent may take it."""
    assert [f"{'' if each.stops else '+'}{each.cause}" for each in busy(known, agents, RUN)] == causes


def test_what_stops_a_run_has_a_remedy() -> None:
    """A command, where there is one."""
    found = [*busy(facts(), [FULL]), *busy(facts(), [PAUSED]), *busy(facts(), [asked(state="unhealthy")])]

    assert all(each.stops and each.remedies for each in found)
    assert "prefect agent start --label vm" in found[0].remedies
