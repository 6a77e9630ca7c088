"""What is particular to Docker, on a real engine: pulls, environment, networks, volumes, how containers end."""

import io
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import attrs
import pytest
from docker.types import LogConfig

from prefect.agent.domain.errors import PlatformUnavailable, SubmissionRefused, UnitNameTaken
from prefect.agent.domain.model.run_configs import DockerRun
from prefect.agent.domain.model.units import UnitStatus
from support.docker_harness import RUN, DockerHarness, ended, once_ended
from support.waiting import wait_until

pytestmark = pytest.mark.docker


class TestContainers:
    """What a container is made of."""

    def test_name_labels_environment_ports(self, harness: DockerHarness) -> None:
        """As the protocol has it, plus the agent's own mark; nothing is removed by the engine."""
        submission = harness.submission(
            'echo "$PLAIN/$KEY/$API"',
            env={"PLAIN": "a=b c", "API": "http://localhost:4200/x"},
            secret_env={"KEY": "s"},
            address_variables=frozenset({"API"}),
            flow_id="flow-1",
            flow_name="a flow",
            run_config=DockerRun(ports=(8080,), host_config={"auto_remove": True, "mem_limit": "64m"}),
        )
        platform = harness.platform()

        unit = ended(platform, submission)

        about = harness.about(submission.name)
        assert about["Config"]["Labels"] == {
            "io.prefect.flow-name": "a flow",
            "io.prefect.flow-id": "flow-1",
            "io.prefect.flow-run-id": submission.flow_run_id,
            "io.prefect.agent.unit": submission.name,
            "io.prefect.agent.attempt": "1",
            "io.prefect.agent.cloud": "",
            "io.prefect.agent.owner": "",
        }
        assert list(about["Config"]["ExposedPorts"]) == ["8080/tcp"]
        assert about["HostConfig"]["AutoRemove"] is False
        assert about["HostConfig"]["Memory"] == 64 * 2**20
        assert about["HostConfig"]["ExtraHosts"] == ["host.docker.internal:host-gateway"]
        assert platform.logs_tail(submission.name) == "a=b c/s/http://host.docker.internal:4200/x"
        assert (unit.status, unit.id, unit.info) == (
            UnitStatus.SUCCEEDED,
            about["Id"],
            f"Container ID: {about['Id'][:12]}",
        )

    def test_the_host_is_known_by_its_name(self, harness: DockerHarness) -> None:
        """``host.docker.internal`` leads to the engine's machine."""
        platform = harness.platform()
        submission = harness.submission("grep host.docker.internal /etc/hosts")
        ended(platform, submission)
        assert "host.docker.internal" in platform.logs_tail(submission.name)

    def test_on_the_hosts_network_addresses_stay(self, harness: DockerHarness) -> None:
        """There localhost is the host itself."""
        platform = harness.platform(networks=["host"])
        submission = harness.submission(
            'echo "$API"', env={"API": "http://localhost:1"}, address_variables=frozenset({"API"})
        )
        ended(platform, submission)
        assert platform.logs_tail(submission.name) == "http://localhost:1"
        assert harness.about(submission.name)["HostConfig"]["NetworkMode"] == "host"

    def test_networks_are_joined_before_the_start(self, harness: DockerHarness) -> None:
        """All of them, also by a container that was left unstarted."""
        names = [f"test-{RUN}-{letter}" for letter in "ab"]
        made = [harness.client.create_network(name)["Id"] for name in names]
        try:
            submission = harness.submission("ls /sys/class/net | grep -c eth")
            platform = harness.platform(networks=names)
            ended(platform, submission)
            assert platform.logs_tail(submission.name) == "2"
            assert sorted(harness.about(submission.name)["NetworkSettings"]["Networks"]) == names
            platform.remove(submission.name)
        finally:
            for network in made:
                harness.client.remove_network(network)

    def test_volumes(self, harness: DockerHarness) -> None:
        """A named volume is made with its label, outlives the container, and is not made again."""
        volume = f"test-{RUN}-volume"
        platform = harness.platform(volumes=[f"{volume}:/kept"])
        try:
            ended(platform, harness.submission("echo hello > /kept/file"))
            assert harness.client.inspect_volume(volume)["Labels"] == {"prefect_created": "true"}
            second = harness.submission("cat /kept/file")
            ended(platform, second)
            assert platform.logs_tail(second.name) == "hello"
        finally:
            harness.clean()
            harness.client.remove_volume(volume)

    def test_volumes_of_a_run_do_not_replace_the_agents(self, harness: DockerHarness, tmp_path: Path) -> None:
        """Each place in the container has what the run says, else what the agent says; nothing empty is left there."""
        for name in ("agent", "shared", "run"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "file").write_text(name)
        platform = harness.platform(
            volumes=[f"{tmp_path}/agent:/one", f"{tmp_path}/shared:/two", f"{tmp_path}/agent:/three"]
        )
        config = DockerRun(
            host_config={
                "binds": {f"{tmp_path}/run": {"bind": "/two", "mode": "ro"}},
                "tmpfs": {"/three": "size=1m"},
                "extra_hosts": {"db": "10.9.8.7"},
            }
        )
        submission = harness.submission("cat /one/file /two/file; ls /three; cat /etc/hosts", run_config=config)
        unit = ended(platform, submission)
        output = platform.logs_tail(submission.name)
        assert unit.status is UnitStatus.SUCCEEDED
        assert output.startswith("agentrun")
        assert "10.9.8.7" in output
        assert "host.docker.internal" in output
        assert {mount["Type"] for mount in harness.about(submission.name)["Mounts"]} == {"bind"}

    def test_a_foreign_container_keeps_its_name(self, harness: DockerHarness) -> None:
        """It is refused by name and by owner, before anything is pulled for it."""
        submission = harness.submission(image="registry.invalid/x:1")
        foreign = harness.client.create_container(harness.image, ["true"], name=submission.name)["Id"]

        with pytest.raises(UnitNameTaken, match=foreign[:12]):
            harness.platform(no_pull=False).create(submission)

        assert harness.about(submission.name)["State"]["Status"] == "created"

    def test_an_unstarted_container_is_not_kept_by_stop(self, harness: DockerHarness) -> None:
        """It can have no end, so stopping it takes it away; nobody starts it any more by accident."""
        platform, submission = harness.platform(), harness.submission()
        platform.create(submission)
        labels = harness.about(submission.name)["Config"]["Labels"]
        once_ended(platform, submission.name)
        platform.remove(submission.name)
        harness.client.create_container(harness.image, ["true"], name=submission.name, labels=labels)
        unit = platform.unit(submission.name)
        assert unit is not None
        assert unit.status is UnitStatus.CREATED

        with pytest.raises(PlatformUnavailable):
            platform.remove(submission.name)
        platform.stop(submission.name, grace=1)

        assert not harness.exists(submission.name)


class TestEnds:
    """How containers end."""

    def test_out_of_memory(self, harness: DockerHarness) -> None:
        """The engine's own word for it."""
        limit = {"mem_limit": "8m", "memswap_limit": "8m"}
        # The engine may miss a kill at the very start of a container, so it gets killed over and over.
        script = "while [ ! -e /end ]; do tail /dev/zero; code=$?; sleep 0.05; done; exit $code"
        platform, submission = harness.platform(), harness.submission(script, run_config=DockerRun(host_config=limit))
        platform.create(submission)
        wait_until(lambda: "oom" in harness.events(submission.name), 20, "the engine knows")
        harness.end(submission.name)
        unit = once_ended(platform, submission.name)
        assert unit.status is UnitStatus.FAILED
        assert str(unit.evidence) == "OOMKilled, out of memory, the limit is 8 MiB, exit code 137"

    def test_the_list_says_what_the_container_says(self, harness: DockerHarness) -> None:
        """Units of the list are complete, and the end of a unit is asked for once."""
        platform, submission = harness.platform(), harness.submission("exit 3")
        unit = ended(platform, submission)
        assert str(unit.evidence) == "Error, exit code 3"

        found = [[each for each in platform.units() if each.name == submission.name] for _ in range(2)]

        assert found == [[unit], [unit]]
        assert found[0][0] is found[1][0]

    def test_output_of_both_streams(self, harness: DockerHarness) -> None:
        """Also what is no UTF-8, and never more than asked for."""
        platform, submission = harness.platform(), harness.submission(r"echo one; printf '\377two\n' >&2; echo three")
        ended(platform, submission)
        assert sorted(platform.logs_tail(submission.name).splitlines()) == [
            "one",
            "three",
            "\N{REPLACEMENT CHARACTER}two",
        ]
        assert len(platform.logs_tail(submission.name, lines=2).splitlines()) == 2
        assert platform.logs_tail(submission.name, lines=0) == ""

    def test_no_output_where_the_engine_keeps_none(self, harness: DockerHarness) -> None:
        """Not an error."""
        platform = harness.platform()
        submission = harness.submission(
            "echo x", run_config=DockerRun(host_config={"log_config": LogConfig(type="none")})
        )
        ended(platform, submission)
        assert platform.logs_tail(submission.name) == ""

    def test_output_is_shown(self, harness: DockerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
        """With ``show_flow_logs`` it is copied as it comes; the thread ends with its container."""
        shown = io.StringIO()  # not capsys: what is written while that is read gets lost
        monkeypatch.setattr(sys, "stdout", shown)
        platform = harness.platform(show_flow_logs=True)
        submission = harness.submission("echo first; while [ ! -e /end ]; do sleep 0.05; done; echo last")
        platform.create(submission)
        wait_until(lambda: "first\n" in shown.getvalue(), what="the first line")
        harness.end(submission.name)
        wait_until(lambda: "last\n" in shown.getvalue(), what="the last line")
        wait_until(lambda: not any(submission.name in thread.name for thread in threading.enumerate()))


class TestRefusals:
    """Runs that cannot run here leave nothing behind."""

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"command": ("no-such-program",)}, "executable file not found"),
            ({"run_config": DockerRun(host_config={"binds": ["/dev/null/x:/y"]})}, "not a directory"),
            ({"run_config": DockerRun(host_config={"devices": ["/dev/no-such"]})}, "/dev/no-such"),
            ({"run_config": DockerRun(host_config={"network_mode": f"test-{RUN}-none"})}, "not found"),
            ({"run_config": DockerRun(host_config={"mem_limit": "1k"})}, "(?i)memory limit"),
            ({"run_config": DockerRun(host_config={"runtime": "no-such"})}, "(?i)runtime"),
            ({"run_config": DockerRun(host_config={"mem_limt": "1g"})}, "'mem_limt'"),
            ({"image": None}, "needs an image"),
            pytest.param({"image": f"test-{RUN}-absent"}, f"docker pull test-{RUN}-absent", id="absent"),
        ],
    )
    def test_refused_with_the_engines_words(self, harness: DockerHarness, changes: dict[str, Any], says: str) -> None:
        """Whether the engine notices when it makes the container or when it starts it."""
        submission = (
            harness.submission(**changes) if "image" not in changes else attrs.evolve(harness.submission(), **changes)
        )
        with pytest.raises(SubmissionRefused, match=says):
            harness.platform().create(submission)
        assert not harness.exists(submission.name)

    def test_a_port_in_use(self, harness: DockerHarness) -> None:
        """Also what the engine answers with 500."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            taken = server.getsockname()
            config = DockerRun(ports=(80,), host_config={"port_bindings": {"80": taken}})
            submission = harness.submission(run_config=config)
            with pytest.raises(SubmissionRefused, match=r"address already in use|port is already allocated"):
                harness.platform().create(submission)
        assert not harness.exists(submission.name)
