"""The agent's collections and a run's, merged by what each entry names."""

from typing import Any

import pytest
from docker.types import HostConfig, LogConfig, Ulimit

from prefect.agent.adapters.docker.demanding import asked_of_the_engine
from prefect.agent.adapters.docker.merging import merged
from prefect.agent.domain.model.demands import Demands
from prefect.agent.domain.model.run_configs import DockerRun

GATEWAY = {"host.docker.internal": "host-gateway"}
HOSTS = "host.docker.internal:host-gateway"
DATA = ["/srv/data:/data:rw"]
SDA = {"PathOnHost": "/dev/sda", "PathInContainer": "/dev/x", "CgroupPermissions": "r"}
TARGET = {"Type": "tmpfs", "Target": "/data/"}


@pytest.mark.parametrize(
    ("key", "own", "run", "expected"),
    [
        ("extra_hosts", GATEWAY, {"db": "10.0.0.1"}, ["db:10.0.0.1", HOSTS]),
        ("extra_hosts", GATEWAY, ["db:10.0.0.1", "db:10.0.0.2"], ["db:10.0.0.1", "db:10.0.0.2", HOSTS]),
        ("extra_hosts", GATEWAY, ["db=10.0.0.1"], ["db=10.0.0.1", HOSTS]),
        ("extra_hosts", GATEWAY, {"six": "::1"}, ["six:::1", HOSTS]),
        ("extra_hosts", GATEWAY, {"Host.Docker.Internal": "10.0.0.9"}, ["Host.Docker.Internal:10.0.0.9"]),
        ("extra_hosts", GATEWAY, ["host.docker.internal:10.0.0.9"], ["host.docker.internal:10.0.0.9"]),
        ("extra_hosts", GATEWAY, {}, [HOSTS]),
        ("extra_hosts", GATEWAY, None, GATEWAY),
        ("binds", DATA, ["/a:/more"], ["/a:/more", *DATA]),
        ("binds", DATA, {"/a": {"bind": "/more", "mode": "ro"}}, ["/a:/more:ro", *DATA]),
        ("binds", DATA, {"/a": "/more"}, ["/a:/more:rw", *DATA]),
        ("binds", DATA, ["/a:/data"], ["/a:/data"]),
        ("binds", DATA, ["/a:/data/:ro"], ["/a:/data/:ro"]),
        ("binds", DATA, ["/a://data/./"], ["/a://data/./"]),
        ("binds", DATA, {"kept": {"bind": "/data", "ro": True}}, {"kept": {"bind": "/data", "ro": True}}),
        ("binds", [*DATA, "/b:/b"], {"kept": {"bind": "/data", "ro": True}}, ["kept:/data:ro", "/b:/b"]),
        ("binds", DATA, ["/data"], ["/data"]),
        ("binds", DATA, [r"C:\x:/more"], [r"C:\x:/more", *DATA]),
        ("binds", DATA, ["/srv/data:/data/below"], ["/srv/data:/data/below", *DATA]),
        ("binds", DATA, ("/a:/more",), ["/a:/more", *DATA]),
        ("binds", DATA, [], DATA),
        ("binds", DATA, None, DATA),
        ("tmpfs", {"/a": "size=1m", "/b": ""}, {"/a/": "size=2m"}, ["/a/:size=2m", "/b"]),
        ("tmpfs", ["/a:size=1m"], ["/c"], ["/c", "/a:size=1m"]),
        ("mounts", [TARGET], [{"type": "volume", "target": "/data"}], [{"type": "volume", "target": "/data"}]),
        ("devices", ["/dev/a:/dev/x", "/dev/b"], ["/dev/c:/dev/x:r"], ["/dev/c:/dev/x:r", "/dev/b"]),
        ("devices", ["/dev/sdb:/dev/x"], [SDA], [SDA]),
        ("devices", ["/dev/a:rwm"], ["/dev/a"], ["/dev/a"]),
        ("ulimits", [{"Name": "nofile", "Soft": 1}], [{"name": "nofile", "soft": 2}], [{"name": "nofile", "soft": 2}]),
        ("ulimits", [Ulimit(name="core", soft=1)], [{"name": "x"}], [{"name": "x"}, Ulimit(name="core", soft=1)]),
        ("sysctls", {"a.b": "1", "c.d": "1"}, {"a.b": "2"}, {"c.d": "1", "a.b": "2"}),
        ("storage_opt", {"size": "1G"}, {"x": "1"}, {"size": "1G", "x": "1"}),
        ("port_bindings", {"80/tcp": 1, 53: 1}, {80: 2}, {53: 1, 80: 2}),
        ("port_bindings", {"80/udp": 1}, {80: 2}, {"80/udp": 1, 80: 2}),
        ("log_config", {"type": "json-file", "config": {"max-size": "1m", "a": "1"}}, {"Config": {"a": "2"}},
         {"type": "json-file", "config": {"max-size": "1m", "a": "2"}}),
        ("log_config", {"type": "json-file", "config": {"max-size": "1m"}}, LogConfig(type="none"),
         LogConfig(type="none")),
        ("dns", ["10.0.0.1"], ["10.0.0.2", "10.0.0.1"], ["10.0.0.2", "10.0.0.1"]),
        ("dns", ["10.0.0.1"], ["10.0.0.2"], ["10.0.0.2", "10.0.0.1"]),
        ("cap_drop", ["ALL"], ["NET_RAW"], ["NET_RAW", "ALL"]),
        ("security_opt", ["no-new-privileges"], [], ["no-new-privileges"]),
        ("network_mode", "bridge", "host", "host"),
        ("network_mode", "bridge", None, "bridge"),
        ("init", True, False, False),
    ],
)  # fmt: skip
def test_the_run_wins_per_name(key: str, own: Any, run: Any, expected: Any) -> None:
    """What it does not name stays as the agent has it."""
    assert merged({key: own}, {key: run}) == {key: expected}


@pytest.mark.parametrize(
    "run",
    [
        {"tmpfs": {"/data": ""}},
        {"tmpfs": ["/data/:size=1m"]},
        {"mounts": [{"Type": "tmpfs", "Target": "/data"}]},
        {"mounts": [{"type": "volume", "source": "x", "target": "//data/"}]},
    ],
)
def test_a_path_is_one_name_in_all_collections(run: dict[str, Any]) -> None:
    """The engine would refuse two things in one place."""
    assert merged({"binds": DATA}, run) == run
    assert merged({"binds": [*DATA, "/b:/b"]}, run) == {"binds": ["/b:/b"], **run}


@pytest.mark.parametrize("key", ["extra_hosts", "binds", "tmpfs", "devices", "ulimits", "mounts", "sysctls", "dns"])
@pytest.mark.parametrize("odd", [5, "text", [5], [None], {"a": None, "b": 5}, [[]], True], ids=str)
def test_what_cannot_be_read_raises_nothing_here(key: str, odd: Any) -> None:
    """The SDK or the engine refuses it, by its name."""
    own = {"extra_hosts": GATEWAY, "binds": DATA, "tmpfs": ["/x"], "dns": ["10.0.0.1"], "mounts": [TARGET]}
    assert key in merged(own, {key: odd})


@pytest.mark.parametrize("run", [["/a:/more"], {"/a": {"bind": "/more", "mode": "rw"}}])
def test_the_policy_sees_what_the_run_adds(run: Any) -> None:
    """And not what stays of the agent's own."""
    assert demanded({"binds": run}).host_paths == {"/a"}


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ({"binds": ["/srv/data:/data:rw"]}, {"/srv/data"}),
        ({"binds": ["/srv/data:/elsewhere"]}, {"/srv/data"}),
        ({"mounts": [{"Type": "bind", "Source": "/srv/data", "Target": "/data"}]}, {"/srv/data"}),
        ({"mounts": [{"Type": "bind", "Source": "/srv/data", "Target": "/x", "ReadOnly": False}]}, {"/srv/data"}),
        ({"mounts": [{"Type": "bind", "Source": "/srv/data", "Target": "/x", "readonly": True}]}, set()),
        ({"binds": ["/srv/data:/elsewhere:ro"]}, set()),
        ({"binds": ["/srv/data:/elsewhere:ro,z"]}, {"/srv/data"}),  # labels the host's files anew
        ({"extra_hosts": {"a": "10.0.0.1"}}, set()),
    ],
)
def test_a_volume_that_is_given_for_reading_is_not_given_for_writing(run: dict[str, Any], expected: set[str]) -> None:
    """A run that binds it again, without ``ro``, asks for something that the agent does not give."""
    assert demanded(run, own=["/srv/data:/data:ro"]).host_paths == expected


def demanded(run: dict[str, Any], own: list[str] = DATA) -> Demands:
    """What a run asks of an engine, beside an agent with a volume."""
    wanted, given = (HostConfig("1.41", **merged({"binds": own}, each)) for each in (run, {}))
    return asked_of_the_engine(Demands(), wanted, given, DockerRun(host_config=run), address="unix:///x")


@pytest.mark.parametrize("odd", [5, [5], ["nothing"], {"a": 5}], ids=str)
def test_odd_binds_are_neither_mended_nor_dropped(odd: Any) -> None:
    """The SDK or the engine refuses them: a run does not start without its volume."""
    assert merged({"binds": DATA}, {"binds": odd}) == {"binds": odd}
