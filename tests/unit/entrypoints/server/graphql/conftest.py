"""What tests of the embedded Cloud's GraphQL share."""

import pytest

from support.embedded import Embedded


@pytest.fixture
def flow(cloud: Embedded) -> str:
    """A flow with two tasks."""
    return cloud.flow(cloud.project(), tasks=2)


@pytest.fixture
def run(cloud: Embedded, flow: str) -> str:
    """A run of it, due now."""
    return cloud.run(flow)
