"""Features that a person or a missing permission can switch off; the agent works without them."""

import contextlib
import logging
from collections.abc import Generator
from typing import Final

from prefect.agent.adapters.kubernetes.api_server import Cluster
from prefect.agent.adapters.kubernetes.errors import StatusError
from prefect.agent.adapters.kubernetes.permissions import FEATURES
from prefect.agent.domain.errors import PlatformForbidden, PlatformUnavailable

NOTHING_THERE: Final = frozenset({400, 404})
"""Status codes for an optional object that does not exist yet, or no longer exists."""

log: Final = logging.getLogger("prefect.agent.kubernetes")


class Features:
    """Records which features are on, and logs each warning once.

    Args:
        chosen: Names of the features that are on, of :data:`permissions.FEATURES`.
    """

    def __init__(self, chosen: frozenset[str]) -> None:
        self._on = set(chosen)
        self._warned: set[str] = set()

    def may(self, feature: str) -> bool:
        """Return whether the feature is on."""
        return feature in self._on

    def require(self, feature: str, doing: str) -> None:
        """Raise PlatformForbidden if the feature is off; *doing* says what it is needed for."""
        if feature not in self._on:
            raise PlatformForbidden(f"cannot {doing}: the agent was started without {feature}")

    @contextlib.contextmanager
    def optional(self, cluster: Cluster, feature: str, doing: str) -> Generator[None]:
        """Log an error in the block, which is optional, instead of raising it; switch the feature off if forbidden."""
        try:
            with cluster.asked(doing):
                yield
        except PlatformForbidden as forbidden:
            self.switch_off(feature, str(forbidden))
        except PlatformUnavailable as problem:
            cause = problem.__cause__
            if not (isinstance(cause, StatusError) and cause.code in NOTHING_THERE):
                log.info("%s", problem)

    def switch_off(self, feature: str, why: str) -> None:
        """Switch the feature off, and warn of it."""
        self._on.discard(feature)
        self.warn(f"The agent goes on without {feature} ({FEATURES[feature]}): {why}")

    def warn(self, text: str) -> None:
        """Log a warning, unless the same one was logged before."""
        if text not in self._warned:
            self._warned.add(text)
            log.warning("%s", text)
