"""The GraphQL documents that are sent (protocol sections 2 to 5); ids and times are literals, as in official ones."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from prefect.agent.domain.model.states import SCHEDULED_TYPES
from prefect.agent.domain.times import iso

RETRY_SLACK: Final = timedelta(seconds=3)
"""A running flow process gets this head start for retrying its own tasks (protocol section 3.3)."""

WAITING: Final = tuple(sorted(SCHEDULED_TYPES))
"""State types of task runs that wait to be started."""

_ROW: Final = """id version state serialized_state parameters scheduled_start_time run_config name
        flow { id name environment storage version core_version }"""
_TASK_RUN: Final = "id version task_id state serialized_state"

TENANT_OF_KEY: Final = "query { auth_info { tenant_id } }"
TENANTS: Final = "query { tenant(order_by: { created: asc }) { id name slug } }"
REGISTER: Final = "mutation($input: register_agent_input!) { register_agent(input: $input) { id } }"
QUEUE: Final = "mutation($input: get_runs_in_queue_input!) { get_runs_in_queue(input: $input) { flow_run_ids } }"
WRITE_LOGS: Final = "mutation($input: write_run_logs_input!) { write_run_logs(input: $input) { success } }"
SET_FLOW_RUN: Final = "set_flow_run_states"
SET_TASK_RUN: Final = "set_task_run_states"


def ready(ids: Collection[str], now: datetime) -> str:
    """Flow runs of the queue that can be started now: Scheduled ones, and Running ones with due task runs."""
    waiting = f"state_start_time: {{ _lte: {_text(iso(now - RETRY_SLACK))} }}, state: {{ _in: {_words(WAITING)} }}"
    return f"""query {{
    flow_run(where: {{ id: {{ _in: {_words(ids)} }}, _or: [
        {{ state: {{ _eq: "Scheduled" }} }},
        {{ state: {{ _eq: "Running" }}, task_runs: {{ {waiting} }} }}
    ] }}) {{
        {_ROW}
        task_runs(where: {{ {waiting} }}) {{ {_TASK_RUN} }}
    }}
}}"""


def flow_runs(ids: Collection[str]) -> str:
    """Flow runs as they are now, with the task runs that wait, due or not, or are claimed."""
    return f"""query {{
    flow_run(where: {{ id: {{ _in: {_words(ids)} }} }}) {{
        {_ROW}
        task_runs(where: {{ state: {{ _in: {_words((*WAITING, "Submitted"))} }} }}) {{ {_TASK_RUN} }}
    }}
}}"""


def submitted(tenant_id: str | None, after: str, limit: int) -> str:
    """One page of the flow runs that are claimed, or have claimed task runs, by id."""
    tenant = f"tenant_id: {{ _eq: {_text(tenant_id)} }}, " if tenant_id else ""
    page = f"id: {{ _gt: {_text(after)} }}, " if after else ""
    claimed = 'state: { _eq: "Submitted" }'
    return f"""query {{
    flow_run(where: {{ {tenant}{page}_or: [
        {{ {claimed} }},
        {{ state: {{ _eq: "Running" }}, task_runs: {{ {claimed} }} }}
    ] }}, order_by: {{ id: asc }}, limit: {limit}) {{
        {_ROW}
        task_runs(where: {{ {claimed} }}) {{ {_TASK_RUN} }}
    }}
}}"""


def cancelled(ids: Collection[str]) -> str:
    """Those of the flow runs that are cancelled or being cancelled."""
    return f"""query {{
    flow_run(where: {{ id: {{ _in: {_words(ids)} }}, state: {{ _in: ["Cancelling", "Cancelled"] }} }}) {{
        {_ROW}
    }}
}}"""


def state_of(run_id: str) -> str:
    """The state of one flow run."""
    return f"query {{ flow_run_by_pk(id: {_text(run_id)}) {{ state }} }}"


def updates(entries: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[str, dict[str, Any]]:
    """One mutation with an aliased root field per update, so that each has an outcome of its own (section 4.2).

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
    """Key of the outcome of one of :func:`updates`."""
    return f"c{number}"


def _text(value: str) -> str:
    return json.dumps(value)


def _words(values: Collection[str]) -> str:
    return f"[{', '.join(_text(value) for value in values)}]"
