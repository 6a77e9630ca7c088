"""No test hangs for ever: pytest's own deadline, in pyproject.toml, ends the process and shows where it stood."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

HANGING = """
import threading

def test_that_hangs():
    threading.Event().wait()
"""


def test_a_test_that_hangs_is_ended_and_shown(tmp_path: Path) -> None:
    """With this project's configuration, but for how long a test may take."""
    path = tmp_path / "test_hanging.py"
    path.write_text(HANGING)
    words = ["-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]

    done = subprocess.run(
        [sys.executable, *words, "-o", "faulthandler_timeout=0.5", str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )

    assert done.returncode not in {0, 5}, done.stdout
    assert "in test_that_hangs" in done.stderr
