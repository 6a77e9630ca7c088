"""Features that can be switched off, by a person or by a missing permission: the agent goes on without them."""

import contextlib
import logging
from collections.abc import Generator
from typing import Final

from prefect.agent.adapters.kubernetes.api_server import Cluster
from prefect.agent.adapters.kubernetes.errors import StatusError
from prefect.agent.adapters.kubernetes.permissions import FEATURES
from prefect.agent.domain.errors import PlatformForbidden, PlatformUnavailable

NOTHING_THERE: Final = frozenset({400, 404})
"""Answers to a request for something optional that is not there yet, or not any more."""

log: Final = logging.getLogger("prefect.agent.kubernetes")


class Features:
    """Those that are on, and each warning once.

    Args:
        chosen: Names of :data:`permissions.FEATURES`.
    """

    def __init__(self, chosen: frozenset[str]) -> None:
        self._on = set(chosen)
        self._warned: set[str] = set()

    def may(self, feature: str) -> bool:
        """Whether it is on."""
        return feature in self._on

    def require(self, feature: str, doing: str) -> None:
        """Raise PlatformForbidden unless it is on."""
        if feature not in self._on:
            raise PlatformForbidden(f"cannot {doing}: the agent was started without {feature}")

    @contextlib.contextmanager
    def optional(self, cluster: Cluster, feature: str, doing: str) -> Generator[None]:
        """What is asked inside is good to have: trouble with it is told, and the agent goes on without."""
        try:
            with cluster.asked(doing):
                yield
        except PlatformForbidden as forbidden:
            self.switch_off(feature, str(forbidden))
        except PlatformUnavailable as trouble:
            cause = trouble.__cause__
            if not (isinstance(cause, StatusError) and cause.code in NOTHING_THERE):
                log.info("%s", trouble)

    def switch_off(self, feature: str, why: str) -> None:
        """Go on without it, and say so."""
        self._on.discard(feature)
        self.warn(f"The agent goes on without {feature} ({FEATURES[feature]}): {why}")

    def warn(self, text: str) -> None:
        """Log a warning, unless it was logged before."""
        if text not in self._warned:
            self._warned.add(text)
            log.warning("%s", text)
