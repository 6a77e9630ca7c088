"""What tests with a Docker engine share."""

from collections.abc import Iterator

import pytest
from docker import APIClient
from docker.utils import kwargs_from_env

from support.docker_harness import DockerHarness


@pytest.fixture
def harness(small_image: str) -> Iterator[DockerHarness]:
    """The engine, with units and other things of one test, which are removed in the end."""
    harness = DockerHarness(APIClient(version="auto", **kwargs_from_env()), small_image)
    yield harness
    harness.clean()
