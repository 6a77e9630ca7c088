"""The default clock of the Cloud; tests pass their own."""

from datetime import datetime, timezone


def utc_now() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(timezone.utc)
