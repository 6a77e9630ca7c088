"""What can be changed of a flow: its schedule, and whether it is archived or deleted."""

from typing import Any, Final

from prefect.agent.entrypoints.server.pages.flow import FLOW, flow_of
from prefect.agent.entrypoints.server.pages.kinds import Action, Again, Section
from prefect.agent.entrypoints.server.pages.parameters import NotRight
from prefect.agent.entrypoints.server.pages.schedules import given_clocks
from prefect.agent.entrypoints.server.pages.view import Form, FormRefused
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
    cron, minutes, zone = form.value("cron"), form.value("minutes"), form.value("zone")
    try:
        clocks = given_clocks(flow["flow_group"]["schedule"] or flow["schedule"], cron, minutes)
        form.change("set_flow_group_schedule", flow_group_id=flow["flow_group_id"], timezone=zone or "UTC", **clocks)
    except (NotRight, FormRefused) as problem:
        filled = {"cron": cron, "minutes": minutes, "zone": zone}
        raise Again(FLOW, schedule_problem=str(problem), filled=filled) from problem
    return _home(form, flow)


def use_own_clocks(form: Form) -> str:
    """Use the clocks again that the flow was registered with."""
    flow = _own(form)
    form.change("delete_flow_group_schedule", flow_group_id=flow["flow_group_id"])
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
        raise Again(FLOW, schedule_problem=f"The schedule stays off: {done['error']}.")


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
        Action("/flow/{flow_id}/schedule/on", switch_on),
        Action("/flow/{flow_id}/schedule/off", switch_off),
        Action("/flow/{flow_id}/schedule/clocks", set_clocks),
        Action("/flow/{flow_id}/schedule/own", use_own_clocks),
        Action("/flow/{flow_id}/archive", archive),
        Action("/flow/{flow_id}/delete", delete_version),
        Action("/flow/{flow_id}/delete-all", delete_all),
    ),
)
