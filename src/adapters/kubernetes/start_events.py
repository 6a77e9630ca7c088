"""Reads events about units that do not start: a full quota, a policy, a missing volume."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from prefect.agent.adapters.kubernetes.facts import EventFacts, JobFacts, PodFacts
from prefect.agent.adapters.kubernetes.mirror import now
from prefect.agent.adapters.kubernetes.units import by_age
from prefect.agent.adapters.kubernetes.waits import waits
from prefect.agent.domain.model.pacing import TokenBucket
from prefect.agent.domain.model.units import Evidence

NO_POD_AFTER: Final = 5.0
"""Seconds after which events are read to find out why a Job has no pod."""

SLOW_START: Final = 60.0
"""Seconds after which events are read to find out why a pod does not start, although its status shows no error."""

ASK_AGAIN: Final = 15.0
"""Seconds between two requests for the events of one unit."""

QUESTIONS: Final = 50
"""Most requests at once for all units, since a full quota may keep thousands of Jobs waiting."""

QUESTIONS_PER_SECOND: Final = 5.0
"""Requests for events on average; pending units share them."""

MOST_REPORTS: Final = 10_000
"""Most units whose latest event is remembered."""


class StartEvents:
    """Reads the events of waiting units from time to time, and remembers them. Safe to use from several threads.

    Args:
        ask: Returns the events about the object with a namespace and a uid, oldest first.
        clock: Returns the monotonic time in seconds.
        today: Returns the current time.
    """

    def __init__(
        self,
        ask: Callable[[str, str], Sequence[EventFacts]],
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = now,
    ) -> None:
        self._ask, self._clock, self._today = ask, clock, today
        self._guard = threading.Lock()
        self._kept: dict[str, tuple[float, Evidence | None]] = {}
        self._questions = TokenBucket(rate=QUESTIONS_PER_SECOND, size=QUESTIONS, counted_at=clock())

    def of(self, job: JobFacts, pods: Sequence[PodFacts]) -> Evidence | None:
        """Return the latest warning about a pending unit; None if the unit is new or there is none."""
        age = (self._today() - job.created_at).total_seconds() if job.created_at else 0.0
        if age < (SLOW_START if pods else NO_POD_AFTER):
            return None
        if self._may_ask(job.uid):
            about = by_age(pods)[-1].uid if pods else job.uid
            warnings = [each for each in self._ask(job.namespace, about) if each.type == "Warning"]
            if warnings:
                self._keep(job.uid, waits(warnings[-1].reason, warnings[-1].message))
            elif age >= SLOW_START and self._known(job.uid) is None:
                self._keep(job.uid, Evidence(reason="Slow", message="Kubernetes does not report what it waits for"))
        return self._known(job.uid)

    def _may_ask(self, uid: str) -> bool:
        """Return whether it is time for a request about this unit; if so, count the request."""
        with self._guard:
            moment = self._clock()
            asked_at, said = self._kept.get(uid, (-math.inf, None))
            # The more units wait, the rarer the requests for each: else the first ones would use up all requests.
            pause = max(ASK_AGAIN, 2 * len(self._kept) / QUESTIONS_PER_SECOND)
            if moment - asked_at <= pause or not self._questions.take_if_any(moment):
                return False
            self._kept.pop(uid, None)
            self._kept[uid] = (moment, said)
            if len(self._kept) > MOST_REPORTS:
                del self._kept[next(iter(self._kept))]
            return True

    def _keep(self, uid: str, said: Evidence) -> None:
        with self._guard:
            if uid in self._kept:
                self._kept[uid] = (self._kept[uid][0], said)

    def _known(self, uid: str) -> Evidence | None:
        with self._guard:
            return self._kept.get(uid, (0.0, None))[1]
