"""Many flow runs at once: a page asks whether it is meant and says how many; the usual mutations change them."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from starlette.datastructures import QueryParams

from prefect.agent.domain.state_names import CANCELLING, FINISHED
from prefect.agent.entrypoints.server.pages.addresses import only
from prefect.agent.entrypoints.server.pages.flow_run import restart_run
from prefect.agent.entrypoints.server.pages.kinds import Action, Again, Page, Section
from prefect.agent.entrypoints.server.pages.run_list import FILTERS, matching_runs
from prefect.agent.entrypoints.server.pages.view import Form, FormRefused, View, fields
from prefect.agent.entrypoints.server.storage.row_trees import Row

MOST: Final = 100
"""Flow runs of one change."""

NAMED: Final = 20
"""Flow runs that the page names."""

_ID: Final = re.compile(r"[0-9a-f-]{36}")
_COLUMNS: Final = fields("id name state", flow=fields("id name"))


@attrs.frozen(kw_only=True)
class Change:
    """What can be done with many flow runs.

    Attributes:
        fits: Whether a flow run in this state can be changed so.
        left_out: Why others are left out.
        apply: Changes one.
    """

    title: str
    fits: Callable[[str], bool]
    left_out: str
    warning: str
    apply: Callable[[Form, str], Any]


CHANGES: Final[Mapping[str, Change]] = {
    "cancel": Change(
        title="Cancel",
        fits=lambda state: state not in FINISHED and state != CANCELLING,
        left_out="ended already, or is being cancelled",
        warning="Those that run are stopped.",
        apply=lambda form, run_id: form.change("cancel_flow_run", flow_run_id=run_id),
    ),
    "restart": Change(
        title="Restart",
        fits=lambda state: state in FINISHED,
        left_out="has not ended",
        warning="Tasks that succeeded keep their results.",
        apply=restart_run,
    ),
    "delete": Change(
        title="Delete",
        fits=lambda _state: True,
        left_out="",
        warning="Their task runs and logs are deleted, too. This cannot be undone.",
        apply=lambda form, run_id: form.change("delete_flow_run", flow_run_id=run_id),
    ),
}


def confirmation(view: View) -> Mapping[str, Any]:
    """What ``flow_runs_confirm.html`` shows: which of the chosen flow runs would be changed."""
    back = only(QueryParams(view.query.get("filters", "")), FILTERS)
    matching = attrs.evolve(view, query=QueryParams(back))
    chosen = matching_runs(matching, MOST + 1) if view.query.get("all") else _ids(view.query.getlist("id"))
    shown = _shown(view, view.query.get("do", ""), chosen[:MOST], back)
    return {**shown, "most": MOST if len(chosen) > MOST else None, "problem": ""}


def change(form: Form) -> str:
    """Change the flow runs that were confirmed, as far as they still can be; return to the list.

    Raises:
        Again: Some were refused; the others are changed.
    """
    name, back = form.value("do"), only(QueryParams(form.value("back")), FILTERS)
    ids = _ids(form.value("ids").split())[:MOST]
    with form.look() as view:
        known = _shown(view, name, ids, back)
    refusals: dict[str, str] = {}
    for run in known["runs"]:
        try:
            CHANGES[name].apply(form, run["id"])
        except FormRefused as refused:
            refusals[run["id"]] = str(refused)
    if refusals:
        done = len(known["runs"]) - len(refusals)
        first = next(iter(refusals.values()))
        problem = f"{len(refusals)} of them were refused, {done} are done. The first reason: {first}"
        with form.look() as view:
            raise Again(PAGE, **_shown(view, name, list(refusals), back), most=None, problem=problem)
    return form.link("flow-runs") + (f"?{back}" if back else "")


def _shown(view: View, name: str, ids: Sequence[str], back: str) -> Row:
    wanted = CHANGES.get(name)
    found = view.rows("flow_run", _COLUMNS, {"id": {"_in": list(ids)}}) if ids and wanted else []
    fit = [run for run in found if wanted and wanted.fits(run["state"])]
    return {
        "do": name if wanted else "",
        "wanted": wanted,
        "runs": fit,
        "named": NAMED,
        "left_out": len(found) - len(fit),
        "ids": " ".join(run["id"] for run in fit),
        "back": back,
    }


def _ids(several: Sequence[str]) -> list[str]:
    """Those that are ids, each once."""
    return list(dict.fromkeys(one for one in several if _ID.fullmatch(one)))


PAGE: Final = Page("/flow-runs/confirm", "flow_runs_confirm.html", confirmation, tab="Flow runs")
SECTION: Final = Section(pages=(PAGE,), actions=(Action("/flow-runs/change", change),))
