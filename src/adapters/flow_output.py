"""What flow runs write, shown line by line in the agent's own output (``--show-flow-logs``), each line with its run."""

import logging
import sys
from collections.abc import Mapping
from typing import Final

from prefect.agent.domain.model.submissions import Submission
from prefect.agent.ports import events

LOGGER: Final = "prefect.agent.flow_output"
"""Its handlers write to standard output in the form of the agent's log. Without handlers, lines are written plainly."""

LONGEST: Final = 64 * 1024
"""Bytes of a line after which it is shown in parts."""

_log = logging.getLogger(LOGGER)


def fields_of(submission: Submission) -> dict[str, str]:
    """Return what tells the flow run of *submission* from others."""
    return {
        "flow_run_id": submission.flow_run_id,
        "flow_run_name": submission.flow_run_name,
        "flow_name": submission.flow_name,
        "unit": submission.name,
    }


class Lines:
    """Cuts the output of one flow run into lines and shows them.

    Args:
        fields: Of the flow run; see :func:`fields_of`.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = dict(fields)
        self._name = fields.get("flow_run_name") or fields.get("flow_run_id") or fields.get("unit") or "flow run"
        self._rest = b""

    def feed(self, piece: bytes) -> None:
        """Show the lines that end in *piece*; keep the beginning of the next one.

        Raises:
            ValueError: Standard output is closed.
            OSError: It cannot be written.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._show(line)

    def end(self) -> None:
        """Show a last line that has no line end."""
        if self._rest:
            self._show(self._rest)
        self._rest = b""

    def _show(self, line: bytes) -> None:
        text = line.replace(b"\0", b"").decode(errors="replace").rstrip("\r")
        if _log.handlers:
            _log.info("%s", text, extra={"event": events.FLOW_OUTPUT, "fields": self._fields})
        else:
            sys.stdout.write(f"{self._name} | {text}\n")
            sys.stdout.flush()
