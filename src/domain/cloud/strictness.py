"""What one Cloud insists on and another lets pass: the differences between Clouds, as one value. Pure.

Each attribute is consulted in one place. Everything else is alike in every Cloud.
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
        compares: Whether versions that clients give are compared, and a claim is refused unless the run waits.
        claims_apart: How long after a flow run became Submitted it cannot become Submitted again, wherever versions
            are not compared.
        all_or_none: Whether several states in one mutation are taken whole or not at all.
        queue_reads: How many due flow runs are read before their labels are looked at; None: all.
        knows_tenants: Whether asking for the runs of an unknown tenant is an error.
    """

    compares: bool = True
    claims_apart: timedelta = timedelta()
    all_or_none: bool = True
    queue_reads: int | None = None
    knows_tenants: bool = True


STRICT: Final = Strictness()
"""Of the embedded Cloud."""

LOOSE: Final = Strictness(
    compares=False, claims_apart=timedelta(seconds=30), all_or_none=False, queue_reads=75, knows_tenants=False
)
"""Of Prefect Server."""


@attrs.define
class Claims:
    """When flow runs were last made Submitted, as far as a Cloud that does not compare versions remembers.

    It lives as long as the process that holds it: another replica, or the next process, knows nothing of it.
    """

    _submitted: dict[str, datetime] = attrs.field(factory=dict)

    @property
    def remembered(self) -> Mapping[str, datetime]:
        """Flow runs with the time of their last claim, oldest claim first."""
        return self._submitted

    def take(self, run_id: str, strictness: Strictness, now: datetime) -> None:
        """Note that a flow run becomes Submitted.

        Raises:
            CloudRefusal: It comes too soon after the run's last claim; that one stays remembered.
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
