"""Phases: what the agent decides by, whatever a backend calls its states."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect.agent.adapters.phases import hold_of, named_state
from prefect.agent.domain import state_names
from prefect.agent.domain.model.explaining import Hold
from prefect.agent.domain.model.states import Outcome, Phase, State

DOMAIN = Path(__file__).parents[4] / "src" / "domain"
RULES = sorted([*(DOMAIN / "model").rglob("*.py"), *(DOMAIN / "services").rglob("*.py")])
THREE = {
    "SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING", "COMPLETED", "FAILED", "CANCELLED", "CRASHED",
    "Completed", "Crashed", "Suspended", "Late", "AwaitingRetry",
}  # fmt: skip
"""Types and names of Prefect 3."""


@pytest.mark.parametrize(
    ("names", "phase"),
    [
        (("Scheduled", "Resume", "Retrying", "Paused", "Queued"), Phase.WAITING),
        (("Submitted",), Phase.CLAIMED),
        (("Running",), Phase.RUNNING),
        (("Cancelling",), Phase.CANCELLING),
        (("Finished", "Looped", "Success", "Cached", "Mapped", "Skipped"), Phase.FINISHED),
        (("Failed", "TimedOut", "TriggerFailed", "ValidationFailed", "Cancelled"), Phase.FINISHED),
        (("Pending", "ClientFailed", "Daydreaming", "", "running", "COMPLETED"), Phase.OTHER),
    ],
)
def test_every_name_of_1x_has_a_phase(names: tuple[str, ...], phase: Phase) -> None:
    """Names that no table knows, and those that no agent acts on, are ``OTHER``: the run is left alone."""
    assert {name: named_state(name).phase for name in names} == dict.fromkeys(names, phase)


def test_the_phases_above_cover_the_whole_table() -> None:
    """Only states of which an agent has no part are ``OTHER``."""
    others = {name for name in state_names.PARENTS if named_state(name).phase is Phase.OTHER}

    assert others == {"Pending", "ClientFailed"}


@pytest.mark.parametrize(
    ("names", "outcome"),
    [
        (("Success", "Cached", "Mapped", "Skipped"), Outcome.SUCCESS),
        (("Failed", "TimedOut", "TriggerFailed", "ValidationFailed", "Finished", "Looped"), Outcome.FAILURE),
        (("Cancelled",), Outcome.CANCELLED),
        (("Running", "Cancelling", "Scheduled", "Daydreaming"), None),
    ],
)
def test_a_finished_state_says_how_it_ended(names: tuple[str, ...], outcome: Outcome | None) -> None:
    """A state that is not finished says nothing."""
    assert {name: named_state(name).outcome for name in names} == dict.fromkeys(names, outcome)


@pytest.mark.parametrize(
    ("name", "hold"), [("Queued", Hold.LIMIT), ("Paused", Hold.PAUSE), ("Scheduled", None), ("Strange", None)]
)
def test_a_waiting_state_says_what_holds_it(name: str, hold: Hold | None) -> None:
    """For explanations: ``prefect agent why``."""
    assert hold_of(name) is hold


def test_a_state_belongs_to_one_phase_only() -> None:
    """What is in no group that the agent acts on belongs to none."""
    unknown = named_state("Daydreaming")

    assert (unknown.is_waiting, unknown.is_finished, unknown.is_running, unknown.is_open) == (False,) * 4


@pytest.mark.parametrize(("kind", "running"), [("Running", True), ("Submitted", False), ("Cancelling", False)])
def test_only_running_is_running(kind: str, running: bool) -> None:
    """A submitted run does not run yet, and a cancelling one is on its way out."""
    assert named_state(kind).is_running is running


def test_a_state_name_is_a_text() -> None:
    """An adapter that passes on something else has a bug, found at birth."""
    with pytest.raises(TypeError):
        State(phase=Phase.WAITING, name=3)  # type: ignore[arg-type]


def test_a_phase_is_a_phase() -> None:
    """An adapter that passes the backend's own word on fails at once, not silently."""
    with pytest.raises(TypeError):
        State(phase="running", name="RUNNING")  # type: ignore[arg-type]


@pytest.mark.parametrize(("phase", "outcome"), [(Phase.FINISHED, None), (Phase.RUNNING, Outcome.SUCCESS)])
def test_only_and_every_finished_state_has_an_outcome(phase: Phase, outcome: Outcome | None) -> None:
    """An adapter cannot forget to say how a run ended."""
    with pytest.raises(ValueError, match="'ODD'"):
        State(phase=phase, name="ODD", outcome=outcome)


def _names_of_states(tree: ast.Module) -> Iterator[str]:
    """Lines of texts that are exactly a backend's state name, documentation aside."""
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in documentation:
            continue
        if node.value in {*state_names.PARENTS, *THREE}:
            yield f"line {node.lineno}: {ast.unparse(node)}"


def _decisions_by_name(tree: ast.Module) -> Iterator[str]:
    """Lines that do anything with ``state.name`` but put it into a sentence."""
    spoken = {
        id(inner) for node in ast.walk(tree) if isinstance(node, ast.FormattedValue) for inner in ast.walk(node.value)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr != "name" or id(node) in spoken:
            continue
        if ast.unparse(node.value).rpartition(".")[2] == "state":
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.relative_to(DOMAIN).as_posix())
def test_no_rule_of_the_agent_compares_names_of_states(path: Path) -> None:
    """Another backend's adapter sets phases and works: no rule knows ``Submitted`` or ``COMPLETED``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))

    assert [*_names_of_states(tree), *_decisions_by_name(tree)] == []


@pytest.mark.parametrize(
    "code",
    [
        'x = run.state.name == FAILED', 'if "Submitted" in kinds: pass', 'LATE = frozenset({"COMPLETED"})',
        'TABLE[run.state.name]', 'match kind:\n    case "Running": pass', 'f"{1 if x else 2}" + state.name',
    ],
)  # fmt: skip
def test_a_comparison_with_a_name_is_found(code: str) -> None:
    """The check above would notice."""
    tree = ast.parse(code)

    assert [*_names_of_states(tree), *_decisions_by_name(tree)]


def test_a_name_in_a_sentence_is_no_comparison() -> None:
    """People read the backend's own word."""
    tree = ast.parse('def f() -> str:\n    """Submitted"""\n    return f"it is {run.state.name} now"')

    assert [*_names_of_states(tree), *_decisions_by_name(tree)] == []
