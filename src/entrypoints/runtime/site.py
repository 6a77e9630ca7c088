"""The pages and actions of an agent over HTTP: health, status and metrics, and controls for its own user."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from prefect.agent.entrypoints.runtime.health import Health

JSON: Final = "application/json"


@attrs.frozen
class Reply:
    """A reply is the answer to one request."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


Page = Callable[[], Reply]


@attrs.frozen(kw_only=True)
class Site:
    """A site holds pages and actions by path.

    Attributes:
        pages: Functions that answer GET and HEAD, and change nothing.
        actions: Functions that answer POST, from clients on the agent's own machine only.
        personal: Paths of pages for people: a browser on this machine gets them under a name of this machine only.
    """

    pages: Mapping[str, Page]
    actions: Mapping[str, Page] = attrs.field(factory=dict)
    personal: frozenset[str] = frozenset()


def as_json(status: int, facts: Any) -> Reply:
    """Return a reply with *facts* as JSON."""
    return Reply(status, json.dumps(facts).encode(), JSON)


def refused(status: int, why: str) -> Reply:
    """Return a reply that says why a request was refused."""
    return as_json(status, {"error": why})


def done(act: Callable[[], object]) -> Page:
    """Return a page that calls *act* and answers without contents."""

    def page() -> Reply:
        act()
        return Reply(200, b"", "text/html")

    return page


def health_pages(health: Health) -> Mapping[str, Page]:
    """Return the pages for health: ``/api/health`` of 1.x, and the probes of Kubernetes."""

    def api_health() -> Reply:
        healthy, facts = health.report()
        return as_json(200 if healthy else 503, facts)

    def ready() -> Reply:
        healthy, facts = health.report()
        is_ready = healthy and health.is_ready
        shown = {"ready": is_ready, "status": facts["status"], "reason": facts["reason"]}
        return as_json(200 if is_ready else 503, shown)

    def lives() -> Reply:
        return as_json(200 if health.lives else 503, {"alive": health.lives})

    return {"/api/health": api_health, "/readyz": ready, "/livez": lives}


def status_pages(facts: Callable[[], dict[str, Any]], metrics: Callable[[], tuple[bytes, str]]) -> Mapping[str, Page]:
    """Return ``/status.json``, and ``/metrics`` with the content type of its text."""

    def exposition() -> Reply:
        body, content_type = metrics()
        return Reply(200, body, content_type)

    return {"/status.json": lambda: as_json(200, facts()), "/metrics": exposition}
