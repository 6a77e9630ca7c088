"""What an agent does, as facts for people and machines: the document ``/status.json``, in its version 1."""

import os
import platform as machine
import threading
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from typing import Any, Final

import attrs

from prefect.agent.domain.model.asked_agents import AskedAgent, Start
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.units import Unit
from prefect.agent.domain.secrets import Mask
from prefect.agent.domain.services.outbox import Outbox
from prefect.agent.domain.services.work_in_hand import WorkInHand
from prefect.agent.domain.texts import MAX_NAME
from prefect.agent.domain.wait_kinds import WaitKind
from prefect.agent.entrypoints.runtime.health import Health
from prefect.agent.entrypoints.runtime.meter import Meter
from prefect.agent.entrypoints.runtime.stories import (
    MOMENTS,
    SETTLED,
    continued,
    phases,
    remedy_for,
    shown_kind,
    shown_text,
)
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.events import Event

VERSION: Final = 1
"""Of the document. A later one may have more members; one that means something else has another number."""

MOST_RUNS: Final = 200
"""Flow runs that are remembered, the latest ones."""

MOST_UNITS: Final = 500
"""Living units that are listed."""

MOST_PROBLEMS: Final = 50
"""Kinds of warnings and errors that are remembered."""


@attrs.define(kw_only=True)
class StatusBoard:
    """Remembers what happened to the latest flow runs, and puts it together with what the agent knows of itself.

    Attributes:
        agent: Name, kind, platform, Cloud: what does not change while the agent works.
        mask: Takes secrets out of what the platform says about units; events come without.
        outbox: Where reports wait, once the agent has started.
    """

    clock: Clock
    health: Health
    work: WorkInHand
    meter: Meter
    settings: AgentSettings
    mask: Mask
    agent: dict[str, Any] = attrs.field(factory=dict)
    outbox: Outbox | None = None
    _runs: "OrderedDict[str, dict[str, Any]]" = attrs.field(factory=OrderedDict, init=False)
    _problems: "OrderedDict[str, dict[str, Any]]" = attrs.field(factory=OrderedDict, init=False)
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _started_at: datetime = attrs.field(init=False)
    _since: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._started_at, self._since = self.clock.now(), self.clock.monotonic()

    def take(self, event: Event) -> None:
        """Learn from one event."""
        run_id = event.fields.get("flow_run_id")
        with self._guard:
            if event.name in MOMENTS and isinstance(run_id, str):
                self._note_run(run_id, event)
            if event.level in {"WARNING", "ERROR"}:
                self._note_problem(event)
            if event.name == events.AGENT_STARTED and "identity" in event.fields:
                self.agent.update(event.fields)

    def facts(self) -> dict[str, Any]:
        """The whole document."""
        healthy, health = self.health.report()
        now, rates = self.clock.now(), self.meter.rates()
        units = self.work.living
        with self._guard:
            runs = [{**run, "phases": phases(run, now)} for run in reversed(self._runs.values())]
            problems = [dict(problem) for problem in reversed(self._problems.values())]
        names = {run["flow_run_id"]: run for run in runs}
        return {
            "version": VERSION,
            "now": now.isoformat(),
            "agent": {**self._about(), **self.agent},
            "healthy": healthy,
            "status": health["status"],
            "reason": _shown(health["reason"]),
            "busy": health["busy"],
            "steps": {name: _step(facts) for name, facts in health["steps"].items()},
            "latency_s": next((mean for mean in reversed(rates["request_s"]) if mean is not None), None),
            "slots": {
                "limit": self.settings.limit,
                "alive": len(units),
                "starting": self.work.desk.started,
                "waiting": self.work.desk.waiting,
            },
            "units": [self._unit(unit, names.get(unit.flow_run_id, {})) for unit in units[:MOST_UNITS]],
            "reports_waiting": 0 if self.outbox is None else len(self.outbox),
            "declined": [
                {"flow_run_id": run_id[:MAX_NAME], "reason": _shown(reason)}
                for run_id, reason in list(self.work.desk.declined.items())[:MOST_RUNS]
            ],
            "runs": runs,
            "problems": problems,
            "rates": rates,
        }

    def describe(self) -> AskedAgent:
        """Return how the agent is, for an explanation in its own log."""
        return described(self.facts(), "this agent")

    def starting(self) -> list[str]:
        """Names of the flow runs that were claimed and are being started."""
        with self._guard:
            runs = [run for run in self._runs.values() if not run.keys() & SETTLED]
        return [str(run.get("flow_run_name") or run["flow_run_id"]) for run in runs]

    def _about(self) -> dict[str, Any]:
        return {
            "name": self.settings.name,
            "labels": list(self.settings.labels),
            "agent_version": metadata.version("prefect-agent"),
            "python": machine.python_version(),
            "pid": os.getpid(),
            "started_at": self._started_at.isoformat(),
            "uptime_s": round(self.clock.monotonic() - self._since, 1),
        }

    def _unit(self, unit: Unit, run: Mapping[str, Any]) -> Mapping[str, Any]:
        waits = None if unit.status.has_ended else unit.evidence
        return {
            "name": unit.name,
            "flow_run_id": unit.flow_run_id,
            "flow_run_name": run.get("flow_run_name"),
            "flow_name": run.get("flow_name"),
            "status": unit.status.value,
            "since": unit.created_at.isoformat() if unit.created_at else None,
            "info": shown_text(self.mask(unit.info)),
            "waits_for": None if waits is None else shown_text(self.mask(str(waits))),
            "wait_kind": None if waits is None else shown_kind(waits.wait_kind),
        }

    def _note_run(self, run_id: str, event: Event) -> None:
        key = run_id[:MAX_NAME]
        self._runs[key] = continued(self._runs.pop(key, {}), event, self.clock.now())
        while len(self._runs) > MOST_RUNS:
            self._runs.popitem(last=False)

    def _note_problem(self, event: Event) -> None:
        key = f"{event.name} {event.fields.get('loop', '')}".strip()
        now = self.clock.now().isoformat()
        problem = self._problems.pop(key, {"kind": key, "first_at": now, "count": 0})
        self._problems[key] = {
            **problem,
            "count": problem["count"] + 1,
            "last_at": now,
            "level": event.level,
            "message": shown_text(event.message),
            "remedy": remedy_for(event),
        }
        while len(self._problems) > MOST_PROBLEMS:
            self._problems.popitem(last=False)


def described(document: Any, where: str) -> AskedAgent:
    """Return the agent that a document ``/status.json`` is of.

    Raises:
        ValueError: It is no such document.
    """
    try:
        agent, slots = document["agent"], document["slots"]
        return AskedAgent(
            where=where,
            name=str(agent["name"]),
            labels=frozenset(map(str, agent["labels"])),
            tenant=str(agent.get("tenant") or ""),
            state=str(document["status"]),
            reason=str(document["reason"] or ""),
            units=int(slots["alive"]) + int(slots["starting"]),
            starting={str(run["flow_run_id"]): _start(run) for run in document["runs"] if _starts(run)},
            declined={str(run["flow_run_id"]): str(run["reason"]) for run in document.get("declined", ())},
            limit=None if slots["limit"] is None else int(slots["limit"]),
        )
    except (AttributeError, KeyError, TypeError) as problem:
        raise ValueError("it is no agent of this product: there is no status.json as an agent has it") from problem


def _starts(run: Mapping[str, Any]) -> bool:
    return run["stage"] in {"starting", "retrying"}


def _start(run: Mapping[str, Any]) -> Start:
    """Agents of earlier versions say no kind."""
    return Start(problem=str(run.get("problem") or ""), wait_kind=WaitKind(run.get("wait_kind")))


def _step(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {**facts, "problem": _shown(facts["problem"])}


def _shown(text: str | None) -> str | None:
    return None if text is None else shown_text(text)
