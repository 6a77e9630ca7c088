"""The root fields of the query type that are not tables (protocol sections 1.7 and 12.2)."""

from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any, Final

import attrs

from prefect.agent.domain.cloud.errors import CloudRefusal, NotFound
from prefect.agent.entrypoints.server.mutations import dialect06
from prefect.agent.entrypoints.server.mutations.registry import Request
from prefect.agent.entrypoints.server.storage.row_trees import Ask, count_rows, read_by_id, read_rows
from prefect.agent.entrypoints.server.storage.tables import TABLES

CORE_VERSION: Final = "1.4.1"
"""The release of Prefect whose protocol the Cloud implements."""

_LIMITS: Final = {"flow_concurrency_limit": "name", "task_tag_limit": "tag"}
"""Tables of limits, with the column that names a limit. The API shows their column ``slots`` as ``limit``."""

_LIMIT_TYPES: Final = """
type {table} {{ id: uuid created: timestamptz updated: timestamptz tenant_id: uuid {of}: String limit: Int }}
input {table}_bool_exp {{
  id: uuid_comparison_exp created: timestamptz_comparison_exp updated: timestamptz_comparison_exp
  tenant_id: uuid_comparison_exp {of}: String_comparison_exp limit: Int_comparison_exp
  _and: [{table}_bool_exp] _or: [{table}_bool_exp] _not: {table}_bool_exp
}}
enum {table}_select_column {{ id created updated tenant_id {of} limit }}
scalar {table}_order_by
"""

TYPES: Final = "\n".join(
    [
        """
type api_info { backend: String mode: String version: String core_version: String release_timestamp: String }
type auth_info { tenant_id: UUID user_id: UUID api_token_scope: String }
type task_run_info { id: UUID version: Int state: String serialized_state: JSON }
""",
        dialect06.TYPES,
        *(_LIMIT_TYPES.format(table=table, of=of) for table, of in _LIMITS.items()),
    ]
)


@attrs.frozen
class Query:
    """One root field of the query type.

    Attributes:
        signature: Arguments and type, in GraphQL's schema language.
        run: Computes the value from the request and the arguments.
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


def _old_auth_info(request: Request) -> dict[str, Any]:
    return dialect06.auth_info(_auth_info(request))


def _task_run_info(request: Request, task_run_id: str) -> dict[str, Any]:
    row = request.tx.row("task_run", "id = ?", [task_run_id])
    if row is None:
        raise NotFound(f"Task run {task_run_id} not found")
    return row


def _secret_value(request: Request, name: str) -> Any:
    row = request.tx.row("secret", "tenant_id = ? AND name = ?", [request.tenant(), name])
    if row is None:
        raise CloudRefusal("No value found for the requested key")
    return row["value"]


def _secret_names(request: Request) -> list[str]:
    names = request.tx.all("SELECT name FROM secret WHERE tenant_id = ? ORDER BY name", [request.tenant()])
    return [row["name"] for row in names]


def _limit_queries(name: str) -> dict[str, Query]:
    """Return the root fields of a table of limits."""
    table = TABLES[name]
    columns = tuple(Ask("limit" if column == "slots" else column, column) for column in table.all_columns)

    def rows(request: Request, **args: Any) -> list[dict[str, Any]]:
        return read_rows(request.tx, table, Ask("", name, _stored(args), columns))

    def by_id(request: Request, **args: Any) -> dict[str, Any] | None:
        return read_by_id(request.tx, table, Ask("", name, args, columns))

    def count(request: Request, **args: Any) -> dict[str, Any]:
        return {"aggregate": {"count": count_rows(request.tx, table, _stored(args))}}

    where = f"where: {name}_bool_exp, order_by: {name}_order_by, limit: Int, offset: Int"
    arguments = f"({where}, distinct_on: [{name}_select_column!])"
    return {
        name: Query(f"{arguments}: [{name}!]!", rows),
        f"{name}_by_pk": Query(f"(id: uuid!): {name}", by_id),
        f"{name}_aggregate": Query(f"{arguments}: count_result!", count),
    }


def _stored(args: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with the column ``limit`` renamed as it is stored; the argument ``limit`` is left alone."""
    columns = ("where", "order_by", "distinct_on")
    return {name: _renamed(value) if name in columns else value for name, value in args.items()}


def _renamed(value: Any) -> Any:
    if isinstance(value, Mapping):
        # Below a column there are only comparisons: a text that happens to be "limit" is a value there.
        return {
            "slots" if name == "limit" else name: _renamed(inner) if name in {"_and", "_or", "_not"} else inner
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_renamed(one) for one in value]
    return "slots" if value == "limit" else value


QUERIES: Final = {
    "hello": Query(": String", _hello),
    "api": Query(": api_info", _api),
    "auth_info": Query(": auth_info", _auth_info),
    "authInfo": Query(": authInfo", _old_auth_info),
    "get_task_run_info": Query("(task_run_id: UUID!): task_run_info", _task_run_info),
    "secret_value": Query("(name: String!): JSON", _secret_value),
    "secret_names": Query(": [String!]", _secret_names),
    **{name: query for table in _LIMITS for name, query in _limit_queries(table).items()},
}
