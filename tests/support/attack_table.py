"""The table of attacks at the end of a run: what was tried, and what held. Also if tests run in several processes."""

import inspect
from pathlib import Path
from typing import Final

import pytest

ATTACKS: Final = Path(__file__).resolve().parents[1] / "contract" / "attacks"
PROPERTY: Final = "attack"
OUTCOMES: Final = ("held", "left out", "FAILED")
"""From best to worst."""

_found: Final[dict[str, list[str]]] = {}
"""By words: the outcomes of the attack's tests."""


def name_attack(item: pytest.Item) -> None:
    """Give the reports of *item* its words, if it is an attack."""
    if ATTACKS in item.path.parents and isinstance(item, pytest.Function):
        item.user_properties.append((PROPERTY, _words(item.originalname, inspect.getdoc(item.function) or "")))


def note(report: pytest.TestReport) -> None:
    """Note what came of an attack."""
    words = dict(report.user_properties).get(PROPERTY)
    if words is not None and (report.when == "call" or not report.passed):
        outcome = "held" if report.passed else "left out" if report.skipped else "FAILED"
        _found.setdefault(str(words), []).append(outcome)


def write(reporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if not _found:
        return
    reporter.section("attacks, and the rules that defeat them")
    for words, outcomes in _found.items():
        count = f" x{len(outcomes)}" if len(outcomes) > 1 else ""
        reporter.write_line(f"{max(outcomes, key=OUTCOMES.index) + count:<14} {words}")


def _words(name: str, docstring: str) -> str:
    """What a row says: the attack and the rule."""
    said = " ".join(docstring.split())
    return said if said.startswith("Attack") else f"{name.removeprefix('test_').replace('_', ' ').capitalize()}. {said}"
