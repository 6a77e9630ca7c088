"""Processes of this machine."""

from prefect.agent.adapters.process.platform import ProcessPlatform, factory

__all__ = ["ProcessPlatform", "factory"]
