"""The clock and the processes of this machine."""

from prefect.agent.adapters.system.clock import SystemClock
from prefect.agent.adapters.system.presence import SystemPresence

__all__ = ["SystemClock", "SystemPresence"]
