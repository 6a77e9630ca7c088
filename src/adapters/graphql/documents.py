"""The GraphQL documents that are sent. Ids and times are literals, as official agents write them."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from prefect.agent.domain.model.orders import FlowReference
from prefect.agent.domain.state_names import SCHEDULED
from prefect.agent.domain.times import iso

RETRY_SLACK: Final = timedelta(seconds=3)
"""A running flow process gets this head start for retrying its own tasks."""

SHOWN_NAMESAKES: Final = 5
"""How many earlier runs of a name are asked for."""

WAITING: Final = tuple(sorted(SCHEDULED))
"""State types of task runs that wait to be started."""

_ROW: Final = """id version state serialized_state scheduled_start_time run_config name
        flow { id name environment storage version core_version }"""
PARAMETERS: Final = " parameters"
_TASK_RUN: Final = "id version task_id state state_timestamp serialized_state"

# The latest claim of a run is in its history, or in that of one of its task runs.
_CLAIMS: Final = """claims: states(
            where: { state: { _in: ["Submitted", "Scheduled"] } }, order_by: { version: desc }, limit: 1
        ) { state version timestamp serialized_state }
        claimed: task_runs(where: { states: { state: { _eq: "Submitted" } } }) {
            claims: states(where: { state: { _eq: "Submitted" } }, order_by: { version: desc }, limit: 1) {
                timestamp serialized_state
            }
        }"""

NOTHING: Final = "query { __typename }"
"""Asks a Cloud for nothing but an answer."""

TENANT_OF_KEY: Final = "query { auth_info { tenant_id } }"
TENANTS: Final = "query { tenant(order_by: { created: asc }) { id name slug } }"
REGISTER: Final = "mutation($input: register_agent_input!) { register_agent(input: $input) { id } }"
QUEUE: Final = "mutation($input: get_runs_in_queue_input!) { get_runs_in_queue(input: $input) { flow_run_ids } }"
CREATE_FLOW_RUN: Final = "mutation($input: create_flow_run_input!) { create_flow_run(input: $input) { id } }"
WRITE_LOGS: Final = "mutation($input: write_run_logs_input!) { write_run_logs(input: $input) { success } }"
SET_FLOW_RUN: Final = "set_flow_run_states"
SET_TASK_RUN: Final = "set_task_run_states"


def ready(ids: Collection[str], now: datetime, *, parameters: bool = False) -> str:
    """Return the query for flow runs of the queue that can be started now: Scheduled, or Running with due task runs."""
    waiting = _due_tasks(now)
    return f"""query {{
    flow_run(where: {{ id: {{ _in: {_words(ids)} }}, _or: [
        {{ state: {{ _eq: "Scheduled" }} }},
        {{ state: {{ _eq: "Running" }}, task_runs: {{ {waiting} }} }}
    ] }}) {{
        {_ROW}{PARAMETERS if parameters else ""}
        task_runs(where: {{ {waiting} }}) {{ {_TASK_RUN} }}
    }}
}}"""


def flow_runs(ids: Collection[str], *, parameters: bool = False) -> str:
    """Return the query for flow runs as they are now, with latest claim and the task runs that wait or are claimed."""
    return f"""query {{
    flow_run(where: {{ id: {{ _in: {_words(ids)} }} }}) {{
        {_ROW}{PARAMETERS if parameters else ""}
        task_runs(where: {{ state: {{ _in: {_words((*WAITING, "Submitted"))} }} }}) {{ {_TASK_RUN} }}
        {_CLAIMS}
    }}
}}"""


def facts(tenant_id: str | None, run_id: str | None, name: str, seen_since: datetime) -> tuple[str, dict[str, str]]:
    """Return the query for one flow run, by id or the latest of that name, and the agents that were seen lately.

    By name it also asks for the ids of the latest runs of that name.
    """
    which = f"id: {{ _eq: {_text(run_id)} }}" if run_id else "name: { _eq: $name }"
    alike = "" if run_id else f"namesakes: {_runs(tenant_id, which, SHOWN_NAMESAKES + 1)} {{ id }}"
    document = f"""query{"" if run_id else "($name: String!)"} {{
    {_runs(tenant_id, which, 1)} {{
        {_ROW} state_message state_timestamp labels
        about: flow {{ version archived is_schedule_active schedule flow_group {{ schedule }} }}
        task_runs(where: {{ state: {{ _in: {_words((*WAITING, "Submitted"))} }} }}) {{ {_TASK_RUN} }}
        {_CLAIMS}
    }}
    {alike}
    agent(where: {{ {_tenant(tenant_id)}last_queried: {{ _gte: {_text(iso(seen_since))} }} }}, limit: 200) {{
        name type labels last_queried
    }}
}}"""
    return document, {} if run_id else {"name": name}


def _runs(tenant_id: str | None, which: str, limit: int) -> str:
    """The latest flow runs, without what is asked of them."""
    return f"flow_run(where: {{ {_tenant(tenant_id)}{which} }}, order_by: {{ created: desc }}, limit: {limit})"


def flows(tenant_id: str | None, limit: int) -> str:
    """Return the query for the latest flows that are not archived, with what decides how their runs are made."""
    return f"""query {{
    flow(where: {{ {_tenant(tenant_id)}archived: {{ _eq: false }} }}, order_by: {{ created: desc }}, limit: {limit}) {{
        id name version core_version environment storage run_config flow_group {{ labels run_config }}
    }}
}}"""


def flows_of(tenant_id: str | None, reference: FlowReference) -> tuple[str, dict[str, str]]:
    """The flow of that id, or those of that name that are not archived, latest first; with the document's variables."""
    which = f"id: {{ _eq: {_text(reference.flow_id)} }}" if reference.flow_id else ""
    variables = {} if reference.flow_id else {"name": reference.name}
    if not reference.flow_id:
        which = "archived: { _eq: false }, name: { _eq: $name }"
    if reference.project:
        which, variables = (
            f"{which}, project: {{ name: {{ _eq: $project }} }}",
            variables | {"project": reference.project},
        )
    declared = ", ".join(f"${name}: String!" for name in variables)
    document = f"""query{f"({declared})" if declared else ""} {{
    flow(where: {{ {_tenant(tenant_id)}{which} }}, order_by: {{ version: desc }}, limit: 200) {{
        id name version core_version environment storage run_config parameters project {{ name }}
        flow_group {{ labels run_config }}
    }}
}}"""
    return document, variables


def names(tenant_id: str | None, limit: int) -> str:
    """Return the query for the names of the latest flows that are not archived, and of the latest flow runs."""
    return f"""query {{
    flow(where: {{ {_tenant(tenant_id)}archived: {{ _eq: false }} }}, order_by: {{ created: desc }}, limit: {limit}) {{
        name project {{ name }}
    }}
    {_runs(tenant_id, "", limit)} {{ name }}
}}"""


def story(run_id: str, version: int, since: datetime | None, offset: int, limit: int) -> str:
    """The states of a run after *version*, and one page of its log from *since* on, oldest first."""
    where = f"where: {{ timestamp: {{ _gte: {_text(iso(since))} }} }}, " if since else ""
    return f"""query {{
    flow_run(where: {{ id: {{ _eq: {_text(run_id)} }} }}) {{
        id state state_message
        states(where: {{ version: {{ _gt: {version} }} }}, order_by: {{ version: asc }}) {{
            version timestamp state message
        }}
        logs({where}order_by: {{ timestamp: asc }}, limit: {limit}, offset: {offset}) {{
            id timestamp name level message
        }}
    }}
}}"""


def holders(tenant_id: str | None, label: str) -> tuple[str, dict[str, Any]]:
    """Return the query for the names of the flow runs that take a place of *label*."""
    document = f"""query($label: jsonb!) {{
    flow_run(where: {{
        {_tenant(tenant_id)}labels: {{ _contains: $label }}, state: {{ _in: ["Submitted", "Running", "Cancelling"] }}
    }}, order_by: {{ state_timestamp: asc }}, limit: 20) {{ id name }}
}}"""
    return document, {"label": [label]}


def claimed(
    tenant_id: str | None, after: str, limit: int, changed_since: datetime | None = None, *, due: str = ""
) -> str:
    """Return the query for one page, by id, of flow runs that may be claimed, without what is needed to start them.

    Args:
        changed_since: Those that changed then or later, whatever their state; None for all that are not over.
        due: :func:`any_due`, to be answered along.
    """
    tenant = _tenant(tenant_id)
    page = f"id: {{ _gt: {_text(after)} }}, " if after else ""
    return f"""query {{
    flow_run(where: {{ {tenant}{page}{_maybe_claimed(changed_since)} }}, order_by: {{ id: asc }}, limit: {limit}) {{
        id version state state_timestamp name
        task_runs(where: {{ state: {{ _in: {_words((*WAITING, "Submitted"))} }} }}) {{ {_TASK_RUN} }}
        {_CLAIMS}
    }}{due}
}}"""


def any_due(tenant_id: str | None, before: datetime, now: datetime) -> str:
    """Return a field ``due`` for :func:`claimed`: one flow run that can be started, whatever its labels."""
    where = f"{_tenant(tenant_id)}{_can_start(before, now)}"
    return f"\n    due: flow_run(where: {{ {where} }}, limit: 1) {{ id }}"


def claimed_ids(tenant_id: str | None, after: str, changed_since: datetime | None = None) -> str:
    """Return the query for the id of the first row of :func:`claimed`."""
    tenant = _tenant(tenant_id)
    page = f"id: {{ _gt: {_text(after)} }}, " if after else ""
    where = f"{tenant}{page}{_maybe_claimed(changed_since)}"
    return f"query {{ flow_run(where: {{ {where} }}, order_by: {{ id: asc }}, limit: 1) {{ id }} }}"


def due(
    tenant_id: str | None,
    before: datetime,
    now: datetime,
    skip: Collection[str],
    *,
    limit: int,
    labels: Collection[str] | None = None,
) -> tuple[str, dict[str, Any] | None]:
    """Return the query for ids and labels of runs that can be started, oldest first, and its variables.

    Args:
        labels: Only runs whose labels are all among these; None for all.
    """
    fitting = "labels: { _contained_in: $labels }, " if labels is not None else ""
    declared = "($labels: jsonb!)" if labels is not None else ""
    document = f"""query{declared} {{
    flow_run(where: {{
        {_tenant(tenant_id)}{fitting}id: {{ _nin: {_words(sorted(skip))} }}, {_can_start(before, now)}
    }}, order_by: {{ state_start_time: asc }}, limit: {limit}) {{ id labels }}
}}"""
    return document, None if labels is None else {"labels": sorted(labels)}


def updates(entries: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[str, dict[str, Any]]:
    """Return one mutation with an aliased root field for each update, so that each has its own outcome.

    Args:
        entries: Name of the mutation, and the one entry of its ``states``.
    """
    declared, fields, variables = [], [], {}
    for number, (mutation, entry) in enumerate(entries):
        declared.append(f"$i{number}: {mutation}_input!")
        fields.append(f"    {alias(number)}: {mutation}(input: $i{number}) {{ states {{ id status message }} }}")
        variables[f"i{number}"] = {"states": [entry]}
    return f"mutation({', '.join(declared)}) {{\n" + "\n".join(fields) + "\n}", variables


def alias(number: int) -> str:
    """Return the key of one outcome of :func:`updates`."""
    return f"c{number}"


def _tenant(tenant_id: str | None) -> str:
    return f"tenant_id: {{ _eq: {_text(tenant_id)} }}, " if tenant_id else ""


def _can_start(before: datetime, now: datetime) -> str:
    return f"""_or: [
        {{ state: {{ _eq: "Scheduled" }}, state_start_time: {{ _lte: {_text(iso(before))} }} }},
        {{ state: {{ _eq: "Running" }}, task_runs: {{ {_due_tasks(now)} }} }}
    ]"""


def _due_tasks(now: datetime) -> str:
    return f"state_start_time: {{ _lte: {_text(iso(now - RETRY_SLACK))} }}, state: {{ _in: {_words(WAITING)} }}"


def _maybe_claimed(changed_since: datetime | None) -> str:
    if changed_since is None:
        return 'state: { _in: ["Submitted", "Running", "Cancelling"] }'
    changed = f"state_timestamp: {{ _gte: {_text(iso(changed_since))} }}"
    claimed = f'state: {{ _eq: "Running" }}, task_runs: {{ state: {{ _eq: "Submitted" }}, {changed} }}'
    return f"_or: [{{ {changed} }}, {{ {claimed} }}]"


def _text(value: str) -> str:
    return json.dumps(value)


def _words(values: Collection[str]) -> str:
    return f"[{', '.join(_text(value) for value in values)}]"
