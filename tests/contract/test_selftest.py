"""``prefect agent selftest`` as a person types it, on the platforms that are here."""

import os
import subprocess
import sys
from pathlib import Path

PREFECT = Path(sys.executable).parent / "prefect-agent"


def selftest(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run it in a home of its own."""
    env = {**os.environ, "HOME": str(home)}
    return subprocess.run(
        [PREFECT, "agent", "selftest", *arguments], env=env, capture_output=True, text=True, timeout=300, check=False
    )


def test_processes_pass(tmp_path: Path, prefect_python: Path) -> None:
    """Five proofs, each on a line of its own, and exit code 0."""
    done = selftest(tmp_path, "process", "--interpreter", str(prefect_python))

    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 5, done.stdout + done.stderr
    assert done.returncode == 0


def test_containers_pass(tmp_path: Path, small_image: str) -> None:
    """Likewise on a real engine; its words about images that cannot be pulled do not clutter the proofs."""
    done = selftest(tmp_path, "docker", "--image", small_image)

    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 5, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.returncode == 0


def test_what_cannot_work_is_one_sentence(tmp_path: Path) -> None:
    """A platform that does not exist."""
    done = selftest(tmp_path, "nomad")

    assert done.returncode == 78
    assert done.stderr.startswith("Error: there is no platform 'nomad'")
