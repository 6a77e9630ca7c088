"""Reports of many ends: looked at together, in order, whatever goes wrong with one of them."""

from collections.abc import Sequence

import pytest

from prefect.agent.adapters.fakes import InMemoryPlatform, ManualClock
from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.units import Unit, UnitStatus
from prefect.agent.domain.model.verdicts import Conclusion, ReportCancelled, ReportFailed, Settled
from prefect.agent.domain.services.ending import AT_ONCE, Look, ReportEnd, one_by_one
from prefect.agent.domain.services.outbox import Outbox
from support.builders import Heard


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
    """Messages for a flow run's log."""
    return [line.message for due in outbox.due() if due.run.run_id == run for line in due.lines]


def ends(outbox: Outbox) -> dict[str, End]:
    """The ends that wait, by flow run."""
    return {due.run.run_id: due.run.end for due in outbox.due() if due.run.end is not None}


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
    assert list(ends(outbox)) == [unit.flow_run_id for unit in units[1:]]


def test_an_end_speaks_for_the_claim_of_its_unit(outbox: Outbox) -> None:
    """It names the unit: what became of the run under another claim is not its business."""
    report = ReportEnd(platform=Telling(), outbox=outbox, tell=Heard())

    report(ReportCancelled(ended(1)), proof="nothing of it executes")
    report(ReportFailed(ended(2), "Killed"), proof="")
    report(Settled(ended(3)), proof="")

    assert ends(outbox) == {
        "run-1": End(
            run_id=FlowRunId("run-1"), unit="unit-1", kind=EndKind.CANCELLED, message="nothing of it executes"
        ),
        "run-2": End(run_id=FlowRunId("run-2"), unit="unit-2", kind=EndKind.FAILED, message="Killed"),
    }


def test_findings_that_were_collected_before_are_not_asked_for_again(outbox: Outbox) -> None:
    """The unit may be gone by now; control characters of its output are replaced."""
    platform = Telling()
    report = ReportEnd(platform=platform, outbox=outbox, tell=Heard())

    report(ReportFailed(ended(1), "Killed"), proof="", findings=["Last output of unit-1:\nab\0c"])

    assert platform.calls == []
    assert logged(outbox, "run-1") == ["Last output of unit-1:\nab\ufffdc", "Killed"]


def test_a_bug_of_one_look_keeps_no_end_from_being_reported(outbox: Outbox) -> None:
    """Neither its own nor that of another (promise P3)."""
    platform = Telling()
    platform.broken = "unit-0"
    report = ReportEnd(platform=platform, outbox=outbox, tell=Heard())

    list(report.each([ReportFailed(ended(0), "ended"), ReportFailed(ended(1), "ended")]))

    assert list(ends(outbox)) == ["run-0", "run-1"]
    assert "how it stands cannot be read: ZeroDivisionError('a bug')" in logged(outbox, "run-0")[0]
    assert "the account of unit-1" in logged(outbox, "run-1")[0]
