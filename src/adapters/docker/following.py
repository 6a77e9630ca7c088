"""Follows the engine's streams: events of containers, and their output."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

from docker.types import CancellableStream
from docker.utils import convert_filters

from prefect.agent.adapters.docker.containers import UNIT
from prefect.agent.adapters.docker.engine import DockerEngine, hang_up
from prefect.agent.adapters.docker.errors import RAISED
from prefect.agent.adapters.flow_output import Lines, fields_of
from prefect.agent.domain.errors import PlatformError
from prefect.agent.domain.model.submissions import Submission

ANSWER_WITHIN: Final = 5.0
"""Least seconds to wait until the engine begins to send its events."""

CUT_LATE: Final = 30.0
"""Seconds after its time at which the stream of events ends, even if it could not be closed before."""


def changed_names(engine: DockerEngine, *, seconds: float) -> Iterator[str]:
    """Yield the names of units that start or end, for about *seconds*."""
    filters = {"type": "container", "label": UNIT, "event": ["start", "die"]}
    params = {"filters": convert_filters(filters)}
    with (
        engine.asked("send its events"),
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
        except RAISED:  # the time is up, or the engine is unavailable: the next call will report that
            return
        finally:
            timer.cancel()


def _name_in(event: object) -> str:
    """Return the name of the container that an event is about; empty if it cannot be read."""
    found = event
    for key in ("Actor", "Attributes", "name"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else ""


class LogFollower:
    """Copies the output of containers to stdout, each in its own thread, which ends with the container."""

    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine
        self._guard = threading.Lock()
        self._open: set[CancellableStream[Any]] = set()

    def follow(self, container: str, submission: Submission) -> None:
        """Begin to copy the output of *container*, made for *submission*, from its first line on."""
        name, lines = f"output of {submission.name}", Lines(fields_of(submission))
        threading.Thread(target=self._copy, args=(container, lines), name=name, daemon=True).start()

    def close(self) -> None:
        """Stop copying the output of all containers."""
        with self._guard:
            streams = list(self._open)
        for stream in streams:
            hang_up(stream)

    def _copy(self, container: str, lines: Lines) -> None:
        try:
            with self._engine.asked("show the output of a container") as client:
                stream: CancellableStream[bytes] = client.logs(container, stream=True, follow=True)
        except PlatformError:  # nothing is lost: the output can still be read from the container
            return
        with self._guard:
            self._open.add(stream)
        try:
            for piece in stream:
                lines.feed(piece)
            lines.end()
        except (*RAISED, OSError, ValueError):  # ValueError: stdout was closed
            return
        finally:
            with self._guard:
                self._open.discard(stream)
            hang_up(stream)
