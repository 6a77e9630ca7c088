"""How much is explored: a sample in the normal run; with ``CHAOS=all`` (``make chaos``) everything, real parts too.

``CHAOS_SEED=n`` explores that seed alone and prints its story.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).resolve().parent.parent
EVERYTHING: Final = os.environ.get("CHAOS") == "all"

PARTS: Final = min(4, os.cpu_count() or 1)
"""Processes that explore side by side."""

needs_everything = pytest.mark.long
"""Takes minutes: `make chaos` runs it."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long parts out, unless all is asked for; the last line of the head says so."""
    long = [item for item in items if item.get_closest_marker("long")]
    if EVERYTHING or not long:
        return
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


def pytest_report_collectionfinish() -> str:
    """One line under the head."""
    return "chaos: all of it" if EVERYTHING else "chaos: a sample; `make chaos` runs all, and the long parts"


@pytest.fixture(scope="session")
def explore() -> Callable[..., str]:
    """Run the explorer in processes of their own, whose sets have one order only; fails with what broke a rule."""

    def part(number: int, *arguments: str, seconds: float) -> str:
        environ = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(TESTS)}
        which = ("--part", str(number), "--parts", str(PARTS))
        command = [sys.executable, "-m", "chaos.explorer", *arguments, *which]
        done = subprocess.run(
            command, env=environ, cwd=TESTS, capture_output=True, text=True, timeout=seconds, check=False
        )
        shown = f"{done.stdout[-20_000:]}\n{done.stderr[-5_000:]}"
        again = "replay: cd tests && CHAOS_SEED=<seed> python -m chaos.explorer seeds --story"
        assert done.returncode == 0, f"{shown}\n{again}"
        return done.stdout

    def run(*arguments: str, seconds: float = 3000) -> str:
        with ThreadPoolExecutor(PARTS) as pool:
            return "".join(pool.map(lambda number: part(number, *arguments, seconds=seconds), range(PARTS)))

    return run
