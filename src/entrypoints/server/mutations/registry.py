"""The registry of mutations: each is a function of one request, with its types in the schema."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from prefect.agent.domain.cloud.errors import CloudRefusal, NotFound
from prefect.agent.domain.cloud.strictness import STRICT, Claims, Strictness
from prefect.agent.entrypoints.server.storage.database import Tx
from prefect.agent.entrypoints.server.storage.scopes import ANYONE, Caller

Given = Mapping[str, Any]
Payload = dict[str, Any]


@attrs.frozen(kw_only=True)
class Request:
    """One request while it is executed.

    Attributes:
        tx: Its transaction.
        now: The Cloud's time, UTC.
        choose: Picks one element of a sequence, for generated names.
        agent_id: The id of the agent that sent the request, if it did (header ``X-PREFECT-AGENT-ID``).
        core_version: The version of the client (header ``X-PREFECT-CORE-VERSION``).
        strictness: How strict the Cloud is.
        claims: The claims that this process remembers.
        caller: The owner of the request's key, with its scope.
        ready_runs: Filled during the execution: for each root field that asked for flow runs that are ready, the ids in
            its answer.
    """

    tx: Tx
    now: datetime
    choose: Callable[[Any], Any]
    agent_id: str | None = None
    core_version: str | None = None
    strictness: Strictness = STRICT
    claims: Claims = attrs.field(factory=Claims)
    caller: Caller = ANYONE
    ready_runs: list[Collection[str]] = attrs.field(factory=list)

    def permit(self, operation: str) -> None:
        """Check that the caller may use a root field.

        Raises:
            CloudRefusal: The scope of the key does not permit it.
        """
        if not self.caller.may(operation):
            raise CloudRefusal(f"A key of the scope {self.caller.scope} may not use {operation}", "FORBIDDEN")

    def tenant(self, given: str | None = None) -> str:
        """Return the id of the named tenant, or of the first one if none is named.

        Raises:
            NotFound: The tenant does not exist.
        """
        where, params = ("id = ?", [given]) if given else ("1 ORDER BY created", [])
        row = self.tx.row("tenant", where, params)
        if row is None:
            raise NotFound(f"Tenant {given} not found" if given else "There is no tenant; create one first")
        return str(row["id"])

    def get(self, table: str, row_id: object) -> dict[str, Any]:
        """Return the row with this id.

        Raises:
            NotFound: The row does not exist.
        """
        row = self.tx.row(table, "id = ?", [row_id])
        if row is None:
            raise NotFound(f"{table.replace('_', ' ').capitalize()} {row_id} not found")
        return row


Run = Callable[[Request, Given], Payload]


@attrs.frozen(kw_only=True)
class Mutation:
    """One root field of the mutation type.

    Attributes:
        takes: The fields of its input type, in GraphQL's schema language.
        gives: The fields of its payload, likewise.
        run: Executes the mutation.
        input_type: The name of its input type.
    """

    name: str
    takes: str
    gives: str
    run: Run
    input_type: str = attrs.field(default=attrs.Factory(lambda self: f"{self.name}_input", takes_self=True))


MUTATIONS: Final[dict[str, Mutation]] = {}
INPUTS: Final[dict[str, str]] = {}
"""The fields of input types that mutations share or nest, by name."""

ID: Final = "id: UUID"
SUCCESS: Final = "success: Boolean, error: String"


def mutation(takes: str, gives: str) -> Callable[[Run], Run]:
    """Register a function as the mutation of the same name."""

    def register(run: Run) -> Run:
        name = run.__name__
        MUTATIONS[name] = Mutation(name=name, takes=takes, gives=gives, run=run)
        return run

    return register


def required(given: Given, name: str) -> str:
    """Return a text that must not be empty.

    Raises:
        CloudRefusal: The text is empty.
    """
    value = given.get(name)
    if not isinstance(value, str) or not value.strip():
        raise CloudRefusal(f"{name} must not be empty")
    return value
