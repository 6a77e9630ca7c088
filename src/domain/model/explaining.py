"""Why a flow run does not start: facts in, findings out. Pure: command line, logs and pages say the same sentence."""

import re
import shlex
import uuid
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import attrs

from prefect.agent.domain.model.flow_runs import ClaimRecord, FlowRunId
from prefect.agent.domain.model.pending import wait_of
from prefect.agent.domain.model.policy import REFUSES
from prefect.agent.domain.model.run_facts import Finding, Hold, RunFacts, SeenAgent, UnitFacts
from prefect.agent.domain.model.units import UnitStatus

__all__ = [
    "ALIVE", "CANNOT_START", "FORGOTTEN", "LATE", "Finding", "Hold", "Reference", "RunFacts", "SeenAgent", "UnitFacts",
    "explain", "fits", "reference", "span", "takes",
]  # fmt: skip

ALIVE: Final = timedelta(seconds=60)
"""An agent that has not asked for so long is taken for gone, as by the 1.x line."""

FORGOTTEN: Final = timedelta(days=7)
"""An agent that has not asked for so long is not mentioned."""

LATE: Final = timedelta(seconds=60)
"""A run that is due for longer, though an agent takes its labels, is late."""

SHOWN_AGENTS: Final = 10

SKEW: Final = timedelta(seconds=5)
"""Clocks that differ by more are mentioned where it is about time."""

CANNOT_START: Final = "The flow run cannot be started"
"""Begins the message of the state in which an agent leaves a run that it refuses."""


@attrs.frozen
class Reference:
    """How a person names a flow run: by id, or by name."""

    run_id: FlowRunId | None = None
    name: str = ""


def reference(text: str) -> Reference:
    """Read an id, a name, or the address that the client prints (``.../flow-run/ID``)."""
    words = [word for word in re.split(r"[/?#]", urlsplit(text).path if "://" in text else text) if word]
    for word in reversed(words):
        try:
            return Reference(run_id=FlowRunId(str(uuid.UUID(word))))
        except ValueError:
            continue
    return Reference(name=text.strip())


def fits(labels: AbstractSet[str], agents: AbstractSet[str]) -> bool:
    """Whether the Cloud offers a run with *labels* to an agent with these: one without goes to agents without any."""
    return labels <= agents and bool(labels) == bool(agents)


def takes(agent: SeenAgent, labels: frozenset[str]) -> bool:
    """Whether the Cloud offers a run with *labels* to *agent*."""
    return fits(labels, agent.labels)


def span(length: timedelta) -> str:
    """A length of time for people: its two largest parts."""
    seconds = max(0, round(length.total_seconds()))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((n for n, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def explain(facts: RunFacts, unit: UnitFacts | None = None) -> list[Finding]:
    """What keeps the run, the first cause first, then what is well.

    Args:
        unit: What the platform says of its unit, if it was asked.
    """
    found = list(_findings(facts, unit))
    return sorted(found, key=lambda finding: not finding.stops)


def _findings(facts: RunFacts, unit: UnitFacts | None) -> Iterator[Finding]:
    state = facts.state
    if unit is not None and unit.problem:
        yield _unavailable(unit.problem)
    if state.is_finished:
        yield _ended(facts)
    elif state.is_waiting:
        yield from _waiting(facts)
        if unit is not None and unit.alive:
            yield _load(unit)
    elif state.is_open:
        yield from _claimed(facts, unit)
    else:
        yield Finding(cause="unknown-state", text=f"No agent acts on the state {state.name}.")


def _unavailable(problem: str) -> Finding:
    return Finding(
        cause="platform-unavailable",
        text=f"The platform does not answer: {problem}",
        remedies=("prefect agent doctor, with the options of the agent",),
    )


def _ended(facts: RunFacts) -> Finding:
    state = facts.state
    if state.is_cancelled and facts.flow_is_archived:
        return Finding(
            cause="archived",
            text=f"It is cancelled, and its flow version is archived. {state.message}".strip(),
            remedies=("create a run of the flow's latest version",),
        )
    if not state.message.startswith(CANNOT_START):
        return Finding(cause="finished", stops=False, text=f"It has ended. {state.message}".strip())
    is_policy = REFUSES in state.message
    return Finding(
        cause="refused-by-policy" if is_policy else "refused",
        text=f"An agent refused it. {state.message}",
        remedies=("change what the run config asks for, and create the run again",)
        + (("let the operator of the agent allow it in the policy",) if is_policy else ()),
    )


# --- it waits ---


def _waiting(facts: RunFacts) -> Iterator[Finding]:
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
            text=f"It is paused. {facts.state.message}".strip(),
            remedies=("resume it in the UI, or set its state to Scheduled",),
        )
    elif facts.hold is Hold.LIMIT:
        yield _queued(facts)
    elif facts.late < timedelta():
        yield _early(facts)
    yield from _agents(facts)


def _queued(facts: RunFacts) -> Finding:
    holders = f" The places are held by {', '.join(facts.limited)}." if facts.limited else ""
    return Finding(
        cause="queued",
        text=f"A limit keeps it: {facts.state.message or 'no place is free'}.{holders}",
        remedies=("wait for one of them to end", "raise the limit of its label in the UI"),
    )


def _early(facts: RunFacts) -> Finding:
    due = facts.state.start_time
    return Finding(
        cause="not-due",
        text=f"It is not due: it starts in {span(-facts.late)}, at {due:%Y-%m-%d %H:%M:%S} UTC.{_clocks(facts)}",
        remedies=("wait", "create another run without a start time"),
    )


def _clocks(facts: RunFacts) -> str:
    """What to know of the clocks, if they differ."""
    if abs(facts.skew) <= SKEW:
        return ""
    side = "ahead of" if facts.skew > timedelta() else "behind"
    return f" The Cloud's clock is {span(abs(facts.skew))} {side} this machine's; the Cloud's counts."


def _load(unit: UnitFacts) -> Finding:
    text = (
        f"{unit.alive} units are alive on the platform {unit.platform}: an agent there whose --limit is not higher "
        "takes no run until one of them ends."
    )
    return Finding(cause="units-alive", stops=False, text=text)


def _agents(facts: RunFacts) -> Iterator[Finding]:
    known = [each for each in facts.agents if each.last_seen is not None and facts.at - each.last_seen < FORGOTTEN]
    fitting = [each for each in known if takes(each, facts.labels)]
    alive = [each for each in fitting if each.last_seen is not None and facts.at - each.last_seen <= ALIVE]
    labels = ", ".join(sorted(facts.labels)) or "none"
    if alive:
        yield from _taken(facts, alive)
    elif fitting:
        yield Finding(
            cause="agents-gone",
            text=f"No agent that takes its labels ({labels}) has asked for work in the last minute.",
            rows=_table(facts, fitting),
            remedies=_start(facts),
        )
    elif known:
        yield Finding(
            cause="no-agent",
            text=f"No agent takes its labels: {labels}.{_origin(facts)}",
            rows=_table(facts, known),
            remedies=_start(facts),
        )
    else:
        yield Finding(
            cause="no-agents", text=f"No agent asks this tenant for work.{_origin(facts)}", remedies=_start(facts)
        )


def _taken(facts: RunFacts, alive: Sequence[SeenAgent]) -> Iterator[Finding]:
    names = ", ".join(sorted({each.name for each in alive})[:SHOWN_AGENTS])
    yield Finding(cause="agents", stops=False, text=f"An agent that takes its labels asks for work: {names}.")
    if facts.hold is None and facts.late > LATE:
        yield Finding(
            cause="late",
            text=f"It is due for {span(facts.late)}, and an agent could take it, but none has claimed it.",
            remedies=(
                "look whether that agent is at its --limit, or in trouble: its log, or /api/health of --agent-address",
                "look whether its claim is refused: the run's own log says so",
            ),
        )


def _origin(facts: RunFacts) -> str:
    if not facts.machine_label:
        return ""
    return (
        f" With Local storage Prefect 1.x adds the name of the machine that registered the flow to the labels; "
        f"{facts.machine_label} may be that."
    )


def _start(facts: RunFacts) -> tuple[str, ...]:
    words = "".join(f" --label {shlex.quote(label)}" for label in sorted(facts.labels))
    change = "create the run, or register its flow, with the labels of an agent that is there"
    kind = " process" if facts.machine_label else ""  # such a flow is in a file of that machine
    return (f"prefect agent start{kind}{words}", *((change,) if facts.labels or facts.agents else ()))


def _why(facts: RunFacts) -> str:
    return f"prefect agent why {shlex.quote(facts.id)}"


def _table(facts: RunFacts, agents: Iterable[SeenAgent]) -> tuple[tuple[str, ...], ...]:
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


# --- it is claimed ---


def _claimed(facts: RunFacts, unit: UnitFacts | None) -> Iterator[Finding]:
    claim, since = facts.claim, facts.at - (facts.since or facts.at)
    if facts.retries:
        yield _retries(facts)
    if claim is None:
        yield Finding(
            cause="foreign-claim",
            stops=not facts.state.is_running and since > LATE,
            text=f"It is {facts.state.name} for {span(since)}, by an agent of another product, which left no record.",
            remedies=("ask the operator of that agent; if it is gone, set the run's state to Scheduled",),
        )
        return
    when = f" {span(facts.at - claim.claimed_at)} ago" if claim.claimed_at else ""
    text = f"The agent {claim.agent_name or claim.claimant} claimed it{when}, for the unit {claim.unit}."
    yield Finding(cause="claimed", stops=False, text=text)
    if claim.recoveries:
        text = f"Its claim was recovered {claim.recoveries} times: no unit lasted."
        yield Finding(cause="recovered", stops=False, text=text)
    yield _unit(facts, claim, unit, since)


def _retries(facts: RunFacts) -> Finding:
    first, count = facts.retries[0], len(facts.retries)
    when = f"in {span(first - facts.at)}" if first > facts.at else "now"
    return Finding(
        cause="retries-wait",
        stops=False,
        text=f"{count} of its task runs wait to be tried again, the first one at {first:%H:%M:%S} UTC ({when}).",
    )


def _unit(facts: RunFacts, claim: ClaimRecord, seen: UnitFacts | None, since: timedelta) -> Finding:
    running = facts.state.is_running
    if seen is not None and seen.problem:
        return Finding(cause="unit-unseen", stops=False, text=f"Its unit {claim.unit} could not be looked for.")
    if seen is None or seen.platform != claim.platform:
        return Finding(
            cause="unit-unseen",
            stops=not running and since > LATE,
            text=f"Its unit is on the platform {claim.platform}, which was not asked.",
            remedies=(
                f"where its agent executes: prefect agent why {shlex.quote(facts.id)} docker (or process, kubernetes)",
            ),
        )
    unit = seen.unit
    if unit is None:
        return Finding(
            cause="unit-absent",
            text=f"Its unit {claim.unit} does not exist. An agent on that platform creates it, or ends the run, within "
            "two minutes; is one there?",
            remedies=_start(facts),
        )
    if unit.status.has_ended:
        return Finding(
            cause="unit-ended",
            text=f"Its unit {claim.unit} has ended ({unit.evidence}); an agent on that platform reports it within a "
            "minute; is one there?",
            remedies=_start(facts),
        )
    if unit.status in {UnitStatus.PENDING, UnitStatus.CREATED}:
        why = unit.evidence or "the platform does not say for what"
        wait = wait_of(unit.evidence) if unit.evidence else None
        text = f"Its unit {claim.unit} waits {f'for {wait.what}' if wait else 'to start'}: {why}."
        return Finding(cause="unit-pending", text=text, remedies=wait.remedies if wait else ())
    is_late = facts.state.is_claimed and since > LATE
    text = f"Its unit {claim.unit} executes ({unit.info})."
    if is_late:
        text += f" But the run is {facts.state.name} for {span(since)}: its process has not reached Prefect."
        text += " Look at its output."
    return Finding(cause="unit-executes", stops=is_late, text=text)
