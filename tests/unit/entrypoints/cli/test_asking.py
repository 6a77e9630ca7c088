"""Asking an agent at its address: what it refuses is said in its words, and another server is no agent."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from prefect.agent.entrypoints.cli.asking import agent_at
from prefect.agent.entrypoints.runtime.health_server import HealthServer
from prefect.agent.entrypoints.runtime.site import Reply, Site, as_json, refused


@contextmanager
def serving(reply: Reply | None) -> Iterator[str]:
    """The address of a server with this document; None for a server without."""
    server = HealthServer(Site(pages={} if reply is None else {"/status.json": lambda: reply}), lambda: None)
    try:
        yield server.start("http://127.0.0.1:0")
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (None, r"it answers 404 for /status\.json: there is no '/status\.json'; "),
        (refused(421, "another name"), r"it answers 421 for /status\.json: another name$"),
        (Reply(502, b"<html>", "text/html"), r"it answers 502 for /status\.json$"),
        (Reply(503, b"[1]", "application/json"), r"it answers 503 for /status\.json$"),
        (as_json(200, {"agent": {}}), "it is no agent of this product"),
        (as_json(200, ["agent"]), "it is no agent of this product"),
    ],
)
def test_what_is_no_agents_document_is_said(reply: Reply | None, said: str) -> None:
    """With the reason, if the server gives one."""
    with serving(reply) as url, pytest.raises(ValueError, match=said):
        agent_at(url)
