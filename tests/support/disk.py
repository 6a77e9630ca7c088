"""Stores of reports on one state directory, and what is put into them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from prefect.agent.adapters.reports import DiskReports
from prefect.agent.domain.model.flow_runs import FlowRunId

RUN, OTHER = FlowRunId("run-1"), FlowRunId("run-2")
END = {"end": "failed", "unit": "unit-1", "message": "broken"}
OWNER = "0123456789abcdef"

Open = Callable[..., DiskReports]


def line(text: str) -> dict[str, str]:
    """A log line."""
    return {"line": text, "level": "INFO", "at": "2024-01-01T00:00:00.000000+00:00"}


def texts(found: Mapping[FlowRunId, Sequence[Mapping[str, str]]], run: FlowRunId = RUN) -> list[str]:
    """What was found of a run: the texts of its lines, and ``(end)``."""
    return [entry.get("line", "(end)") for entry in found.get(run, ())]


def size_of(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.iterdir())


@contextmanager
def stores(directory: Path) -> Iterator[Open]:
    """Open stores on *directory*; closing one is what the end of its process is. All are closed in the end."""
    opened: list[DiskReports] = []

    def open_one(owner: str = OWNER, **options: int) -> DiskReports:
        opened.append(DiskReports(directory, owner, **options))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()
