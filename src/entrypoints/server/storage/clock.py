"""The Cloud's clock, unless a test brings its own."""

from datetime import datetime, timezone


def utc_now() -> datetime:
    """The time of day, UTC."""
    return datetime.now(timezone.utc)
