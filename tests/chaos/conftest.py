"""How much is explored: a sample in the normal run; with ``CHAOS=all`` (``make chaos``) everything, real parts too.

``CHAOS_SEED=n`` explores that seed alone and prints its story.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).resolve().parent.parent
EVERYTHING: Final = os.environ.get("CHAOS") == "all"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes minutes, unless everything is to be explored."""
    long = [] if EVERYTHING else [item for item in items if item.get_closest_marker("everything")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="session")
def everything() -> bool:
    """Whether all is to be explored, and not only a sample."""
    return EVERYTHING


@pytest.fixture(scope="session")
def explore() -> Callable[..., str]:
    """Run the explorer in a process of its own, whose sets have one order only; fails with what broke a rule."""

    def run(*arguments: str, seconds: float = 3000) -> str:
        environ = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(TESTS)}
        command = [sys.executable, "-m", "chaos.explorer", *arguments]
        done = subprocess.run(
            command, env=environ, cwd=TESTS, capture_output=True, text=True, timeout=seconds, check=False
        )
        shown = f"{done.stdout[-20_000:]}\n{done.stderr[-5_000:]}"
        again = "replay: cd tests && CHAOS_SEED=<seed> python -m chaos.explorer seeds --story"
        assert done.returncode == 0, f"{shown}\n{again}"
        return done.stdout

    return run
