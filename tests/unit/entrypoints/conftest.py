"""Agents' engines for the tests of this folder."""

from collections.abc import Generator

import pytest

from support.lab import Lab


@pytest.fixture
def lab() -> Generator[Lab]:
    """A lab whose agents are stopped in the end."""
    lab = Lab()
    yield lab
    for agent in lab.agents:
        if agent.thread is not None and agent.thread.is_alive():
            agent.stop()
