"""Follows one kind of object by a list and a watch (Kubernetes API concepts, "Efficient detection of changes").

A list returns the existing objects; the watch reports later changes. After an interruption the watch continues from the
last version it received; only an expired version (HTTP 410) requires a new list, which is not an error.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from prefect.agent.adapters import bounded_json
from prefect.agent.adapters.kubernetes.api_server import Cluster, WatchStream, items_of
from prefect.agent.adapters.kubernetes.errors import RAISED, StatusError, translate
from prefect.agent.adapters.kubernetes.facts import version_of
from prefect.agent.domain.errors import AgentError, PlatformError, PlatformUnavailable, asked_to_wait

PAGE: Final = 500
"""Most objects in one page of a list."""

LIST_SILENCE: Final = 60.0
"""Seconds to wait for the next piece of a page."""

LIST_DEADLINE: Final = 120.0
"""Seconds for a whole page."""

LONGEST_PAUSE: Final = 30.0
"""Longest pause in seconds after an error."""

Object = dict[str, Any]

log: Final = logging.getLogger("prefect.agent.kubernetes")


@attrs.frozen(kw_only=True)
class WatchRhythm:
    """Deadlines and intervals of a watch, in seconds.

    Attributes:
        silence: Time without event or bookmark after which a watch counts as dead; a bookmark comes every minute.
        renewal: Range of the random time after which a watch is renewed, before a load balancer would close it.
        shortest: Least time from the beginning of one watch to that of the next.
        pause: First pause after an error; each further one is about twice as long.
        first_list: Longest time to wait for the first list.
        stale: Time without news from the server after which earlier news is no longer trusted.
    """

    silence: float = 100.0
    renewal: tuple[float, float] = (300.0, 600.0)
    shortest: float = 1.0
    pause: float = 0.5
    first_list: float = 30.0
    stale: float = 180.0


class Reflector:
    """Follows one kind of object in its own thread, until :meth:`close`.

    Args:
        path: Path of the list: ``/apis/batch/v1/namespaces/metrics/jobs``.
        selector: Label selector of the objects.
        replace: Called with all objects of a list, and the list's version.
        apply: Called with one change: ``ADDED``, ``MODIFIED`` or ``DELETED``, and the object.
        news: Called after each list, and after each error.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        kind: str,
        path: str,
        selector: str,
        replace: Callable[[Sequence[Object], int], None],
        apply: Callable[[str, Object], None],
        news: Callable[[], None],
        rhythm: WatchRhythm,
    ) -> None:
        self._cluster, self._kind, self._path, self._selector = cluster, kind, path, selector
        self._replace, self._apply, self._news = replace, apply, news
        self._rhythm = rhythm
        self._over = threading.Event()
        self._stream: WatchStream | None = None
        self._guard = threading.Lock()
        self.problem: PlatformError | None = None
        """The error that prevents news at present."""
        self.heard_at: float | None = None
        """When the server last sent something (monotonic seconds); None before the first list."""
        self._thread = threading.Thread(target=self._run, name=f"watch {kind}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and its connection."""
        self._over.set()
        with self._guard:
            if self._stream is not None:
                self._stream.cut()
        self._thread.join(5)

    def _run(self) -> None:
        version, misses, expired = "", 0, False
        while not self._over.is_set():
            try:
                version = self._watch(version) if version else self._list()
            except StatusError as failure:
                again, expired = expired, failure.is_expired
                if expired:
                    version = ""
                    log.debug("The watch of %s begins anew: %s", self._kind, failure)
                    if not again:  # a new list mends it
                        continue
                pause = self._failed(failure, misses)
            except RAISED as problem:
                pause = self._failed(problem, misses)
            except Exception as bug:  # a bug of one answer must not silence the watch (promise P3)
                if self._over.is_set():  # closing the connection may have caused it
                    return
                log.exception("Bug in the watch of %s", self._kind)
                version = ""
                pause = self._failed(PlatformUnavailable(f"bug in the watch of {self._kind}: {bug!r}"), misses)
            else:
                misses, expired = 0, False
                continue
            misses += 1
            self._over.wait(pause)

    def _failed(self, problem: Exception, misses: int) -> float:
        """Record the error, log it once, and return the pause in seconds."""
        doing = f"watch {self._kind}"
        problem = (
            problem if isinstance(problem, AgentError) else translate(problem, server=self._cluster.server, doing=doing)
        )
        if not self._over.is_set():
            log.log(logging.DEBUG if self.problem else logging.WARNING, "%s", problem)
        assert isinstance(problem, PlatformError)
        self.problem = problem
        self._news()
        drawn = random.uniform(0.5, 1.0) * min(LONGEST_PAUSE, self._rhythm.pause * (1 << min(misses, 10)))  # noqa: S311
        return max(drawn, asked_to_wait(problem))

    def _list(self) -> str:
        """Read the list page by page; return the version from which to watch."""
        found: list[Object] = []
        query: dict[str, object] = {"labelSelector": self._selector, "limit": PAGE}
        while True:
            page = self._page(query)
            found += items_of(page)
            meta = page.get("metadata") or {}
            if not meta.get("continue"):
                break
            query["continue"] = meta["continue"]
        self._replace(found, version_of(page))
        self._heard()
        self._news()
        return str(meta["resourceVersion"])

    def _page(self, query: dict[str, object]) -> Object:
        """Return a page of the list; request one that is too large again with fewer objects."""
        while True:
            try:
                return self._cluster.send("GET", self._path, query=query, timeout=LIST_SILENCE, deadline=LIST_DEADLINE)
            except bounded_json.BeyondBounds:
                limit = int(str(query["limit"]))
                if limit == 1:
                    raise
                query["limit"] = max(1, limit // 4)

    def _watch(self, version: str) -> str:
        """Watch until the stream ends, as it does every few minutes; return the version from which to continue."""
        seconds = max(1, round(random.uniform(*self._rhythm.renewal)))  # noqa: S311 - not for secrets
        query = {
            "labelSelector": self._selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": seconds,
        }
        began, silence = time.monotonic(), self._rhythm.silence
        with self._cluster.stream(self._path, query=query, silence=silence, deadline=seconds + silence) as stream:
            with self._guard:
                if self._over.is_set():  # close() was called before this stream existed
                    return version
                self._stream = stream
            self._heard()
            try:
                for line in stream.lines():
                    version = self._take(line) or version
                    self._heard()
                    if self._over.is_set():
                        break
            except RAISED as cut:
                if isinstance(cut, StatusError):
                    raise
                log.debug("The watch of %s was cut: %s", self._kind, cut)
            finally:
                with self._guard:
                    self._stream = None
        self._over.wait(
            self._rhythm.shortest - (time.monotonic() - began)
        )  # a proxy in between may close each one at once
        return version

    def _take(self, line: bytes) -> str:
        """Process one event of the watch; return its version. An event that cannot be read is logged and skipped."""
        try:
            event = bounded_json.loads(line)
            kind, thing = str(event["type"]), event["object"]
            version = str((thing.get("metadata") or {}).get("resourceVersion") or "")
        except (ValueError, LookupError, TypeError, AttributeError, bounded_json.BeyondBounds):
            log.warning("Skipped an event of %s from the API server that cannot be read: %.80r", self._kind, line)
            return ""
        if kind == "ERROR":
            code = thing.get("code")
            raise StatusError(code if isinstance(code, int) else 500, thing)
        if kind in {"ADDED", "MODIFIED", "DELETED"}:
            try:
                self._apply(kind, thing)
            except Exception:
                log.exception("Bug: one event of %s could not be taken", self._kind)
        return version

    def _heard(self) -> None:
        self.heard_at, self.problem = time.monotonic(), None
