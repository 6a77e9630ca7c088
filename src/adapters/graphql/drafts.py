"""Drafts are flow runs as they would be created now, one for each flow; and what flows and runs are called."""

from collections.abc import Collection, Mapping
from typing import Final

from prefect.agent.adapters.graphql import documents
from prefect.agent.adapters.graphql.records import Json, items, mapping, number, text
from prefect.agent.adapters.graphql.transport import Transport
from prefect.agent.adapters.graphql.wire import read_flow_run
from prefect.agent.domain.labels import labels_match
from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.known_names import KnownNames
from prefect.agent.domain.model.orders import FlowDraft, FlowReference

DRAFT: Final = "00000000-0000-4000-8000-000000000000"
"""Id of a run that is none."""


def read_drafts(transport: Transport, only_tenant: str | None, labels: Collection[str], limit: int) -> list[FlowRun]:
    """Return one run of each flow whose runs go to agents with *labels*.

    Raises:
        CloudError: As the port says.
    """
    rows = items(transport.ask(documents.flows(only_tenant, limit)).get("flow"))
    offered = [mapping(row) for row in rows if labels_match(_labels(mapping(row)), labels)]
    drafts = [read_flow_run(_row(flow), transport.now()) for flow in offered]
    return [draft for draft in drafts if draft is not None]


def read_flow_drafts(transport: Transport, only_tenant: str | None, reference: FlowReference) -> list[FlowDraft]:
    """The flow of that id or name, in its latest version: one draft for each project.

    Raises:
        CloudError: As the port says.
    """
    document, variables = documents.flows_of(only_tenant, reference)
    found: dict[str, FlowDraft] = {}
    for row in map(mapping, items(transport.ask(document, variables or None).get("flow"))):
        run, project = read_flow_run(_row(row), transport.now()), text(mapping(row.get("project")).get("name"))
        if run is not None and run.flow.id:
            version = number(row.get("version"))
            found.setdefault(project, FlowDraft(run=run, project=project, version=version, parameters=_parameters(row)))
    return list(found.values())


def read_names(transport: Transport, only_tenant: str | None, limit: int) -> KnownNames:
    """Return what the latest flows and runs are called.

    Raises:
        CloudError: As the port says.
    """
    found = transport.ask(documents.names(only_tenant, limit))
    flows = (
        FlowReference(name=text(row.get("name")), project=text(mapping(row.get("project")).get("name")))
        for row in map(mapping, items(found.get("flow")))
    )
    runs = (text(mapping(row).get("name")) for row in items(found.get("flow_run")))
    return KnownNames(flows=[flow for flow in flows if flow.name], runs=[name for name in runs if name])


def _parameters(flow: Json) -> frozenset[str] | None:
    """Return the names of the flow's parameters; None if not all of them are known."""
    names = [mapping(each).get("name") for each in items(flow.get("parameters"))]
    known = frozenset(name for name in names if isinstance(name, str))
    return known if _is_list(flow.get("parameters")) and len(known) == len(names) else None


def _row(flow: Json) -> dict[str, object]:
    """Return the row of a waiting run as 1.x makes it: with the flow group's run config, else the flow's own."""
    config = mapping(flow.get("flow_group")).get("run_config") or flow.get("run_config")
    return {"id": DRAFT, "name": "draft", "version": 1, "state": "Scheduled", "run_config": config, "flow": flow}


def _labels(flow: Json) -> frozenset[str]:
    """Return the labels that a run of the flow gets: those of the flow group, else those registered with the flow.

    An empty list counts: it means no labels.
    """
    group = mapping(flow.get("flow_group"))
    places = (group, group.get("run_config"), flow.get("run_config"), flow.get("environment"))
    listed = (place["labels"] for place in places if isinstance(place, Mapping) and _is_list(place.get("labels")))
    return frozenset(label for label in items(next(listed, [])) if isinstance(label, str))


def _is_list(value: object) -> bool:
    return isinstance(value, list)
