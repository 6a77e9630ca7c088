"""Agents that ask for the same runs make way for each other."""

from collections.abc import Iterable

import pytest

from prefect.agent.domain.model.contention import CONTESTED, PROBE, Contention
from prefect.agent.domain.model.desk import Desk, Seen
from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId
from support.builders import NOW, ids


def taken(desk: Desk, run: FlowRun) -> None:
    """Let *run* be offered and taken; others that wait and are due are taken, too."""
    desk.offer([run], NOW, 0.0)
    assert run.id in runs_of(desk.take_due(NOW, 9))


def runs_of(seen: Iterable[Seen]) -> list[FlowRunId]:
    """Ids of the runs that were taken."""
    return ids(each.run for each in seen)


# --- other agents that ask for the same runs ---


@pytest.mark.parametrize(
    ("claims", "lost", "contested"), [(10, 1, True), (10, 0, False), (11, 1, False), (0, 0, False)]
)
def test_a_tenth_of_lost_claims_is_contention(claims: int, lost: int, contested: bool) -> None:
    """Then the agent takes half of what is due, from the end, for a while."""
    contention = Contention("me", lambda: 0.1)
    contention.learn(claims, lost, 100.0)

    assert contention.is_contested(100.0 + CONTESTED - 1) is contested
    assert contention.from_the_end is contested
    assert contention.portion(40, 20, 100.0) == (10 if contested else 40 if claims else PROBE)
    assert not contention.is_contested(100.0 + CONTESTED)


def test_an_agent_claims_few_runs_until_it_knows_that_it_is_alone() -> None:
    """Twins that meet a full queue at once lose a handful of claims, not a batch."""
    contention = Contention("me", lambda: 0.1)
    assert [contention.portion(most, 100, 0.0) for most in (40, 3)] == [PROBE, 3]

    contention.learn(PROBE, 0, 0.0)
    assert contention.portion(40, 100, CONTESTED - 1) == 40
    assert contention.portion(40, 100, CONTESTED) == PROBE


def test_an_agent_in_contention_takes_one_run_at_least() -> None:
    """And never more than it may."""
    contention = Contention("me", lambda: 0.9)
    contention.learn(1, 1, 0.0)

    assert [contention.portion(40, due, 1.0) for due in (0, 1, 3)] == [1, 1, 1]
    assert contention.portion(2, 100, 1.0) == 2


def test_two_agents_that_meet_at_one_end_part() -> None:
    """Both lost claims before, so both know of each other: by their ids one goes to the other end."""
    agents = [Contention(name, lambda: 0.5) for name in ("a", "b")]
    for agent, rival in zip(agents, ("b", "a"), strict=True):
        agent.learn(5, 5, 0.0, rivals=[rival])
        agent.learn(12, 12, 1.0, rivals=[rival, agent.me])

    assert [agent.from_the_end for agent in agents] == [False, True]


def test_an_agent_whose_rival_comes_from_the_other_end_stays() -> None:
    """It lost the last of its batch only."""
    contention = Contention("me", lambda: 0.1)
    contention.learn(25, 12, 0.0, only_the_last=True)

    assert contention.is_contested(1.0)
    assert not contention.from_the_end


def test_contention_ends() -> None:
    """When no claim was lost for a while the agent begins at the head again, and takes all it may."""
    contention = Contention("me", lambda: 0.1)
    contention.learn(1, 1, 0.0)
    ends = []
    for now in (CONTESTED / 2, CONTESTED):
        contention.learn(5, 0, now)
        ends.append(contention.from_the_end)

    assert ends == [True, False]
    assert contention.portion(40, 20, CONTESTED) == 40
