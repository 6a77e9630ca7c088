"""What the outbox keeps: how much of it, what that costs, and what the next process finds."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from prefect.agent.adapters.reports import DiskReports
from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.reports import Line, entry_of, read_entry
from prefect.agent.ports import events
from prefect.agent.ports.cloud_api import ClaimRequest, LogLine
from prefect.agent.ports.reports import Entry, MemoryReports
from support.builders import NOW, a_record, an_id
from support.reporting_harness import ReportingHarness


@pytest.fixture
def harness() -> ReportingHarness:
    """An empty outbox."""
    return ReportingHarness()


# --- bounds ---


def test_a_long_outage_costs_the_oldest_lines_only(harness: ReportingHarness) -> None:
    """Lines are bounded in bytes, whichever run they are of; ends are never dropped; the loss is reported once."""
    harness.outbox.most_bytes = 1_000_000
    runs = [harness.claimed() for _ in range(2)]
    harness.end(runs[0])
    for number in range(100):
        harness.outbox.log(runs[number % 2], f"{number:06d}" + "x" * 49_794)

    assert harness.outbox.dropped == 81
    harness.send()

    assert [int(text[:6]) for run in runs for text in harness.messages(run)] == [*range(80, 100, 2), *range(81, 101, 2)]
    assert harness.state(runs[0]) == "Failed"
    harness.send()
    assert harness.levels(events.REPORTS_AT_RISK) == ["WARNING"]


def test_lines_that_are_dropped_during_a_request_are_counted_once(
    harness: ReportingHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound the oldest go, also if they are in the request that is out."""
    run = harness.claimed()
    harness.outbox.most_bytes = 10_000
    for number in range(8):
        harness.outbox.log(run, f"{number}" + "x" * 999)
    write = harness.cloud.write_logs

    def busy(lines: Sequence[LogLine]) -> None:
        monkeypatch.setattr(harness.cloud, "write_logs", write)
        for number in range(8, 12):
            harness.outbox.log(run, f"{number:x}" + "x" * 999)
        write(lines)

    monkeypatch.setattr(harness.cloud, "write_logs", busy)
    harness.send()
    harness.send()

    assert [text[0] for text in harness.messages(run)] == list("0123456789ab")
    assert not harness.outbox


def test_what_has_gone_takes_no_memory(harness: ReportingHarness) -> None:
    """A run that waits for hours does not keep the marks of all that went out behind it."""
    stuck = harness.claimed()
    harness.cloud.bad_line = "stuck"
    harness.outbox.log(stuck, "stuck")
    other = harness.claimed()
    for _ in range(5_000):
        harness.outbox.log(other, "x")
        harness.sends(1)

    assert len(harness.outbox) == 1
    assert len(harness.outbox._oldest) < 2_000
    harness.outbox.most_bytes = 100
    harness.outbox.log(an_id(1), "x")
    assert harness.outbox.dropped == 2


# --- beyond the process ---


def test_reports_that_were_not_sent_are_sent_by_the_next_process(tmp_path: Path) -> None:
    """Lines and ends; what was confirmed does not come again."""
    harness = ReportingHarness(DiskReports(tmp_path, "owner"))
    run, done = harness.claimed(), harness.claimed()
    harness.end(done)
    harness.send()
    harness.outbox.log(run, "one")
    harness.end(run, "two")
    harness.store.close()

    assert harness.restart(DiskReports(tmp_path, "owner")) == 1
    harness.send()
    harness.store.close()

    assert (harness.state(run), harness.messages(run), harness.messages(done)) == ("Failed", ["one", "two"], ["broken"])
    assert harness.restart(DiskReports(tmp_path, "owner")) == 0
    harness.store.close()


def test_lines_that_were_sent_do_not_come_again_with_their_end(tmp_path: Path) -> None:
    """An end may wait for days: its log was written once."""
    harness = ReportingHarness(DiskReports(tmp_path, "owner"))
    run = harness.claimed()
    harness.cloud.refused = {run}
    harness.end(run)
    harness.sends(1)
    harness.store.close()
    harness.cloud.refused = set()

    assert harness.restart(DiskReports(tmp_path, "owner")) == 1
    harness.send()
    harness.store.close()

    assert (harness.state(run), harness.messages(run)) == ("Failed", ["broken"])


def test_an_end_of_an_earlier_process_is_fenced_by_its_claim(tmp_path: Path) -> None:
    """It was confirmed, or the run is another claim's by now: it does no harm."""
    harness = ReportingHarness(DiskReports(tmp_path, "owner"))
    settled, reclaimed = harness.claimed(), harness.claimed()
    for run in (settled, reclaimed):
        harness.end(run)
    harness.store.close()
    harness.cloud.set_state(settled, "Success")
    harness.cloud.set_state(reclaimed, "Scheduled")
    [again] = harness.cloud.flow_runs([reclaimed])
    harness.cloud.claim([ClaimRequest(run=again, record=a_record(again, claimant="b"))])

    harness.restart(DiskReports(tmp_path, "owner"))
    harness.send()
    harness.store.close()

    assert (harness.state(settled), harness.state(reclaimed)) == ("Success", "Submitted")
    assert not harness.outbox


CHILD = """
import sys, time
from pathlib import Path
from prefect.agent.adapters.reports import DiskReports
from prefect.agent.adapters.system import SystemClock
from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.domain.services.outbox import Outbox
outbox = Outbox(clock=SystemClock(), store=DiskReports(Path(sys.argv[1]), "owner"))
outbox.load()
outbox.log(sys.argv[2], "one")
outbox.end(End(run_id=sys.argv[2], unit=sys.argv[3], kind=EndKind.FAILED, message="two"))
print("kept", flush=True)
time.sleep(600)
"""


def test_the_reports_of_a_killed_process_are_replayed(tmp_path: Path) -> None:
    """``kill -9`` after an end was put into the outbox: the next process reports it, once."""
    harness = ReportingHarness()
    run = harness.claimed()
    [seen] = harness.cloud.flow_runs([run])
    assert seen.claim is not None
    arguments = [sys.executable, "-c", CHILD, str(tmp_path), run, seen.claim.unit]
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, env=dict(os.environ))
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"kept\n"
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=30)

    for _ in range(2):
        harness.restart(DiskReports(tmp_path, "owner"))
        harness.send()
        harness.store.close()

    assert (harness.state(run), harness.messages(run)) == ("Failed", ["one", "two"])


class LeftReports(MemoryReports):
    """What some earlier process left."""

    def __init__(self, left: dict[FlowRunId, list[Entry]]) -> None:
        super().__init__()
        object.__setattr__(self, "left", left)
        object.__setattr__(self, "forgotten", [])

    left: dict[FlowRunId, list[Entry]]
    forgotten: list[FlowRunId]

    def load(self) -> dict[FlowRunId, list[Entry]]:
        """All of it."""
        return self.left

    def forget(self, run_id: FlowRunId) -> None:
        """Note it."""
        self.forgotten.append(run_id)


def test_entries_that_make_no_report_are_forgotten(harness: ReportingHarness) -> None:
    """They may be of another version; the others of the run count."""
    line = entry_of(Line(message="x", level="INFO", at=NOW))
    nonsense: list[Entry] = [
        {},
        {"end": "abducted", "unit": "u", "message": ""},
        {"line": "x", "level": "INFO", "at": "?"},
    ]
    store = LeftReports({an_id(1): [*nonsense, line], an_id(2): nonsense})

    assert harness.restart(store) == 1
    assert len(harness.outbox) == 1
    assert store.forgotten == [an_id(2)]


def test_an_entry_reads_as_it_was_written() -> None:
    """Lines and ends of every kind."""
    reports: list[Line | End] = [Line(message="x\ufffd", level="ERROR", at=NOW)]
    reports += [End(run_id=an_id(1), unit="unit-1", kind=kind, message="m") for kind in EndKind]
    assert [read_entry(an_id(1), entry_of(each)) for each in reports] == reports


def test_a_store_that_fails_is_reported_once(
    harness: ReportingHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One warning for each process; the reports go out from memory."""
    harness.restart(DiskReports(tmp_path, "owner"))
    monkeypatch.setattr(DiskReports, "problem", property(lambda _: "no space left"))
    for _ in range(3):
        run = harness.claimed()
        harness.end(run)
        harness.sends(1)
        assert harness.state(run) == "Failed"
    harness.store.close()

    assert harness.levels(events.REPORTS_AT_RISK) == ["WARNING"]


def test_a_problem_that_the_start_reported_is_not_reported_again(harness: ReportingHarness) -> None:
    """Who loads the reports says where they are kept, and why."""
    harness.restart(MemoryReports(problem="other users can write there"))
    harness.sends(2)
    assert harness.levels(events.REPORTS_AT_RISK) == []
