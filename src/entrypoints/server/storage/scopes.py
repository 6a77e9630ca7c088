"""The scopes of API keys. Every flow run has a runner key, so that key can make neither keys nor code."""

from typing import Final

import attrs

ADMIN: Final = "admin"
RUNNER: Final = "runner"
SCOPES: Final = (ADMIN, RUNNER)

RUNNER_MUTATIONS: Final = frozenset({
    # agents
    "register_agent", "get_runs_in_queue", "set_flow_run_states", "set_task_run_states", "write_run_logs",
    # flow runs
    "get_or_create_task_run", "get_or_create_task_run_info", "update_flow_run_heartbeat", "update_task_run_heartbeat",
    "set_task_run_name", "create_task_run_artifact", "update_task_run_artifact", "delete_task_run_artifact",
    "set_key_value", "delete_key_value",
    # flow runs that start, rename and cancel others
    "create_flow_run", "set_flow_run_name", "cancel_flow_run",
    # the same in the dialect of 0.6
    "getRunsInQueue", "setFlowRunStates", "setTaskRunStates", "writeRunLogs", "writeRunLog", "getOrCreateTaskRun",
    "getOrCreateTaskRunInfo", "updateFlowRunHeartbeat", "updateTaskRunHeartbeat", "createFlowRun", "setFlowRunName",
    "cancelFlowRun",
})  # fmt: skip
"""The mutations of the scope runner; every other one needs an admin key."""

_TABLES: Final = (
    "tenant", "project", "flow_group", "flow", "task", "edge", "agent_config", "agent", "flow_run", "task_run",
    "flow_run_state", "task_run_state", "log", "task_run_artifact", "key_value", "flow_concurrency_limit",
    "task_tag_limit",
)  # fmt: skip

RUNNER_QUERIES: Final = frozenset(
    {"hello", "api", "auth_info", "authInfo", "get_task_run_info", "secret_value"}
    | {f"{table}{kind}" for table in _TABLES for kind in ("", "_by_pk", "_aggregate")}
)
"""The queries of the scope runner; every other one needs an admin key. A secret is read by its name, without a list."""


@attrs.frozen
class Caller:
    """Who sent a request.

    Attributes:
        scope: The scope of the key; admin if no key is needed.
        key_id: The id of the key, which keys made through it refer to; None without a key.
        expires_at: When the key expires, as it is stored.
    """

    scope: str = ADMIN
    key_id: str | None = None
    expires_at: str | None = None

    def may(self, operation: str) -> bool:
        """Return whether the caller may use this root field."""
        return self.scope == ADMIN or operation in RUNNER_MUTATIONS or operation in RUNNER_QUERIES


ANYONE: Final = Caller()
"""The caller of a Cloud that is not locked."""
