"""Conversion of times between text, as backends write it, and aware datetimes."""

import re
from datetime import datetime, timezone
from typing import Final

_STORED: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", re.ASCII)


def read_time(value: object) -> datetime:
    """Return a time from ISO 8601: ``T`` or space, any digits after the second, with or without a zone (then UTC).

    Raises:
        ValueError: The text is not a time.
    """
    if isinstance(value, datetime):
        moment = value
    else:
        text = str(value).strip()
        if text[-1:] in {"Z", "z"}:
            text = f"{text[:-1]}+00:00"
        moment = datetime.fromisoformat(_six_digits(text))
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except OverflowError as problem:  # the first and the last day of the calendar, moved by a zone
        raise ValueError(f"{value!r:.80} is out of range") from problem


def iso(moment: datetime) -> str:
    """Return the time in UTC with microseconds and ``+00:00``, as protocol section 1.7 wants it.

    The width is fixed, so text order is time order.
    """
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")


def stored_time(value: object) -> str:
    """Return a time that :func:`read_time` reads as :func:`iso` writes it: at once if it is written so already.

    Raises:
        ValueError: The text is not a time.
    """
    if isinstance(value, str) and _STORED.fullmatch(value):
        datetime.fromisoformat(value)  # for its errors
        return value
    return iso(read_time(value))


def _six_digits(text: str) -> str:
    """Pad or cut the fraction of a second to the six digits that Python 3.10 can read."""
    head, dot, tail = text.partition(".")
    if not dot:
        return text
    digits = len(tail) - len(tail.lstrip("0123456789"))
    return f"{head}.{tail[:digits][:6].ljust(6, '0')}{tail[digits:]}"
