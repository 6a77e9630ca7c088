"""What leaves an agent passes its mask: events, health, the error that ends it."""

import pytest

from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform, ManualClock
from prefect.agent.domain.errors import CloudUnavailable, Unauthorised
from prefect.agent.domain.secrets import MASK
from prefect.agent.entrypoints.library.agent import Agent
from prefect.agent.entrypoints.runtime.exits import AgentExit
from prefect.agent.ports.events import Event

KEY = "pak_SECRET-of-the-agent"
CLUSTER = "token-of-the-cluster"


class Platform(InMemoryPlatform):
    """One that has read a secret of its own."""

    @property
    def secrets(self) -> set[str]:
        """Of its own."""
        return {CLUSTER}

    @property
    def exposures(self) -> list[str]:
        """A sentence that should not say so much."""
        return [f"others can read {CLUSTER}"]


def agent(cloud: InMemoryCloudApi, heard: list[Event]) -> Agent:
    """An agent whose environment has the key."""
    return Agent(
        cloud=cloud,
        platform=Platform(),
        clock=ManualClock(),
        tell=heard.append,
        environ={"PREFECT__CLOUD__API_KEY": f"{KEY}\n", "HTTPS_PROXY": "http://me:proxy%20word@proxy.test"},
        start_patience=0,
    )


@pytest.mark.parametrize("secret", [KEY, CLUSTER, "proxy word", "proxy%20word"])
@pytest.mark.parametrize("problem", [CloudUnavailable, Unauthorised])
def test_the_error_that_ends_the_agent_has_no_secret(
    secret: str, problem: type[CloudUnavailable | Unauthorised]
) -> None:
    """Whatever the Cloud answers: perhaps the very header that it was sent."""
    cloud = InMemoryCloudApi()
    cloud.fail_next("connect", problem(f"the proxy says: {secret} is not accepted"))
    with pytest.raises(AgentExit) as end:
        agent(cloud, []).start()
    assert MASK in str(end.value)
    assert secret not in str(end.value)


def test_events_and_health_have_no_secret() -> None:
    """Event sinks of a person's own too."""
    cloud, heard = InMemoryCloudApi(), list[Event]()
    made = agent(cloud, heard)
    cloud.fail_next("connect", CloudUnavailable(f"{KEY} {CLUSTER}"))
    with pytest.raises(AgentExit):
        made.start()
    made._life.parts.announcer(Event(name="cloud_trouble", message=f"answer: {KEY}", fields={"loop": KEY}))

    [first] = [event for event in heard if event.name == "secret_unprotected"]
    assert first.message == f"others can read {MASK}"
    assert first.level == "WARNING"
    assert heard[-1].message == f"answer: {MASK}"
    assert KEY not in repr(heard)
    assert CLUSTER not in repr(heard)
    assert KEY not in repr(made._life.parts.health.report())
