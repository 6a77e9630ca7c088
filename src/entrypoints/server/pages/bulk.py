"""Many flow runs at once: a page asks whether it is meant and says how many; the usual mutations change them."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from starlette.datastructures import QueryParams

from prefect.agent.domain.state_names import CANCELLING, FINISHED, PARENTS
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.pages.addresses import only
from prefect.agent.entrypoints.server.pages.flow_run import restart_run
from prefect.agent.entrypoints.server.pages.kinds import Action, Again, Once, Page, Section
from prefect.agent.entrypoints.server.pages.run_list import FILTERS, matching_runs
from prefect.agent.entrypoints.server.pages.view import Form, FormRefused, View, fields
from prefect.agent.entrypoints.server.storage.row_trees import Row

MOST: Final = 100
"""Flow runs of one form: others are answered between two of them."""

COUNTED: Final = 10_000
"""Flow runs of all that match that are counted, and changed."""

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
    name, back = view.query.get("do", ""), only(QueryParams(view.query.get("filters", "")), FILTERS)
    if not view.query.get("all"):
        return _shown(view, name, _ids(view.query.getlist("id"))[:MOST], back)
    until = iso(view.now)
    return _round(view, name, back, _matching(view, name, back, until), until=until)


def change(form: Form) -> str | Once:
    """Change the flow runs that were confirmed, as far as they still can be; return to the list.

    Of all that match, a part is changed at a time: the answer is then a form for the next part.

    Raises:
        Again: Some were refused; the others are changed.
    """
    name, back = form.value("do"), only(QueryParams(form.value("back")), FILTERS)
    with form.look() as view:
        known = _shown(view, name, _ids(form.value("ids").split())[:MOST], back)
    refusals = _apply(form, name, known["runs"])
    done = _number(form.value("done")) + len(known["runs"]) - len(refusals)
    if refusals:
        first = next(iter(refusals.values()))
        problem = f"{len(refusals):,} of them were refused, {done:,} are done. The first reason: {first}"
        with form.look() as view:
            raise Again(PAGE, **{**_shown(view, name, list(refusals), back), "problem": problem})
    until = form.value("until")
    if known["runs"] and until and done < _number(form.value("total")):
        with form.look() as view:
            rest = _matching(view, name, back, until)[: _number(form.value("total")) - done]
            if rest:
                return Once(PAGE, _round(view, name, back, rest, until=until, done=done))
    return form.link("flow-runs") + (f"?{back}" if back else "")


def _apply(form: Form, name: str, runs: Sequence[Row]) -> dict[str, str]:
    """Change each; return why some were refused, by id."""
    refusals: dict[str, str] = {}
    for run in runs:
        try:
            CHANGES[name].apply(form, run["id"])
        except FormRefused as refused:
            refusals[run["id"]] = str(refused)
    return refusals


def _matching(view: View, name: str, back: str, until: str) -> list[str]:
    """Ids of the flow runs that the list shows, can be changed so, and were there when it was asked for."""
    wanted, asked = CHANGES.get(name), QueryParams(back)
    states = asked.getlist("state") or list(PARENTS)
    fit = [state for state in states if wanted and wanted.fits(state)]
    if not fit:
        return []
    others = [(key, value) for key, value in asked.multi_items() if key != "state"]
    narrowed = asked if fit == states else QueryParams([*others, *(("state", state) for state in fit)])
    return matching_runs(attrs.evolve(view, query=narrowed), COUNTED, until=until)


def _round(view: View, name: str, back: str, ids: Sequence[str], *, until: str, done: int = 0) -> Row:
    """The next part of all that match, and how many there are of them."""
    return {**_shown(view, name, ids[:MOST], back), "total": done + len(ids), "until": until, "done": done}


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
        "most": MOST,
        "counted": COUNTED,
        "total": len(fit),
        "done": 0,
        "until": "",
        "problem": "",
    }


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0


def _ids(several: Sequence[str]) -> list[str]:
    """Those that are ids, each once."""
    return list(dict.fromkeys(one for one in several if _ID.fullmatch(one)))


PAGE: Final = Page("/flow-runs/confirm", "flow_runs_confirm.html", confirmation, tab="Flow runs")
SECTION: Final = Section(pages=(PAGE,), actions=(Action("/flow-runs/change", change, "cancel_flow_run"),))
