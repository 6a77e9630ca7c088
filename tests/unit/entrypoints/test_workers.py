"""Threads that a process may end without."""

import threading

import pytest

from prefect.agent.entrypoints.workers import Workers


def test_work_is_done_side_by_side_up_to_the_most() -> None:
    """Two threads for two works that wait for each other; no third thread."""
    workers, both = Workers("w", 2), threading.Barrier(2)

    results = [workers.submit(both.wait, 30) for _ in range(4)]

    assert sorted(result.result(30) for result in results) == [0, 0, 1, 1]
    assert sum(thread.name.startswith("w-") for thread in threading.enumerate()) <= 2
    assert workers.close(wait=30)


def test_an_error_is_the_futures() -> None:
    """The thread goes on with the next work."""
    workers = Workers("w", 1)

    with pytest.raises(ZeroDivisionError):
        workers.submit(lambda: 1 // 0).result(30)

    assert workers.submit(lambda: "next").result(30) == "next"
    workers.close(wait=30)


def test_closed_workers_take_no_work() -> None:
    """What was taken before is done, or dropped if so wanted."""
    workers, go_on = Workers("w", 1), threading.Event()
    first, second = workers.submit(go_on.wait, 30), workers.submit(lambda: "dropped")

    assert not workers.close(drop=True)
    go_on.set()

    assert first.result(30) is True
    assert second.cancelled()
    with pytest.raises(RuntimeError, match="closed"):
        workers.submit(lambda: None)


def test_a_call_that_hangs_holds_up_no_close() -> None:
    """Closing says that it still hangs; the thread is a daemon, so the process may end."""
    workers, hangs = Workers("w", 1), threading.Event()
    result = workers.submit(hangs.wait)

    assert not workers.close(wait=0.01)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "w-0")
    hangs.set()
    result.result(30)
