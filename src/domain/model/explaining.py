"""Why a flow run does not start: facts in, findings out. Pure: command line, logs and pages say the same sentence."""

import re
import shlex
import uuid
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import attrs

from prefect.agent.domain.model.asked_agents import AskedAgent, busy
from prefect.agent.domain.model.flow_runs import ClaimRecord, FlowRunId
from prefect.agent.domain.model.giving_up import CANNOT_START, lacked
from prefect.agent.domain.model.known_names import KnownNames
from prefect.agent.domain.model.policy import REFUSES
from prefect.agent.domain.model.run_facts import RunFacts, UnitFacts
from prefect.agent.domain.model.units import Evidence, UnitStatus
from prefect.agent.domain.waiting import (
    ALIVE,
    FORGOTTEN,
    LATE,
    Finding,
    Hold,
    SeenAgent,
    causes_first,
    span,
    start_an_agent,
    takes,
    waiting,
)

__all__ = [
    "ALIVE", "FORGOTTEN", "LATE", "AskedAgent", "Finding", "Hold", "Reference", "RunFacts", "SeenAgent", "UnitFacts",
    "explain", "reference", "span", "takes", "unknown_run",
]  # fmt: skip


@attrs.frozen
class Reference:
    """How a person names a flow run: by id, or by name."""

    run_id: FlowRunId | None = None
    name: str = ""


_COPIED: Final = "<>()[]{}\"'`,.;:"
_UNIT: Final = re.compile(r"prefect-([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?:-[a-z0-9]+)+")
"""The name of a unit, or of a Job's pod: ``prefect-ID-VERSION...``."""

_OTHER_PAGE: Final = re.compile(r"/(flow|task|task-run|project|agent)/[^/]+/?$")


def reference(text: str) -> Reference:
    """Read an id, a name, the address that the client prints (``.../flow-run/ID``), or the name of a unit or a pod.

    What people copy with an id does not matter: brackets, quotes, a comma or a full stop at its end.
    """
    words = [word for word in re.split(r"[/?#]", urlsplit(text).path if "://" in text else text) if word]
    for word in reversed(words):
        bare = word.strip().strip(_COPIED)
        unit = _UNIT.fullmatch(bare)
        try:
            return Reference(run_id=FlowRunId(str(uuid.UUID(unit[1] if unit else bare))))
        except ValueError:
            continue
    return Reference(name=text.strip())


def unknown_run(text: str, known: KnownNames | None = None) -> str:
    """Return why there is no run to explain, and what to do.

    Args:
        text: What a person took for a run.
        known: What runs and flows are called.
    """
    kind = _OTHER_PAGE.search(urlsplit(text).path) if "://" in text else None
    if kind:
        return f"{text!r:.200} is the address of a {kind[1].replace('-', ' ')}: give that of a flow run"
    known, name = known or KnownNames(), text.strip()
    if known.is_flow(name):
        return f"{text!r:.200} is a flow, not a flow run: give the name or the id of one of its runs"
    remedy = known.of_run(name) or "check it and --tenant-id"
    return f"this tenant has no flow run with the id or the name {text!r:.200}: {remedy}"


def explain(facts: RunFacts, unit: UnitFacts | None = None, asked: Iterable[AskedAgent] = ()) -> list[Finding]:
    """What keeps the run, the first cause first, then what is well.

    Args:
        unit: What the platform says of its unit, if it was asked.
        asked: Agents of the run's tenant that could be asked themselves.
    """
    return causes_first([*_findings(facts, unit, asked), *_namesakes(facts)])


def _findings(facts: RunFacts, unit: UnitFacts | None, asked: Iterable[AskedAgent]) -> Iterator[Finding]:
    state = facts.state
    if unit is not None and unit.problem:
        yield _unavailable(unit.problem)
    if state.is_finished:
        yield _ended(facts)
    elif state.is_waiting:
        yield from _waiting(facts, unit, asked)
    elif state.is_open:
        yield from _claimed(facts, unit, asked)
    else:
        text, remedy = f"No agent acts on the state {state.name}.", "set its state to Scheduled, if it is to be started"
        yield Finding(cause="unknown-state", text=text, remedies=(remedy,))


def _namesakes(facts: RunFacts) -> Iterator[Finding]:
    """Say that the run is one of several of its name: another one may be meant."""
    if facts.namesakes:
        first, *_ = facts.namesakes
        yield Finding(
            cause="namesakes",
            stops=False,
            text=f"This is the latest run of that name; earlier ones: {', '.join(facts.namesakes)}.",
            remedies=(f"if another one is meant: prefect agent why {shlex.quote(first)}",),
        )


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
    lacking = lacked(state.message)
    if lacking is not None:
        remedies = (*lacking.remedies, "when that is mended, create the run again")
        return Finding(cause="gave-up", text=f"An agent gave up starting it. {state.message}", remedies=remedies)
    if not state.message.startswith(CANNOT_START):
        return Finding(cause="finished", stops=False, text=f"It has ended. {state.message}".strip())
    is_policy = REFUSES in state.message
    return Finding(
        cause="refused-by-policy" if is_policy else "refused",
        text=f"An agent refused it. {state.message}",
        remedies=("change what the run config asks for, and create the run again",)
        + (("let the operator of the agent allow it in the policy",) if is_policy else ()),
    )


# --- it waits: domain.waiting, what agents say of themselves, and the platform's load ---


def _waiting(facts: RunFacts, unit: UnitFacts | None, asked: Iterable[AskedAgent]) -> Iterator[Finding]:
    """An agent that says why it does not claim explains better than a guess at what lateness means."""
    said = busy(facts.wait, asked, facts.id)
    yield from said
    is_explained = any(finding.stops for finding in said)
    yield from (finding for finding in waiting(facts.wait) if not (is_explained and finding.cause == "late"))
    if unit is not None and unit.alive and not said:
        yield _load(unit, unit.alive)


def _load(unit: UnitFacts, alive: int) -> Finding:
    text = (
        f"{alive} {'unit is' if alive == 1 else 'units are'} alive on the platform {unit.platform}: an agent there may "
        f"be full. One with --limit {alive} or less claims nothing until a unit ends."
    )
    remedies = ("prefect agent status, on the agent's machine", "prefect agent why, with --agent-address URL")
    return Finding(cause="units-alive", stops=False, text=text, remedies=remedies)


# --- it is claimed ---


def _claimed(facts: RunFacts, unit: UnitFacts | None, asked: Iterable[AskedAgent]) -> Iterator[Finding]:
    claim, since = facts.claim, facts.at - (facts.since or facts.at)
    if facts.retries:
        yield _retries(facts)
    if claim is None:
        yield Finding(
            cause="foreign-claim",
            stops=not facts.state.is_running and since > LATE,
            text=f"It has been {facts.state.name} for {span(since)}, by an agent of another product, without a record.",
            remedies=("ask the operator of that agent; if it is gone, set the run's state to Scheduled",),
        )
        return
    when = f" {span(facts.at - claim.claimed_at)} ago" if claim.claimed_at else ""
    text = f"The agent {claim.agent_name or claim.claimant} claimed it{when}, for the unit {claim.unit}."
    yield Finding(cause="claimed", stops=False, text=text)
    if claim.recoveries:
        text = f"Its claim was recovered {claim.recoveries} times: no unit lasted."
        yield Finding(cause="recovered", stops=False, text=text)
    yield _starting(facts.id, claim, unit, asked) or _unit(facts, claim, unit, since)


def _retries(facts: RunFacts) -> Finding:
    first, count = facts.retries[0], len(facts.retries)
    when = f"in {span(first - facts.at)}" if first > facts.at else "now"
    return Finding(
        cause="retries-wait",
        stops=False,
        text=f"{count} of its task runs wait to be tried again, the first one at {first:%H:%M:%S} UTC ({when}).",
    )


def _starting(
    run_id: FlowRunId, claim: ClaimRecord, seen: UnitFacts | None, asked: Iterable[AskedAgent]
) -> Finding | None:
    """What the agent says that creates the unit now; None if none does, or the unit is there."""
    agent = next((each for each in asked if run_id in each.starting), None)
    if agent is None or (seen is not None and seen.unit is not None):
        return None
    what, start = f"The agent {agent.name} ({agent.where})", agent.starting[run_id]
    if not start.problem:
        return Finding(cause="unit-starting", stops=False, text=f"{what} creates its unit {claim.unit} now.")
    waits = start.wait_kind.waits("to be created")
    text = f"Its unit {claim.unit} {waits}. {what} tries again: {start.problem}"
    return Finding(cause="unit-pending", text=text, remedies=start.wait_kind.remedies)


def _kind(identity: str) -> str:
    """The platform with which *identity* begins, ``docker:...``."""
    return shlex.quote(identity.partition(":")[0])


def _unit(facts: RunFacts, claim: ClaimRecord, seen: UnitFacts | None, since: timedelta) -> Finding:
    running = facts.state.is_running
    if seen is not None and seen.problem:
        return Finding(cause="unit-unseen", stops=False, text=f"Its unit {claim.unit} could not be looked for.")
    if seen is None or seen.platform != claim.platform:
        return Finding(
            cause="unit-unseen",
            stops=not running and since > LATE,
            text=f"Its unit is on the platform {claim.platform}, which was not asked.",
            remedies=(f"where its agent executes: prefect agent why {shlex.quote(facts.id)} {_kind(claim.platform)}",),
        )
    unit = seen.unit
    if unit is None:
        return Finding(
            cause="unit-absent",
            text=f"Its unit {claim.unit} does not exist. An agent on that platform creates it, or ends the run, within "
            "two minutes; is one there?",
            remedies=start_an_agent(facts.wait),
        )
    if unit.status.has_ended:
        return Finding(
            cause="unit-ended",
            text=f"Its unit {claim.unit} has ended ({unit.evidence}); an agent on that platform reports it within a "
            "minute; is one there?",
            remedies=start_an_agent(facts.wait),
        )
    if unit.status in {UnitStatus.PENDING, UnitStatus.CREATED}:
        said = unit.evidence or Evidence(message="the platform does not say for what")
        text = f"Its unit {claim.unit} {said.wait_kind.waits()}: {said}."
        return Finding(cause="unit-pending", text=text, remedies=said.what_to_do)
    is_late = facts.state.is_claimed and since > LATE
    text = f"Its unit {claim.unit} executes ({unit.info})."
    if is_late:
        text += f" But the run has been {facts.state.name} for {span(since)}: its process has not reached Prefect."
        text += " Look at its output."
    return Finding(cause="unit-executes", stops=is_late, text=text)
