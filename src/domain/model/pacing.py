"""A token bucket limits how fast requests are made. Pure; the caller brings the time and a lock."""

import attrs


@attrs.define
class TokenBucket:
    """A bucket holds at most *size* tokens; *rate* of them come back per second. It is full at first.

    Attributes:
        rate: Tokens per second, more than 0.
        size: How many may be taken at once.
        counted_at: When the tokens were counted last (seconds of a clock that only grows).
    """

    rate: float
    size: float
    counted_at: float
    _tokens: float = attrs.field(default=attrs.Factory(lambda self: self.size, takes_self=True), init=False)

    def take(self, now: float) -> float:
        """Take one token, in advance if none is left; return the time from which it may be used."""
        self._count(now)
        self._tokens -= 1
        return now - min(0.0, self._tokens) / self.rate

    def take_if_any(self, now: float) -> bool:
        """Take one token if one is left; return whether one was."""
        self._count(now)
        is_there = self._tokens >= 1
        self._tokens -= is_there
        return is_there

    def _count(self, now: float) -> None:
        self._tokens = min(self.size, self._tokens + (now - self.counted_at) * self.rate)
        self.counted_at = now
