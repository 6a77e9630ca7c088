"""Limits the rate of the agent's requests to the API server by a token bucket."""

import threading
import time
from collections.abc import Callable
from typing import Final

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.pacing import TokenBucket

LONGEST_HOLD: Final = 60.0
"""Most seconds without a request, even if the server asks for a longer pause."""


class Throttle:
    """Allows *burst* requests at once and *qps* per second on average. Safe to use from several threads.

    The API server protects itself by priority and fairness; this protects other users of the server from this agent
    (Kubernetes client-go has the same two numbers).

    Args:
        qps: Requests per second.
        burst: Requests that may be sent at once.
        clock, wait: Return the monotonic time in seconds, and wait; for tests.

    Raises:
        ConfigurationError: A number would allow no requests.
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
        """Wait until one request may be sent."""
        with self._guard:
            turn = self._bucket.take(self._clock())
        while (pause := max(turn, self._held_until) - self._clock()) > 0:  # the server may say so while others wait
            self._wait(pause)

    def hold(self, seconds: float) -> None:
        """Allow no request for *seconds*, as the server asked (Retry-After)."""
        with self._guard:
            self._held_until = max(self._held_until, self._clock() + min(seconds, LONGEST_HOLD))
