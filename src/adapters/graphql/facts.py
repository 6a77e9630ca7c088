"""Facts about one flow run, for explanations."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from prefect.agent.adapters.graphql import documents
from prefect.agent.adapters.graphql.records import items, mapping, moment, number, text
from prefect.agent.adapters.graphql.transport import Transport
from prefect.agent.adapters.graphql.wire import read_flow_run
from prefect.agent.adapters.phases import hold_of, named_state
from prefect.agent.domain.model.explaining import FORGOTTEN, Hold, Reference, RunFacts, SeenAgent
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.waiting import machine_label


def read_facts(transport: Transport, only_tenant: str | None, reference: Reference) -> RunFacts | None:
    """Return the facts that the tables hold about one flow run; None if it does not exist.

    Raises:
        CloudError: As the port says.
    """
    now = transport.now()
    document, variables = documents.facts(only_tenant, reference.run_id, reference.name, now - FORGOTTEN)
    data = transport.ask(document, variables or None)
    row = next(iter(items(data.get("flow_run"))), None)
    run = read_flow_run(row, now)
    if run is None or not isinstance(row, Mapping):
        return None
    labels, about = _labels(row), mapping(row.get("about"))
    hold = hold_of(run.state.name)
    return RunFacts(
        id=run.id,
        name=run.name or run.id,
        flow=run.flow.name,
        flow_version=number(about.get("version")),
        flow_is_archived=about.get("archived") is True,
        state=run.state,
        hold=hold,
        since=moment(row.get("state_timestamp")),
        labels=labels,
        machine_label=machine_label(run.flow.storage.type, labels),
        claim=run.claim,
        limited=_holders(transport, only_tenant, labels) if hold is Hold.LIMIT else (),
        agents=tuple(_agent(mapping(each)) for each in items(data.get("agent"))),
        at=now,
        skew=timedelta(seconds=transport.skew),
        schedule_is_off=_has_schedule(about) and about.get("is_schedule_active") is False,
        retries=_retries(row) if run.state.is_running else (),
        namesakes=tuple(found for found in _ids(data.get("namesakes")) if found != run.id),
    )


def _ids(rows: object) -> list[FlowRunId]:
    return [FlowRunId(text(mapping(row).get("id"))) for row in items(rows)]


def _has_schedule(flow: Mapping[str, object]) -> bool:
    return bool(flow.get("schedule") or mapping(flow.get("flow_group")).get("schedule"))


def _retries(row: Mapping[str, object]) -> tuple[datetime, ...]:
    """Return when the waiting task runs are due, soonest first."""
    waiting = [mapping(each) for each in items(row.get("task_runs"))]
    waiting = [each for each in waiting if named_state(text(each.get("state"))).is_waiting]
    times = (moment(mapping(each.get("serialized_state")).get("start_time")) for each in waiting)
    return tuple(sorted(time for time in times if time is not None))


def _holders(transport: Transport, only_tenant: str | None, labels: frozenset[str]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for label in sorted(labels):
        rows = items(transport.ask(*documents.holders(only_tenant, label)).get("flow_run"))
        names |= dict.fromkeys(text(mapping(row).get("name")) or text(mapping(row).get("id")) for row in rows)
    return tuple(names)


def _agent(row: Mapping[str, object]) -> SeenAgent:
    return SeenAgent(
        name=text(row.get("name")) or "agent",
        kind=text(row.get("type")),
        labels=_labels(row),
        last_seen=moment(row.get("last_queried")),
    )


def _labels(row: Mapping[str, object]) -> frozenset[str]:
    return frozenset(label for label in items(row.get("labels")) if isinstance(label, str))
