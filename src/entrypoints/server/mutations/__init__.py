"""Everything that can be changed (protocol section 12.1). Importing this package registers all mutations."""

from prefect.agent.entrypoints.server.mutation import INPUTS, MUTATIONS
from prefect.agent.entrypoints.server.mutations import agents, flows, projects, runs, states, tasks

__all__ = ["INPUTS", "MUTATIONS", "agents", "flows", "projects", "runs", "states", "tasks"]
