"""What a run config asks of the Docker engine, as the policy sees it."""

from typing import Any

import pytest
from docker.types import HostConfig
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.adapters.docker.demanding import asked_of_the_engine
from prefect.agent.domain.model.demands import Demands
from prefect.agent.domain.model.policy import RESTRICTED, judge
from prefect.agent.domain.model.run_configs import DockerRun

ADDRESS = "unix:///own/engine.sock"


def seen(wanted: dict[str, Any], given: dict[str, Any] | None = None) -> Demands:
    """What is seen of a host config in the SDK's words."""
    sent, own = (HostConfig("1.41", **config) for config in ({**(given or {}), **wanted}, given or {}))
    return asked_of_the_engine(Demands(), sent, own, DockerRun(host_config=wanted), address=ADDRESS)


def driven(**driver: Any) -> dict[str, Any]:
    """A mount of a volume whose driver makes it of something else."""
    return {"Type": "volume", "Target": "/a", "VolumeOptions": {"DriverConfig": driver}}


LONG_S = {"Type": "volume", "Target": "/a", "VolumeOption\u017f": driven(Options={"device": "/"})["VolumeOptions"]}
"""Go takes a long s for an s, and so does the engine."""


@pytest.mark.parametrize(
    ("wanted", "attribute", "value"),
    [
        ({"binds": ["/:/host"]}, "host_paths", "/"),
        ({"binds": {"/etc/": {"bind": "/x", "mode": "ro"}}}, "host_paths", "/etc"),
        ({"binds": ["/a/../etc:/x"]}, "host_paths", "/etc"),
        ({"binds": ["../etc:/x"]}, "host_paths", "?../etc:/x"),
        ({"binds": ["/var/run/docker.sock:/s"]}, "engine_sockets", "/run/docker.sock"),
        ({"binds": ["/own:/s"]}, "engine_sockets", "/own"),
        ({"binds": ["others:/x"]}, "volumes", "volume/others"),
        ({"mounts": [{"Type": "bind", "Source": "/", "Target": "/x"}]}, "host_paths", "/"),
        ({"mounts": [{"tYPE": "bind", "sOURCE": "/", "target": "/x"}]}, "host_paths", "/"),
        ({"mounts": [{"Type": "bind", "\u017fource": "/", "Target": "/x"}]}, "host_paths", "/"),
        ({"mounts": [{"Type": "bind", "Source": "/a", "source": "/", "Target": "/x"}]}, "host_paths", "/"),
        ({"mounts": [{"Type": "volume", "type": "bind", "Source": "/", "Target": "/x"}]}, "host_paths", "/"),
        ({"mounts": [{"Type": "npipe", "Source": r"\\.\pipe\x"}]}, "host_paths", r"?\\.\pipe\x"),
        ({"mounts": [{"Type": "volume", "Source": "others"}]}, "volumes", "volume/others"),
        ({"mounts": [driven(Options={"type": "none", "o": "bind", "device": "/"})]}, "host_paths", "/"),
        ({"mounts": [driven(Name="nfs")]}, "host_paths", "?a volume driver"),
        ({"mounts": ["/:/x"]}, "host_paths", "?/:/x"),
        ({"mounts": [{"Type": "volume", "Target": "/x", "fieldOfTomorrow": 1}]}, "host_paths", "?fieldOfTomorrow"),
        ({"mounts": [{"Type": "volume", "VolumeOptions": {"Of": 1}}]}, "host_paths", "?Of"),
        ({"mounts": [LONG_S]}, "host_paths", "/"),
        ({"mounts": [{"Type": "image", "Source": "UPPER"}]}, "images", "?UPPER"),
        ({"binds": [["/", "/x"]]}, "host_paths", "?['/', '/x']"),
        ({"mounts": [driven(Options={"device": "/a", "o": "lowerdir=/"})]}, "host_paths", "?a volume of "),
        ({"mounts": [driven(Options={"device": "/a", "type": "overlay"})]}, "host_paths", "?a volume of overlay"),
        ({"mounts": [driven(Name="sshfs", Options={"device": "/a"})]}, "host_paths", "?a volume of sshfs"),
        ({"devices": [{"PathOnHost": "/dev/null", "pathonhost": "/dev/sda"}]}, "devices", "/dev/sda"),
        ({"device_requests": [{"Driver": "a", "driver": "b"}]}, "devices", "request/b"),
        ({"privileged": True}, "privileges", "privileged"),
        ({"privileged": "yes"}, "privileges", "privileged"),
        ({"cap_add": ["cap_sys_admin"]}, "capabilities", "SYS_ADMIN"),
        ({"cap_add": ["ALL"]}, "capabilities", "ALL"),
        ({"devices": ["/dev/sda:/dev/x:rwm"]}, "devices", "/dev/sda"),
        ({"device_cgroup_rules": ["a *:* rwm"]}, "devices", "rule/a *:* rwm"),
        ({"device_requests": [{"Driver": "nvidia", "Count": -1}]}, "devices", "request/nvidia"),
        ({"pid_mode": "host"}, "host_namespaces", "pid"),
        ({"pid_mode": "container:x"}, "host_namespaces", "pid/container:x"),
        ({"ipc_mode": "host"}, "host_namespaces", "ipc"),
        ({"uts_mode": "host"}, "host_namespaces", "uts"),
        ({"userns_mode": "host"}, "host_namespaces", "user"),
        ({"cgroupns": "host"}, "host_namespaces", "cgroup"),
        ({"network_mode": "host"}, "host_namespaces", "network"),
        ({"network_mode": "container:x"}, "host_namespaces", "network/container:x"),
        ({"network_mode": "others"}, "networks", "others"),
        ({"security_opt": ["seccomp:unconfined"]}, "security_options", "seccomp=unconfined"),
        ({"security_opt": ["apparmor=unconfined"]}, "security_options", "apparmor=unconfined"),
        ({"volumes_from": ["x"]}, "host_config", "volumes_from"),
        ({"sysctls": {"kernel.x": "1"}}, "host_config", "sysctls"),
        ({"runtime": "other"}, "host_config", "runtime"),
        ({"cgroup_parent": "/"}, "host_config", "cgroup_parent"),
        ({"port_bindings": {80: 80}}, "host_config", "port_bindings"),
    ],
)  # fmt: skip
def test_what_reaches_the_host_is_seen_and_refused(wanted: dict[str, Any], attribute: str, value: str) -> None:
    """In every spelling that the engine takes, and by the preset restricted."""
    found = seen(wanted)
    assert value in getattr(found, attribute)
    said = judge(RESTRICTED.replacing("images", ["**.example/**"]), found)
    assert said is not None
    assert f"rule {attribute}" in said


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"mem_limit": "64m", "nano_cpus": 1, "shm_size": 1, "extra_hosts": {"a": "10.0.0.1"}, "cap_drop": ["ALL"]},
        {"tmpfs": {"/a": ""}, "mounts": [{"Type": "tmpfs", "Target": "/b"}], "binds": ["/anonymous"]},
        {"network_mode": "none", "ipc_mode": "private", "security_opt": ["no-new-privileges:true"]},
        {"privileged": False, "binds": [], "devices": [], "cap_add": []},
    ],
)
def test_what_stays_inside_is_allowed(wanted: dict[str, Any]) -> None:
    """By the preset restricted."""
    assert judge(RESTRICTED, seen(wanted)) is None


def test_what_the_operator_gives_is_not_judged() -> None:
    """The agent's own volumes and network are the same with and without a run config."""
    own = {"binds": ["/data:/data"], "network_mode": "host"}
    assert judge(RESTRICTED, seen({}, own)) is None
    assert judge(RESTRICTED, seen({"binds": ["/data:/elsewhere"]}, own)) is None
    assert judge(RESTRICTED, seen({"network_mode": "bridge"})) is None
    assert seen({"network_mode": "bridge"}, {"network_mode": "walled"}).networks == {"bridge"}
    assert seen({"binds": ["/data:/data", "/more:/more"]}, own).host_paths == {"/more"}


@pytest.mark.parametrize(
    ("own", "wanted", "is_seen"),
    [
        ("/data:/data:ro", ["/data:/data"], True),
        ("/data:/data:ro", ["/data:/data:rw"], True),
        ("/data:/data:ro", ["/data:/elsewhere:ro"], False),
        ("/data:/data:ro", ["/data:/data:ro,rshared"], True),
        ("/data:/data:ro", ["/data:/data:ro,Z"], True),
        ("/data:/data", ["/data:/data:ro"], False),
        ("/data:/data:ro,z", ["/data:/x:z,ro"], False),
    ],
)
def test_what_the_operator_gives_to_read_is_not_to_be_written(own: str, wanted: list[str], *, is_seen: bool) -> None:
    """The same path, mounted more freely, is another thing; likewise with another propagation or label."""
    assert ("/data" in seen({"binds": wanted}, {"binds": [own]}).host_paths) is is_seen


@pytest.mark.parametrize(("fields", "is_seen"), [({}, True), ({"ReadOnly": True}, False), ({"readonly": "x"}, True)])
def test_a_mount_of_the_same_path_is_not_to_be_written_either(fields: dict[str, Any], *, is_seen: bool) -> None:
    """In the other spelling of a bind."""
    mount = {"Type": "bind", "Source": "/data", "Target": "/x", **fields}
    assert ("/data" in seen({"mounts": [mount]}, {"binds": ["/data:/data:ro"]}).host_paths) is is_seen


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["/", "host", "bind", "volume", "image", ""]),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Type", "source", "VolumeOptions", "driverconfig", "Options", "device", "Driver"]), below
        )
    ),
    max_leaves=12,
)
FIELDS = [
    "Binds",
    "Mounts",
    "CapAdd",
    "Devices",
    "DeviceRequests",
    "SecurityOpt",
    "PidMode",
    "NetworkMode",
    "Privileged",
]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_nothing_that_json_can_say_breaks_it(wanted: dict[str, Any]) -> None:
    """A run config's values are handed to the engine much as they are."""
    assert judge(RESTRICTED, asked_of_the_engine(Demands(), wanted, {}, DockerRun(), address="tcp://h:1")) != ""


def test_keys_without_a_rule_of_their_own_are_judged_by_name() -> None:
    """So that a key which a later SDK adds is refused until the operator lists it."""
    assert seen({"init": True, "binds": [], "privileged": False}).host_config == {"init"}
