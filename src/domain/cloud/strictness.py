"""The differences between the embedded Cloud and Prefect Server, as one value. Pure.

Each attribute is used in one place. All other rules are the same in both.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import attrs

from prefect.agent.domain.cloud.errors import CloudRefusal


@attrs.frozen(kw_only=True)
class Strictness:
    """How strict a Cloud is.

    Attributes:
        compares: Whether versions in requests are compared, and a claim is refused unless the run waits.
        claims_apart: How long after a flow run became Submitted it cannot become Submitted again, if versions are not
            compared.
        all_or_none: Whether several states in one mutation are set together or not at all.
        queue_reads: How many due flow runs are read before they are filtered by labels; None: all.
        knows_tenants: Whether the queue of an unknown tenant is an error.
    """

    compares: bool = True
    claims_apart: timedelta = timedelta()
    all_or_none: bool = True
    queue_reads: int | None = None
    knows_tenants: bool = True


STRICT: Final = Strictness()
"""The rules of the embedded Cloud."""

LOOSE: Final = Strictness(
    compares=False, claims_apart=timedelta(seconds=30), all_or_none=False, queue_reads=75, knows_tenants=False
)
"""The rules of Prefect Server."""


@attrs.define
class Claims:
    """The times when flow runs last became Submitted, for a Cloud that does not compare versions.

    They live in the memory of one process: another replica, or the next process, does not have them.
    """

    _submitted: dict[str, datetime] = attrs.field(factory=dict)

    @property
    def remembered(self) -> Mapping[str, datetime]:
        """The time of the last claim of each flow run, oldest claim first."""
        return self._submitted

    def take(self, run_id: str, strictness: Strictness, now: datetime) -> None:
        """Note that a flow run becomes Submitted.

        Raises:
            CloudRefusal: The run's last claim is too recent; that claim stays noted.
        """
        last = self._submitted.get(run_id)
        if last is not None and last <= now < last + strictness.claims_apart:
            raise CloudRefusal("State update failed: this run has already been submitted")
        self._submitted.pop(run_id, None)
        self._submitted[run_id] = now
        self._forget(now - strictness.claims_apart)

    def _forget(self, until: datetime) -> None:
        while self._submitted:
            oldest = next(iter(self._submitted))
            if self._submitted[oldest] > until:
                return
            del self._submitted[oldest]
