"""Concurrency limits of flow runs by label and of task runs by tag."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from prefect.agent.entrypoints.server.mutations.limits import taken_by_flow_runs, taken_by_task_runs
from prefect.agent.entrypoints.server.pages.kinds import Action, Again, Page, Section
from prefect.agent.entrypoints.server.pages.paging import Sheet, sheet_of, text
from prefect.agent.entrypoints.server.pages.settings import TAB, shown
from prefect.agent.entrypoints.server.pages.view import Form, FormRefused, NotThere, View, fields
from prefect.agent.entrypoints.server.storage.database import Tx
from prefect.agent.entrypoints.server.storage.row_trees import Row

SHOWN: Final = 100


@attrs.frozen(kw_only=True)
class _Kind:
    """One kind of limit.

    Attributes:
        column: Of the name that it limits, in its table.
        argument: The name's argument in the mutation that sets it.
    """

    table: str
    column: str
    argument: str
    taken: Callable[[Tx, str], Mapping[str, int]]


_KINDS: Final = {
    "flow": _Kind(table="flow_concurrency_limit", column="name", argument="label", taken=taken_by_flow_runs),
    "task": _Kind(table="task_tag_limit", column="tag", argument="tag", taken=taken_by_task_runs),
}


def data(view: View) -> Mapping[str, Any]:
    """What ``settings_limits.html`` shows."""
    limits = {name: _sheet(view, name, kind) for name, kind in _KINDS.items()}
    return shown({"kind": "flow", "name": "", "limit": ""}, limits=limits)


def _sheet(view: View, name: str, kind: _Kind) -> Sheet[Row]:
    columns = fields(f"id {kind.column} slots")
    found = sheet_of(view, kind.table, columns, text(kind.column), size=SHOWN, name=f"{name}-")
    taken = kind.taken(view.tx, view.tenant["id"]) if found.rows else {}
    rows = [{**row, "name": row[kind.column], "taken": taken.get(row[kind.column], 0)} for row in found.rows]
    return attrs.evolve(found, rows=rows)


PAGE: Final = Page("/settings", "settings_limits.html", data, tab=TAB)


def set_limit(form: Form) -> str:
    """Set a limit; one of the same name is replaced.

    Raises:
        Again: The number is none, or the Cloud refuses it.
    """
    kind = _kind(form.value("kind"))
    with form.look() as view:
        tenant = view.tenant["id"]
    try:
        number = int(form.value("limit"))
        form.change(f"update_{kind.table}", **{kind.argument: form.value("name")}, limit=number, tenant_id=tenant)
    except (ValueError, FormRefused) as problem:
        text = str(problem) if isinstance(problem, FormRefused) else "A limit is a whole number."
        filled = {name: form.value(name) for name in ("kind", "name", "limit")}
        raise Again(PAGE, problem=text, filled=filled) from problem
    return form.link("settings")


def delete_limit(form: Form) -> str:
    """Delete a limit: runs that wait for it begin."""
    kind = _kind(form.path["kind"])
    with form.look() as view:
        limit = view.row(kind.table, form.path["limit_id"], fields("id"))
    form.change(f"delete_{kind.table}", limit_id=limit["id"])
    return form.back("settings")


def _kind(name: str) -> _Kind:
    if name not in _KINDS:
        raise NotThere(f"There is no kind of limit {name:.80}.")
    return _KINDS[name]


SECTION: Final = Section(
    pages=(PAGE,),
    actions=(
        Action("/settings/limit", set_limit, "update_flow_concurrency_limit"),
        Action("/settings/limit/{kind}/{limit_id}/delete", delete_limit, "delete_flow_concurrency_limit"),
    ),
)
