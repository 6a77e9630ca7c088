"""What tests of the ports' adapters share."""

from collections.abc import Generator

import pytest

from prefect.agent.adapters.graphql import GraphQLCloudApi
from prefect.agent.adapters.system import SystemClock
from prefect.agent.ports.cloud_api import CloudApi
from support.stub_cloud import Stub


@pytest.fixture
def cloud(stub: Stub) -> Generator[CloudApi]:
    """A client of it."""
    api = GraphQLCloudApi(stub.url, clock=SystemClock())
    yield api
    api.close()
