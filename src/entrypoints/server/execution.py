"""One GraphQL request in, one answer out: parsing, validation, transaction, execution, the shape of errors."""

import json
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, Final

import attrs
from graphql import DocumentNode, GraphQLError, OperationType, execute_sync, get_operation_ast, parse, validate

from prefect.agent.domain.cloud.errors import INTERNAL
from prefect.agent.entrypoints.server.database import Database
from prefect.agent.entrypoints.server.mutation import Request
from prefect.agent.entrypoints.server.schema import schema

Answer = tuple[int, dict[str, Any]]
"""HTTP status and body."""

INVALID: Final = "GRAPHQL_VALIDATION_FAILED"
UNPARSABLE: Final = "GRAPHQL_PARSE_FAILED"
BAD_INPUT: Final = "BAD_USER_INPUT"
UNAUTHENTICATED: Final = "UNAUTHENTICATED"

MAX_TOKENS: Final = 50_000
"""Longest document, so that a small request cannot keep the parser busy."""


@attrs.frozen
class Executor:
    """Answers requests from one database. One thread at a time.

    Attributes:
        keys: If not empty, the API keys that are accepted; else no key is asked for.
    """

    database: Database
    keys: frozenset[str] = frozenset()

    def __call__(self, body: object, headers: Mapping[str, str]) -> Answer:
        """Answer the request *body*; *headers* have lower-case names."""
        if not self.accepts(headers):
            return 200, _failed([GraphQLError("The API key is not accepted")], UNAUTHENTICATED)
        try:
            text, variables = _read(body)
        except ValueError as problem:
            return 400, _failed([GraphQLError(str(problem))], BAD_INPUT)
        document, errors, code = _prepare(text)
        if document is None:
            return 400, _failed(errors, code)
        return self._execute(document, variables, headers)

    def accepts(self, headers: Mapping[str, str]) -> bool:
        """Whether the request has a key that is accepted, if one is needed."""
        return not self.keys or headers.get("authorization", "").removeprefix("Bearer ") in self.keys

    def _execute(self, document: DocumentNode, variables: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        operation = get_operation_ast(document)
        if operation is None:
            return 400, _failed([GraphQLError("A request holds exactly one operation")], INVALID)
        changes = operation.operation is OperationType.MUTATION
        with self.database.write() if changes else self.database.read() as tx:
            request = Request(
                tx=tx,
                now=datetime.now(timezone.utc),
                choose=random.choice,
                agent_id=headers.get("x-prefect-agent-id"),
                core_version=headers.get("x-prefect-core-version"),
            )
            result = execute_sync(schema(), document, context_value=request, variable_values=variables)
        if result.data is None and result.errors and not any(error.path for error in result.errors):
            return 400, _failed(result.errors, BAD_INPUT)  # the variables do not fit
        answer: dict[str, Any] = {"data": result.data}
        return 200, {**_failed(result.errors, INTERNAL), **answer} if result.errors else answer


def _read(body: object) -> tuple[str, dict[str, Any]]:
    """Document and variables; these may be JSON within JSON, as official clients send them (protocol section 1.3)."""
    if not isinstance(body, Mapping) or not isinstance(body.get("query"), str):
        raise ValueError("the body must be a JSON object with a query")  # noqa: TRY004 - one error for the caller
    variables = body.get("variables")
    if isinstance(variables, str):
        try:
            variables = json.loads(variables) if variables.strip() else None
        except RecursionError as problem:
            raise ValueError("variables are nested too deeply") from problem
    if variables is None:
        variables = {}
    if not isinstance(variables, dict):
        raise ValueError("variables must be an object")  # noqa: TRY004
    return body["query"], variables


@lru_cache(maxsize=512)
def _prepare(text: str) -> tuple[DocumentNode | None, Sequence[GraphQLError], str]:
    """Parse and validate: the same documents come again and again."""
    try:
        document = parse(text, max_tokens=MAX_TOKENS)
    except (GraphQLError, RecursionError) as problem:
        error = problem if isinstance(problem, GraphQLError) else GraphQLError("The document is nested too deeply")
        return None, [error], UNPARSABLE
    errors = validate(schema(), document)
    return (None, errors, INVALID) if errors else (document, (), "")


def _failed(errors: Sequence[GraphQLError], code: str) -> dict[str, Any]:
    shown = []
    for error in errors:
        entry: dict[str, Any] = dict(error.formatted)
        entry["extensions"] = {"code": code, **(error.extensions or {})}
        shown.append(entry)
    return {"errors": shown}
