"""The embedded Cloud over HTTP.

Requests run one after the other in the event loop: each takes a millisecond or so, SQLite has one writer anyway, and an
agent's batch is a single request.
"""

import json
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from prefect.agent.entrypoints.server.database import Database
from prefect.agent.entrypoints.server.execution import Executor
from prefect.agent.entrypoints.server.page import page

MAX_BODY: Final = 5 * 1024 * 1024
"""Largest request body (protocol section 1.4)."""

GRAPHQL_PATHS: Final = ("/", "/graphql", "/graphql/", "/graphql/alpha")
HEALTH_PATHS: Final = ("/health", "/.well-known/apollo/server-health")


def make_app(database: Database, keys: frozenset[str] = frozenset()) -> Starlette:
    """The application on an open database; whoever opened it closes it.

    Args:
        keys: If not empty, the API keys that are accepted.
    """
    execute = Executor(database, keys)

    async def graphql(request: Request) -> Response:
        try:
            body = json.loads(await _read_body(request))
        except _TooLarge:
            return _answer(413, {"errors": [{"message": f"the body is larger than {MAX_BODY} bytes"}]})
        except (ValueError, RecursionError) as problem:
            return _answer(400, {"errors": [{"message": f"the body is not JSON: {problem}"}]})
        return _answer(*execute(body, request.headers))

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def home(request: Request) -> Response:
        if not execute.accepts(request.headers):
            return Response("This page needs an API key: Authorization: Bearer KEY", 401, media_type="text/plain")
        with database.read() as tx:
            return HTMLResponse(page(tx))

    routes = [Route(path, graphql, methods=["POST"]) for path in GRAPHQL_PATHS]
    routes += [Route(path, health, methods=["GET"]) for path in HEALTH_PATHS]
    return Starlette(routes=[*routes, Route("/", home, methods=["GET"])])


class _TooLarge(Exception):
    """The request's body is larger than allowed."""


async def _read_body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise _TooLarge
        chunks.append(chunk)
    return b"".join(chunks)


def _answer(status: int, body: dict[str, Any]) -> Response:
    return Response(json.dumps(body, separators=(",", ":")), status, media_type="application/json")
