"""The platform of agents that have none."""

from prefect.agent.adapters.null.platform import NullPlatform

__all__ = ["NullPlatform"]
