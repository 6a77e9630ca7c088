"""``--show-flow-logs`` of processes: each line with its run, and nothing lost of what the unit keeps."""

import io
import os
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import attrs
import pytest

from prefect.agent.adapters.process import ProcessPlatform
from prefect.agent.adapters.process.output import shorten
from support.process_harness import ProcessHarness, over
from support.waiting import wait_until


@pytest.fixture
def harness(tmp_path: Path) -> Generator[ProcessHarness]:
    """Ends what it started."""
    harness = ProcessHarness(tmp_path)
    yield harness
    harness.clean()


def watched_output(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The agent's standard output from now on; no fixture, since pytest sets its own between setup and test."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


def platform(harness: ProcessHarness) -> ProcessPlatform:
    """One that shows output."""
    return ProcessPlatform(harness.units, show_flow_logs=True, environ={"PATH": os.environ["PATH"]})


def test_output_is_shown_with_its_run_and_kept(harness: ProcessHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it comes, the last line too if it has no end; the thread ends with the unit."""
    shown = watched_output(monkeypatch)
    command = f"echo first; while [ ! -e {harness.folder}/end ]; do sleep 0.05; done; echo second >&2; printf last"
    submission = attrs.evolve(harness.submission("/bin/sh", "-c", command), flow_run_name="teal")
    agent = platform(harness)
    agent.create(submission)
    wait_until(lambda: shown.getvalue() == "teal | first\n", what="the first line")
    (harness.folder / "end").touch()
    wait_until(lambda: shown.getvalue() == "teal | first\nteal | second\nteal | last\n", what="the last line")
    wait_until(lambda: not any(submission.name in thread.name for thread in threading.enumerate()))

    assert over(agent, submission.name).status.has_ended
    assert agent.logs_tail(submission.name) == "first\nsecond\nlast"
    agent.close()


def test_an_agent_that_ends_leaves_its_units_their_output(
    harness: ProcessHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they write afterwards is in their file, and none of them fails for it."""
    shown = watched_output(monkeypatch)
    command = f"echo first; while [ ! -e {harness.folder}/end ]; do sleep 0.05; done; echo last"
    submission = harness.submission("/bin/sh", "-c", command)
    agent = platform(harness)
    agent.create(submission)
    wait_until(lambda: "first" in shown.getvalue(), what="the first line")
    agent.close()
    (harness.folder / "end").touch()
    other = harness.agent()

    assert over(other, submission.name).status.value == "succeeded"
    assert other.logs_tail(submission.name) == "first\nlast"
    assert "last" not in shown.getvalue()
    other.close()


def test_output_that_is_shortened_meanwhile_goes_on(harness: ProcessHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The follower goes on at its place, whatever is dropped before it."""
    shown = watched_output(monkeypatch)
    command = (
        f"head -c 300000 /dev/zero | tr '\\0' 'x'; echo; echo mark; while [ ! -e {harness.folder}/end ]; "
        "do sleep 0.05; done; echo last"
    )
    submission = harness.submission("/bin/sh", "-c", command)
    agent = platform(harness)
    agent.create(submission)
    wait_until(lambda: "| mark\n" in shown.getvalue(), what="the mark")
    assert shorten(harness.units / submission.name / "output", 16384) > 0
    (harness.folder / "end").touch()
    wait_until(lambda: "| last\n" in shown.getvalue(), what="the last line")

    assert "\0" not in shown.getvalue()
    assert shown.getvalue().count("| mark\n") == 1
    agent.close()
