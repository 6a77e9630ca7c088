"""Reports of many ends: looked at together, in order, whatever goes wrong with one of them."""

from collections.abc import Sequence

import pytest

from prefect.agent.adapters.fakes import InMemoryPlatform, ManualClock
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.reconciling import Conclusion, ReportCancelled, ReportFailed, Settled
from prefect.agent.domain.model.units import Unit, UnitStatus
from prefect.agent.domain.services.ending import AT_ONCE, Look, ReportEnd, one_by_one
from prefect.agent.domain.services.reporting import Outbox
from unit.builders import Heard


def ended(number: int) -> Unit:
    """A unit that has ended."""
    return Unit(name=f"unit-{number}", flow_run_id=FlowRunId(f"run-{number}"), attempt="1", status=UnitStatus.FAILED)


class Telling(InMemoryPlatform):
    """Has an account of each unit; of one of them it breaks."""

    broken = ""

    def account(self, name: str) -> str:
        """What it knows."""
        if name == self.broken:
            raise ZeroDivisionError("a bug")
        return f"the account of {name}"


@pytest.fixture
def outbox() -> Outbox:
    """For the reports."""
    return Outbox(clock=ManualClock())


def logged(outbox: Outbox, run: str) -> list[str]:
    """Messages of a flow run's log."""
    return [line.message for line in outbox.lines if line.flow_run_id == run]


def test_many_are_looked_at_together(outbox: Outbox) -> None:
    """As many at once as may be in memory, only those that failed; all are reported, in order."""
    asked: list[int] = []

    def together(looks: Sequence[Look]) -> list[list[str]]:
        asked.append(len(looks))
        return one_by_one(looks)

    report = ReportEnd(platform=Telling(), outbox=outbox, tell=Heard(), together=together)
    units = [ended(number) for number in range(AT_ONCE + 10)]
    conclusions: list[Conclusion] = [
        Settled(units[0]),
        ReportCancelled(units[1]),
        *(ReportFailed(unit, "ended") for unit in units[2:]),
    ]

    assert [each.unit for each in report.each(conclusions)] == units
    assert asked == [AT_ONCE - 2, 10]
    assert logged(outbox, "run-0") == []
    assert logged(outbox, "run-1") == ["The unit of execution unit-1 has ended"]
    assert logged(outbox, "run-59") == ["How the unit unit-59 stands:\nthe account of unit-59", "ended"]
    assert len(outbox.ends) == len(units) - 1


def test_a_bug_of_one_look_keeps_no_end_from_being_reported(outbox: Outbox) -> None:
    """Neither its own nor that of another (promise P3)."""
    platform = Telling()
    platform.broken = "unit-0"
    report = ReportEnd(platform=platform, outbox=outbox, tell=Heard())

    list(report.each([ReportFailed(ended(0), "ended"), ReportFailed(ended(1), "ended")]))

    assert len(outbox.ends) == 2
    assert "how it stands cannot be read: ZeroDivisionError('a bug')" in logged(outbox, "run-0")[0]
    assert "the account of unit-1" in logged(outbox, "run-1")[0]
