"""The embedded Cloud over HTTP.

Requests are executed one after the other in the event loop: each takes about a millisecond, SQLite has one writer, and
an agent's batch is a single request. GraphQL requests are answered in plain ASGI, all others by Starlette.
"""

import json
import logging
from collections.abc import Sequence
from typing import Final

import attrs
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prefect.agent.entrypoints.server.graphql.answers import KEY_REFUSED, ApiAnswer, Operation, error_answer
from prefect.agent.entrypoints.server.graphql.execution import Executor
from prefect.agent.entrypoints.server.graphql.json_text import read_json
from prefect.agent.entrypoints.server.http.body_limits import (
    MAX_BODY,
    TOO_LARGE,
    BodyReader,
    BodyRefused,
    length_of,
)
from prefect.agent.entrypoints.server.http.gate import NOT_KEPT, Hosts, hosts_of, refusal
from prefect.agent.entrypoints.server.http.long_poll import WaitingRequests, preferred
from prefect.agent.entrypoints.server.pages.changes import ChangeBell
from prefect.agent.entrypoints.server.pages.routes import SECTIONS, TABS
from prefect.agent.entrypoints.server.pages.site import PageSite, application

GRAPHQL_PATHS: Final = ("/", "/graphql", "/graphql/", "/graphql/alpha")
HEALTH_PATHS: Final = ("/health", "/health/", "/.well-known/apollo/server-health")

COMPARES: Final = (b"prefect-claims", b"compare-and-set")
"""The header by which an agent knows that of several claims at the same version only one is accepted."""

REQUEST_REFUSED: Final = "request_refused"
"""The name of an event in the server's log."""

_log: Final = logging.getLogger(__name__)

_NOT_KEPT: Final = (NOT_KEPT[0].lower().encode("ascii"), NOT_KEPT[1].encode("ascii"))

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


def make_app(
    execute: Executor,
    waiting: WaitingRequests | None = None,
    hosts: Hosts | None = None,
    changes: ChangeBell | None = None,
) -> ASGIApp:
    """Return the ASGI application on an open database, which the caller closes.

    Args:
        execute: Answers the GraphQL requests.
        waiting: The requests that wait for flow runs; the caller closes it before the server ends.
        hosts: The hosts that the application answers to; None: this machine's loopback.
        changes: The pages that listen to changes; the caller closes it likewise.
    """

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    waiting, changes = waiting or WaitingRequests(), changes or ChangeBell()
    site = PageSite(execute, changes, waiting.wake, TABS, SECTIONS)
    routes: list[BaseRoute] = [Route(path, health, methods=["GET"]) for path in HEALTH_PATHS]
    routes += [Route(path, _post_only, methods=["POST"]) for path in GRAPHQL_PATHS]  # for 405 to other methods
    routes += site.routes()
    return _App(execute, application(site, routes), waiting, changes, hosts or hosts_of("localhost"))


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
    """Check each request, answer GraphQL requests, and pass all others on."""

    _execute: Executor
    _others: ASGIApp
    _waiting: WaitingRequests
    _changes: ChangeBell
    _hosts: Hosts
    _body_reader: BodyReader = attrs.field(factory=BodyReader)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._others(scope, receive, send)
            return
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        is_graphql = scope["method"] == "POST" and scope["path"] in GRAPHQL_PATHS
        refused = refusal(scope["method"], pairs, self._hosts, graphql=is_graphql)
        if refused is not None:
            answer = error_answer(refused.status, refused.message, refused.code)
            _log_refusal(answer, scope)
            await self._refuse(answer, receive, send, [(b"connection", b"close")])
        elif is_graphql:
            await self._graphql(dict(pairs), scope, receive, send)
        else:
            await self._others(scope, receive, _not_kept(send))

    async def _refuse(
        self, found: ApiAnswer, receive: Receive, send: Send, more: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Send the answer at once, then read and drop the body: a client that is cut off never sees the answer."""
        await self._send(send, found, more, more_body=True)
        while True:
            message = await receive()
            if message["type"] != "http.request" or not message.get("more_body"):
                break
        await send({"type": "http.response.body", "body": b""})

    async def _graphql(self, headers: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        refused, body = self._refused_by_headers(headers), None
        if refused is None:
            try:
                body = await self._body_reader.read(receive)
            except BodyRefused as problem:
                refused = problem.answer
        if refused is not None:
            _log_refusal(refused, scope)
            await self._refuse(refused, receive, send)
        elif body is not None:
            await self._reply(body, headers, scope, receive, send)

    def _refused_by_headers(self, headers: dict[str, str]) -> ApiAnswer | None:
        """Return the answer to a request whose body need not be read; None if it has to be."""
        if not self._execute.accepts(headers):
            return KEY_REFUSED
        return TOO_LARGE if length_of(headers) > MAX_BODY else None

    async def _reply(self, body: bytes, headers: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        more: list[tuple[bytes, bytes]] = []
        found, wait = self._answer(body, headers), preferred(headers)
        if wait is not None and self._waiting.may_wait(len(body), found):
            more = [(b"preference-applied", b"wait")]
            if not found.ready_runs and wait:
                later = await self._waiting.wait(wait, lambda: self._answer(body, headers), receive)
                if later is None:
                    return
                found = later
        elif found.has_changed_rows and found.ready_runs is None:
            self._waiting.wake()
            self._changes.ring()
        if found.refusal is not None:
            _log_refusal(found, scope)
        await self._send(send, found, more)

    async def _send(
        self, send: Send, found: ApiAnswer, more: Sequence[tuple[bytes, bytes]] = (), *, more_body: bool = False
    ) -> None:
        content = _encode(found.body).encode("ascii")
        length = str(len(content)).encode("ascii")
        kind = [(b"content-type", b"application/json"), (b"content-length", length)]
        kind += [_NOT_KEPT]
        kind += [COMPARES] if self._execute.strictness.compares else []
        await send({"type": "http.response.start", "status": found.status, "headers": [*kind, *more]})
        await send({"type": "http.response.body", "body": content, "more_body": more_body})

    def _answer(self, body: bytes, headers: dict[str, str]) -> ApiAnswer:
        try:
            request = read_json(body.decode())
        except (ValueError, RecursionError) as problem:
            return error_answer(400, f"the body is not JSON: {problem}", "BAD_REQUEST")
        return self._execute(request, headers)


def _log_refusal(answer: ApiAnswer, scope: Scope) -> None:
    """Log a refused request, as a warning if nothing of it was executed. The log's filter drops repetitions."""
    client = (scope.get("client") or ("an unknown address",))[0]
    level = logging.WARNING if answer.operation is Operation.NONE else logging.INFO
    fields = {"client": client, "status": answer.status}
    text = "Refused a request from %s: %s"
    _log.log(level, text, client, answer.refusal, extra={"event": REQUEST_REFUSED, "fields": fields})
