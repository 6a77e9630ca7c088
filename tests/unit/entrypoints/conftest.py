"""Agents' engines for the tests of this folder."""

from collections.abc import Generator

import pytest

from support.agent_harness import AgentHarness


@pytest.fixture
def harness() -> Generator[AgentHarness]:
    """A harness whose agents are stopped in the end."""
    harness = AgentHarness()
    yield harness
    for agent in harness.agents:
        if agent.thread is not None and agent.thread.is_alive():
            agent.stop()
