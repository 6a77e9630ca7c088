"""Everything that can be changed (protocol section 12.1). Importing this package registers all mutations."""

from prefect.agent.entrypoints.server.mutations import agents, flows, projects, runs, states, tasks

__all__ = ["agents", "flows", "projects", "runs", "states", "tasks"]
