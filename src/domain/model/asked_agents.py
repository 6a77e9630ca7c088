"""What running agents say of themselves, and what of it keeps a flow run waiting. Facts in, findings out. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from prefect.agent.domain.labels import labels_match
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.wait_kinds import WaitKind
from prefect.agent.domain.waiting import ALIVE, Finding, WaitFacts, start_an_agent, takes

HEALTHY: Final = "healthy"
PAUSED: Final = "paused"
STOPPING: Final = "stopping"


@attrs.frozen(kw_only=True)
class Start:
    """The start of a flow run that an agent has claimed.

    Attributes:
        problem: What it waits to pass; empty if there was none yet.
        wait_kind: What the unit waits for because of it.
    """

    problem: str = ""
    wait_kind: WaitKind = WaitKind.UNKNOWN


@attrs.frozen(kw_only=True)
class AskedAgent:
    """A running agent as it describes itself.

    Attributes:
        where: How it was reached, for people: ``process 7 of this machine``.
        tenant: Id of its tenant; empty before it has connected.
        state: ``starting``, ``healthy``, ``paused``, ``stopping`` or ``unhealthy``.
        reason: Why it is unhealthy; empty if it is not.
        units: How many units it counts as alive, those that it starts now included.
        limit: How many there may be; None for any number.
        starting: Ids of the flow runs that it has claimed and creates units for, each with how far its start is.
        declined: Ids of the flow runs that it has read and leaves alone, each with the reason.
        silence: Why it did not answer; then only *where* is known. Empty if it did.
    """

    where: str
    name: str = ""
    labels: frozenset[str] = frozenset()
    tenant: str = ""
    state: str = HEALTHY
    reason: str = ""
    units: int = 0
    limit: int | None = None
    starting: Mapping[str, Start] = attrs.field(factory=dict)
    declined: Mapping[str, str] = attrs.field(factory=dict)
    silence: str = ""

    @property
    def is_full(self) -> bool:
        """Whether it claims nothing until one of its units ends."""
        return self.limit is not None and self.units >= self.limit

    @property
    def has_room(self) -> bool:
        """Whether it claims what it takes."""
        return self.state == HEALTHY and not self.is_full and not self.silence and not self.declined

    def towards(self, run_id: FlowRunId | None) -> "AskedAgent":
        """Return the agent with what it says of one flow run, and not of others."""
        return attrs.evolve(self, declined={key: why for key, why in self.declined.items() if key == run_id})


def busy(facts: WaitFacts, asked: Iterable[AskedAgent], run_id: FlowRunId | None = None) -> list[Finding]:
    """What agents that take the run say about whether they start it, and have room for it.

    It is certain that they keep the run waiting if none of them has room and the Cloud knows of no other agent that is
    alive and takes the run. Agents of the same name and labels count as one, as in the Cloud.

    Args:
        run_id: The run's, for what they say of it alone.
    """
    asked = [each.towards(run_id) for each in asked]
    concerned = [each for each in asked if each.silence or labels_match(facts.labels, each.labels)]
    fitting = [each for each in concerned if not each.silence]
    known = {(each.name, each.labels) for each in fitting}
    others = [each for each in _alive(facts) if each not in known]
    is_due = facts.hold is None and not facts.is_early
    is_certain = is_due and not others and not any(each.has_room for each in fitting)
    silent = (_silent(each) for each in concerned if each.silence)
    return [*_answers(facts, fitting, is_certain=is_certain), *silent]


def _alive(facts: WaitFacts) -> Iterator[tuple[str, frozenset[str]]]:
    for each in facts.agents:
        if takes(each, facts.labels) and each.last_seen is not None and facts.at - each.last_seen <= ALIVE:
            yield each.name, each.labels


def _answers(facts: WaitFacts, fitting: Sequence[AskedAgent], *, is_certain: bool) -> Iterator[Finding]:
    for agent in fitting:
        what = f"The agent {agent.name} ({agent.where})"
        if agent.state == PAUSED:
            text, remedies = f"{what} is paused: it claims nothing.", (f"prefect agent resume {agent.name}",)
            yield Finding(cause="agent-paused", stops=is_certain, text=text, remedies=remedies)
        elif agent.state == STOPPING:
            text = f"{what} stops: it finishes what it has claimed, and claims nothing more."
            yield Finding(cause="agent-stopping", stops=is_certain, text=text, remedies=start_an_agent(facts)[:1])
        elif agent.state != HEALTHY:
            text = f"{what} is {agent.state}: {agent.reason or 'it does not say why'}"
            remedies = ("prefect agent doctor, with the options of the agent",)
            yield Finding(cause="agent-unhealthy", stops=is_certain, text=text, remedies=remedies)
        elif agent.declined:
            yield _declined(facts, agent, what, is_certain=is_certain)
        elif agent.is_full:
            yield _full(facts, agent, what, is_certain=is_certain)
        else:
            limit = "it has no --limit" if agent.limit is None else f"--limit {agent.limit}"
            text = f"{what} has room: {_count(agent.units)} alive, {limit}."
            yield Finding(cause="agent-has-room", stops=False, text=text)


def _declined(facts: WaitFacts, agent: AskedAgent, what: str, *, is_certain: bool) -> Finding:
    return Finding(
        cause="agent-declines",
        stops=is_certain,
        text=f"{what} has read it and leaves it alone: {' '.join(agent.declined.values())}.",
        remedies=("schedule the run again", "start the agent without what it names", start_an_agent(facts)[0]),
    )


def _full(facts: WaitFacts, agent: AskedAgent, what: str, *, is_certain: bool) -> Finding:
    return Finding(
        cause="agent-full",
        stops=is_certain,
        text=f"{what} is full: {_count(agent.units)} alive, --limit {agent.limit}. "
        "It claims the next flow run when one of them ends.",
        remedies=("wait until one of them ends", "start it with a higher --limit", start_an_agent(facts)[0]),
    )


def _silent(agent: AskedAgent) -> Finding:
    text = f"The agent at {agent.where} could not be asked: {agent.silence}"
    return Finding(cause="agent-unseen", stops=False, text=text)


def _count(units: int) -> str:
    return "1 unit is" if units == 1 else f"{units} units are"
