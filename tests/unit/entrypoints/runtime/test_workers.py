"""Threads that do short work side by side, and that a process may end without."""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from prefect.agent.entrypoints.runtime.workers import Workers
from support.waiting import wait_until

SECONDS = 30


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What work may wait for; open at the end of the test."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_results_and_errors_reach_the_owner_of_the_work() -> None:
    """Whatever the work raises: a thread survives it."""
    workers = Workers("test", 1)

    def leave() -> None:
        raise SystemExit(3)

    fails, sums = workers.submit(leave), workers.submit(sum, [1, 2])

    assert sums.result(SECONDS) == 3
    assert isinstance(fails.exception(SECONDS), SystemExit)
    assert workers.close(wait=SECONDS)


def test_work_goes_side_by_side_in_so_many_threads_at_most() -> None:
    """Three that wait for each other come through three threads; the fourth thread is never made."""
    workers, meeting = Workers("test", 3), threading.Barrier(3)
    done = [workers.submit(meeting.wait, SECONDS) for _ in range(9)]

    assert sorted(each.result(SECONDS) for each in done) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len({thread for thread in threading.enumerate() if thread.name.startswith("test-")}) <= 3
    assert workers.close(wait=SECONDS)


def test_threads_are_made_when_they_are_needed() -> None:
    """One after the other needs one thread."""
    workers, names = Workers("test", 8), set()
    for _ in range(20):
        names.add(workers.submit(lambda: threading.current_thread().name).result(SECONDS))
        assert _settled(workers)

    assert names == {"test-0"}
    assert workers.close(wait=SECONDS)


def _settled(workers: Workers) -> bool:
    """Whether the thread has put its last piece of work down."""
    return _wait(lambda: workers._open == 0)


def _wait(condition: Callable[[], object]) -> bool:
    wait_until(condition, SECONDS)
    return True


def test_work_never_waits_behind_other_work_while_a_thread_may_be_made(gate: threading.Event) -> None:
    """Also if it comes in the very moment in which an idle thread takes up something long."""

    class Slow(queue.SimpleQueue[Any]):
        """Whose first item is taken, and then nothing goes on in that thread for a while."""

        stalls = True

        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            item = super().get(block, timeout)
            if self.stalls and item is not None and item[1]() == "long":
                self.stalls = False
                gate.wait(SECONDS)
            return item

    workers = Workers("test", 2)
    workers._work = Slow()
    workers.submit(lambda: "short").result(SECONDS)
    long = workers.submit(lambda: "long")
    assert _wait(workers._work.empty)

    assert workers.submit(lambda: "next").result(SECONDS) == "next"
    assert not long.done()
    gate.set()
    assert long.result(SECONDS) == "long"
    assert workers.close(wait=SECONDS)


def test_closed_workers_take_no_work() -> None:
    """The caller hears so at once."""
    workers = Workers("test", 1)
    assert workers.close()
    with pytest.raises(RuntimeError, match="closed"):
        workers.submit(print)


def test_closing_does_what_is_there_or_drops_it(gate: threading.Event) -> None:
    """What has begun goes on; what has not is done, or cancelled."""
    for drop in (False, True):
        gate.clear()
        workers, begun = Workers("test", 1), threading.Event()

        def work(begun: threading.Event = begun) -> str:
            begun.set()
            gate.wait(SECONDS)
            return "done"

        first: Future[str] = workers.submit(work)
        second: Future[int] = workers.submit(lambda: 2)
        assert begun.wait(SECONDS)
        assert not workers.close(drop=drop)
        gate.set()
        assert first.result(SECONDS) == "done"
        assert workers.close(wait=SECONDS)
        assert second.cancelled() is drop


def test_a_thread_that_hangs_does_not_keep_the_process(gate: threading.Event) -> None:
    """Closing says that it hangs; it is a daemon."""
    workers, names = Workers("test", 1), list[threading.Thread]()

    def hang() -> None:
        names.append(threading.current_thread())
        gate.wait(SECONDS)

    workers.submit(hang)
    assert _wait(lambda: names)
    assert not workers.close(wait=0.01)
    assert names[0].daemon
