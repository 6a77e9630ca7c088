"""Everything that has an address, by subject.

A further page is a :class:`~.kinds.Page` in the section of its subject: an address, a function that reads, a template.
"""

from typing import Final

from prefect.agent.entrypoints.server.pages import (
    agents,
    artifacts,
    bulk,
    flow,
    flow_changes,
    flow_run,
    flow_runs,
    flows,
    graph,
    home,
    keys,
    limits,
    logs,
    projects,
    run_form,
    stores,
    tenants,
    timeline,
    versions,
)
from prefect.agent.entrypoints.server.pages.changes import watch_changes
from prefect.agent.entrypoints.server.pages.kinds import Section, Stream

TABS: Final = {"Home": "", "Flow runs": "flow-runs", "Flows": "flows", "Agents": "agents", "Settings": "settings"}
"""Entries of the navigation: name and path below the tenant's slug."""

SECTIONS: Final = (
    home.SECTION,
    flow_runs.SECTION,
    bulk.SECTION,
    flow_run.SECTION,
    logs.SECTION,
    timeline.SECTION,
    graph.SECTION,
    artifacts.SECTION,
    flows.SECTION,
    projects.SECTION,
    flow.SECTION,
    run_form.SECTION,
    versions.SECTION,
    flow_changes.SECTION,
    agents.SECTION,
    limits.SECTION,
    stores.SECTION,
    keys.SECTION,
    tenants.SECTION,
    Section(streams=(Stream("/-/changes", watch_changes),)),
)

PAGES: Final = [page for section in SECTIONS for page in section.pages]
