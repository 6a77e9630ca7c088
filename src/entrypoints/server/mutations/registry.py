"""What a mutation is: its words in the schema, and a function of one request."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from prefect.agent.domain.cloud.errors import CloudError, NotFound
from prefect.agent.domain.cloud.strictness import STRICT, Claims, Strictness
from prefect.agent.entrypoints.server.storage.database import Tx
from prefect.agent.entrypoints.server.storage.scopes import ANYONE, Caller

Given = Mapping[str, Any]
Answer = dict[str, Any]


@attrs.frozen(kw_only=True)
class Request:
    """One request that changes something: its transaction, its time, and who asks.

    Attributes:
        choose: Picks one of a sequence; for generated names.
        agent_id: Of the agent that asks, if one does (header ``X-PREFECT-AGENT-ID``).
        core_version: Of the client that asks (header ``X-PREFECT-CORE-VERSION``).
        strictness: Of this Cloud.
        claims: What this process remembers of claims.
        caller: Whose key it is, and what that may do.
    """

    tx: Tx
    now: datetime
    choose: Callable[[Any], Any]
    agent_id: str | None = None
    core_version: str | None = None
    strictness: Strictness = STRICT
    claims: Claims = attrs.field(factory=Claims)
    caller: Caller = ANYONE

    def permit(self, operation: str) -> None:
        """Check whether the caller may use a root field.

        Raises:
            CloudError: The key is not for that.
        """
        if not self.caller.may(operation):
            raise CloudError(f"A key of the scope {self.caller.scope} may not use {operation}", "FORBIDDEN")

    def tenant(self, given: str | None = None) -> str:
        """The tenant that is named, else the first there is.

        Raises:
            NotFound: There is no such tenant.
        """
        where, params = ("id = ?", [given]) if given else ("1 ORDER BY created", [])
        row = self.tx.row("tenant", where, params)
        if row is None:
            raise NotFound(f"Tenant {given} not found" if given else "There is no tenant: create one first")
        return str(row["id"])

    def get(self, table: str, row_id: object) -> dict[str, Any]:
        """The row with this id.

        Raises:
            NotFound: There is none.
        """
        row = self.tx.row(table, "id = ?", [row_id])
        if row is None:
            raise NotFound(f"{table.replace('_', ' ').capitalize()} {row_id} not found")
        return row


Run = Callable[[Request, Given], Answer]


@attrs.frozen(kw_only=True)
class Mutation:
    """One root field of the mutation type.

    Attributes:
        takes: Fields of its input type, in GraphQL's schema language.
        gives: Fields of its answer, likewise.
        input_type: Name of its input type.
    """

    name: str
    takes: str
    gives: str
    run: Run
    input_type: str = attrs.field(default=attrs.Factory(lambda self: f"{self.name}_input", takes_self=True))


MUTATIONS: Final[dict[str, Mutation]] = {}
INPUTS: Final[dict[str, str]] = {}
"""Input types that mutations share or nest: name to fields."""

ID: Final = "id: UUID"
SUCCESS: Final = "success: Boolean, error: String"


def mutation(takes: str, gives: str) -> Callable[[Run], Run]:
    """Register a function as the mutation of its own name."""

    def register(run: Run) -> Run:
        name = run.__name__
        MUTATIONS[name] = Mutation(name=name, takes=takes, gives=gives, run=run)
        return run

    return register


def required(given: Given, name: str) -> str:
    """A text that must not be empty.

    Raises:
        CloudError: It is.
    """
    value = given.get(name)
    if not isinstance(value, str) or not value.strip():
        raise CloudError(f"{name} must not be empty")
    return value
