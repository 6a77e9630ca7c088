"""This machine."""

from prefect.agent.adapters.system.clock import SystemClock

__all__ = ["SystemClock"]
