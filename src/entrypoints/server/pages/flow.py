"""A flow: its versions, schedule and last runs, and the form that creates a run."""

import json
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from prefect.agent.domain.times import iso, read_time
from prefect.agent.entrypoints.server.pages.addresses import changed
from prefect.agent.entrypoints.server.pages.kinds import Action, Again, Page, Section
from prefect.agent.entrypoints.server.pages.parameters import NotRight, form_fields, read_object, read_parameters
from prefect.agent.entrypoints.server.pages.run_list import latest_runs
from prefect.agent.entrypoints.server.pages.schedules import shown_schedule
from prefect.agent.entrypoints.server.pages.view import Form, FormRefused, NotThere, View, fields
from prefect.agent.entrypoints.server.storage.row_trees import Row

LAST_RUNS: Final = 50
VERSIONS: Final = 20

_FLOW: Final = fields(
    "id name version archived description core_version created is_schedule_active flow_group_id",
    project=fields("id name"),
    flow_group=fields("id labels default_parameters run_config schedule description"),
)
_DETAILS: Final = fields("parameters run_config storage schedule")
_PLAIN: Final = ("name", "labels", "context", "run_config", "start", "start_time", "zone", "idempotency_key")


def data(view: View) -> Mapping[str, Any]:
    """What ``flow.html`` shows."""
    flow = flow_of(view)
    group = {"flow_group_id": {"_eq": flow["flow_group_id"]}}
    columns = fields("id version created archived core_version")
    versions = view.rows("flow", columns, group, order_by={"version": "desc"}, limit=VERSIONS)
    schedule = shown_schedule(flow["schedule"], flow["flow_group"]["schedule"], view.now)
    return {
        "flow": flow,
        "versions": versions,
        "runs": latest_runs(view, {"flow": group}, LAST_RUNS),
        "schedule": schedule,
        "schedule_problem": "",
        "filled": {"cron": schedule.cron, "minutes": schedule.minutes, "zone": schedule.zone},
    }


FLOW: Final = Page("/flow/{flow_id}", "flow.html", data, tab="Flows")


def run_form(view: View) -> Mapping[str, Any]:
    """What ``flow_run_new.html`` shows: a form with the flow's defaults, or the values of the run ``?from=`` names."""
    flow = flow_of(view)
    origin = view.query.get("from")
    run = view.row("flow_run", origin, fields("id name labels parameters context run_config")) if origin else None
    defaults = flow["flow_group"]["default_parameters"]
    return {
        "flow": flow,
        "origin": run,
        "fields": form_fields(flow["parameters"], defaults, (run or {}).get("parameters") or {}),
        "filled": {
            "name": "",
            "labels": ", ".join((run or {}).get("labels") or ()),
            "context": _shown((run or {}).get("context")),
            "run_config": _shown((run or {}).get("run_config")),
            "start": "now",
            "start_time": "",
            "zone": "0",
            "idempotency_key": f"page-{secrets.token_hex(8)}",
        },
        "problem": "",
        "query": changed(view.query) if origin else "",
    }


RUN_FORM: Final = Page("/flow/{flow_id}/run", "flow_run_new.html", run_form, tab="Flows")


def create_run(form: Form) -> str:
    """Create a run from the form.

    Raises:
        Again: It was not filled in right, or the Cloud refuses.
    """
    with form.look() as view:
        shown = run_form(view)
    try:
        made = form.change("create_flow_run", flow_id=shown["flow"]["id"], **_given(form, shown))
    except (NotRight, FormRefused) as problem:
        filled = {name: form.value(name) for name in _PLAIN}
        raise Again(RUN_FORM, problem=str(problem), filled=filled, fields=_refilled(form, shown)) from problem
    return form.link("flow-run", made["id"])


def _given(form: Form, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the mutation; what is empty is left to the flow."""
    labels = [label.strip() for label in form.value("labels").split(",") if label.strip()]
    given = {
        "parameters": read_parameters(form.values, shown["fields"]),
        "context": read_object(form.value("context"), "The context"),
        "run_config": read_object(form.value("run_config"), "The run config"),
        "labels": labels or None,
        "flow_run_name": form.value("name") or None,
        "idempotency_key": form.value("idempotency_key") or None,
        "scheduled_start_time": _start_time(form),
    }
    return {name: value for name, value in given.items() if value is not None}


def _start_time(form: Form) -> str | None:
    """When the run is to start; None for now. The browser says how many minutes its zone is behind UTC."""
    if form.value("start") != "later":
        return None
    try:
        moment = read_time(form.value("start_time")) + timedelta(minutes=int(form.value("zone") or "0"))
    except (ValueError, OverflowError) as problem:
        raise NotRight("The start time is not a time.") from problem
    return iso(moment)


def _refilled(form: Form, shown: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The parameters' fields, as they were filled in."""
    given = dict(form.values)
    return [
        {
            "name": field.name,
            "kind": given.get(f"k:{field.name}", field.kind),
            "value": given.get(f"p:{field.name}", ""),
            "is_required": field.is_required,
            "default": field.default,
        }
        for field in shown["fields"]
    ]


def flow_of(view: View) -> Row:
    """The flow that the address names: by its id, or by its group's, then the newest version.

    Raises:
        NotThere: There is none.
    """
    given = view.path["flow_id"]
    try:
        return view.row("flow", given, (*_FLOW, *_DETAILS))
    except NotThere:
        group = {"flow_group_id": {"_eq": given}}
        found = view.rows("flow", (*_FLOW, *_DETAILS), group, order_by={"version": "desc"}, limit=1)
        if not found:
            raise
        return found[0]


def _shown(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) if value else ""


SECTION: Final = Section(
    pages=(FLOW, RUN_FORM),
    actions=(Action("/flow/{flow_id}/run", create_run),),
)
