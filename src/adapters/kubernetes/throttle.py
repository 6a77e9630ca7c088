"""How fast the agent may ask: a token bucket in front of the API server."""

import threading
import time
from collections.abc import Callable
from typing import Final

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.pacing import TokenBucket

LONGEST_HOLD: Final = 60.0
"""Seconds: however long a server asks everybody to wait, somebody tries again then."""


class Throttle:
    """Lets *burst* requests through at once and *qps* per second in the long run. Safe to use from several threads.

    The API server protects itself by priority and fairness; this protects it from us, and the rest of the cluster from
    both (Kubernetes client-go has the same two numbers).

    Args:
        qps: Requests per second.
        burst: Requests that may come at once.
        clock, wait: The monotonic time in seconds, and what lets seconds pass; for tests.

    Raises:
        ConfigurationError: A number that lets nothing through.
    """

    def __init__(
        self,
        qps: float,
        burst: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        if qps <= 0 or burst < 1:
            raise ConfigurationError(f"a limit of {qps:g} requests per second, {burst} at once, lets nothing through")
        self._clock, self._wait = clock, wait
        self._guard = threading.Lock()
        self._held_until = clock()
        self._bucket = TokenBucket(rate=qps, size=burst, counted_at=self._held_until)

    def take(self) -> None:
        """Wait for the turn of one request."""
        with self._guard:
            turn = self._bucket.take(self._clock())
        while (pause := max(turn, self._held_until) - self._clock()) > 0:  # the server may say so while others wait
            self._wait(pause)

    def hold(self, seconds: float) -> None:
        """Let nothing through for *seconds*: the server said so (Retry-After)."""
        with self._guard:
            self._held_until = max(self._held_until, self._clock() + min(seconds, LONGEST_HOLD))
