"""The embedded Cloud over HTTP.

Requests run one after the other in the event loop: each takes a millisecond or so, SQLite has one writer anyway, and an
agent's batch is a single request. GraphQL requests are answered in plain ASGI, everything else by Starlette.
"""

import json
from collections.abc import Sequence
from typing import Final

import attrs
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prefect.agent.entrypoints.server.graphql.execution import REFUSED_KEY, Answer, Executor
from prefect.agent.entrypoints.server.graphql.json_text import read_json
from prefect.agent.entrypoints.server.http.bodies import (
    MAX_BODY,
    TOO_LARGE,
    Bodies,
    Unreadable,
    error_answer,
    length_of,
)
from prefect.agent.entrypoints.server.http.gate import NOT_KEPT, Hosts, hosts_of, refusal
from prefect.agent.entrypoints.server.http.long_poll import WaitingRoom, preferred, ready
from prefect.agent.entrypoints.server.pages.changes import Changes
from prefect.agent.entrypoints.server.pages.routes import TABS
from prefect.agent.entrypoints.server.pages.routes import routes as page_routes
from prefect.agent.entrypoints.server.pages.site import Site, application

GRAPHQL_PATHS: Final = ("/", "/graphql", "/graphql/", "/graphql/alpha")
HEALTH_PATHS: Final = ("/health", "/health/", "/.well-known/apollo/server-health")

COMPARES: Final = (b"prefect-claims", b"compare-and-set")
"""Header that tells an agent that of several claims at the same version one is accepted."""

_NOT_KEPT: Final = (NOT_KEPT[0].lower().encode("ascii"), NOT_KEPT[1].encode("ascii"))

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


def make_app(
    execute: Executor,
    waiting_room: WaitingRoom | None = None,
    hosts: Hosts | None = None,
    changes: Changes | None = None,
) -> ASGIApp:
    """The application on an open database, which the caller closes.

    Args:
        execute: Answers the requests.
        hosts: What it answers to; None: this machine's loopback.
        waiting_room: For requests that wait; its maker closes it before the server waits for its requests.
        changes: For pages that listen; likewise.
    """

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    waiting_room, changes = waiting_room or WaitingRoom(), changes or Changes()
    site = Site(execute, changes, waiting_room.ring, TABS)
    routes: list[BaseRoute] = [Route(path, health, methods=["GET"]) for path in HEALTH_PATHS]
    routes += [Route(path, _post_only, methods=["POST"]) for path in GRAPHQL_PATHS]  # for 405 to other methods
    routes += page_routes(site)
    return _App(execute, application(site, routes), waiting_room, changes, hosts or hosts_of("localhost"))


async def _post_only(_request: Request) -> Response:
    raise AssertionError("answered before the routes are looked at")


def _not_kept(send: Send) -> Send:
    """Forbid to keep an answer that does not say for how long it may be kept."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", []))
            if all(name.lower() != _NOT_KEPT[0] for name, _ in headers):
                message = {**message, "headers": [*headers, _NOT_KEPT]}
        await send(message)

    return sending


@attrs.frozen
class _App:
    """GraphQL here, the rest there."""

    _execute: Executor
    _others: ASGIApp
    _waiting_room: WaitingRoom
    _changes: Changes
    _hosts: Hosts
    _bodies: Bodies = attrs.field(factory=Bodies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._others(scope, receive, send)
            return
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        is_graphql = scope["method"] == "POST" and scope["path"] in GRAPHQL_PATHS
        refused = refusal(scope["method"], pairs, self._hosts, graphql=is_graphql)
        if refused is not None:
            answer = error_answer(refused.status, refused.message, refused.code)
            await self._refuse(answer, receive, send, [(b"connection", b"close")])
        elif is_graphql:
            await self._graphql(dict(pairs), receive, send)
        else:
            await self._others(scope, receive, _not_kept(send))

    async def _refuse(
        self, found: Answer, receive: Receive, send: Send, more: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Answer at once, and read and drop the body: a client that is cut off while it sends never sees the answer."""
        await self._send(send, found, more, more_body=True)
        while True:
            message = await receive()
            if message["type"] != "http.request" or not message.get("more_body"):
                break
        await send({"type": "http.response.body", "body": b""})

    async def _graphql(self, headers: dict[str, str], receive: Receive, send: Send) -> None:
        if not self._execute.accepts(headers):
            await self._refuse(REFUSED_KEY, receive, send)
            return
        if length_of(headers) > MAX_BODY:
            await self._refuse(TOO_LARGE, receive, send)
            return
        try:
            body = await self._bodies.read(receive)
        except Unreadable as problem:
            await self._refuse(problem.answer, receive, send)
            return
        if body is not None:
            await self._reply(body, headers, receive, send)

    async def _reply(self, body: bytes, headers: dict[str, str], receive: Receive, send: Send) -> None:
        told: list[tuple[bytes, bytes]] = []
        found = self._answer(body, headers)
        runs, wait = ready(found), preferred(headers)
        if runs is not None and wait is not None and self._waiting_room.has_room(len(body), found):
            told = [(b"preference-applied", b"wait")]
            if not runs and wait:
                later = await self._waiting_room.wait(wait, lambda: self._answer(body, headers), receive)
                if later is None:
                    return
                found = later
        elif runs is None and b"mutation" in body:
            self._waiting_room.ring()
            self._changes.ring()
        await self._send(send, found, told)

    async def _send(
        self, send: Send, found: Answer, more: Sequence[tuple[bytes, bytes]] = (), *, more_body: bool = False
    ) -> None:
        status, answer = found
        content = _encode(answer).encode("ascii")
        length = str(len(content)).encode("ascii")
        kind = [(b"content-type", b"application/json"), (b"content-length", length)]
        kind += [_NOT_KEPT]
        kind += [COMPARES] if self._execute.strictness.compares else []
        await send({"type": "http.response.start", "status": status, "headers": [*kind, *more]})
        await send({"type": "http.response.body", "body": content, "more_body": more_body})

    def _answer(self, body: bytes, headers: dict[str, str]) -> Answer:
        try:
            request = read_json(body.decode())
        except (ValueError, RecursionError) as problem:
            return error_answer(400, f"the body is not JSON: {problem}", "BAD_REQUEST")
        return self._execute(request, headers)
