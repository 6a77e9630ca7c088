"""Why a flow run waits: facts in, findings out. Pure: commands of the agent and pages of the Cloud say the same."""

import enum
import shlex
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from prefect.agent.domain.labels import labels_match
from prefect.agent.domain.skew import is_tolerated, side

ALIVE: Final = timedelta(seconds=60)
"""An agent that has not asked for so long is taken for gone, as by the 1.x line."""

FORGOTTEN: Final = timedelta(days=7)
"""An agent that has not asked for so long is not mentioned."""

LATE: Final = timedelta(seconds=60)
"""A run that has been due for longer, though an agent takes its labels, is late."""

SHOWN_AGENTS: Final = 10
"""Agents that a sentence or a table names at most."""


class Hold(enum.Enum):
    """What keeps a waiting run from being started, though it may be due."""

    PAUSE = "pause"
    """It was paused: a person resumes it."""

    LIMIT = "limit"
    """A concurrency limit has no free place."""


@attrs.frozen(kw_only=True)
class SeenAgent:
    """An agent as the Cloud knows it.

    Attributes:
        kind: For people: ``docker``, ``LocalAgent``.
        last_seen: When it asked last (aware, UTC); None if it never has.
    """

    name: str
    kind: str = ""
    labels: frozenset[str] = frozenset()
    last_seen: datetime | None = None


@attrs.frozen(kw_only=True)
class WaitFacts:
    """What is known of a flow run that waits, and of the agents that ask for work.

    Attributes:
        hold: What keeps it from being started once it is due, if anything.
        message: Of its state.
        due: When it is to start (aware, UTC); None if its state does not say.
        since: When it came into its state (aware, UTC).
        labels: An agent needs all of them.
        machine_label: The one of its labels that may name the machine which registered the flow.
        limited: Names of runs that hold the places for which this one is queued.
        agents: Those of its tenant.
        at: When all this was read, by the Cloud's clock.
        skew: How far the Cloud's clock is ahead of this machine's.
        schedule_is_off: Whether its flow has a schedule that is switched off.
    """

    flow_is_archived: bool = False
    hold: Hold | None = None
    message: str = ""
    due: datetime | None = None
    since: datetime | None = None
    labels: frozenset[str] = frozenset()
    machine_label: str = ""
    limited: tuple[str, ...] = ()
    agents: tuple[SeenAgent, ...] = ()
    at: datetime
    skew: timedelta = timedelta()
    schedule_is_off: bool = False

    @property
    def late(self) -> timedelta:
        """For how long it is due; negative while it is not."""
        due = self.due or self.since
        return timedelta() if due is None else self.at - due

    @property
    def is_early(self) -> bool:
        """Whether it is not due yet."""
        return self.late < timedelta()


@attrs.frozen(kw_only=True)
class Finding:
    """One thing that was found out.

    Attributes:
        cause: Short and stable, for programs: ``no-agent``.
        stops: Whether the run does not start, or does not end, for it.
        text: A sentence.
        rows: A table, its first row the head.
        remedies: What to do; one of them is enough.
    """

    cause: str
    text: str
    stops: bool = True
    rows: tuple[tuple[str, ...], ...] = ()
    remedies: tuple[str, ...] = ()


def takes(agent: SeenAgent, labels: frozenset[str]) -> bool:
    """Whether the Cloud offers a run with *labels* to *agent*."""
    return labels_match(labels, agent.labels)


def span(length: timedelta) -> str:
    """A length of time for people: its two largest parts."""
    seconds = max(0, round(length.total_seconds()))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((n for n, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def waiting(facts: WaitFacts) -> Iterator[Finding]:
    """What keeps a waiting run from being started, and what is well."""
    if facts.flow_is_archived:
        yield Finding(
            cause="archived",
            stops=False,
            text="Its flow version is archived: nothing schedules it any more, but this run is started all the same.",
        )
    if facts.schedule_is_off:
        yield Finding(
            cause="schedule-off",
            stops=False,
            text="Its flow's schedule is switched off: it makes no more runs, but this run is started all the same.",
            remedies=("switch the schedule on in the UI, if more runs are wanted",),
        )
    if facts.hold is Hold.PAUSE:
        yield Finding(
            cause="paused",
            text=f"It is paused. {facts.message}".strip(),
            remedies=("resume it in the UI, or set its state to Scheduled",),
        )
    elif facts.hold is Hold.LIMIT:
        yield _queued(facts)
    elif facts.is_early:
        yield _early(facts)
    yield from _agents(facts)


def causes_first(findings: Iterable[Finding]) -> list[Finding]:
    """What stops the run, then what is well; each in the order in which it was found."""
    return sorted(findings, key=lambda finding: not finding.stops)


def machine_label(storage: object, labels: frozenset[str]) -> str:
    """The label that may name the machine which registered a flow; empty if there is none.

    Args:
        storage: Type of the flow's storage.
        labels: Of the run.
    """
    return next(iter(labels)) if storage == "Local" and len(labels) == 1 else ""


def _queued(facts: WaitFacts) -> Finding:
    holders = f" The places are held by {', '.join(facts.limited)}." if facts.limited else ""
    return Finding(
        cause="queued",
        text=f"A limit keeps it: {facts.message or 'no place is free'}.{holders}",
        remedies=("wait for one of them to end", "raise the limit of its label in the UI"),
    )


def _early(facts: WaitFacts) -> Finding:
    due = facts.due
    return Finding(
        cause="not-due",
        text=f"It is not due: it starts in {span(-facts.late)}, at {due:%Y-%m-%d %H:%M:%S} UTC.{_clocks(facts)}",
        remedies=("wait", "create another run without a start time"),
    )


def _clocks(facts: WaitFacts) -> str:
    """What to know of the clocks, if they differ."""
    skew = facts.skew.total_seconds()
    if is_tolerated(skew):
        return ""
    return f" The Cloud's clock is {span(abs(facts.skew))} {side(skew)} this machine's; the Cloud's counts."


def _agents(facts: WaitFacts) -> Iterator[Finding]:
    known = [each for each in facts.agents if each.last_seen is not None and facts.at - each.last_seen < FORGOTTEN]
    fitting = [each for each in known if takes(each, facts.labels)]
    alive = [each for each in fitting if each.last_seen is not None and facts.at - each.last_seen <= ALIVE]
    labels = ", ".join(sorted(facts.labels)) or "none"
    wanted = f"its labels: {labels}" if facts.labels else "runs without labels"
    if alive:
        yield from _taken(facts, alive)
    elif fitting:
        yield Finding(
            cause="agents-gone",
            text=f"No agent that takes its labels ({labels}) has asked for work in the last minute.",
            rows=_table(facts, fitting),
            remedies=start_an_agent(facts),
        )
    elif known:
        yield Finding(
            cause="no-agent",
            text=f"No agent takes {wanted}.{_origin(facts)}",
            rows=_table(facts, known),
            remedies=start_an_agent(facts),
        )
    else:
        yield Finding(
            cause="no-agents",
            text=f"No agent asks this tenant for work.{_origin(facts)}",
            remedies=start_an_agent(facts),
        )


def _taken(facts: WaitFacts, alive: Sequence[SeenAgent]) -> Iterator[Finding]:
    names = ", ".join(sorted({each.name for each in alive})[:SHOWN_AGENTS])
    yield Finding(cause="agents", stops=False, text=f"An agent that takes its labels asks for work: {names}.")
    if facts.hold is None and facts.late > LATE:
        yield Finding(
            cause="late",
            text=f"It has been due for {span(facts.late)}, and an agent could take it, but none has claimed it.",
            remedies=(
                "look whether that agent is full, paused or unhealthy: prefect agent status, on its machine",
                "look whether its claim is refused: the run's own log says so",
            ),
        )


def _origin(facts: WaitFacts) -> str:
    if not facts.machine_label:
        return ""
    return (
        f" With Local storage Prefect 1.x adds the name of the machine that registered the flow to the labels; "
        f"{facts.machine_label} may be that."
    )


def start_an_agent(facts: WaitFacts) -> tuple[str, ...]:
    """Remedies if no agent is there: the command that starts one, and what to change of the run instead."""
    words = "".join(f" --label {shlex.quote(label)}" for label in sorted(facts.labels))
    kind = " process" if facts.machine_label else ""  # such a flow is in a file of that machine
    # The process agent has a label by itself, and an agent with any takes no run without one.
    others = () if facts.labels else ("prefect agent start process --no-hostname-label",)
    change = "create the run, or register its flow, with the labels of an agent that is there"
    return (f"prefect agent start{kind}{words}", *others, *((change,) if facts.labels or facts.agents else ()))


def _table(facts: WaitFacts, agents: Iterable[SeenAgent]) -> tuple[tuple[str, ...], ...]:
    latest = sorted(agents, key=lambda each: each.last_seen or facts.at, reverse=True)[:SHOWN_AGENTS]
    rows = [
        (
            each.name,
            each.kind,
            ", ".join(sorted(each.labels)) or "(none)",
            f"{span(facts.at - each.last_seen)} ago" if each.last_seen else "never",
            ", ".join(sorted(facts.labels - each.labels)) or ("" if takes(each, facts.labels) else "(has labels)"),
        )
        for each in latest
    ]
    return (("agent", "kind", "labels", "last seen", "lacks"), *rows)
