"""The outbox masks what it is given: what is kept on disk and what is sent to the Cloud has no secret."""

from collections.abc import Sequence
from pathlib import Path

from prefect.agent.adapters.fakes import ManualClock
from prefect.agent.adapters.reports import DiskReports
from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.reports import MAX_MESSAGE
from prefect.agent.domain.secrets import MASK, Mask
from prefect.agent.domain.services.outbox import Outbox
from prefect.agent.ports.reports import ReportStore

KEY = "pak_SECRET-of-the-agent"
RUN = FlowRunId("00000000-0000-0000-0000-000000000001")


def outbox(store: ReportStore, secrets: Sequence[str] = (KEY,)) -> Outbox:
    """An outbox that knows these secrets."""
    return Outbox(clock=ManualClock(), store=store, clean=Mask(secrets))


def texts(box: Outbox) -> list[str]:
    """All that it would send."""
    return [text for due in box.due() for text in (*(line.message for line in due.lines), *_end(due.run.end))]


def _end(end: End | None) -> list[str]:
    return [] if end is None else [end.message]


def test_lines_and_ends_have_no_secret_in_memory_and_on_disk(tmp_path: Path) -> None:
    """The last output of a dead unit, and the reason of its end."""
    box = outbox(DiskReports(tmp_path, "a"))
    box.load()
    box.log(RUN, f"last output: {KEY}")
    box.end(End(run_id=RUN, unit="u", kind=EndKind.FAILED, message=f"exit code 3, {KEY}"))

    assert texts(box) == [f"last output: {MASK}", f"exit code 3, {MASK}", f"exit code 3, {MASK}"]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"last output" in kept
    assert KEY.encode() not in kept
    box.store.close()


def test_what_an_older_agent_kept_is_masked_when_it_is_taken_up(tmp_path: Path) -> None:
    """It may have kept secrets as they were."""
    old = outbox(DiskReports(tmp_path, "a"), secrets=())
    old.load()
    old.log(RUN, f"last output: {KEY}")
    old.store.close()

    box = outbox(DiskReports(tmp_path, "a"))
    box.load()
    assert texts(box) == [f"last output: {MASK}"]
    box.store.close()


def test_a_secret_at_the_place_of_the_cut_is_masked_as_a_whole(tmp_path: Path) -> None:
    """Half a secret would not be found any more."""
    box = outbox(DiskReports(tmp_path, "a"))
    box.load()
    box.log(RUN, "x" * (MAX_MESSAGE - 10) + KEY)
    [text] = texts(box)
    assert "pak_" not in text
    box.store.close()
