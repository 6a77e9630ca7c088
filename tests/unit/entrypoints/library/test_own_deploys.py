"""Agents whose subclass starts flow runs in a way of its own: what may be started again, and what absence means."""

from typing import Any

import pytest

from prefect.agent import Agent
from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform
from prefect.agent.entrypoints.library.compatibility import FlowRunRow

NOWHERE = {"HOME": "/nonexistent"}


class Deploying(Agent):
    """Starts flow runs by code of its own."""

    def deploy_flow(self, flow_run: FlowRunRow) -> str:
        """Somewhere."""
        return "somewhere"


class Repeatable(Deploying):
    """As before; starting a flow run twice starts it once."""

    recovers = True


class Careful(Agent):
    """A platform's own way, and no second start."""

    recovers = False


@pytest.mark.parametrize(
    ("kind", "recovers"), [(Agent, True), (Deploying, False), (Repeatable, True), (Careful, False)]
)
def test_a_class_says_whether_its_claims_are_deployed_again(kind: type[Agent], recovers: bool) -> None:
    """By default only if the platform itself refuses a second unit."""
    agent = kind(cloud=InMemoryCloudApi(), platform=InMemoryPlatform(), environ=NOWHERE)

    assert agent._life.parts.recover_claims.recovers is recovers


@pytest.mark.parametrize(
    ("kind", "ports", "judges"),
    [
        (Deploying, {}, False),
        (Repeatable, {}, False),
        (Repeatable, {"platform": InMemoryPlatform()}, True),
        (Agent, {"platform": InMemoryPlatform()}, True),
    ],
)
def test_only_a_platform_shows_that_a_unit_is_absent(kind: type[Agent], ports: dict[str, Any], judges: bool) -> None:
    """Without one a Running run has no unit. Before, a class with ``recovers = True`` made such runs Failed."""
    parts = kind(cloud=InMemoryCloudApi(), environ=NOWHERE, **ports)._life.parts

    assert parts.loops.sweep.sweep.judges_absence is judges
    assert parts.platform.traits.has_units is bool(ports)


def test_an_agent_without_a_platform_has_none_of_a_test() -> None:
    """Its place is the same after a restart."""
    places = {
        Deploying(cloud=InMemoryCloudApi(), name="ann", environ=NOWHERE)._life.parts.platform.identity for _ in "ab"
    }

    [place] = places
    assert place.startswith("none:")
    assert place.endswith(":ann")
