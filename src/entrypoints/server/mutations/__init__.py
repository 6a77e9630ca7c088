"""The mutations of the API (protocol section 12.1). Importing this package registers all of them."""

from prefect.agent.entrypoints.server.mutations import (
    agent_configs,
    agents,
    dialect06,
    flow_groups,
    flows,
    keys,
    limits,
    projects,
    runs,
    schedules,
    states,
    tasks,
)
from prefect.agent.entrypoints.server.mutations.registry import INPUTS, MUTATIONS

__all__ = [
    "INPUTS",
    "MUTATIONS",
    "agent_configs",
    "agents",
    "flow_groups",
    "flows",
    "keys",
    "limits",
    "projects",
    "runs",
    "schedules",
    "states",
    "tasks",
]

dialect06.register()
