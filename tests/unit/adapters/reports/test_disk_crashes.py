"""Reports on disk under ``kill -9``, before and after each effect on the disk; then another agent takes them up."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from prefect.agent.adapters.reports import DiskReports
from prefect.agent.domain.model.flow_runs import FlowRunId

OWNER: Final = "owner"
EFFECTS: Final = ("open", "write", "ftruncate", "fsync", "replace", "unlink", "mkdir")
STEPS: Final = 24


class Killed(BaseException):
    """Nothing in the process goes on after this."""


class Machine:
    """Counts effects on the disk, and kills before or after one of them; lets go of what a dead process would.

    Attributes:
        count: How many effects there were.
        kill_at: The number of the effect; None never kills.
        after: Kill after it, not before.
        half: A write that is killed has written half.
    """

    def __init__(self, kill_at: int | None = None, *, after: bool = False, half: bool = False) -> None:
        self.count, self.kill_at, self.after, self.half = 0, kill_at, after, half
        self.is_dead = False
        self._opened: set[int] = set()
        self._real = {name: getattr(os, name) for name in EFFECTS}
        self._close = os.close

    @contextmanager
    def running(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Live until killed."""
        with monkeypatch.context() as patch, suppress(Killed):
            for name in EFFECTS:
                patch.setattr(os, name, self._effect(name))
            patch.setattr(os, "close", self._closed)
            yield
        for fd in self._opened:
            self._close(fd)

    def _effect(self, name: str) -> Callable[..., Any]:
        def effect(*arguments: Any, **options: Any) -> Any:
            if self.is_dead:
                raise Killed
            self.count += 1
            is_last = self.count == self.kill_at
            if is_last and not self.after:
                self.is_dead = True
                if name == "write" and self.half:
                    self._real[name](arguments[0], arguments[1][: len(arguments[1]) // 2])
                raise Killed
            try:
                result = self._real[name](*arguments, **options)
                if name == "open":
                    self._opened.add(result)
            finally:
                if is_last:
                    self.is_dead = True
                    raise Killed
            return result

        return effect

    def _closed(self, fd: int) -> None:
        if self.is_dead:
            raise Killed
        self._close(fd)
        self._opened.discard(fd)


def line(number: int) -> dict[str, str]:
    """A log line."""
    return {"line": f"{number:04d}", "level": "INFO", "at": "2024-01-01T00:00:00.000000+00:00"}


class Life:
    """An agent's life: it takes up, adds, forgets, and its file is rewritten now and then.

    Attributes:
        kept: Ends that were kept and not forgotten, as far as the calls came back.
        touched: Runs of which a call had not come back.
    """

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.touched: set[str] = set()
        self.added = self.forgotten = 0

    def lead(self, directory: Path) -> None:
        """Live it."""
        store = DiskReports(directory, OWNER, most_bytes=1_500)
        store.load()
        for step in range(STEPS):
            run = FlowRunId(f"run-{step}")
            self.touched = {run}
            store.add(run, {"end": "failed", "unit": f"unit-{step}", "message": "x"})
            self.kept.add(run)
            store.add(FlowRunId("log"), line(step))
            self.added = step + 1
            if step % 3:
                self.touched = {run}
                store.forget(run)
                self.kept.discard(run)
            if step % 10 == 9:
                self.touched = {"log"}
                store.forget_lines(FlowRunId("log"), 5)
                self.forgotten += 5
        self.touched = set()


def effects(directory: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many effects a whole life has."""
    machine = Machine()
    with machine.running(monkeypatch):
        Life().lead(directory)
    return machine.count


@pytest.mark.parametrize("how", ["before", "after", "half"])
def test_no_kill_loses_or_doubles_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Killed at every effect in turn: each end that was kept is given out once, and lines are without a gap."""
    total = effects(tmp_path / "clean", monkeypatch)
    assert total > STEPS

    for number in range(1, total + 1):
        life, directory = Life(), tmp_path / str(number)
        machine = Machine(number, after=how == "after", half=how == "half")
        with machine.running(monkeypatch):
            life.lead(directory)
        assert machine.is_dead
        successor, twin = DiskReports(directory, OWNER), DiskReports(directory, OWNER)
        found = dict(successor.load())
        assert dict(twin.load()) == {}

        ends = {run for run in found if run != "log"}
        assert life.kept - life.touched <= ends <= life.kept | life.touched, number
        assert all(len(found[FlowRunId(run)]) == 1 for run in ends), number
        numbers = [int(entry["line"]) for entry in found.get(FlowRunId("log"), ())]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
        if life.added and "log" not in life.touched and life.added > life.forgotten:
            assert numbers[-1:] in ([life.added - 1], [life.added]), number
        for run in found:
            successor.forget(run)
        assert list(Path(successor.where).iterdir()) == []
        successor.close()
        twin.close()


def test_a_successor_that_is_killed_too_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at every effect of taking up and going on, in one line of agents: what was kept comes through."""
    first = DiskReports(tmp_path, OWNER)
    first.add(FlowRunId("run-first"), {"end": "failed", "unit": "u", "message": "x"})
    first.close()
    kept = {"run-first"}

    for number in range(1, 100):
        machine = Machine(number, half=True)
        with machine.running(monkeypatch):
            store = DiskReports(tmp_path, OWNER, most_bytes=3_000)
            assert kept <= set(store.load())
            for step in range(40):
                run = FlowRunId(f"run-{number}-{step}")
                store.add(run, {"end": "failed", "unit": "u", "message": "x"})
                store.add(run, line(step))
                store.forget(run)
        last = DiskReports(tmp_path, OWNER)
        found = set(last.load())
        last.close()
        assert kept <= found
        assert len(found) <= number + 1
