"""The viewer's time zone: a browser's script tells it in a cookie, without one it is UTC. Pure, but for the cookie."""

from datetime import datetime, timedelta, timezone, tzinfo
from typing import Final

import attrs
from starlette.requests import Request

from prefect.agent.domain.cloud.calendar.clocks import read_zone
from prefect.agent.domain.cloud.errors import CloudRefusal

COOKIE: Final = "prefect-zone"
"""Set by times.js; its value is the name of a zone, such as ``Europe/Berlin``."""

_MONDAY: Final = datetime(1970, 1, 5)
"""On the viewer's wall."""

_LONGEST: Final = 64


@attrs.frozen
class Zone:
    """A time zone with its name for people."""

    name: str = "UTC"
    rules: tzinfo = timezone.utc


def zone_of(request: Request) -> Zone:
    """The zone that the viewer's browser tells; UTC if it tells none that is known here."""
    name = request.cookies.get(COOKIE, "")
    try:
        return Zone(name, read_zone(name)) if 0 < len(name) <= _LONGEST else Zone()
    except CloudRefusal:
        return Zone()


def edges(now: datetime, step: timedelta, number: int, zone: Zone) -> list[datetime]:
    """Where *number* stretches of time begin and the last one ends, which holds *now*: full steps of the zone, in UTC.

    Parts of a day begin at midnight, weeks on Mondays: where clocks are changed, one of them is longer or shorter.
    """
    wall = now.astimezone(zone.rules).replace(tzinfo=None)
    first = _MONDAY + ((wall - _MONDAY) // step + 1 - number) * step
    if step < timedelta(hours=2):  # an hour that clocks skip or repeat is none of the day's parts
        last = now.astimezone(timezone.utc) + (_MONDAY + ((wall - _MONDAY) // step + 1) * step - wall)
        return [last - n * step for n in range(number, -1, -1)]
    return [(first + n * step).replace(tzinfo=zone.rules).astimezone(timezone.utc) for n in range(number + 1)]
