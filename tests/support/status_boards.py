"""A status board by hand: an agent's health, meter and board that hear the same events under a clock that is moved."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.secrets import Mask
from prefect.agent.domain.services.work_in_hand import WorkInHand
from prefect.agent.entrypoints.runtime.health import Health
from prefect.agent.entrypoints.runtime.meter import Meter
from prefect.agent.entrypoints.runtime.status import StatusBoard
from prefect.agent.ports import events
from prefect.agent.ports.events import Event
from support.builders import HandClock

ROOT: Final = Path(__file__).resolve().parents[2]
ROW: Final = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
SECRET: Final = "a-key-of-the-platform"


def documented() -> set[str]:
    """Paths of the members that docs/reference/status.md names."""
    return set(ROW.findall((ROOT / "docs" / "reference" / "status.md").read_text(encoding="utf-8")))


def possible() -> set[str]:
    """The same, and the lists of these, which have no members of their own while they are empty."""
    return documented() | {path.partition("[]")[0] for path in documented() if "[]" in path}


def members(document: dict[str, Any]) -> set[str]:
    """Paths of all members of a status document, as the page writes them: ``units[].name``, ``steps.*.problem``."""
    return {path.removeprefix(".") for path in _paths({**document, "steps": {"*": document["steps"]["poll"]}}, "")}


def _paths(value: Any, path: str) -> Iterator[str]:
    items = value if isinstance(value, list) else [value]
    if not items or not isinstance(items[0], dict):
        yield path
        return
    start = f"{path}[]" if isinstance(value, list) else path
    for name, each in (pair for item in items for pair in item.items()):
        yield from _paths(each, f"{start}.{name}")


@attrs.define
class BoardHarness:
    """The parts of an agent that its status is made of.

    Attributes:
        settings: Of the agent.
    """

    settings: AgentSettings = attrs.field(factory=AgentSettings)
    clock: HandClock = attrs.field(factory=HandClock)
    work: WorkInHand = attrs.field(factory=WorkInHand)
    health: Health = attrs.field(init=False)
    meter: Meter = attrs.field(init=False)
    board: StatusBoard = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.health = Health.of(self.clock, self.settings)
        self.meter = Meter(self.clock)
        about = {"type": "ProcessAgent", "cloud": "http://127.0.0.1:4200"}
        self.board = StatusBoard(
            clock=self.clock,
            health=self.health,
            work=self.work,
            meter=self.meter,
            settings=self.settings,
            mask=Mask([SECRET]),
            agent=about,
        )

    def say(self, name: str, message: str = "m", level: str = "INFO", **fields: Any) -> None:
        """Let one event happen."""
        event = Event(name=name, message=message, level=level, fields=fields)
        for take in (self.health.take, self.meter.take, self.board.take):
            take(event)

    def start(self, run: str, *, late: float = 0.5, create: float = 0.25, **fields: Any) -> None:
        """Let one flow run be claimed and its unit be made."""
        fields = {"flow_run_id": run, "flow_run_name": f"name of {run}", "flow_name": "f", "unit": f"u-{run}", **fields}
        self.say(events.CLAIMED, **fields)
        self.say(events.UNIT_CREATED, **fields, late_s=late, duration_s=create)

    def facts(self) -> dict[str, Any]:
        """The document."""
        return self.board.facts()
