"""What the agent tells about itself: one event per fact. Log lines, health and metrics are made from them."""

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
RUN_ENDED: Final = "run_ended"
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
AGENT_STOPPING: Final = "agent_stopping"
AGENT_STOPPED: Final = "agent_stopped"
AGENT_PAUSED: Final = "agent_paused"
AGENT_GOES_ON: Final = "agent_goes_on"
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
    """One fact.

    Attributes:
        name: One of the constants above: the same fact always has the same name.
        message: For people; one line, no secrets.
        level: A Python level name.
        fields: For machines: flat, JSON-ready values. Durations are in seconds and end in ``_s``.
    """

    name: str
    message: str
    level: str = "INFO"
    fields: Mapping[str, Any] = attrs.field(factory=dict, converter=frozen_mapping)


def masked(event: Event, mask: Mask) -> Event:
    """*event* without the secrets that *mask* knows; the same object if it has none."""
    whole = "\n".join([event.message, *map(str, event.fields.values())])
    if mask(whole) == whole:  # one look: almost no event has a secret
        return event
    return attrs.evolve(event, message=mask(event.message), fields=mask.value(event.fields))


EventSink = Callable[[Event], None]
"""Takes events as they happen, from any thread. Must be quick and must not raise."""


def ignore(event: Event) -> None:
    """An event sink for those who do not want to know."""
