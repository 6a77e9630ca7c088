"""Looks at processes when units end: few, and never too early."""

import threading
from collections.abc import Collection, Iterable

import pytest

from prefect.agent.adapters.process import processes
from prefect.agent.adapters.process.ending import UnitEnding
from prefect.agent.adapters.process.reaper import Reaper
from prefect.agent.domain.model.units import Evidence, Unit, UnitStatus
from support.builders import an_id
from support.waiting import wait_until


class Looks:
    """Stands for /proc: waits in each look until it may go on."""

    def __init__(self) -> None:
        self.begun: list[set[str]] = []
        self.go = threading.Event()

    def orphans(self) -> set[int]:
        """Nothing is left of any unit."""
        return set()

    def living(self, names: Collection[str], among: Iterable[int] | None = None) -> set[str]:
        """One look."""
        assert among is not None
        self.begun.append(set(names))
        assert self.go.wait(60)
        return {name for name in names if name.startswith("lives")}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """In place of the system's processes."""
    looks = Looks()
    monkeypatch.setattr(processes, "can_look", lambda: True)
    monkeypatch.setattr(processes, "orphans", looks.orphans)
    monkeypatch.setattr(processes, "living", looks.living)
    return looks


def ended(name: str) -> Unit:
    """A unit that has ended by its files."""
    evidence = Evidence(exit_code=0)
    return Unit(name=name, flow_run_id=an_id(1), attempt="1", status=UnitStatus.SUCCEEDED, evidence=evidence)


def test_all_that_ask_during_a_look_share_the_next_one(looks: Looks) -> None:
    """Thirty units end in thirty threads: two looks. None uses the look that began before it asked."""
    ending = UnitEnding(Reaper())
    names = [f"{'lives' if n % 3 == 0 else 'over'}-{n}" for n in range(30)]
    ending._own.update(names)
    judged: dict[str, UnitStatus] = {}

    def judge(name: str) -> None:
        [unit] = ending.judged([ended(name)], lambda _: None)
        judged[name] = unit.status

    threads = [threading.Thread(target=judge, args=(name,), daemon=True) for name in names]
    threads[0].start()
    wait_until(lambda: looks.begun == [{names[0]}], 60)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: ending._next_look.near == set(names[1:]), 60)
    looks.go.set()
    for thread in threads:
        thread.join(60)

    assert looks.begun == [{names[0]}, set(names[1:])]
    expected = {name: UnitStatus.RUNNING if name.startswith("lives") else UnitStatus.SUCCEEDED for name in names}
    assert judged == expected


def test_a_look_that_failed_is_made_again_by_the_next_that_asks(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error is its asker's; the unit is still in doubt."""
    ending = UnitEnding(Reaper())
    ending._own.add("lives-1")
    looks.go.set()
    with monkeypatch.context() as broken:
        broken.setattr(processes, "orphans", lambda: (_ for _ in ()).throw(OSError("no memory")))
        with pytest.raises(OSError, match="no memory"):
            ending.judged([ended("lives-1")], lambda _: None)
    [unit] = ending.judged([ended("lives-1")], lambda _: None)
    assert unit.status is UnitStatus.RUNNING
