"""The port of events: what the agent reports about itself, one event per fact.

Log lines, health and metrics are made from events. ``Agent(tell=...)`` takes a sink of your own in place of the log.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from prefect.agent.domain.model.run_configs import frozen_mapping
from prefect.agent.domain.secrets import Mask

POLLED: Final = "polled"
CLAIMED: Final = "claimed"
CLAIM_LOST: Final = "claim_lost"
CLAIM_DEFERRED: Final = "claim_deferred"
CLAIM_REFUSED: Final = "claim_refused"
CLAIM_READ_BACK: Final = "claim_read_back"
UNIT_CREATED: Final = "unit_created"
UNIT_RETRIED: Final = "unit_retried"
UNIT_WAITS: Final = "unit_waits"
UNIT_ENDED: Final = "unit_ended"
UNIT_STOPPED: Final = "unit_stopped"
UNIT_REMOVED: Final = "unit_removed"
RUN_FAILED: Final = "run_failed"
RUN_RECOVERED: Final = "run_recovered"
RUN_DROPPED: Final = "run_dropped"
RUN_LATE: Final = "run_late"
REPORTED: Final = "reported"
REPORTS_AT_RISK: Final = "reports_at_risk"
SWEPT: Final = "swept"
WATCHED: Final = "watched"
CLOUD_TROUBLE: Final = "cloud_trouble"
PLATFORM_TROUBLE: Final = "platform_trouble"
PLATFORM_BACK: Final = "platform_back"
AGENT_STARTED: Final = "agent_started"
AGENT_STOPPED: Final = "agent_stopped"
BUG: Final = "bug"
STARTING: Final = "starting"
KEY_REFUSED: Final = "key_refused"
KEY_ACCEPTED: Final = "key_accepted"
STALLED: Final = "stalled"
RESUMED: Final = "resumed"
THREAD_ENDED: Final = "thread_ended"
SECRET_UNPROTECTED: Final = "secret_unprotected"  # noqa: S105 - the name of an event
CLOCK_SKEW: Final = "clock_skew"


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
