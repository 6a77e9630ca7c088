"""How `make demo` shows its flow runs: a live table on a terminal, one line per change elsewhere."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

import attrs
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

STEPS: Final = ("Submitted", "Running", "Success")
BAD_ENDS: Final = ("Failed", "Cancelled", "TimedOut", "TriggerFailed")


@attrs.frozen(kw_only=True)
class Row:
    """One flow run as it is shown.

    Attributes:
        name: Begins with what kind of client created the run.
        states: All its states and their times, oldest first.
        unit: Name of its unit of execution, once there is one.
    """

    id: str
    name: str
    states: tuple[tuple[str, datetime], ...]
    unit: str = ""

    @property
    def begun(self) -> datetime:
        """When it was created."""
        return self.states[0][1]

    @property
    def end(self) -> str | None:
        """The final state, if it has one."""
        last = self.states[-1][0]
        return last if last == STEPS[-1] or last in BAD_ENDS else None

    def after(self, state: str) -> str:
        """Seconds from creation to *state*, for people."""
        return next((f"+{(at - self.begun).total_seconds():.2f} s" for name, at in self.states if name == state), "")


class View(Protocol):
    """Shows flow runs until it is closed."""

    def show(self, rows: Sequence[Row]) -> None:
        """Show the present state of all flow runs."""

    def say(self, text: str) -> None:
        """Say something besides."""

    def close(self) -> None:
        """Leave what was shown last on the screen."""


class LiveView(View):
    """A table that is drawn over itself."""

    def __init__(self) -> None:
        self._live = Live(console=Console(), auto_refresh=False)
        self._live.start()

    def show(self, rows: Sequence[Row]) -> None:
        """Draw the table anew."""
        self._live.update(_table(rows) if rows else "", refresh=True)

    def say(self, text: str) -> None:
        """Print a line above the table."""
        self._live.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Leave the last table on the screen."""
        self._live.stop()


class PlainView(View):
    """Lines, for files and pipes."""

    def __init__(self) -> None:
        self._shown: set[tuple[str, str, datetime]] = set()

    def show(self, rows: Sequence[Row]) -> None:
        """Print what changed since the last time."""
        news = []
        for row in rows:
            for state, at in row.states:
                if (row.id, state, at) not in self._shown:
                    self._shown.add((row.id, state, at))
                    news.append((at, row, state))
        for at, row, state in sorted(news, key=lambda new: new[0]):
            since = "" if at == row.begun else f"  {row.after(state)}"
            unit = f"  as {row.unit}" if state == "Running" else ""
            self.say(f"{at.astimezone():%H:%M:%S.%f}"[:12] + f"  {row.name:9}  {state}{since}{unit}")

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, flush=True)

    def close(self) -> None:
        """Nothing to leave."""


def _table(rows: Sequence[Row]) -> Table:
    table = Table()
    for heading in ("flow run", "Scheduled", *STEPS, "unit of execution"):
        table.add_column(heading, no_wrap=heading != "unit of execution")  # narrow screens cut only this one
    for row in rows:
        times = [row.after(step) for step in STEPS]
        if row.end == STEPS[-1]:
            times[-1] = f"[green]{times[-1]}[/]"
        elif row.end:
            times[-1] = f"[red]{row.end}[/]"
        table.add_row(
            row.name, f"{row.begun.astimezone():%H:%M:%S}", *times, Text(row.unit, no_wrap=True, overflow="ellipsis")
        )
    return table
