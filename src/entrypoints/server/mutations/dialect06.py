"""The dialect of clients 0.6 to 0.9: the same mutations in camelCase (protocol sections 0.2 and 12.1).

This module contains no rules. Each old mutation calls a present one: its inputs are renamed, and its payload is
reshaped where the old shape was different. States and flows inside JSON are snake_case in all versions and stay as
they are.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from prefect.agent.entrypoints.server.mutations.registry import (
    INPUTS,
    MUTATIONS,
    SUCCESS,
    Given,
    Mutation,
    Payload,
    Request,
)
from prefect.agent.entrypoints.server.storage.scopes import RUNNER

TYPES: Final = """
type authInfo { tenantId: UUID userId: UUID apiTokenScope: String }
type created_flow_run { id: UUID name: String version: Int state: String serialized_state: JSON flow_id: UUID }
type found_task { id: UUID slug: String name: String }
type found_task_run { id: UUID version: Int map_index: Int state: String serialized_state: JSON task: found_task }
"""

SAME: Final = (
    "archive_flow", "cancel_flow_run", "create_flow", "create_flow_from_compressed_string", "create_project",
    "create_tenant", "delete_flow", "delete_flow_run", "delete_project", "get_runs_in_queue",
    "get_or_create_task_run_info", "set_flow_run_name", "set_flow_run_states", "set_schedule_active",
    "set_schedule_inactive", "set_secret", "set_task_run_states", "update_flow_run_heartbeat",
    "update_task_run_heartbeat", "update_task_tag_limit", "delete_task_tag_limit", "write_run_logs",
)  # fmt: skip
"""Mutations of which only the spelling has changed."""

_SPECIAL_TYPE: Final = re.compile(r"\w+_input\b")
_FIELD: Final = re.compile(r"(\w+):")


@attrs.frozen
class _Renamed:
    """A present mutation under its old spelling."""

    now: Mutation
    spelling: Mapping[str, str]

    def __call__(self, request: Request, given: Given) -> Payload:
        """Rename the inputs and execute the present mutation."""
        return self.now.run(request, _translate(given, self.spelling))


def camel(name: str) -> str:
    """Return a name in camelCase: ``flowRunId`` for ``flow_run_id``."""
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


def register() -> None:
    """Register the old mutations. Repeating it changes nothing."""
    for name in SAME:
        now = MUTATIONS[name]
        _add(camel(name), _fields(now.takes), now.gives, _renamed(now))
    runs, tasks = MUTATIONS["create_flow_run"], MUTATIONS["get_or_create_task_run"]
    _add("createFlowRun", _fields(runs.takes), "id: UUID, flow_run: created_flow_run", _create_flow_run)
    _add("getOrCreateTaskRun", _fields(tasks.takes), "id: UUID, task_run: found_task_run", _get_or_create_task_run)
    _add("writeRunLog", _fields(INPUTS["run_log_input"]), SUCCESS, _write_run_log)
    _add("createAPIToken", "name: String!, role: String, scope: String", "id: UUID, token: String", _create_token)
    _add("deleteAPIToken", "tokenId: UUID!", SUCCESS, _delete_token)


def auth_info(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of ``authInfo`` for that of ``auth_info``."""
    return {camel(name): value for name, value in found.items()}


def _add(name: str, takes: str, gives: str, run: Any) -> None:
    MUTATIONS[name] = Mutation(name=name, takes=takes, gives=gives, run=run, input_type=f"{name}Input")


def _renamed(now: Mutation) -> _Renamed:
    return _Renamed(now, _spelling(now.takes))


def _spelling(takes: str) -> dict[str, str]:
    """Return the present spelling for the old one of all fields of an input type, nested types included."""
    nested = "".join(f", {INPUTS[kind]}" for kind in _SPECIAL_TYPE.findall(takes))
    return {camel(name): name for name in _FIELD.findall(takes + nested)}


def _fields(takes: str) -> str:
    """Return the fields of an input type in the old spelling; register nested types in it, too."""
    for kind in _SPECIAL_TYPE.findall(takes):
        INPUTS[camel(kind)] = _fields(INPUTS[kind])
    old = _FIELD.sub(lambda match: f"{camel(match[1])}:", takes)
    return _SPECIAL_TYPE.sub(lambda match: camel(match[0]), old)


def _translate(given: Given, spelling: Mapping[str, str]) -> dict[str, Any]:
    """Return inputs in the present spelling: fields of input types are renamed, keys inside JSON are not."""
    return {spelling[name]: _entries(spelling[name], value, spelling) for name, value in given.items()}


def _entries(name: str, value: Any, spelling: Mapping[str, str]) -> Any:
    if name in {"states", "logs"} and isinstance(value, list):
        return [_translate(entry, spelling) for entry in value]
    return value


def _create_flow_run(request: Request, given: Given) -> Payload:
    made = _renamed(MUTATIONS["create_flow_run"])(request, given)
    return {"id": made["id"], "flow_run": request.get("flow_run", made["id"])}


def _get_or_create_task_run(request: Request, given: Given) -> Payload:
    found = _renamed(MUTATIONS["get_or_create_task_run"])(request, given)
    row = request.get("task_run", found["id"])
    return {"id": row["id"], "task_run": {**row, "task": request.get("task", row["task_id"])}}


def _write_run_log(request: Request, given: Given) -> Payload:
    log = _translate(given, _spelling(INPUTS["run_log_input"]))
    return MUTATIONS["write_run_logs"].run(request, {"logs": [log]})


def _create_token(request: Request, given: Given) -> Payload:
    scope = RUNNER if given.get("role") == "RUNNER" or given.get("scope") == "RUNNER" else None
    made = MUTATIONS["create_api_key"].run(request, {"name": given["name"], "scope": scope})
    return {"id": made["id"], "token": made["key"]}


def _delete_token(request: Request, given: Given) -> Payload:
    return MUTATIONS["delete_api_key"].run(request, {"key_id": given["tokenId"]})
