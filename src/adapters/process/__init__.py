"""The platform that runs flows as processes of this machine."""

from prefect.agent.adapters.process.platform import ProcessPlatform, factory

__all__ = ["ProcessPlatform", "factory"]
