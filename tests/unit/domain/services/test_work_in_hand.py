"""What one process is seeing to: how much more it may start, and what it remembers of its starts."""

import pytest

from prefect.agent.domain.model.desk import Desk
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.units import Unit, UnitStatus
from prefect.agent.domain.services.work_in_hand import MEMORY, UNLIMITED, Census, WorkInHand
from support.builders import NOW, a_run


def a_unit(name: str) -> Unit:
    """One that executes."""
    return Unit(name=name, flow_run_id=FlowRunId(name), attempt="1", status=UnitStatus.RUNNING)


@pytest.fixture
def work() -> WorkInHand:
    """Of an agent with a limit of five."""
    return WorkInHand(desk=Desk(capacity=10), limit=5)


def test_an_agent_without_a_limit_has_room_unless_it_is_paused() -> None:
    """A pause leaves no room, whatever is alive."""
    work = WorkInHand()
    assert work.room() == UNLIMITED

    work.is_paused = True

    assert work.room() == 0


def test_what_is_alive_begun_recovered_or_being_started_takes_room(work: WorkInHand) -> None:
    """Each of them is a unit, or is about to be one."""
    work.census = Census(units=(a_unit("a"),), counted_at=10.0)
    assert work.room() == 4

    work.note_start("b", at=11.0)
    assert work.room() == 3

    assert work.adopt(FlowRunId("c"))
    assert work.room() == 2

    work.desk.offer([a_run(4)], NOW, at=0.0)
    work.desk.take_due(NOW, 1)
    assert work.room() == 1

    work.release(FlowRunId("c"))
    assert work.room() == 2


def test_a_start_is_counted_until_a_census_has_counted_it(work: WorkInHand) -> None:
    """A unit that began while the platform listed its units may be missing there: one too many does no harm."""
    for at in (9.0, 10.0, 11.0):
        work.note_start(f"at {at}", at)
    work.census = Census(counted_at=10.0)

    assert work.room() == 5 - 2


def test_a_run_is_recovered_once_at_a_time(work: WorkInHand) -> None:
    """Nor while it is being started."""
    run = a_run(1)
    assert work.adopt(run.id)
    assert not work.adopt(run.id)
    work.release(run.id)

    work.desk.offer([run], NOW, at=0.0)
    work.desk.take_due(NOW, 1)

    assert run.id in work
    assert not work.adopt(run.id)


def test_a_start_is_remembered_for_an_hour_or_while_its_run_waits_to_report(work: WorkInHand) -> None:
    """It is not started a second time, whatever became of its unit."""
    work.note_start("old", at=0.0)
    work.note_start("old, and its run waits", at=0.0)
    work.note_start("new", at=1.0)

    work.forget_starts({"old, and its run waits"}, now=MEMORY)

    assert [work.has_started(unit) for unit in ("old", "old, and its run waits", "new")] == [False, True, True]


def test_units_made_since_the_last_count_are_living_once(work: WorkInHand) -> None:
    """The sweep takes them; until then they are shown beside those that it counted."""
    work.census = Census(units=(a_unit("a"), a_unit("b")), counted_at=1.0)
    for name in ("b", "c"):
        work.note_unit(a_unit(name))

    assert [unit.name for unit in work.living] == ["a", "b", "c"]
    assert [unit.name for unit in work.take_units()] == ["b", "c"]
    assert work.take_units() == []


def test_a_need_of_room_wakes_the_sweep_and_is_taken_once() -> None:
    """The sweep removes ended units then."""
    woken: list[bool] = []
    work = WorkInHand(wake_sweep=lambda: woken.append(True))

    work.ask_for_room()

    assert woken == [True]
    assert [work.take_need_of_room(), work.take_need_of_room()] == [True, False]
