"""The port of events: what the agent reports about itself, one event per fact.

Log lines, health and metrics are made from events. ``Agent(tell=...)`` takes a sink of your own in place of the log.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from prefect.agent.domain.model.run_configs import frozen_mapping
from prefect.agent.domain.secrets import Mask

POLLED: Final = "polled"
"""The Cloud was asked for due flow runs; with the field ``busy`` it was not, for want of room."""

CLAIMED: Final = "claimed"
"""This agent has claimed a flow run."""

CLAIM_LOST: Final = "claim_lost"
"""Another agent was first, or the flow run has moved on."""

CLAIM_DEFERRED: Final = "claim_deferred"
"""The Cloud has put a claim off."""

CLAIM_REFUSED: Final = "claim_refused"
"""The Cloud, or its adapter, calls a claim invalid."""

CLAIM_READ_BACK: Final = "claim_read_back"
"""The answer to a claim was lost; the flow runs are read to find out."""

UNIT_CREATED: Final = "unit_created"
"""The platform has the unit of a claimed flow run."""

UNIT_RETRIED: Final = "unit_retried"
"""The unit of a claimed flow run could not be created yet; the agent tries again."""

UNIT_WAITS: Final = "unit_waits"
"""A unit waits to start, may not end by itself, or has no flow run any more."""

UNIT_ENDED: Final = "unit_ended"
"""A unit has ended, and its flow run has not reported an end."""

UNIT_STOPPED: Final = "unit_stopped"
"""The agent has stopped a unit."""

UNIT_REMOVED: Final = "unit_removed"
"""The agent has removed an ended unit."""

PULL_STARTED: Final = "pull_started"
"""The platform begins to pull an image."""

PULL_GOES_ON: Final = "pull_goes_on"
"""The pull of an image is not over; how far it is."""

PULL_ENDED: Final = "pull_ended"
"""The pull of an image is over, well or not, and how long it took."""

FLOW_OUTPUT: Final = "flow_output"
"""A line that a flow run wrote, with ``--show-flow-logs``. On standard output, and no event for event sinks."""

RUN_ENDED: Final = "run_ended"
"""A flow run whose unit lived here has ended and reported that itself."""

RUN_FAILED: Final = "run_failed"
"""The Cloud has confirmed that a flow run failed, as this agent reported."""

RUN_RECOVERED: Final = "run_recovered"
"""A claim without a unit is started again."""

RUN_DROPPED: Final = "run_dropped"
"""The agent does not go on with a flow run: it moved on, was handed back, or belongs to another claim."""

RUN_LATE: Final = "run_late"
"""A flow run is late; the message says why, as far as that is known."""

REPORTED: Final = "reported"
"""Reports were sent to the Cloud."""

REPORTS_AT_RISK: Final = "reports_at_risk"
"""Reports cannot be kept, or had no room: some may be lost."""

SWEPT: Final = "swept"
"""Claims and units were compared."""

WATCHED: Final = "watched"
"""One watch of the platform's units is over; the next one begins."""

CLOUD_TROUBLE: Final = "cloud_trouble"
"""The Cloud did not answer, or not as it should."""

PLATFORM_TROUBLE: Final = "platform_trouble"
"""The platform did not answer, or not as it should."""

PLATFORM_BACK: Final = "platform_back"
"""The platform answers again."""

REACHABLE_AGAIN: Final = "reachable_again"
"""What was logged as unavailable answers again; how long it did not. Only in the log, which
folds repetitions: an event sink of your own gets each event."""

AGENT_BEGINS: Final = "agent_begins"
"""The first event of an agent: its version, its Python, the system and the process id."""

AGENT_STARTED: Final = "agent_started"
"""The agent has started; one event for each fact about it."""

AGENT_STOPPING: Final = "agent_stopping"
"""The agent finishes what is in hand; one event at the beginning, and one every ten seconds."""

AGENT_STOPPED: Final = "agent_stopped"
"""The agent has stopped."""

AGENT_PAUSED: Final = "agent_paused"
"""The agent claims nothing new: an operator has paused it."""

AGENT_GOES_ON: Final = "agent_goes_on"
"""The agent claims flow runs again: an operator has resumed it."""

BUG: Final = "bug"
"""The agent, an adapter or a hook has raised what it may not raise."""

STARTING: Final = "starting"
"""The agent is not started yet: it waits for the Cloud or the platform, or warns about its settings."""

KEY_REFUSED: Final = "key_refused"
"""The Cloud refuses an API key that it accepted before."""

KEY_ACCEPTED: Final = "key_accepted"
"""The Cloud accepts the API key again."""

STALLED: Final = "stalled"
"""A loop of the agent has stood still for too long."""

RESUMED: Final = "resumed"
"""A loop that stood still goes on."""

THREAD_ENDED: Final = "thread_ended"
"""A thread that the agent needs has ended."""

FORECAST: Final = "forecast"
"""A dry run says what the agent would do with a flow run; nothing is claimed."""

SECRET_UNPROTECTED: Final = "secret_unprotected"  # noqa: S105 - the name of an event
"""A secret is not protected; the message says which one, and what to do."""

CLOCK_SKEW: Final = "clock_skew"
"""The clock of the Cloud or of the platform differs from this machine's."""


@attrs.frozen(kw_only=True)
class Event:
    """One fact about the agent.

    Attributes:
        name: One of the constants of this module: the same fact always has the same name.
        message: For people; one line, without secrets.
        level: Name of a level of Python's ``logging``.
        fields: For programs: flat values that JSON can hold. Durations are in seconds; their names end in ``_s``.
    """

    name: str
    message: str
    level: str = "INFO"
    fields: Mapping[str, Any] = attrs.field(factory=dict, converter=frozen_mapping)


def masked(event: Event, mask: Mask) -> Event:
    """Return *event* without the secrets that *mask* knows; the same object if it holds none."""
    whole = "\n".join([event.message, *map(str, event.fields.values())])
    if mask(whole) == whole:  # one look: almost no event has a secret
        return event
    return attrs.evolve(event, message=mask(event.message), fields=mask.value(event.fields))


EventSink = Callable[[Event], None]
"""A callable that takes each event when it happens, from any thread, several at once.

It must return quickly: the loop that reports waits for it. An exception that it raises is reported on standard error,
once.
"""


def ignore(event: Event) -> None:
    """Drop *event*: the sink of an agent whose events are not wanted."""
