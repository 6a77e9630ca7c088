"""Tell the Cloud of an end that a unit's run did not report itself, with everything that explains it."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import attrs

from prefect.agent.domain.errors import PlatformError
from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.domain.model.units import Unit
from prefect.agent.domain.model.verdicts import Conclusion, ReportCancelled, ReportFailed
from prefect.agent.domain.services.outbox import Outbox
from prefect.agent.ports import events
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.platform import ExecutionPlatform

TAIL_LINES: Final = 50
"""Lines of a unit's last output that go into its run's log."""

AT_ONCE: Final = 50
"""Ends whose findings are in memory at the same time; those of one may be 128 KiB."""

Look = Callable[[], list[str]]
Together = Callable[[Sequence[Look]], list[list[str]]]
"""Looks at several units and returns what each look found, in order."""


def one_by_one(looks: Sequence[Look]) -> list[list[str]]:
    """Take the looks one after the other, in the calling thread."""
    return [look() for look in looks]


@attrs.define(kw_only=True)
class ReportEnd:
    """Puts ends into the outbox. In a run's log the account comes first, then the last output, then the reason.

    Attributes:
        together: Many units may end at once, and each look takes the platform some time.
    """

    platform: ExecutionPlatform
    outbox: Outbox
    tell: EventSink
    together: Together = one_by_one

    def findings(self, unit: Unit) -> list[str]:
        """Return what the platform says of *unit* now, as entries for the run's log; they name what cannot be read."""
        account = _read(lambda: self.platform.account(unit.name), "how it stands")
        tail = _read(lambda: self.platform.logs_tail(unit.name, lines=TAIL_LINES), "its output")
        entries = ((f"How the unit {unit.name} stands:", account), (f"Last output of {unit.name}:", tail))
        return [f"{head}\n{text}" for head, text in entries if text]

    def each(self, conclusions: Sequence[Conclusion]) -> Iterator[Conclusion]:
        """Report what was concluded of units that have ended; each conclusion comes out once it is reported."""
        for begin in range(0, len(conclusions), AT_ONCE):
            batch = conclusions[begin : begin + AT_ONCE]
            failed = [each.unit for each in batch if isinstance(each, ReportFailed)]
            found = self.together([partial(self.findings, unit) for unit in failed])
            findings = {unit.name: entries for unit, entries in zip(failed, found, strict=True)}
            for each in batch:
                name = each.unit.name
                self(each, proof=f"The unit of execution {name} has ended", findings=findings.get(name))
                yield each

    def __call__(self, conclusion: Conclusion, *, proof: str, findings: Sequence[str] | None = None) -> None:
        """Report what was concluded of a unit in which nothing executes.

        Args:
            proof: Why a cancelled run is over.
            findings: Those of the unit, if they had to be collected before; None to do it now.
        """
        unit = conclusion.unit
        if isinstance(conclusion, ReportCancelled):
            self.outbox.end(_end(unit, EndKind.CANCELLED, proof))
        elif isinstance(conclusion, ReportFailed):
            fields: dict[str, object] = {"flow_run_id": unit.flow_run_id, "unit": unit.name}
            if unit.lasted is not None:
                fields["duration_s"] = unit.lasted
            self.tell(Event(name=events.UNIT_ENDED, level="WARNING", message=conclusion.reason, fields=fields))
            for entry in self.findings(unit) if findings is None else findings:
                self.outbox.log(unit.flow_run_id, entry, "ERROR")
            self.outbox.end(_end(unit, EndKind.FAILED, conclusion.reason, conclusion.lease))


def _end(unit: Unit, kind: EndKind, message: str, lease: str = "") -> End:
    return End(run_id=unit.flow_run_id, unit=unit.name, kind=kind, message=message, lease=lease, lasted=unit.lasted)


def _read(ask: Callable[[], str], what: str) -> str:
    try:
        return ask().rstrip().lstrip("\n")
    except Exception as problem:  # noqa: BLE001 - no problem of a look may keep an end from being reported
        return f"({what} cannot be read: {problem if isinstance(problem, PlatformError) else repr(problem)})"
