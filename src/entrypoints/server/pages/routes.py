"""Everything that has an address. A further page is one line here, a function that reads, and a template."""

from typing import Final

from starlette.responses import Response
from starlette.routing import BaseRoute

from prefect.agent.entrypoints.server.pages import flow, flow_run, flow_runs, flows, home, logs
from prefect.agent.entrypoints.server.pages.changes import Watch, watch_changes
from prefect.agent.entrypoints.server.pages.site import Action, Page, Site, Stream
from prefect.agent.entrypoints.server.pages.view import fields

TABS: Final = {"Home": "", "Flow runs": "flow-runs", "Flows": "flows"}
"""Entries of the navigation: name and path below the tenant's slug."""

PAGES: Final = [
    Page("", "home.html", home.data, tab="Home"),
    Page("/", "home.html", home.data, tab="Home"),
    Page("/flow-runs", "flow_runs.html", flow_runs.data, tab="Flow runs"),
    Page("/flow-run/{run_id}", "flow_run_overview.html", flow_run.overview, tab="Flow runs"),
    Page("/flow-run/{run_id}/logs", "flow_run_logs.html", logs.data, tab="Flow runs"),
    Page("/flow-run/{run_id}/task-runs", "flow_run_task_runs.html", flow_run.task_runs, tab="Flow runs"),
    Page("/flows", "flows.html", flows.data, tab="Flows"),
    Page("/flow/{flow_id}", "flow.html", flow.data, tab="Flows"),
    flow.RUN_FORM,
]

ACTIONS: Final = [
    Action("/flow-run/{run_id}/cancel", flow_run.cancel),
    Action("/flow-run/{run_id}/restart", flow_run.restart),
    Action("/flow-run/{run_id}/set-state", flow_run.set_state),
    Action("/flow-run/{run_id}/rename", flow_run.rename),
    Action("/flow-run/{run_id}/delete", flow_run.delete),
    Action("/flow/{flow_id}/run", flow.create_run),
]


def _log_events(watch: Watch) -> Response:
    with watch.look() as view:
        query = view.query
    return logs.watch(watch, query)


def _log_download(watch: Watch) -> Response:
    with watch.look() as view:
        run_id = str(view.row("flow_run", view.path["run_id"], fields("id"))["id"])
    return logs.download(watch, run_id)


STREAMS: Final = [
    Stream("/-/changes", watch_changes),
    Stream("/flow-run/{run_id}/logs/events", _log_events),
    Stream("/flow-run/{run_id}/logs/download", _log_download),
]


def routes(site: Site) -> list[BaseRoute]:
    """All routes of *site*."""
    return site.routes(PAGES, ACTIONS, STREAMS)
