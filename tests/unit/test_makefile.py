"""What ``make`` may do to environments."""

import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"


@pytest.mark.parametrize(("target", "lock"), [(".venv", "dev"), (".venv-prefect", "prefect-py310")])
def test_a_linked_environment_is_not_emptied(tmp_path: Path, target: str, lock: str) -> None:
    """The environment of another checkout stays as it is, though its lock looks older than this checkout's."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    other, here = tmp_path / "other", tmp_path / "here"
    (here / "requirements").mkdir(parents=True)
    other.mkdir()
    (other / "kept").touch()
    (here / target).symlink_to(other)
    shutil.copy(MAKEFILE, here)
    for name in {lock, "prefect-py312"}:
        (here / "requirements" / f"{name}.txt").touch()

    done = subprocess.run(
        ["make", f"{target}/.locked"], cwd=here, capture_output=True, text=True, check=False, timeout=120
    )

    assert done.returncode != 0
    assert f"{target} is a link" in done.stdout
    assert (other / "kept").exists()
