"""The threads of one agent that do short work beside its loops."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final, TypeVar

import attrs

from prefect.agent.domain.services.ending import Look, one_by_one
from prefect.agent.entrypoints.runtime.supervision import Supervisor
from prefect.agent.entrypoints.runtime.wakes import Wakes
from prefect.agent.entrypoints.runtime.workers import Workers

Result = TypeVar("Result")

LOOKERS: Final = 8
"""How many units that have ended are looked at together."""

STOPPERS: Final = 8
"""How many units are stopped at the same time."""


@attrs.define(kw_only=True)
class Pools:
    """Each kind of short work has threads of its own, so that no kind waits for another.

    Attributes:
        parallel: How many units are created at the same time.
        supervisor: Receives the unexpected errors of work for whose result no caller waits.
    """

    parallel: int
    supervisor: Supervisor
    wakes: Wakes
    starts: Workers = attrs.field(init=False)
    recoveries: Workers = attrs.field(init=False)
    restarts: Workers = attrs.field(init=False)
    _stops: Workers = attrs.field(init=False)
    _lookers: Workers = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.starts = Workers("start", self.parallel)
        self.recoveries = Workers("recover", 1)
        self.restarts = Workers("restart", self.parallel)
        self._stops = Workers("stop", STOPPERS)
        self._lookers = Workers("look", LOOKERS)

    def background(self, work: Callable[[], None]) -> None:
        """Do *work*, the stop of a unit, in the background.

        It is dropped if the agent ends: a later first sweep repeats it.

        Raises:
            RuntimeError: The pool is closed although the agent goes on.
        """

        def in_the_pool() -> None:
            try:
                work()
            except Exception as bug:  # noqa: BLE001 - the pool would keep it to itself
                self.supervisor.bug("stop", bug)

        try:
            self._stops.submit(in_the_pool)
        except RuntimeError:
            if not self.wakes.stopping.is_set():
                raise

    def together(self, looks: Sequence[Look]) -> list[list[str]]:
        """Look at several units side by side; one after the other once the agent ends."""
        try:
            found = [self._lookers.submit(look) for look in looks]
        except RuntimeError:  # closed
            return one_by_one(looks)
        return [each.result() for each in found]

    def aside(self, ask: Callable[[], Result]) -> "Future[Result]":
        """Call *ask* in a thread of its own and wake the poll loop; an answer after the agent's stop is ignored."""
        answer: Future[Result] = Future()

        def asking() -> None:
            try:
                answer.set_result(ask())
            except BaseException as problem:  # noqa: BLE001 - the poll loop raises it when it takes the answer
                answer.set_exception(problem)
            self.wakes.poll.set()

        threading.Thread(target=asking, name="ask", daemon=True).start()
        return answer

    def close(self, patience: float) -> bool:
        """Wait up to *patience* seconds for the starts that have begun; return whether all have ended in time."""
        self.recoveries.close(drop=True)
        self._stops.close(drop=True)
        in_time = self.starts.close(wait=patience)
        in_time &= self.restarts.close(wait=patience if in_time else 1.0)
        self._lookers.close()
        return in_time
