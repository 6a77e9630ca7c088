"""Attacks by run configs on a real Docker engine, under the policy ``restricted``: nothing is pulled, made or started.

Each docstring names the attack and the rule that stops it.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from docker.api.client import APIClient
from docker.errors import NotFound
from docker.utils import kwargs_from_env

from prefect.agent.domain.errors import SubmissionRefused
from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.policy import OPEN, RESTRICTED, Policy
from prefect.agent.domain.model.run_configs import DockerRun
from prefect.agent.domain.model.units import Unit, unit_name
from prefect.agent.domain.services.submission import CreateUnit
from support.authors import claimed
from support.docker_harness import DockerHarness
from support.image_registry import ImageRegistry, image_registry

pytestmark = pytest.mark.docker


@attrs.define
class Author:
    """A person who may make flow runs for an agent, and no more."""

    harness: DockerHarness
    policy: Policy = RESTRICTED
    platform_options: dict[str, Any] = attrs.field(factory=dict)

    def claimed(self, config: DockerRun) -> tuple[CreateUnit, FlowRun]:
        """The agent with a claim of a flow run that has this run config."""
        return claimed(self.harness.platform(**self.platform_options), config, self.policy)

    def starts(self, config: DockerRun) -> Unit:
        """The unit of a flow run with this run config."""
        create, run = self.claimed(config)
        self.harness.own(unit_name(run.id, run.attempt))
        return create(run)

    def is_refused(self, **config: Any) -> str:
        """Why there is none, and that there is none."""
        create, run = self.claimed(DockerRun(**{"image": self.harness.image, **config}))
        name = unit_name(run.id, run.attempt)
        self.harness.own(name)
        with pytest.raises(SubmissionRefused) as refusal:
            create(run)
        assert not self.harness.exists(name)
        return str(refusal.value)


@pytest.fixture
def harness(small_image: str) -> Iterator[DockerHarness]:
    """The engine."""
    harness = DockerHarness(APIClient(version="auto", **kwargs_from_env()), small_image)
    yield harness
    harness.clean()


@pytest.fixture
def author(harness: DockerHarness) -> Author:
    """Under the policy ``restricted``."""
    return Author(harness)


@pytest.mark.parametrize(
    ("host_config", "rules"),
    [
        ({"binds": ["/:/host"]}, "host_paths engine_sockets"),
        ({"binds": ["/var/run/docker.sock:/x"]}, "host_paths engine_sockets"),
        ({"binds": {"/run": {"bind": "/x", "mode": "rw"}}}, "engine_sockets"),
        ({"mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}]}, "host_paths engine_sockets"),
        ({"mounts": [{"type": "bind", "SOURCE": "/", "target": "/host"}]}, "host_paths engine_sockets"),
        ({"mounts": [{"Type": "bind", "\u017fource": "/", "Target": "/host"}]}, "host_paths engine_sockets"),
        ({"pid_mode": "host"}, "host_namespaces"),
        ({"network_mode": "host"}, "host_namespaces"),
        ({"ipc_mode": "host"}, "host_namespaces"),
        ({"userns_mode": "host"}, "host_namespaces"),
        ({"privileged": True}, "privileges"),
        ({"cap_add": ["SYS_ADMIN"]}, "capabilities"),
        ({"devices": ["/dev/null:/dev/disk"]}, "devices"),
        ({"device_cgroup_rules": ["a *:* rwm"]}, "devices"),
        ({"security_opt": ["seccomp=unconfined"]}, "security_options"),
        ({"volumes_from": ["another"]}, "host_config"),
        ({"sysctls": {"net.ipv4.ip_forward": "1"}}, "host_config"),
        ({"cgroup_parent": "/"}, "host_config"),
    ],
    ids=lambda value: str(value)[:48],
)
def test_root_on_the_host(author: Author, host_config: dict[str, Any], rules: str) -> None:
    """Attack: a host_config that gives the container the machine. Rules: host_paths, engine_sockets, and so on."""
    said = author.is_refused(host_config=host_config)
    assert all(f"rule {rule}:" in said for rule in rules.split())


def test_a_volume_made_of_the_hosts_root(author: Author) -> None:
    """Attack: a volume whose local driver binds ``/``: a bind by another name. Rule: host_paths."""
    volume = f"attack-{uuid.uuid4().hex[:8]}"
    driver = {"Name": "local", "Options": {"type": "none", "o": "bind", "device": "/"}}
    mount = {"Type": "volume", "Source": volume, "Target": "/host", "VolumeOptions": {"DriverConfig": driver}}
    assert "rule host_paths:" in author.is_refused(host_config={"mounts": [mount]})
    with pytest.raises(NotFound):
        author.harness.client.inspect_volume(volume)


def test_the_volume_of_another(author: Author) -> None:
    """Attack: mount the named volume of another team. Rule: volumes."""
    assert "rule volumes: the volume 'volume/others'" in author.is_refused(host_config={"binds": ["others:/x"]})


def test_the_loader_of_the_unit(author: Author) -> None:
    """Attack: let a library of the author's into every process of the unit. Rule: environment."""
    assert "rule environment:" in author.is_refused(env={"LD_PRELOAD": "/tmp/mine.so"})


@pytest.fixture
def registry() -> Iterator[ImageRegistry]:
    """A registry that counts what it is asked for."""
    with image_registry() as registry:
        yield registry


def test_nothing_is_pulled_for_a_refused_run(author: Author, registry: ImageRegistry) -> None:
    """Attack: let the agent fetch an image of the author's registry. Rule: images, asked before anything is pulled."""
    author.policy = Policy.read({"preset": "open", "images": ["registry.example.com/team/*"]})
    author.platform_options = {"no_pull": False}
    assert "rule images:" in author.is_refused(image=f"{registry.address}/team/flow:1")
    assert registry.tags_asked == 0


def test_an_image_by_its_id(author: Author) -> None:
    """Attack: name an image that is on the engine by the beginning of its id, past patterns of names. Rule: images."""
    author.policy = Policy.read({"preset": "open", "images": ["docker.io/**", "lab/**"]})
    image_id = author.harness.client.inspect_image(author.harness.image)["Id"].removeprefix("sha256:")
    for name in (image_id[:12], image_id, f"sha256:{image_id[:12]}"):
        assert "rule images: the image 'sha256:" in author.is_refused(image=name)


@pytest.mark.parametrize("no_pull", [True, False])
def test_the_list_of_registries_holds_for_every_image(author: Author, *, no_pull: bool) -> None:
    """Attack: a name without a slash, or an agent that never pulls. Rule: registries, of the whole name."""
    author.policy = OPEN
    author.platform_options = {"no_pull": no_pull, "reg_allow_list": ["registry.example.com"]}
    said = author.is_refused(image="busybox")
    assert "docker.io/library/busybox:latest" in said
    assert "rule registries" in said


def test_what_is_harmless_starts(author: Author) -> None:
    """No attack: limits, a scratch space and no network, under ``restricted``."""
    config = DockerRun(
        image=author.harness.image,
        env={"MINE": "1"},
        host_config={"mem_limit": "64m", "tmpfs": {"/scratch": ""}, "network_mode": "none", "cap_drop": ["ALL"]},
    )
    unit = author.starts(config)
    assert author.harness.about(unit.name)["HostConfig"]["Memory"] == 64 * 2**20


def test_what_the_operator_mounts_stays(author: Author) -> None:
    """No attack: the agent's own ``--volume``, engine socket included, is the operator's."""
    author.platform_options = {"volumes": ["/var/run/docker.sock:/engine.sock"]}
    unit = author.starts(DockerRun(image=author.harness.image))
    assert author.harness.about(unit.name)["HostConfig"]["Binds"] == ["/var/run/docker.sock:/engine.sock:rw"]
