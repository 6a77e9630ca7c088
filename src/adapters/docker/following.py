"""What the engine tells while it happens: changes of containers, and their output."""

import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

from docker.types import CancellableStream
from docker.utils import convert_filters

from prefect.agent.adapters.docker.containers import UNIT
from prefect.agent.adapters.docker.engine import Engine, hang_up
from prefect.agent.adapters.docker.errors import RAISED
from prefect.agent.domain.errors import PlatformError

ANSWER_WITHIN: Final = 5.0
"""Seconds in which the engine must at least begin to tell its events."""

CUT_LATE: Final = 30.0
"""Seconds after which events end even if they could not be cut."""


def changed_names(engine: Engine, *, seconds: float) -> Iterator[str]:
    """Yield names of containers of ours that start or end, for about *seconds*."""
    filters = {"type": "container", "label": UNIT, "event": ["start", "die"]}
    params = {"filters": convert_filters(filters)}
    with (
        engine.asked("tell its events"),
        engine.stream(
            "GET",
            "/events",
            params=params,
            silence=max(seconds, ANSWER_WITHIN),
            deadline=max(seconds, ANSWER_WITHIN) + CUT_LATE,
        ) as events,
    ):
        timer = threading.Timer(seconds, events.cut)
        timer.daemon = True
        timer.start()
        try:
            for event in events:
                name = _name_in(event)
                if name:
                    yield name
        except RAISED:  # time is up, or the engine went away: whoever looks at it next will be told
            return
        finally:
            timer.cancel()


def _name_in(event: object) -> str:
    """The container that an event is about; empty if that cannot be read."""
    found = event
    for key in ("Actor", "Attributes", "name"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else ""


class LogFollower:
    """Copies the output of containers to stdout, each in a thread of its own that ends with its container."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._guard = threading.Lock()
        self._open: set[CancellableStream[Any]] = set()

    def follow(self, container: str, name: str) -> None:
        """Begin with the first line of *container*."""
        threading.Thread(target=self._copy, args=(container,), name=f"output of {name}", daemon=True).start()

    def close(self) -> None:
        """Follow nobody any more."""
        with self._guard:
            streams = list(self._open)
        for stream in streams:
            hang_up(stream)

    def _copy(self, container: str) -> None:
        try:
            with self._engine.asked("show the output of a container") as client:
                stream: CancellableStream[bytes] = client.logs(container, stream=True, follow=True)
        except PlatformError:  # only somebody's eyes miss it: it can still be read from the container
            return
        with self._guard:
            self._open.add(stream)
        try:
            for piece in stream:
                sys.stdout.write(piece.decode(errors="replace"))
                sys.stdout.flush()
        except (*RAISED, ValueError):  # ValueError: stdout was closed
            return
        finally:
            with self._guard:
                self._open.discard(stream)
            hang_up(stream)
