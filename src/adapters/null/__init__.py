"""No platform at all."""

from prefect.agent.adapters.null.platform import NullPlatform

__all__ = ["NullPlatform"]
