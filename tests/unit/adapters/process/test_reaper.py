"""Children that end are reaped and told of at once, by one thread, and only our own."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from prefect.agent.adapters.process.reaper import LAST_LOOK, Reaper
from support.waiting import wait_until

SLEEP = [sys.executable, "-I", "-S", "-c", "input()"]


@pytest.fixture
def children() -> Generator[list["subprocess.Popen[bytes]"]]:
    """Children to be ended when the test is over."""
    made: list[subprocess.Popen[bytes]] = []
    yield made
    for child in made:
        child.kill()
        child.wait()
        if child.stdin is not None:
            child.stdin.close()


def started(children: list["subprocess.Popen[bytes]"]) -> "subprocess.Popen[bytes]":
    """A child that waits for a line."""
    children.append(subprocess.Popen(SLEEP, stdin=subprocess.PIPE))
    return children[-1]


def test_an_end_is_reported_at_once(children: list["subprocess.Popen[bytes]"]) -> None:
    """However a child ended, in milliseconds; a busy machine gets more."""
    reaper = Reaper()
    with reaper.ended() as names:
        delays = []
        for number in range(5):
            child = started(children)
            reaper.add(f"unit-{number}", child)
            before = time.monotonic()
            child.send_signal(signal.SIGKILL)
            assert names.get(timeout=30) == f"unit-{number}"
            delays.append(time.monotonic() - before)
    assert min(delays) < 0.1
    assert not reaper.children()


def test_children_of_others_are_left_to_them(children: list["subprocess.Popen[bytes]"]) -> None:
    """A child that other code started is not reaped, and while it waits to be, our own still are."""
    reaper = Reaper()
    ours, theirs, later = started(children), started(children), started(children)
    with reaper.ended() as names:
        reaper.add("ours", ours)
        reaper.add("later", later)
        theirs.kill()
        os.waitid(os.P_PID, theirs.pid, os.WEXITED | os.WNOWAIT)
        ours.kill()
        assert names.get(timeout=30) == "ours"
        later.kill()
        assert names.get(timeout=30) == "later"

    assert os.waitpid(theirs.pid, 0) == (theirs.pid, signal.SIGKILL)
    theirs.returncode = -signal.SIGKILL


def test_children_need_no_descriptors(children: list["subprocess.Popen[bytes]"]) -> None:
    """However many there are."""
    reaper, made = Reaper(), [started(children) for _ in range(20)]
    before = len(list(Path("/dev/fd").iterdir()))

    for child in made:
        reaper.add(str(child.pid), child)

    assert len(list(Path("/dev/fd").iterdir())) == before
    with reaper.ended() as names:
        for child in made:
            child.kill()
        assert {names.get(timeout=30) for _ in made} == {str(child.pid) for child in made}


def test_waiting_costs_nothing(children: list["subprocess.Popen[bytes]"]) -> None:
    """The thread waits in the kernel: it does not wake up to look."""
    before, reaper = set(threading.enumerate()), Reaper()
    reaper.add("unit", started(children))
    (thread,) = set(threading.enumerate()) - before
    status = Path(f"/proc/self/task/{thread.native_id}/status")

    def switches() -> str:
        lines = status.read_text(encoding="ascii").splitlines()
        return next(line for line in lines if line.startswith("voluntary_ctxt_switches"))

    def does_not_wake() -> bool:
        seen = switches()
        time.sleep(2 * LAST_LOOK)  # twice the longest pause between two looks
        return seen == switches()

    wait_until(does_not_wake, 30, "the thread waits in the kernel")


def test_a_reaper_that_was_closed_tells_no_more_and_still_reaps(children: list["subprocess.Popen[bytes]"]) -> None:
    """Listeners are let go; no zombie is left."""
    reaper, child = Reaper(), started(children)
    with reaper.ended() as names:
        reaper.add("unit", child)
        reaper.close()
        assert names.get(timeout=30) is None
    child.kill()
    wait_until(lambda: not reaper.children(), 30, "it is reaped")
    assert not Path(f"/proc/{child.pid}").exists()
