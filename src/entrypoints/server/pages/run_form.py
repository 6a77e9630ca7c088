"""The form that creates a run of a flow, empty or with the values of another run."""

import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import attrs

from prefect.agent.domain.times import iso, read_time
from prefect.agent.entrypoints.server.pages.addresses import changed
from prefect.agent.entrypoints.server.pages.flow import as_json, flow_of
from prefect.agent.entrypoints.server.pages.kinds import Action, Again, Page, Section
from prefect.agent.entrypoints.server.pages.parameters import (
    Field,
    NotRight,
    form_fields,
    read_object,
    read_parameters,
)
from prefect.agent.entrypoints.server.pages.view import Form, FormRefused, View, fields

_PLAIN: Final = ("name", "labels", "context", "run_config", "start", "start_time", "zone", "idempotency_key")


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
            "context": as_json((run or {}).get("context")),
            "run_config": as_json((run or {}).get("run_config")),
            "start": "now",
            "start_time": "",
            "zone": "0",
            "idempotency_key": f"page-{secrets.token_hex(8)}",
        },
        "problem": "",
        "problems": {},
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
        known = problem.problems if isinstance(problem, NotRight) else {}
        again = {"filled": filled, "fields": _refilled(form, shown, known), "problems": known}
        raise Again(RUN_FORM, problem=str(problem), **again) from problem
    return form.link("flow-run", made["id"])


def _given(form: Form, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the mutation; what is empty is left to the flow.

    Raises:
        NotRight: Some fields cannot be read.
    """
    labels = [label.strip() for label in form.value("labels").split(",") if label.strip()]
    given: dict[str, Any] = {
        "labels": labels or None,
        "flow_run_name": form.value("name") or None,
        "idempotency_key": form.value("idempotency_key") or None,
    }
    readers: dict[str, tuple[str, Callable[[], Any]]] = {
        "parameters": ("", lambda: read_parameters(form.values, shown["fields"])),
        "context": ("context", lambda: read_object(form.value("context"), "The context")),
        "run_config": ("run_config", lambda: read_object(form.value("run_config"), "The run config")),
        "scheduled_start_time": ("start_time", lambda: _start_time(form)),
    }
    problems: dict[str, str] = {}
    for name, (field, read) in readers.items():
        try:
            given[name] = read()
        except NotRight as problem:
            problems |= problem.problems or {field: str(problem)}
    if problems:
        raise NotRight(" ".join(problems.values()), problems)
    return {name: value for name, value in given.items() if value is not None}


def _start_time(form: Form) -> str | None:
    """When the run is to start; None for now. The browser says how many minutes its zone is behind UTC."""
    if form.value("start") != "later":
        return None
    if not form.value("start_time"):
        raise NotRight("Say at which time the run is to start, or let it start now.")
    try:
        moment = read_time(form.value("start_time")) + timedelta(minutes=int(form.value("zone") or "0"))
    except (ValueError, OverflowError) as problem:
        raise NotRight("The start time is not a time.") from problem
    return iso(moment)


def _refilled(form: Form, shown: Mapping[str, Any], problems: Mapping[str, str]) -> list[Field]:
    """The parameters' fields, as they were filled in."""
    fields = shown["fields"]
    return [attrs.evolve(one, **_typed(form, one), problem=_problem(form, one, problems)) for one in fields]


def _typed(form: Form, field: Field) -> dict[str, str]:
    given = dict(form.values)
    return {"kind": given.get(f"k:{field.name}", field.kind), "value": given.get(f"p:{field.name}", "")}


def _problem(form: Form, field: Field, problems: Mapping[str, str]) -> str:
    """What is said beside a field; the Cloud names all empty ones together."""
    is_missing = field.is_required and not _typed(form, field)["value"].strip()
    return problems.get(f"p:{field.name}", "This parameter is required." if is_missing else "")


SECTION: Final = Section(pages=(RUN_FORM,), actions=(Action("/flow/{flow_id}/run", create_run, "create_flow_run"),))
