"""Execute GraphQL requests: parse, validate, execute in one transaction, and shape the errors of the answer."""

import logging
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Final

import attrs
from graphql import ExecutionResult, GraphQLError, OperationType, execute_sync

from prefect.agent.domain.cloud.errors import INTERNAL, CloudRefusal
from prefect.agent.domain.cloud.strictness import STRICT, Claims, Strictness
from prefect.agent.entrypoints.server.graphql.answers import KEY_REFUSED, ApiAnswer, Operation, error_answer
from prefect.agent.entrypoints.server.graphql.documents import BAD_INPUT, DocumentRefused, Documents, Prepared
from prefect.agent.entrypoints.server.graphql.fast_path import DoesNotFit, run_fast_path
from prefect.agent.entrypoints.server.graphql.json_text import read_json
from prefect.agent.entrypoints.server.graphql.schema import failure, schema
from prefect.agent.entrypoints.server.mutations.registry import Request
from prefect.agent.entrypoints.server.storage.answer_limits import check_answer
from prefect.agent.entrypoints.server.storage.clock import utc_now
from prefect.agent.entrypoints.server.storage.database import Database
from prefect.agent.entrypoints.server.storage.keys import caller as find_caller
from prefect.agent.entrypoints.server.storage.scopes import Caller

KEY_FIRST_USED: Final = "key_first_used"
"""The name of an event in the server's log."""

_log: Final = logging.getLogger(__name__)


@attrs.frozen
class Executor:
    """Executes requests on one database, in one thread at a time.

    Attributes:
        keys: API keys that are accepted beside those in the database. If there are some, every request needs a key.
        strictness: How strict the Cloud is.
        now: The Cloud's clock.
    """

    database: Database
    keys: frozenset[str] = frozenset()
    strictness: Strictness = STRICT
    now: Callable[[], datetime] = utc_now
    _claims: Claims = attrs.field(factory=Claims, init=False)
    _documents: Documents = attrs.field(factory=Documents, init=False)
    _used_keys: set[str] = attrs.field(factory=set, init=False)

    def __call__(self, body: object, headers: Mapping[str, str]) -> ApiAnswer:
        """Execute the request *body* and return the answer; *headers* have lower-case names. Never raises."""
        try:
            return self._answer(body, headers)
        except Exception as problem:  # noqa: BLE001 - failure() logs it; the server must survive
            return ApiAnswer(status=200, body={**_failed([failure(problem)], INTERNAL), "data": None})

    def _answer(self, body: object, headers: Mapping[str, str]) -> ApiAnswer:
        caller = self.caller(headers)
        if caller is None:
            return KEY_REFUSED
        try:
            text, variables = _read(body)
        except ValueError as problem:
            return error_answer(400, str(problem), BAD_INPUT)
        try:
            prepared = self._documents.prepare(text)
        except DocumentRefused as refused:
            return ApiAnswer(status=400, body=_failed(refused.errors, refused.code), refusal=refused.code)
        try:
            executed = self._execute(prepared, variables, headers, caller)
        except CloudRefusal as refused:
            answer = error_answer(200, refused.message, refused.code)
            return attrs.evolve(answer, body={**answer.body, "data": None})
        return executed.answer(prepared)

    def accepts(self, headers: Mapping[str, str]) -> bool:
        """Return whether the request has an accepted key, or needs none."""
        return self.caller(headers) is not None

    def caller(self, headers: Mapping[str, str]) -> Caller | None:
        """Return who sent the request; None if it needs an accepted key and has none. Logs the first use of a key."""
        found = find_caller(self.database, self.keys, headers.get("authorization", ""))
        if found is not None and found.key_id is not None and found.key_id not in self._used_keys:
            self._used_keys.add(found.key_id)
            self._log_first_use(found.key_id, found.scope)
        return found

    def _log_first_use(self, key_id: str, scope: str) -> None:
        name = self.database.glance("SELECT name FROM auth_api_key WHERE id = ?", [key_id])
        key = f"API key {name[0]} ({key_id})" if name else "An API key that the server was started with"
        _log.info(
            "%s, scope %s: first request since the start", key, scope,
            extra={"event": KEY_FIRST_USED, "fields": {"key": name and key_id, "scope": scope}},
        )  # fmt: skip

    def _execute(
        self, prepared: Prepared, variables: dict[str, Any], headers: Mapping[str, str], caller: Caller
    ) -> "_Executed":
        """Execute the document in one transaction.

        Raises:
            CloudRefusal: The request was refused as a whole; nothing was changed.
        """
        changes = prepared.operation.operation is OperationType.MUTATION
        with self.database.write() if changes else self.database.read() as tx:
            request = Request(
                tx=tx,
                now=self.now(),
                choose=random.choice,
                agent_id=headers.get("x-prefect-agent-id"),
                core_version=headers.get("x-prefect-core-version"),
                strictness=self.strictness,
                claims=self._claims,
                caller=caller,
            )
            result = _run(prepared, request, variables)
            check_answer(result.data)
            return _Executed(result, tx.changed_rows > 0, request.ready_runs)


@attrs.frozen
class _Executed:
    """The result of a document whose transaction is committed, with what the transaction did.

    Attributes:
        ready_runs: The answers of the root fields that asked for flow runs that are ready.
    """

    result: ExecutionResult
    has_changed_rows: bool
    ready_runs: Sequence[Collection[str]]

    def answer(self, prepared: Prepared) -> ApiAnswer:
        """Return the answer to the request."""
        data, errors = self.result.data, self.result.errors or []
        prepared.locate(errors)
        if data is None and errors and not any(error.path for error in errors):
            return ApiAnswer(status=400, body=_failed(errors, BAD_INPUT), refusal=BAD_INPUT)  # the variables do not fit
        asks_only = bool(data) and not errors and len(self.ready_runs) == len(data or ())
        return ApiAnswer(
            status=200,
            body={**_failed(errors), "data": data} if errors else {"data": data},
            operation=_KINDS[prepared.operation.operation],
            root_fields=len(data or ()),
            has_changed_rows=self.has_changed_rows,
            ready_runs=frozenset(chain.from_iterable(self.ready_runs)) if asks_only else None,
            refusal=next((text for error in errors if (text := _refusal(error))), None),
        )


def _refusal(error: GraphQLError) -> str | None:
    """Return what the log says of a refused root field; None if the Cloud failed: that is logged with its cause."""
    code = (error.extensions or {}).get("code") or _code(error)
    if code == INTERNAL:
        return None
    behind: BaseException | None = error.original_error
    while isinstance(behind, GraphQLError):
        behind = behind.original_error or behind.__cause__
    words = f"{behind.message} ({code})" if isinstance(behind, CloudRefusal) else str(code)
    return f"{error.path[0]}: {words}" if error.path else words


_KINDS: Final = {OperationType.QUERY: Operation.QUERY, OperationType.MUTATION: Operation.MUTATION}
"""The schema has no subscriptions: validation refuses them."""


def _run(prepared: Prepared, request: Request, variables: dict[str, Any]) -> ExecutionResult:
    if prepared.fast_path is not None:
        try:
            data, errors = run_fast_path(prepared.fast_path, request, variables)
            return ExecutionResult(data, errors or None)
        except DoesNotFit:
            pass
    return execute_sync(schema(), prepared.document, context_value=request, variable_values=variables)


def _read(body: object) -> tuple[str, dict[str, Any]]:
    """Return document and variables. Official clients send the variables as JSON in a text (protocol section 1.3)."""
    if not isinstance(body, Mapping) or not isinstance(body.get("query"), str):
        raise ValueError("the body must be a JSON object with a query")  # noqa: TRY004 - one error for the caller
    variables = body.get("variables")
    if isinstance(variables, str):
        try:
            variables = read_json(variables) if variables.strip() else None
        except RecursionError as problem:
            raise ValueError("variables are nested too deeply") from problem
    if variables is None:
        variables = {}
    if not isinstance(variables, dict):
        raise ValueError("variables must be an object")  # noqa: TRY004
    return body["query"], variables


def _failed(errors: Sequence[GraphQLError], code: str | None = None) -> dict[str, Any]:
    """Return the errors as they are sent.

    Args:
        code: The code of errors that have none. If it is None, errors that a failure caused are internal, and others
            are mistakes of the client.
    """
    shown = []
    for error in errors:
        entry: dict[str, Any] = dict(error.formatted)
        entry["extensions"] = {"code": code or _code(error), **(error.extensions or {})}
        shown.append(entry)
    return {"errors": shown}


def _code(error: GraphQLError) -> str:
    behind = error.original_error
    return BAD_INPUT if behind is None or isinstance(behind, GraphQLError) else INTERNAL
