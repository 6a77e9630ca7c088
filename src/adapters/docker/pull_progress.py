"""How far the pull of an image is, as events for people who wait for it."""

import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import attrs

from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.ports import events
from prefect.agent.ports.events import Event, EventSink

EVERY: Final = 10.0
"""Seconds between two events about a pull that goes on."""

MB: Final = 1_000_000
"""Bytes, as the engine's own progress counts them."""

DONE: Final = frozenset({"Pull complete", "Already exists"})
"""What the engine says of a layer that it has."""


@attrs.define
class Layer:
    """One layer of the image.

    Attributes:
        size: Bytes to be downloaded; 0 while the engine has not said.
        loaded: Bytes of them that are here.
    """

    size: int = 0
    loaded: int = 0
    is_done: bool = False

    def take(self, status: str, detail: object) -> None:
        """Learn from one line of the engine."""
        self.is_done = self.is_done or status in DONE
        if status == "Downloading" and isinstance(detail, Mapping):
            self.loaded, self.size = (_number(detail.get(name)) for name in ("current", "total"))
        elif status == "Download complete" or self.is_done:
            self.loaded = self.size


@attrs.define(kw_only=True)
class PullProgress:
    """Counts what one pull has done. One thread takes lines, another one may tell.

    Attributes:
        image: The name that was asked for.
        flow_run_id: The flow run for which the pull was begun; others may wait for it.
        every: Seconds between two events while the pull goes on.
        is_retry: Whether the last pull of the image failed: that it is tried, and fails, again is not worth a line.
    """

    image: str
    flow_run_id: FlowRunId
    tell: EventSink
    every: float = EVERY
    layers: dict[str, Layer] = attrs.field(factory=dict)
    is_retry: bool = False
    is_up_to_date: bool = False
    _since: float = attrs.field(factory=time.monotonic, init=False)

    def take(self, line: Mapping[str, Any]) -> None:
        """Learn from one line of the engine's answer, whatever it is."""
        status, layer = line.get("status"), line.get("id")
        if not isinstance(status, str):
            return
        self.is_up_to_date = self.is_up_to_date or status.startswith("Status: Image is up to date")
        if isinstance(layer, str) and not status.startswith("Pulling from"):
            known = {**self.layers}
            known.setdefault(layer, Layer()).take(status, line.get("progressDetail"))
            self.layers = known  # not in place: another thread may count

    @contextmanager
    def told(self) -> Generator[None]:
        """Tell of the pull's start, of its progress while the block executes, and of its end."""
        over = threading.Event()
        self._tell(events.PULL_STARTED, f"Pulling the image {self.image}", None, "DEBUG" if self.is_retry else "INFO")
        thread = threading.Thread(target=self._narrate, args=(over,), name=f"pull of {self.image}", daemon=True)
        thread.start()
        well = False
        try:
            yield
            well = True
        finally:
            over.set()
            thread.join()
            self._tell_end(well=well)

    def _narrate(self, over: threading.Event) -> None:
        while not over.wait(self.every):
            message = f"Pulling the image {self.image} for {self._seconds():.0f} s: {self._done()}"
            self._tell(events.PULL_GOES_ON, message, self._numbers())

    def _tell_end(self, *, well: bool) -> None:
        took = f"{self._seconds():.1f} s"
        fields: dict[str, object] = {**self._numbers(), "outcome": "ok" if well else "failed"}
        if not well:
            message = f"The image {self.image} could not be pulled; tried for {took}"
            self._tell(events.PULL_ENDED, message, fields, "DEBUG" if self.is_retry else "WARNING")
        elif self.is_up_to_date:
            self._tell(events.PULL_ENDED, f"The image {self.image} is up to date ({took})", fields)
        else:
            self._tell(events.PULL_ENDED, f"Pulled the image {self.image} in {took}: {self._done()}", fields)

    def _tell(self, name: str, message: str, fields: Mapping[str, object] | None = None, level: str = "INFO") -> None:
        about = {"image": self.image, "flow_run_id": self.flow_run_id}
        self.tell(Event(name=name, message=message, level=level, fields={**about, **(fields or {})}))

    def _seconds(self) -> float:
        return time.monotonic() - self._since

    def _done(self) -> str:
        count = self._numbers()
        size = f", {count['mb_done']} of {count['mb']} MB" if count["mb"] else ""
        return f"{count['layers_done']} of {count['layers']} layers{size}"

    def _numbers(self) -> dict[str, float]:
        layers = self.layers.values()
        return {
            "duration_s": round(self._seconds(), 3),
            "layers": len(layers),
            "layers_done": sum(layer.is_done for layer in layers),
            "mb": round(sum(layer.size for layer in layers) / MB, 1),
            "mb_done": round(sum(layer.loaded for layer in layers) / MB, 1),
        }


def _number(value: object) -> int:
    return max(0, int(value)) if isinstance(value, int | float) and value == value else 0  # noqa: PLR0124 - no NaN
