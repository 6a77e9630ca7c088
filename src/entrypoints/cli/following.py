"""Follows one flow run for a person: its states and its log, until it has ended."""

from collections.abc import Callable
from typing import Final

import attrs

from prefect.agent.domain.errors import CloudUnavailable, RequestRejected, asked_to_wait
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.orders import RunStory, StoryEntry
from prefect.agent.domain.model.states import State
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi

LOOK_EVERY: Final = 1.0
"""Seconds between two looks."""

QUIET: Final = 3.0
"""Seconds without a new line after which the log of an ended run is taken for whole: flow processes send the last
lines after their last state."""

LONGEST_REST: Final = 15.0
"""Seconds after its end for which lines are waited for at most."""

PATIENCE: Final = 300.0
"""Seconds for which a Cloud may not answer."""


@attrs.define(kw_only=True)
class Follow:
    """Reads a run's story as it grows.

    Attributes:
        tell: Takes each state and each line of the log.
        warn: Takes a sentence about a Cloud that does not answer, once for each time.
        seconds: Watch for so long at most.
    """

    cloud: CloudApi
    clock: Clock
    tell: Callable[[StoryEntry], None]
    warn: Callable[[str], None]
    seconds: float
    _mark: object = None
    _silent_since: float | None = None

    def __call__(self, run_id: FlowRunId) -> State | None:
        """The state in which the run ended; None if it goes on after :attr:`seconds`.

        Raises:
            CloudError: The Cloud refuses, or has not answered for five minutes.
        """
        give_up = self.clock.monotonic() + self.seconds
        while True:
            story, pause = self._look(run_id)
            if story is not None and story.state.is_finished:
                self._read_rest(run_id)
                return story.state
            left = give_up - self.clock.monotonic()
            if left <= 0:
                return None
            self.clock.pause(min(pause, left))

    def _look(self, run_id: FlowRunId) -> tuple[RunStory | None, float]:
        """What is new, or None if the Cloud does not answer now; and the seconds until the next look."""
        try:
            story = self.cloud.run_story(run_id, after=self._mark)
        except CloudUnavailable as problem:
            self._bear(problem)
            return None, max(LOOK_EVERY, asked_to_wait(problem))
        self._silent_since = None
        if story is None:
            raise RequestRejected(f"the flow run {run_id} was deleted")
        self._mark = story.mark
        for entry in story.news:
            self.tell(entry)
        return story, LOOK_EVERY

    def _bear(self, problem: CloudUnavailable) -> None:
        now = self.clock.monotonic()
        if self._silent_since is None:
            self._silent_since = now
            self.warn(f"{problem}; looking again")
        elif now - self._silent_since >= PATIENCE:
            raise problem

    def _read_rest(self, run_id: FlowRunId) -> None:
        """Read what the run's process still sends after its end."""
        ended = last = self.clock.monotonic()
        while (now := self.clock.monotonic()) - last < QUIET and now - ended < LONGEST_REST:
            self.clock.pause(LOOK_EVERY)
            story, _ = self._look(run_id)
            if story is not None and story.news:
                last = self.clock.monotonic()
