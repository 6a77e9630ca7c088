"""Log lines become requests in the form and size that backends accept. Pure."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from prefect.agent.adapters.graphql.records import printable
from prefect.agent.domain.times import iso
from prefect.agent.ports.cloud_api import LogLine

MAX_BYTES: Final = 2_000_000
"""Log lines in one request; backends refuse bodies above 5 MB, and JSON text is longer."""

MAX_LINE: Final = 200_000
"""Characters of a log line's message."""

MAX_NAME: Final = 200
"""Characters of a logger's name."""

LEVELS: Final = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})


def log_entry(line: LogLine) -> dict[str, Any]:
    """Return one line as backends accept it."""
    entry = {
        "flow_run_id": line.flow_run_id,
        "name": printable(line.name, MAX_NAME),
        "message": printable(line.message, MAX_LINE),
        "level": line.level if line.level in LEVELS else "INFO",
    }
    return {**entry, "timestamp": iso(line.timestamp)} if line.timestamp else entry


def batches(entries: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Return the entries in order, in lists that fit into one request."""
    batch: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        length = len(json.dumps(entry))
        if batch and size + length > MAX_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += length
    if batch:
        yield batch
