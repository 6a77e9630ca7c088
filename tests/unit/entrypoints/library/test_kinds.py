"""Agents as people start, subclass and compose them, on fakes."""

import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prefect.agent import Agent, AgentExit, AgentSettings, DockerAgent, KubernetesAgent, LocalAgent, ProcessAgent
from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform
from prefect.agent.domain.errors import CloudError, CloudUnavailable, ConfigurationError, Unauthorised
from prefect.agent.domain.model.flow_runs import Flow
from prefect.agent.entrypoints.library.compatibility import FlowRunRow
from prefect.agent.entrypoints.runtime.exits import ExitCode
from prefect.agent.entrypoints.runtime.signals import TOGETHER
from prefect.agent.ports import events
from prefect.agent.ports.events import AGENT_STARTED, Event, ignore
from support.agent_harness import QuickClock
from support.waiting import wait_until

QUICK = AgentSettings(name="ann", poll_first=0.005, poll_last=0.01)
NOWHERE = {"HOME": "/nonexistent"}


def agent_of(cloud: InMemoryCloudApi, platform: InMemoryPlatform | None = None, **more: Any) -> Agent:
    """A composed agent that stops by itself."""
    given: dict[str, Any] = {"settings": QUICK, "max_polls": 3, "tell": ignore, "environ": NOWHERE, **more}
    return Agent(cloud=cloud, platform=platform or InMemoryPlatform(), **given)


def test_a_composed_agent_runs_flow_runs() -> None:
    """Two ports of one's own, and nothing else."""
    cloud, platform = InMemoryCloudApi(), InMemoryPlatform()
    run_id = cloud.add_flow_run()

    agent_of(cloud, platform).start()

    assert [submission.flow_run_id for submission in platform.created] == [run_id]
    assert cloud.flow_run(run_id).state == "Submitted"
    assert any("Submitted for execution" in line.message for line in cloud.logs(run_id))


def test_hooks_of_1x_are_called_in_order() -> None:
    """on_startup before the first flow run, on_shutdown after the last one."""
    cloud = InMemoryCloudApi()
    cloud.add_flow_run(flow=Flow(id="1", name="sums"))
    seen: list[str] = []

    class Noting(Agent):
        def on_startup(self) -> None:
            seen.append("startup")

        def deploy_flow(self, flow_run: FlowRunRow) -> str:
            seen.append(f"deploy {flow_run.flow.name} {flow_run['flow']['name']}")
            return "somewhere"

        def on_shutdown(self) -> None:
            seen.append("shutdown")

    Noting(cloud=cloud, settings=QUICK, max_polls=3, tell=ignore, environ=NOWHERE).start()

    assert seen == ["startup", "deploy sums sums", "shutdown"]


def test_what_deploy_flow_returns_is_logged_and_what_it_raises_fails_the_run() -> None:
    """The contract of 1.x: a text for the run's log, or an exception."""
    cloud = InMemoryCloudApi()
    good, bad = cloud.add_flow_run(flow=Flow(id="1", name="good")), cloud.add_flow_run(flow=Flow(id="2", name="bad"))

    class Picky(Agent):
        def deploy_flow(self, flow_run: FlowRunRow) -> str:
            if flow_run.flow.name == "bad":
                raise RuntimeError("no such machine")
            return "machine 7"

    Picky(cloud=cloud, settings=QUICK, max_polls=3, tell=ignore, environ=NOWHERE).start()

    assert any("machine 7" in line.message for line in cloud.logs(good))
    assert cloud.flow_run(good).state == "Submitted"
    assert cloud.flow_run(bad).state == "Failed"
    assert any("no such machine" in line.message for line in cloud.logs(bad))


def test_heartbeat_is_called_in_a_thread_of_its_own() -> None:
    """As in 1.x since 0.13: it does not hold up the polling."""
    names: list[str] = []

    class Beating(Agent):
        heartbeat_period = 0.01

        def heartbeat(self) -> None:
            names.append(threading.current_thread().name)

    agent = Beating(cloud=InMemoryCloudApi(), platform=InMemoryPlatform(), settings=QUICK, tell=ignore, environ=NOWHERE)
    running = threading.Thread(target=agent.start)
    running.start()
    try:
        wait_until(lambda: len(names) > 2)
    finally:
        agent.stop()
        running.join(30)

    assert set(names) == {"heartbeat"}


def test_what_1x_subclasses_read_is_there() -> None:
    """Name, labels, variables, polls, address, logs, logger (protocol 2.4)."""
    agent = agent_of(
        InMemoryCloudApi(),
        labels=["b", "a"],
        env_vars={"A": "1"},
        name="eve",
        agent_address="http://:0",
        no_cloud_logs=True,
    )

    assert (agent.name, agent.labels, agent.env_vars, agent.max_polls) == ("eve", ["a", "b"], {"A": "1"}, 3)
    assert agent.agent_address == "http://:0"
    assert agent.log_to_cloud is False
    assert agent.logger.name.startswith("prefect.agent")


def test_the_agent_is_known_to_the_cloud_by_class_and_name() -> None:
    """Registered once, before the first poll."""
    cloud = InMemoryCloudApi()

    agent_of(cloud, labels=["x"]).start()

    ((identity),) = cloud.registered
    assert (identity.name, identity.type, identity.labels) == ("ann", "Agent", ("x",))


@pytest.mark.parametrize(
    ("trouble", "code", "patience"),
    [
        (lambda: CloudUnavailable("away"), ExitCode.CLOUD_UNAVAILABLE, 0.0),
        (lambda: Unauthorised("no"), ExitCode.NO_PERMISSION, 300.0),
    ],
)
def test_what_start_up_cannot_get_round_has_a_code(
    trouble: Callable[[], CloudError], code: ExitCode, patience: float
) -> None:
    """The exception says how to end the process."""
    cloud = InMemoryCloudApi()
    for _ in range(5):
        cloud.fail_next("connect", trouble())
    agent = agent_of(cloud, start_patience=patience, clock=QuickClock())

    with pytest.raises(AgentExit) as caught:
        agent.start()

    assert caught.value.code is code


def test_a_start_waits_for_the_cloud_and_health_says_so() -> None:
    """503 "starting" with the reason from the beginning; afterwards the agent works as ever."""
    cloud, heard = InMemoryCloudApi(), list[Event]()
    cloud.fail_next("connect", CloudUnavailable("the Cloud is away"), times=1000)
    agent = agent_of(cloud, clock=QuickClock(), tell=heard.append, max_polls=None, agent_address="http://127.0.0.1:0")
    running = threading.Thread(target=agent.start)
    running.start()
    try:
        wait_until(lambda: any("the Cloud is away" in event.message for event in tuple(heard)))
        healthy, facts = agent._life.parts.health.report()
        assert (healthy, facts["status"]) == (False, "starting")
        assert "the Cloud is away" in facts["trouble"]
        assert any(thread.name == "health" for thread in threading.enumerate())
    finally:
        agent.stop()
        running.join(30)
    assert not running.is_alive()
    assert heard[-1].name == events.AGENT_STOPPED
    assert not cloud.registered


def test_an_event_sink_that_raises_does_not_stop_the_agent(capsys: pytest.CaptureFixture[str]) -> None:
    """Reporting a fact must not change it."""
    cloud = InMemoryCloudApi()
    run_id = cloud.add_flow_run()

    def broken(event: Event) -> None:
        raise OSError("disk full")

    agent_of(cloud, tell=broken).start()

    assert cloud.flow_run(run_id).state == "Submitted"
    assert capsys.readouterr().err.count("An event sink raised OSError") == 1


@pytest.mark.parametrize(
    ("given", "environ", "limit"),
    [
        ({}, {}, None),
        ({}, {"PREFECT_AGENT_LIMIT": "4"}, 4),
        ({"limit": 2}, {"PREFECT_AGENT_LIMIT": "4"}, 2),
        ({"settings": QUICK}, {"PREFECT_AGENT_LIMIT": "4"}, 4),
        ({"settings": AgentSettings(limit=3)}, {"PREFECT_AGENT_LIMIT": "4"}, 3),
        ({"settings": AgentSettings(limit=None)}, {"PREFECT_AGENT_LIMIT": "4"}, None),
        ({"settings": QUICK, "limit": 2}, {}, 2),
    ],
)
def test_a_limit_comes_from_argument_or_variable(
    given: dict[str, Any], environ: dict[str, str], limit: int | None
) -> None:
    """What a program names in its settings wins over variables; what it leaves out does not."""
    agent = Agent(cloud=InMemoryCloudApi(), platform=InMemoryPlatform(), environ={**NOWHERE, **environ}, **given)

    assert agent._options.settings.limit == limit


def test_an_agent_needs_something_that_starts_flow_runs() -> None:
    """A bare Agent without a platform is a mistake, and says so at once."""
    with pytest.raises(ConfigurationError, match="platform"):
        Agent(cloud=InMemoryCloudApi(), environ=NOWHERE)


def test_the_spellings_of_both_eras() -> None:
    """`prefect.agent.LocalAgent` makes containers (0.x), `prefect.agent.local.LocalAgent` processes (1.x)."""
    from prefect.agent import docker, kubernetes, local  # noqa: PLC0415

    assert issubclass(LocalAgent, DockerAgent)
    assert issubclass(local.LocalAgent, ProcessAgent)
    assert docker.DockerAgent is DockerAgent
    assert kubernetes.KubernetesAgent is KubernetesAgent


def test_the_local_agent_of_1x_has_this_machines_name_among_its_labels() -> None:
    """Local storage labels flows with the machine that registered them (protocol 8.1)."""
    from prefect.agent.local import LocalAgent as ProcessAgentOf1x  # noqa: PLC0415

    ports: dict[str, Any] = {"cloud": InMemoryCloudApi(), "platform": InMemoryPlatform(), "environ": NOWHERE}

    assert ProcessAgentOf1x(labels=["a"], **ports).labels == sorted({"a", socket.gethostname()})
    assert ProcessAgentOf1x(labels=["a"], hostname_label=False, **ports).labels == ["a"]


def test_a_platform_of_another_package_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entry points in the group ``prefect.agent.platforms``."""
    (tmp_path / "their_package.py").write_text(
        textwrap.dedent("""
            from prefect.agent.adapters.fakes import InMemoryPlatform
            def make(**options):
                return InMemoryPlatform(identity=f"theirs {options}")
        """),
        encoding="utf-8",
    )
    info = tmp_path / "their_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[prefect.agent.platforms]\ntheirs = their_package:make\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    class Theirs(Agent):
        platform_name = "theirs"

    heard: list[Event] = []
    Theirs(
        cloud=InMemoryCloudApi(),
        settings=QUICK,
        max_polls=1,
        tell=heard.append,
        environ=NOWHERE,
        platform_options={"a": 1},
    ).start()

    started = next(event for event in heard if event.name == AGENT_STARTED)
    assert "theirs {'a': 1}" in started.message


def test_a_signal_while_it_starts(tmp_path: Path) -> None:
    """Once it has said that it waits for flow runs, it ends as it always does."""
    script = tmp_path / "early.py"
    script.write_text(
        textwrap.dedent("""
            import signal
            from prefect.agent import Agent
            from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform
            class Early(Agent):
                def on_startup(self):
                    signal.raise_signal(signal.SIGTERM)
                def on_shutdown(self):
                    print("over", flush=True)
            Early(cloud=InMemoryCloudApi(), platform=InMemoryPlatform(), environ={}).start()
        """),
        encoding="utf-8",
    )

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (0, "over\n"), done.stderr


def test_a_signal_while_the_start_waits_ends_at_once_with_success(tmp_path: Path) -> None:
    """Also while a call of the start does not return."""
    script = tmp_path / "waiting.py"
    script.write_text(
        textwrap.dedent("""
            import threading
            from prefect.agent import Agent
            from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform
            class Hanging(InMemoryPlatform):
                def check(self):
                    print("checking", flush=True)
                    threading.Event().wait()
            Agent(cloud=InMemoryCloudApi(), platform=Hanging(), environ={}).start()
        """),
        encoding="utf-8",
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as agent:
        try:
            assert agent.stdout is not None
            assert agent.stdout.readline() == "checking\n"
            agent.terminate()
            assert agent.wait(30) == 0
        finally:
            agent.kill()


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    """The first one waits for the flow run in hand; who is in a hurry sends another."""
    script = tmp_path / "busy.py"
    script.write_text(
        textwrap.dedent("""
            import threading
            from prefect.agent import Agent
            from prefect.agent.adapters.fakes import InMemoryCloudApi
            class Busy(Agent):
                def deploy_flow(self, flow_run):
                    print("busy", flush=True)
                    threading.Event().wait()
                def stop(self):
                    super().stop()
                    print("stopping", flush=True)
            cloud = InMemoryCloudApi()
            cloud.add_flow_run()
            Busy(cloud=cloud, environ={}).start()
        """),
        encoding="utf-8",
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as agent:
        try:
            assert agent.stdout is not None
            assert agent.stdout.readline() == "busy\n"
            agent.terminate()
            assert agent.stdout.readline() == "stopping\n"  # two signals that come together are one
            agent.terminate()  # within a second of the first one: a wrapper's
            with pytest.raises(subprocess.TimeoutExpired):
                agent.wait(TOGETHER + 0.2)
            agent.terminate()
            assert agent.wait(30) == 128 + 15
        finally:
            agent.kill()
