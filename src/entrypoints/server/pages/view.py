"""What a page is made from: one look at the file, as the tenant and the caller that its address and its key name.

Pages read tables with the same permissions, filters and bounds as GraphQL (``storage.row_trees``), and change things
only through :meth:`Form.change`, which is a GraphQL mutation.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import attrs
from starlette.datastructures import QueryParams

from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.entrypoints.server.graphql.execution import Executor
from prefect.agent.entrypoints.server.mutations.registry import MUTATIONS
from prefect.agent.entrypoints.server.pages.zones import Zone
from prefect.agent.entrypoints.server.storage.database import Tx
from prefect.agent.entrypoints.server.storage.row_trees import Ask, Row, count_rows, read_rows
from prefect.agent.entrypoints.server.storage.scopes import Caller
from prefect.agent.entrypoints.server.storage.tables import TABLES

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_GIVES: Final = re.compile(r"(\w+): *(\[run_state_result!\])?")


def canonical(text: str) -> str:
    """An id as it is stored, whatever its letters; another text as it is."""
    return text.lower() if _UUID.fullmatch(text.lower()) else text


class KeyNeeded(Exception):
    """The request has no key that is accepted, or not any more."""


class NotThere(Exception):
    """What the address names does not exist; the message says what."""


class FormRefused(Exception):
    """A change was refused; the message is the Cloud's own."""


def fields(names: str, **nested: tuple[Ask, ...]) -> tuple[Ask, ...]:
    """Columns to read, and relations with columns of their own: ``fields("id name", flow=fields("id"))``."""
    return (
        *(Ask(name, name) for name in names.split()),
        *(Ask(name, name, {}, children) for name, children in nested.items()),
    )


def _in_short(ask: Ask) -> Ask:
    return attrs.evolve(ask, is_short=True, children=tuple(_in_short(one) for one in ask.children))


@attrs.frozen(kw_only=True)
class View:
    """One page's look at the file.

    Attributes:
        tenant: Columns ``id``, ``name`` and ``slug`` of the tenant that the address names.
        now: The Cloud's time (aware, UTC).
        path: What the address has in the place of names, such as ``run_id``.
        query: What follows the address's question mark.
        zone: The viewer's time zone.
    """

    tx: Tx
    caller: Caller
    tenant: Row
    now: datetime
    path: Mapping[str, str] = attrs.field(factory=dict)
    query: QueryParams = attrs.field(factory=QueryParams)
    zone: Zone = attrs.field(factory=Zone)

    def rows(
        self,
        table: str,
        columns: tuple[Ask, ...],
        where: Mapping[str, Any] | None = None,
        *,
        whole: bool = False,
        **args: Any,
    ) -> list[Row]:
        """Rows of the tenant.

        Args:
            columns: Of :func:`fields`.
            where: A filter in Hasura's words.
            whole: Whether long values are read as they are, else in short (``storage.short_values``).
            args: ``order_by``, ``limit``, ``offset``.

        Raises:
            CloudRefusal: The caller may not read this table.
        """
        self.permit(table)
        ask = Ask("", table, {"where": self._own(where), **args}, columns)
        return read_rows(self.tx, TABLES[table], ask if whole else _in_short(ask))

    def row(self, table: str, row_id: str, columns: tuple[Ask, ...]) -> Row:
        """The tenant's row with this id, with all that it holds.

        Raises:
            NotThere: It has none.
            CloudRefusal: The caller may not read this table.
        """
        known = canonical(row_id)
        found = self.rows(table, columns, {"id": {"_eq": known}}, whole=True) if _UUID.fullmatch(known) else []
        if not found:
            raise NotThere(f"There is no {table.replace('_', ' ')} {row_id:.80} here. It may have been deleted.")
        return found[0]

    def count(self, table: str, where: Mapping[str, Any] | None = None) -> int:
        """How many rows of the tenant match *where*."""
        self.permit(table)
        return count_rows(self.tx, TABLES[table], {"where": self._own(where)})

    def sql(self, table: str, statement: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """Rows of a statement of one's own, for what filters cannot say. It must name the tenant itself.

        Args:
            table: The table that the caller must be allowed to read.
        """
        self.permit(table)
        return self.tx.all(statement, params)

    def permit(self, name: str) -> None:
        """Check whether the caller may read a table.

        Raises:
            CloudRefusal: The key is not for that.
        """
        if not self.caller.may(name):
            raise CloudRefusal(f"A key of the scope {self.caller.scope} may not use {name}", "FORBIDDEN")

    def link(self, *parts: str) -> str:
        """The address of a page of this tenant."""
        return "/".join(("", str(self.tenant["slug"]), *parts))

    def _own(self, where: Mapping[str, Any] | None) -> dict[str, Any]:
        return {**(where or {}), "tenant_id": {"_eq": self.tenant["id"]}}


@attrs.frozen(kw_only=True)
class Form:
    """One form that was sent, after its token was found to be right.

    Attributes:
        look: Opens a :class:`View` of the same address, as a context manager.
        values: Names and values of its fields; a name may come more than once.
        came_from: The address of the page that it was on; empty if the browser does not tell.
        sign_in: Begins a session of the browser with a key that was just made.
    """

    look: Callable[[], Any]
    values: Sequence[tuple[str, str]]
    path: Mapping[str, str]
    slug: str
    came_from: str
    sign_in: Callable[[str], None]
    _execute: Executor = attrs.field(alias="execute")
    _headers: Mapping[str, str] = attrs.field(alias="headers")
    _on_change: Callable[[], None] = attrs.field(alias="on_change")

    def value(self, name: str) -> str:
        """The last value of a field, without spaces around it; empty if there is none."""
        return next((value.strip() for one, value in reversed(self.values) if one == name), "")

    def all(self, name: str) -> list[str]:
        """All values of a field."""
        return [value for one, value in self.values if one == name]

    def link(self, *parts: str) -> str:
        """The address of a page of this tenant."""
        return "/".join(("", self.slug, *parts))

    def back(self, *parts: str) -> str:
        """The address of a list of this tenant; if the form was on that list, the page of it that was shown."""
        page = self.link(*parts)
        return self.came_from if self.came_from.partition("?")[0] == page else page

    def change(self, mutation: str, /, **given: Any) -> Row:
        """Send a mutation, as a GraphQL client would; return its answer.

        Raises:
            FormRefused: The Cloud refuses it; nothing was changed.
        """
        head = f"mutation($input: {MUTATIONS[mutation].input_type}!)"
        document = f"{head} {{ {mutation}(input: $input) {{ {_selection(mutation)} }} }}"
        answer = self._execute({"query": document, "variables": {"input": given}}, self._headers).body
        if answer.get("errors"):
            raise FormRefused(str(answer["errors"][0]["message"]))
        self._on_change()
        done: Row = answer["data"][mutation]
        return done


def _selection(mutation: str) -> str:
    """Everything that a mutation answers."""
    found = _GIVES.findall(MUTATIONS[mutation].gives)
    return " ".join(f"{name} {{ status message }}" if nested else name for name, nested in found)
