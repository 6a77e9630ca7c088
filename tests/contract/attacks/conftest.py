"""Attacks on the agent and the embedded Cloud; at the end of a run a table says what was tried, and what held.

The docstring of each test names the attack and the rule that defeats it.
"""

import inspect
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).parent
OUTCOMES: Final[dict[str, list[str]]] = {}
"""By docstring: the outcomes of its tests."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what came of an attack."""
    report = yield
    if HERE in item.path.parents and isinstance(item, pytest.Function) and (report.when == "call" or not report.passed):
        words = _words(item.originalname, inspect.cleandoc(item.function.__doc__ or ""))
        OUTCOMES.setdefault(words, []).append("held" if report.passed else "left out" if report.skipped else "FAILED")
    return report


def _words(name: str, docstring: str) -> str:
    """What a row of the table says: the attack and the rule."""
    said = " ".join(docstring.split())
    return said if said.startswith("Attack") else f"{name.removeprefix('test_').replace('_', ' ').capitalize()}. {said}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if not OUTCOMES:
        return
    terminalreporter.section("attacks, and the rules that defeat them")
    for words, outcomes in OUTCOMES.items():
        worst = max(outcomes, key=["held", "left out", "FAILED"].index)
        count = f" x{len(outcomes)}" if len(outcomes) > 1 else ""
        terminalreporter.write_line(f"{worst + count:<14} {words}")
