"""One flow run: its overview, its task runs, and what can be done with it."""

from collections.abc import Mapping
from typing import Any, Final

from prefect.agent.domain.state_names import FINISHED, ancestors
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.pages.addresses import changed, pattern
from prefect.agent.entrypoints.server.pages.causes import claim_of, failed_tasks, shown_claim
from prefect.agent.entrypoints.server.pages.kinds import Action, Page, Section
from prefect.agent.entrypoints.server.pages.paging import Sheet, sheet_of
from prefect.agent.entrypoints.server.pages.reasons import reasons
from prefect.agent.entrypoints.server.pages.rendering import seconds_between
from prefect.agent.entrypoints.server.pages.view import Form, View, fields
from prefect.agent.entrypoints.server.storage.row_trees import Row

TASK_RUNS_SHOWN: Final = 200
STATES_SHOWN: Final = 200
FAILED_SHOWN: Final = 5

SETTABLE: Final = ("Success", "Failed", "Cancelled", "Skipped", "Scheduled", "Paused")
"""States that a person may set a flow run to."""

TASK_STATES: Final = (
    "Pending", "Scheduled", "Running", "Retrying", "Success", "Cached", "Mapped", "Skipped", "Failed", "TimedOut",
    "TriggerFailed", "Cancelled",
)  # fmt: skip

TABS: Final = {
    "Overview": "",
    "Timeline": "/timeline",
    "Graph": "/graph",
    "Logs": "/logs",
    "Task runs": "/task-runs",
    "Artifacts": "/artifacts",
}
"""Tabs of a flow run, in order: name and end of the address. A tab's template sets ``here`` to its name."""

HEAD: Final = fields(
    "id name state state_message state_timestamp created scheduled_start_time start_time end_time version labels",
    flow=fields("id name version flow_group_id archived", project=fields("id name")),
)

_MORE: Final = fields(
    "parameters context run_config heartbeat auto_scheduled times_resurrected idempotency_key serialized_state",
    agent=fields("id name type"),
)

_TASK_RUN: Final = fields(
    "id name map_index state state_message state_timestamp start_time end_time", task=fields("id name slug mapped")
)


def head(view: View, more: tuple[Any, ...] = ()) -> dict[str, Any]:
    """What every tab of a flow run shows: the run, and what can be done with it.

    Raises:
        NotThere: There is no such run.
    """
    run = view.row("flow_run", view.path["run_id"], (*HEAD, *more))
    has_ended = run["state"] in FINISHED
    return {
        "run": run,
        "has_ended": has_ended,
        "can_cancel": not has_ended and run["state"] != "Cancelling",
        "can_restart": has_ended,
        "run_tabs": TABS,
        "settable": SETTABLE,
        "problem": "",
        "seconds": seconds_between(run["start_time"], run["end_time"] or iso(view.now)),
        "changed": lambda **values: changed(view.query, **values),
    }


def overview(view: View) -> Mapping[str, Any]:
    """What ``flow_run_overview.html`` shows."""
    shown = head(view, _MORE)
    columns = fields("id state message timestamp start_time version")
    where = {"flow_run_id": {"_eq": view.path["run_id"]}}
    newest_first = [{"timestamp": "desc"}, {"version": "desc"}]
    states = view.rows("flow_run_state", columns, where, order_by=newest_first, limit=STATES_SHOWN)
    run_id = shown["run"]["id"]
    claim = claim_of(view, run_id)
    return {
        **shown,
        "states": states,
        "task_counts": _task_counts(view),
        "why": reasons(view, [run_id]).get(run_id, []),
        "failed": failed_tasks(view, run_id, FAILED_SHOWN) if shown["run"]["state"] != "Success" else [],
        "claim": claim,
        "unit": shown_claim(claim),
    }


def task_runs(view: View) -> Mapping[str, Any]:
    """What ``flow_run_task_runs.html`` shows."""
    shown = head(view)
    found = _task_run_sheet(view)
    now = iso(view.now)
    rows = [{**row, "seconds": seconds_between(row["start_time"], row["end_time"] or now)} for row in found.rows]
    return {
        **shown,
        "task_runs": rows,
        "task_states": TASK_STATES,
        "task_counts": _task_counts(view),
        "sheet": found,
    }


def _task_counts(view: View) -> list[tuple[str, int]]:
    statement = "SELECT state, count(*) AS n FROM task_run WHERE flow_run_id = ? GROUP BY state ORDER BY 2 DESC"
    return [(row["state"], row["n"]) for row in view.sql("task_run", statement, [view.path["run_id"]])]


def _task_run_sheet(view: View) -> Sheet[Row]:
    """A page of task runs that the filters leave, the latest change first."""
    where: dict[str, Any] = {"flow_run_id": {"_eq": view.path["run_id"]}}
    states = [state for state in view.query.getlist("state") if state in TASK_STATES]
    if states:
        where["state"] = {"_in": states}
    if view.query.get("name"):
        where["task"] = {"name": {"_ilike": pattern(view.query["name"][:200])}}
    latest_change = "coalesce(t0.state_timestamp, '')"
    return sheet_of(view, "task_run", _TASK_RUN, latest_change, size=TASK_RUNS_SHOWN, where=where, descending=True)


# --- changes ---


def cancel(form: Form) -> str:
    """Cancel the run."""
    form.change("cancel_flow_run", flow_run_id=_own_run(form)["id"])
    return _home(form)


def restart(form: Form) -> str:
    """Schedule the run again; tasks that did not succeed run again, the results of the others are kept."""
    restart_run(form, _own_run(form)["id"])
    return _home(form)


def restart_run(form: Form, run_id: str) -> None:
    """Schedule the tenant's run *run_id* again, as :func:`restart` does.

    Raises:
        Refused: The Cloud refuses it.
    """
    with form.look() as view:
        rows = view.rows("task_run", fields("id state"), {"flow_run_id": {"_eq": run_id}})
        now = iso(view.now)
    again = [row["id"] for row in rows if row["state"] != "Pending" and "Success" not in ancestors(row["state"])]
    pending = {"type": "Pending", "message": "Restarted from the page."}
    if again:
        form.change("set_task_run_states", states=[{"task_run_id": one, "state": pending} for one in again])
    _set_state(form, run_id, {"type": "Scheduled", "message": "Restarted from the page.", "start_time": now})


def set_state(form: Form) -> str:
    """Set the run's state, with a message."""
    run = _own_run(form)
    kind = form.value("state")
    message = form.value("message") or f"Set to {kind} from the page."
    with form.look() as view:
        start = {"start_time": iso(view.now)} if kind in {"Scheduled", "Paused"} else {}
    _set_state(form, run["id"], {"type": kind, "message": message, **start})
    return _home(form)


def rename(form: Form) -> str:
    """Give the run another name."""
    form.change("set_flow_run_name", flow_run_id=_own_run(form)["id"], name=form.value("name"))
    return _home(form)


def delete(form: Form) -> str:
    """Delete the run and everything it left."""
    form.change("delete_flow_run", flow_run_id=_own_run(form)["id"])
    return form.link("flow-runs")


def _set_state(form: Form, run_id: str, state: Mapping[str, Any]) -> None:
    form.change("set_flow_run_states", states=[{"flow_run_id": run_id, "state": state}])


def _own_run(form: Form) -> Row:
    """The run that the address names, if it is the tenant's.

    Raises:
        NotThere: It is not.
    """
    with form.look() as view:
        run: Row = view.row("flow_run", form.path["run_id"], fields("id state"))
    return run


def _home(form: Form) -> str:
    return form.link("flow-run", form.path["run_id"])


OVERVIEW: Final = Page("/flow-run/{run_id}", "flow_run_overview.html", overview, tab="Flow runs")
SECTION: Final = Section(
    pages=(OVERVIEW, Page("/flow-run/{run_id}/task-runs", "flow_run_task_runs.html", task_runs, tab="Flow runs")),
    actions=(
        Action("/flow-run/{run_id}/cancel", cancel, "cancel_flow_run", OVERVIEW),
        Action("/flow-run/{run_id}/restart", restart, "set_flow_run_states", OVERVIEW),
        Action("/flow-run/{run_id}/set-state", set_state, "set_flow_run_states", OVERVIEW),
        Action("/flow-run/{run_id}/rename", rename, "set_flow_run_name", OVERVIEW),
        Action("/flow-run/{run_id}/delete", delete, "delete_flow_run", OVERVIEW),
    ),
)
