"""``prefect agent start --dry-run``: connects and checks as a start does, and says what would become of due runs."""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

import attrs

from prefect.agent.domain.errors import CloudUnavailable, PlatformError, SubmissionRefused, asked_to_wait
from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId
from prefect.agent.domain.model.forecasts import Chance, Fate, Forecast, forecast
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.entrypoints.cli.unstarted import Unstarted, unstarted
from prefect.agent.entrypoints.runtime import logs
from prefect.agent.entrypoints.runtime.signals import stop_on_signals
from prefect.agent.entrypoints.runtime.startup import StartUp
from prefect.agent.ports import events
from prefect.agent.ports.events import Event

MOST_RUNS: Final = 100
"""Flow runs that are looked at in one poll, the oldest first."""


def rehearse(class_name: str, given: Mapping[str, Any]) -> None:
    """Say what an agent of these options would do, until a signal or ``--max-polls``.

    Raises:
        AgentError: The agent could not start.
    """
    logger = logging.getLogger(logs.LOGGER)
    with unstarted(class_name, given, tell=logs.log_events(logger)) as agent:
        logs.mask_also(logger, agent.mask)
        stopping = threading.Event()
        with stop_on_signals(stopping.set):
            Rehearsal(agent=agent, stopping=stopping).run()


@attrs.define(kw_only=True)
class Rehearsal:
    """Polls as an agent does, and claims nothing.

    Attributes:
        stopping: Set to end it.
    """

    agent: Unstarted
    stopping: threading.Event
    _said: dict[FlowRunId, str] = attrs.field(factory=dict, init=False)
    _has_said_none: bool = attrs.field(default=False, init=False)

    def run(self) -> None:
        """Check, then poll until :attr:`stopping` is set or the polls are over.

        Raises:
            AgentError: Cloud or platform cannot be used.
        """
        if not self._is_checked():
            return
        settings, polls = self.agent.options.settings, 0
        while not self.stopping.is_set():
            pause = max(settings.poll_last, self._poll())
            polls += 1
            if settings.max_polls is not None and polls >= settings.max_polls:
                break
            self.agent.parts.clock.pause(pause, self.stopping)
        self._say("Dry run over: nothing was registered, claimed or started")

    def _is_checked(self) -> bool:
        """Whether Cloud and platform answer as at a start; False if the start was cancelled."""
        parts, settings = self.agent.parts, self.agent.options.settings
        start_up = StartUp(
            cloud=parts.cloud,
            platform=parts.platform,
            clock=parts.clock,
            agent=None,
            patience=settings.start_patience,
            stopping=self.stopping,
            tell=parts.announcer,
        )
        tenant = start_up()
        if tenant is None:
            return False
        labels = ", ".join(settings.labels) or "none: only flow runs without labels are taken"
        place = f"as {parts.platform.traits.units_are} ({parts.platform.identity})"
        self._say(f"Dry run of {settings.name!r}: it would start flow runs {place}")
        self._say(f"Labels: {labels}. Tenant {tenant.id}. Nothing is registered, claimed or started")
        return True

    def _poll(self) -> float:
        """Look once; return how many seconds the Cloud asks to wait, 0 if it does not."""
        parts, settings = self.agent.parts, self.agent.options.settings
        now = parts.clock.now_ahead(parts.cloud.skew)
        try:
            runs = parts.cloud.ready_flow_runs(
                labels=settings.labels, before=now + timedelta(seconds=settings.prefetch), limit=MOST_RUNS
            )
        except CloudUnavailable as problem:
            self._warn(f"Cannot poll now: {problem}")
            return asked_to_wait(problem)
        forecasts = list(self.forecasts(runs))
        for each in forecasts:
            if self._said.get(each.run.id) != each.text:
                parts.announcer(_event(each))
        if not forecasts and (self._said or not self._has_said_none):
            self._say("No flow run is due that this agent would take")
        self._has_said_none = not forecasts
        self._said = {each.run.id: each.text for each in forecasts}
        return 0.0

    def forecasts(self, runs: Iterable[FlowRun]) -> Iterator[Forecast]:
        """What would become of each run; those that would be started take the room of those behind them."""
        parts, settings = self.agent.parts, self.agent.options.settings
        room = self._room()
        for run in runs:
            chance = attrs.evolve(
                self._chance(run), room=room, limit=settings.limit, max_lateness=settings.max_lateness
            )
            found = forecast(run, chance, parts.clock.now_ahead(parts.cloud.skew))
            if room is not None and found.fate is Fate.START:
                room -= 1
            yield found

    def _chance(self, run: FlowRun) -> Chance:
        try:
            return Chance(unit=_described(self.agent.planned(run)))
        except SubmissionRefused as refusal:
            return Chance(refusal=str(refusal))
        except PlatformError as problem:
            return Chance(doubt=str(problem))

    def _room(self) -> int | None:
        """How many more units the agent may start: those of its name and labels count. None for no limit."""
        limit, parts = self.agent.options.settings.limit, self.agent.parts
        if limit is None:
            return None
        try:
            units = parts.platform.units()
        except PlatformError as problem:
            self._warn(f"Cannot count the units that are alive: {problem}")
            return limit
        return limit - sum(unit.owner == self.agent.owner and not unit.status.has_ended for unit in units)

    def _say(self, message: str) -> None:
        self.agent.parts.announcer(Event(name=events.FORECAST, message=message))

    def _warn(self, message: str) -> None:
        self.agent.parts.announcer(Event(name=events.FORECAST, level="WARNING", message=message))


def _event(found: Forecast) -> Event:
    fields = {**found.run.fields, "fate": found.fate.value}
    return Event(name=events.FORECAST, message=found.sentence, fields=fields)


def _described(submission: Submission) -> str:
    image = f" of the image {submission.image}" if submission.image else ""
    return f"{submission.name}{image}"
