"""What an agent would do with a flow run that the Cloud offers: for a dry run. Pure; no rule of the agent asks it."""

import enum
from datetime import datetime

import attrs

from prefect.agent.domain.model.flow_runs import FlowRun


class Fate(enum.Enum):
    """What would become of the run now."""

    START = "start"
    """It would be claimed, and a unit of it created."""

    WAIT = "wait"
    """It would not be claimed yet."""

    IGNORE = "ignore"
    """It would never be claimed."""

    FAIL = "fail"
    """It would be claimed, and end Failed without a unit."""


@attrs.frozen(kw_only=True)
class Forecast:
    """What would become of one run, and a sentence about it without a verb of its own: "would claim it ..."."""

    run: FlowRun
    fate: Fate
    text: str

    @property
    def sentence(self) -> str:
        """For people."""
        return f"Flow run {self.run.title}: {self.text}"


@attrs.frozen(kw_only=True)
class Chance:
    """What decides about one run.

    Attributes:
        room: How many more units the agent may start now; None for no limit.
        limit: How many units of the agent may be alive at once; None for no limit.
        max_lateness: Seconds; None starts runs however late.
        unit: Name of the unit that would be created, and what it is made from.
        refusal: Why the run cannot run here; empty if it can.
        doubt: Why the platform does not say whether the run can run here; empty if it says so.
    """

    room: int | None = None
    limit: int | None = None
    max_lateness: float | None = None
    unit: str = ""
    refusal: str = ""
    doubt: str = ""


def forecast(run: FlowRun, chance: Chance, now: datetime) -> Forecast:
    """What the agent would do with *run* now, by the rules of its poll loop: time, room, lateness, then the run itself.

    The sentence does not change while nothing changes.
    """
    late = 0.0 if run.due is None else (now - run.due).total_seconds()
    if late < 0:
        return Forecast(run=run, fate=Fate.WAIT, text=f"would wait until it is due at {run.due:%H:%M:%S} UTC")
    if chance.room is not None and chance.room <= 0:
        return Forecast(
            run=run, fate=Fate.WAIT, text=f"would wait for room: this agent runs {chance.limit} at the same time"
        )
    if chance.max_lateness is not None and late > chance.max_lateness:
        text = f"would not start it: it is overdue by more than {chance.max_lateness:g} s (--max-lateness)"
        return Forecast(run=run, fate=Fate.IGNORE, text=text)
    if chance.refusal:
        return Forecast(run=run, fate=Fate.FAIL, text=f"would claim it and let it fail: {chance.refusal}")
    if chance.doubt:
        return Forecast(run=run, fate=Fate.WAIT, text=f"would wait for the platform: {chance.doubt}")
    return Forecast(run=run, fate=Fate.START, text=f"would claim it and start {chance.unit}")
