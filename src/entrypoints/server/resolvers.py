"""Root fields of the query type that are not tables (protocol sections 1.7 and 12.2)."""

from collections.abc import Callable
from importlib import metadata
from typing import Any, Final

import attrs

from prefect.agent.domain.cloud.errors import CloudError, NotFound
from prefect.agent.entrypoints.server.mutation import Request

CORE_VERSION: Final = "1.4.1"
"""The release line whose protocol is spoken."""

TYPES: Final = """
type api_info { backend: String mode: String version: String core_version: String release_timestamp: String }
type auth_info { tenant_id: UUID user_id: UUID api_token_scope: String }
type task_run_info { id: UUID version: Int state: String serialized_state: JSON }
"""


@attrs.frozen
class Query:
    """One root field.

    Attributes:
        signature: Arguments and type, in GraphQL's schema language.
    """

    signature: str
    run: Callable[..., Any]


def _hello(_request: Request) -> str:
    return "👋"


def _api(_request: Request) -> dict[str, Any]:
    return {
        "backend": "SERVER",
        "mode": "normal",
        "version": metadata.version("prefect-agent"),
        "core_version": CORE_VERSION,
        "release_timestamp": None,
    }


def _auth_info(request: Request) -> dict[str, Any]:
    tenant_id = request.tenant()
    return {"tenant_id": tenant_id, "user_id": tenant_id, "api_token_scope": "RUNNER"}


def _task_run_info(request: Request, task_run_id: str) -> dict[str, Any]:
    row = request.tx.row("task_run", "id = ?", [task_run_id])
    if row is None:
        raise NotFound(f"Task run {task_run_id} not found")
    return row


def _secret_value(request: Request, name: str) -> Any:
    row = request.tx.row("secret", "tenant_id = ? AND name = ?", [request.tenant(), name])
    if row is None:
        raise CloudError("No value found for the requested key")
    return row["value"]


def _secret_names(request: Request) -> list[str]:
    return [row["name"] for row in request.tx.all("SELECT name FROM secret ORDER BY name")]


QUERIES: Final = {
    "hello": Query(": String", _hello),
    "api": Query(": api_info", _api),
    "auth_info": Query(": auth_info", _auth_info),
    "get_task_run_info": Query("(task_run_id: UUID!): task_run_info", _task_run_info),
    "secret_value": Query("(name: String!): JSON", _secret_value),
    "secret_names": Query(": [String!]", _secret_names),
}
