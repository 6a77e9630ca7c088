"""Attack: a flow run prints without end, and the disk on which the agent keeps claims and reports is full.

Rule: an output that takes more than its limit loses its beginning; the flow is neither killed nor held up.
"""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from prefect.agent.adapters.process import output
from prefect.agent.adapters.process.output import MIB, Outputs, shorten
from prefect.agent.adapters.process.platform import ProcessPlatform
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import UnitStatus
from prefect.agent.entrypoints.library.kinds import ProcessAgent
from support.builders import an_id
from support.waiting import wait_until

TALKS: Final = 12
"""MiB that the flow writes before it waits."""

SCRIPT: Final = f"""
i=0
while [ $i -lt {TALKS} ]; do head -c 1048576 /dev/zero | tr '\\0' x; i=$((i+1)); done
echo; echo "said all"
until [ -e go ]; do sleep 0.05; done
echo "goes on"; exit 3
"""


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessPlatform]:
    """One with a limit of four MiB that looks often."""
    monkeypatch.setattr(output, "LOOK_EVERY", 0.05)
    monkeypatch.chdir(tmp_path)
    platform = ProcessPlatform(tmp_path / "units", output_limit=4)
    yield platform
    for unit in platform.units():
        platform.stop(unit.name, grace=0)
    platform.close()


def used(file: Path) -> int:
    """Bytes on disk."""
    return file.stat().st_blocks * 512


def test_an_endless_output_loses_its_beginning_and_the_flow_goes_on(
    platform: ProcessPlatform, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither killed nor blocked: what it writes later is there, its exit code is its own, and the log says so once."""
    submission = Submission(
        name="prefect-loud-1", flow_run_id=an_id(1), attempt="1", command=("/bin/sh", "-c", SCRIPT),
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    file = tmp_path / "units" / submission.name / "output"
    with caplog.at_level(logging.WARNING, "prefect.agent.process"):
        platform.create(submission)
        wait_until(lambda: _watched(platform) and "said all" in platform.logs_tail(submission.name, lines=1), 60)
        wait_until(lambda: _watched(platform) and used(file) <= 4 * MIB, 60)
        (tmp_path / "go").touch()
        wait_until(lambda: (unit := platform.unit(submission.name)) is not None and unit.status.has_ended, 60)

    found = platform.unit(submission.name)
    assert found is not None
    assert found.evidence is not None
    assert (found.status, found.evidence.exit_code) == (UnitStatus.FAILED, 3)
    assert platform.logs_tail(submission.name, lines=2) == "said all\ngoes on"
    assert file.stat().st_size > TALKS * MIB or used(file) <= output.SMALL_TAIL + output.BLOCK * 2
    assert b"were dropped" in file.read_bytes()
    assert [record.getMessage().count("--output-limit") for record in caplog.records] == [1]


def _watched(platform: ProcessPlatform) -> bool:
    """The agent's watch does the work."""
    assert list(platform.watch(seconds=0.1)) == []
    return True


@pytest.mark.parametrize("has_holes", [True, False])
def test_the_end_is_kept_and_nothing_that_comes_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_holes: bool
) -> None:
    """On every file system; who has the file open writes on at its end."""
    if not has_holes:
        monkeypatch.setattr(output, "_punch", lambda *_: False)
    file = tmp_path / "output"
    with file.open("ab", buffering=0) as writer:
        writer.write(b"begin" + b"." * MIB + b"end of the first part\n")
        os.utime(file, (1_000_000_000, 1_000_000_000))
        assert shorten(file, MIB // 2) > MIB // 2
        assert int(file.stat().st_mtime) == 1_000_000_000
        writer.write(b"second part\n")

    assert used(file) <= MIB // 2
    content = file.read_bytes().lstrip(b"\0")
    assert content.endswith(b"end of the first part\nsecond part\n")
    assert b"begin" not in content
    assert content.count(b"were dropped (--output-limit)") == 1


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_what_is_no_file_is_left_alone(tmp_path: Path, kind: str) -> None:
    """A flow can put anything in place of its output: the agent shortens no other file, and waits for nothing."""
    other = tmp_path / "other"
    other.write_bytes(b"x" * 3 * MIB)
    (tmp_path / "units" / "prefect-x-1").mkdir(parents=True)
    file = tmp_path / "units" / "prefect-x-1" / "output"
    make: dict[str, Callable[[], None]] = {
        "link": lambda: file.symlink_to(other),
        "fifo": lambda: os.mkfifo(file),
        "folder": file.mkdir,
    }
    make[kind]()

    Outputs(tmp_path / "units", MIB).look()

    assert used(other) >= 3 * MIB
    with pytest.raises(OSError, match=r"regular|[Dd]irectory"):
        shorten(file, MIB)


def test_no_limit_looks_at_nothing(tmp_path: Path) -> None:
    """``--output-limit 0``."""
    assert Outputs(tmp_path / "none", None).look() == float("inf")
    Outputs(tmp_path / "none", MIB).look()  # a directory that is not there is no error


@pytest.mark.parametrize("text", ["100 MiB", "-1", "1e3", "9" * 20, "ten"])
def test_a_limit_that_is_no_number_is_refused(text: str) -> None:
    """With the variable's name."""
    with pytest.raises(ConfigurationError, match="PREFECT_AGENT_OUTPUT_LIMIT"):
        ProcessAgent(environ={"PREFECT_AGENT_OUTPUT_LIMIT": text})
