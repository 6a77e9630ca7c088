"""The agent is killed at every fault point, and lives through whatever is drawn by seed."""

import os
from collections.abc import Callable
from typing import Any, Final

import pytest

from chaos.conftest import EVERYTHING
from chaos.making import CAN_BE_LOOSE
from chaos.scenarios import Outcome, by_seed, small
from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform
from prefect.agent.domain.errors import SubmissionRefused
from prefect.agent.domain.model.ends import EndOutcome, EndVerdict

SEEDS: Final = 4000 if EVERYTHING else 60


def test_a_kill_at_any_fault_point_loses_and_doubles_nothing(explore: Callable[..., str]) -> None:
    """Every point of the small scenario; of the aftermaths (restart, sibling, an hour) one each, or all."""
    assert "scenarios" in explore("points", "--share", "1" if EVERYTHING else "3")


@pytest.mark.skipif(not CAN_BE_LOOSE, reason="the in-memory Cloud cannot be loose yet")
def test_a_kill_at_any_fault_point_on_a_loose_cloud(explore: Callable[..., str]) -> None:
    """As above, on a Cloud as loose as Prefect Server."""
    assert "scenarios" in explore("points", "--loose", "yes", "--share", "1" if EVERYTHING else "9")


def test_drawn_lives_break_no_rule(explore: Callable[..., str]) -> None:
    """Several agents, Clouds, people and mishaps; ``CHAOS_SEED`` replays one."""
    if "CHAOS_SEED" in os.environ:
        assert "scenarios" in explore("seeds", "--story")
    else:
        assert "scenarios" in explore("seeds", "--first", "0", "--count", str(SEEDS))


def test_a_seed_repeats_itself() -> None:
    """The same seed gives the same story to the last line, within one process."""
    first, second = by_seed(11), by_seed(11)
    assert first.ledger.lines == second.ledger.lines


def test_the_small_scenario_passes_every_kind_of_fault_point() -> None:
    """Whatever the core calls of its ports is among the points; claims, creations, ends and removals at least."""
    points = set(small(None).points)
    wanted = {"cloud.claim", "cloud.end", "cloud.write_logs", "platform.create", "platform.stop", "platform.remove"}
    assert {f"{when} {name}" for when in ("before", "after") for name in wanted} <= points


# --- the explorer notices what breaks the rules: planted faults of the environment itself ---


def _seen(explored: Callable[[int], Outcome], rule: str, tries: int = 40) -> bool:
    return any(violation.startswith(rule) for seed in range(tries) for violation in explored(seed).violations)


def test_an_end_without_a_fence_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Cloud that ends a run of any owner."""

    def end(self: InMemoryCloudApi, end: Any) -> EndOutcome:
        if end.run_id in self._store.runs and self.flow_run(end.run_id).state in {"Submitted", "Running"}:
            self.set_state(end.run_id, "Failed")
        return EndOutcome(verdict=EndVerdict.SETTLED)

    monkeypatch.setattr(InMemoryCloudApi, "_end", end)
    monkeypatch.setattr("prefect.agent.domain.model.verdicts.speaks_for", lambda unit, run: True, raising=False)
    assert _seen(by_seed, "an end speaks for its claim") or _seen(by_seed, "no end of what executes")


def test_a_platform_that_hides_its_units_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live units that cannot be seen are taken for deleted: their runs are ended while they execute."""
    monkeypatch.setattr(InMemoryPlatform, "units", lambda _self: [])
    monkeypatch.setattr(InMemoryPlatform, "unit", lambda _self, _name: None)
    assert _seen(by_seed, "no end of what executes")


def test_a_run_that_nothing_starts_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that is never confirmed leaves its run where it is."""

    def refuse(_self: object, _submission: object) -> None:
        raise SubmissionRefused("planted")

    monkeypatch.setattr(InMemoryPlatform, "create", refuse)
    monkeypatch.setattr(InMemoryCloudApi, "_end", lambda _self, _end: EndOutcome(verdict=EndVerdict.SETTLED))
    assert _seen(by_seed, "nothing stays stuck", tries=5)
