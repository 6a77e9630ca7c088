"""What a preview says of a process, compared with the process that is started."""

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from support.process_harness import ProcessHarness
from support.waiting import wait_until

OF_THE_SHELL = frozenset({"PWD", "OLDPWD", "SHLVL", "_"})
"""Variables that a shell sets by itself."""

TELL = "import os, time; open({path!r}, 'w').write(str(os.getpid())); time.sleep(600)"


@pytest.fixture
def harness(tmp_path: Path) -> Generator[ProcessHarness]:
    """See :class:`ProcessHarness`. All that was started is ended."""
    harness = ProcessHarness(tmp_path)
    yield harness
    harness.clean()


def test_the_process_has_the_command_the_folder_and_the_environment_of_the_preview(
    harness: ProcessHarness, tmp_path: Path
) -> None:
    """As the kernel shows them."""
    path = tmp_path / "pid"
    submission = harness.submission(sys.executable, "-S", "-c", TELL.format(path=str(path)), env={"PLAIN": "a=b 'c'"})
    agent = harness.agent()

    (preview,) = agent.preview(submission)
    assert agent.unit(submission.name) is None
    agent.create(submission)
    wait_until(lambda: path.exists() and path.read_text(), 60, "the process runs")

    process = Path("/proc") / path.read_text()
    words = [word.decode() for word in (process / "cmdline").read_bytes().split(b"\0")[:-1]]
    pairs = [pair.decode().partition("=") for pair in (process / "environ").read_bytes().split(b"\0") if pair]
    env = {name: value for name, _, value in pairs if name not in OF_THE_SHELL}
    assert words == preview["command"]
    assert str((process / "cwd").readlink()) == preview["working_directory"]
    assert env == preview["environment"]
    agent.stop(submission.name, grace=0)
    agent.close()
