"""What can be changed of a flow: its schedule, the defaults of its runs, and whether it is archived or deleted."""

from collections.abc import Mapping
from typing import Any, Final

from prefect.agent.entrypoints.server.pages.flow import FLOW, flow_of
from prefect.agent.entrypoints.server.pages.kinds import Action, Again, Section
from prefect.agent.entrypoints.server.pages.parameters import NotRight, read_object
from prefect.agent.entrypoints.server.pages.schedules import given_clocks
from prefect.agent.entrypoints.server.pages.view import Form, FormRefused, fields
from prefect.agent.entrypoints.server.storage.row_trees import Row


def switch_on(form: Form) -> str:
    """Switch the schedule on.

    Raises:
        Again: The Cloud refuses it.
    """
    flow = _own(form)
    _must(form.change("set_schedule_active", flow_id=flow["id"]))
    return _home(form, flow)


def switch_off(form: Form) -> str:
    """Switch the schedule off; the runs that it has planned are deleted."""
    flow = _own(form)
    form.change("set_schedule_inactive", flow_id=flow["id"])
    return _home(form, flow)


def set_clocks(form: Form) -> str:
    """Set clocks, in the place of those that count now.

    Raises:
        Again: They were not filled in right, or the Cloud refuses them.
    """
    flow = _own(form)
    filled = {name: form.value(name) for name in ("cron", "minutes", "zone")}
    try:
        present = flow["flow_group"]["schedule"] or flow["schedule"]
        clocks = given_clocks(present, **filled)
        zone = filled["zone"] or "UTC"
        form.change("set_flow_group_schedule", flow_group_id=flow["flow_group_id"], timezone=zone, **clocks)
    except (NotRight, FormRefused) as problem:
        raise Again(FLOW, problems=_problems(problem, "cron"), filled=filled) from problem
    return _home(form, flow)


def set_defaults(form: Form) -> str:
    """Set labels, parameters and run config of the runs of all versions; what is empty is left to each version.

    Raises:
        Again: They were not filled in right, or the Cloud refuses them.
    """
    flow = _own(form)
    group = flow["flow_group_id"]
    filled = {name: form.value(name) for name in ("labels", "parameters", "run_config")}
    try:
        given = _read_defaults(filled)
        # The run config first: the others are not refused.
        form.change("set_flow_group_run_config", flow_group_id=group, run_config=given["run_config"])
        form.change("set_flow_group_default_parameters", flow_group_id=group, parameters=given["parameters"] or {})
        form.change("set_flow_group_labels", flow_group_id=group, labels=given["labels"])
    except (NotRight, FormRefused) as problem:
        raise Again(FLOW, problems=_problems(problem, "run_config"), defaults=filled) from problem
    return _home(form, flow)


def _read_defaults(filled: Mapping[str, str]) -> dict[str, Any]:
    """What was filled in; all that is not JSON is told at once."""
    given: dict[str, Any] = {"labels": [word.strip() for word in filled["labels"].split(",") if word.strip()] or None}
    problems: dict[str, str] = {}
    for name, words in (("parameters", "The default parameters"), ("run_config", "The run config")):
        try:
            given[name] = read_object(filled[name], words)
        except NotRight as problem:
            problems[name] = str(problem)
    if problems:
        raise NotRight(" ".join(problems.values()), problems)
    return given


def _problems(problem: NotRight | FormRefused, otherwise: str) -> dict[str, str]:
    """What is said beside which field."""
    return (problem.problems if isinstance(problem, NotRight) else {}) or {otherwise: str(problem)}


def use_own_clocks(form: Form) -> str:
    """Use the clocks again that the flow was registered with."""
    flow = _own(form)
    form.change("delete_flow_group_schedule", flow_group_id=flow["flow_group_id"])
    return _home(form, flow)


def move(form: Form) -> str:
    """Move the flow, with all its versions, to another project of the tenant."""
    flow = _own(form)
    with form.look() as view:
        project = view.row("project", form.value("project"), fields("id"))
    form.change("update_flow_project", flow_id=flow["id"], project_id=project["id"])
    return _home(form, flow)


def archive(form: Form) -> str:
    """Archive the version: it gets no runs any more."""
    flow = _own(form)
    form.change("archive_flow", flow_id=flow["id"])
    return _home(form, flow)


def delete_version(form: Form) -> str:
    """Delete the version and its runs."""
    form.change("delete_flow", flow_id=_own(form)["id"])
    return form.link("flows")


def delete_all(form: Form) -> str:
    """Delete the flow with all its versions and their runs."""
    form.change("delete_flow_group", flow_group_id=_own(form)["flow_group_id"])
    return form.link("flows")


def _must(done: dict[str, Any]) -> None:
    """Show the flow again if a change answers that it was not made."""
    if not done["success"]:
        raise Again(FLOW, problem=f"The schedule stays off: {done['error']}.")


def _own(form: Form) -> Row:
    """The flow that the address names, if it is the tenant's.

    Raises:
        NotThere: It is not.
    """
    with form.look() as view:
        flow: Row = flow_of(view)
    return flow


def _home(form: Form, flow: Row) -> str:
    return form.link("flow", flow["id"])


SECTION: Final = Section(
    actions=(
        Action("/flow/{flow_id}/schedule/on", switch_on, "set_schedule_active", FLOW),
        Action("/flow/{flow_id}/schedule/off", switch_off, "set_schedule_inactive", FLOW),
        Action("/flow/{flow_id}/schedule/clocks", set_clocks, "set_flow_group_schedule", FLOW),
        Action("/flow/{flow_id}/schedule/own", use_own_clocks, "delete_flow_group_schedule", FLOW),
        Action("/flow/{flow_id}/defaults", set_defaults, "set_flow_group_run_config", FLOW),
        Action("/flow/{flow_id}/move", move, "update_flow_project", FLOW),
        Action("/flow/{flow_id}/archive", archive, "archive_flow", FLOW),
        Action("/flow/{flow_id}/delete", delete_version, "delete_flow", FLOW),
        Action("/flow/{flow_id}/delete-all", delete_all, "delete_flow_group", FLOW),
    ),
)
