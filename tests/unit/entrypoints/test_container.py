"""The composition root: what is replaced, what is refused, and that everything fits together."""

import pytest
from dependency_injector.providers import Factory

from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform
from prefect.agent.adapters.system.clock import SystemClock
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.flow_runs import Claimed, FlowRun
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.services.submission import OwnDeploy
from prefect.agent.entrypoints.container import Container, build
from prefect.agent.entrypoints.factories import Options, platform_factory, platform_names
from prefect.agent.entrypoints.settings.configuration import CloudLogin
from support.builders import HandClock, Heard, a_record, a_run

CONNECTION = CloudLogin(api="http://127.0.0.1:9", backend="server")


def test_ports_can_be_replaced() -> None:
    """Cloud, platform, clock and event sink: an object of one's own in place of the default, everywhere."""
    clock, heard = HandClock(), Heard()
    cloud, platform = InMemoryCloudApi(clock=clock), InMemoryPlatform(clock=clock)

    parts = build(Options(), cloud=cloud, platform=platform, clock=clock, tell=heard)

    assert (parts.cloud, parts.platform, parts.clock) == (cloud, platform, clock)
    poll, sweep, watch = parts.loops.poll, parts.loops.sweep.sweep, parts.loops.watch
    assert (poll.cloud, watch.platform, sweep.platform, poll.clock) == (cloud, platform, platform, clock)
    assert (poll.claim.cloud, poll.claim.claimant.platform) == (cloud, platform.identity)
    assert parts.loops.reports.send_reports.outbox is poll.start_run.outbox is sweep.outbox
    parts.announcer.say("starting", "hello")
    assert heard.names() == ["starting"]


def test_there_are_no_other_ports() -> None:
    """A typing error is no silently ignored keyword."""
    with pytest.raises(ConfigurationError, match="there is no port 'clowd'"):
        build(Options(), clowd=object())


def test_every_provider_can_be_called() -> None:
    """A wrong keyword in a provider fails only when it is called: here, not at the first start."""
    container = Container(options=Options(connection=CONNECTION, platform="process"))
    container.platform.override(InMemoryPlatform(clock=HandClock()))
    for name, provider in container.providers.items():
        if name != "options":
            assert provider() is not None or name in {"own", "limit"}, name


def test_parts_are_made_once() -> None:
    """All loops share one conversation with the Cloud."""
    parts = build(Options(connection=CONNECTION), platform=InMemoryPlatform(clock=HandClock()))

    assert parts.cloud is parts.cloud is parts.loops.poll.cloud
    assert parts.loops is parts.loops
    assert isinstance(parts.clock, SystemClock)
    parts.cloud.close()


def test_two_agents_of_one_name_are_two_claimants() -> None:
    """Claims must be told apart by process: a claim that is read back belongs to one of them."""
    cloud, platform = InMemoryCloudApi(clock=HandClock()), InMemoryPlatform(clock=HandClock())
    options = Options(settings=AgentSettings(name="ann"))

    one, other = (build(options, cloud=cloud, platform=platform).loops.poll.claim.claimant for _ in range(2))

    assert one != other
    assert one.id.startswith("ann@")


def test_settings_reach_the_parts() -> None:
    """Environment, deadline and name are the person's; an own way to start flow runs is not taken twice."""
    settings = AgentSettings(name="ann", env={"A": "1"}, create_deadline=7)
    clock = HandClock()
    parts = build(
        Options(settings=settings, own_deploy=OwnDeploy(lambda _: "mine")),
        cloud=InMemoryCloudApi(clock=clock),
        platform=InMemoryPlatform(clock=clock),
    )

    assert (dict(parts.create_unit.env), parts.create_unit.deadline) == ({"A": "1"}, 7)
    assert parts.loops.reports.outbox.agent_name == parts.loops.poll.claim.claimant.agent_name == "ann"
    assert not parts.recover_claims.recovers
    assert not parts.loops.sweep.sweep.recovers


def test_a_deploy_of_ones_own_is_used() -> None:
    """Subclasses of 1.x start flow runs in their own way."""
    deployed: list[FlowRun] = []

    def deploy(run: FlowRun) -> str:
        deployed.append(run)
        return "mine"

    clock = HandClock()
    platform = InMemoryPlatform(clock=clock)
    options = Options(own_deploy=OwnDeploy(deploy))
    parts = build(options, cloud=InMemoryCloudApi(clock=clock), platform=platform, clock=clock)

    assert parts.loops.poll.start_run(Claimed(a_run(3), a_record(a_run(3))))
    assert deployed == [a_run(3)]
    assert platform.created == []


def test_without_a_connection_there_is_no_cloud() -> None:
    """Said in a sentence."""
    with pytest.raises(ConfigurationError, match="no Cloud"):
        _ = build(Options()).cloud


def test_an_unknown_platform_lists_those_there_are() -> None:
    """The built-in ones, and what other distributions add."""
    assert {"docker", "process"} <= platform_names()
    with pytest.raises(ConfigurationError, match=r"no platform 'nomad'.*docker.*process"):
        platform_factory("nomad")


@pytest.mark.parametrize("name", ["docker", "process"])
def test_an_unknown_option_of_a_platform_is_refused(name: str) -> None:
    """Not silently ignored."""
    with pytest.raises(TypeError, match="colour"):
        platform_factory(name)(colour="red")


def test_what_is_asked_before_the_connection_names_no_tenant() -> None:
    """Status is served while the agent starts; units and reports bear the tenant that it learns then."""
    container = Container(options=Options(connection=CONNECTION, platform="process"))
    for name in ("announcer", "board", "health", "meter", "notifier", "supervisor", "wakes", "work"):
        container.providers[name]()

    made: list[object] = []
    container.marks.override(Factory(made.append, "marks"))
    container.board().facts()

    assert made == []
