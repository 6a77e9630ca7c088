"""What agent and run ask of one container, on a real engine: both get it, and the run wins per name."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from prefect.agent.domain.errors import SubmissionRefused
from prefect.agent.domain.model.run_configs import DockerRun
from support.docker_harness import RUN, DockerHarness, ended

pytestmark = pytest.mark.docker


@pytest.fixture
def volumes(harness: DockerHarness) -> Iterator[tuple[str, str]]:
    """Names of a volume of the agent and of one of a run; a file in each has its name."""
    names = [f"test-{RUN}-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    for name in names:
        harness.client.create_volume(name)
        ended(harness.platform(volumes=[f"{name}:/x"]), harness.submission(f"touch /x/{name}"))
    yield names[0], names[1]
    harness.clean()
    for name in names:
        harness.client.remove_volume(name)


def mounts(harness: DockerHarness, name: str) -> dict[str, str]:
    """What is mounted in a container: sources by path."""
    return {each["Destination"]: each.get("Name") or each["Type"] for each in harness.about(name)["Mounts"]}


def test_the_hosts_name_stays_beside_a_runs_hosts(harness: DockerHarness) -> None:
    """In all forms of ``extra_hosts``; unless the run names it itself."""
    platform = harness.platform()
    for hosts in ({"db": "10.0.0.1"}, ["db:10.0.0.1"]):
        submission = harness.submission("cat /etc/hosts", run_config=DockerRun(host_config={"extra_hosts": hosts}))
        ended(platform, submission)
        names = [line.split()[-1] for line in platform.logs_tail(submission.name).splitlines()]
        assert {"db", "host.docker.internal"} <= set(names)
    own = DockerRun(host_config={"extra_hosts": {"host.docker.internal": "10.0.0.9"}})
    submission = harness.submission("grep host.docker /etc/hosts", run_config=own)
    ended(platform, submission)
    assert platform.logs_tail(submission.name).split() == ["10.0.0.9", "host.docker.internal"]


@pytest.mark.parametrize("is_list", [True, False], ids=["list", "object"])
def test_the_agents_volumes_stay_beside_a_runs_binds(
    harness: DockerHarness, volumes: tuple[str, str], *, is_list: bool
) -> None:
    """With what is in them; no empty volume takes their place."""
    own, other = volumes
    binds: Any = [f"{other}:/more"] if is_list else {other: {"bind": "/more", "mode": "ro"}}
    platform = harness.platform(volumes=[f"{own}:/kept"])
    submission = harness.submission("ls /kept /more", run_config=DockerRun(host_config={"binds": binds}))
    ended(platform, submission)
    assert platform.logs_tail(submission.name).split() == ["/kept:", own, "/more:", other]
    assert mounts(harness, submission.name) == {"/kept": own, "/more": other}


@pytest.mark.parametrize("way", ["binds", "mounts", "tmpfs"])
def test_a_run_has_its_own_at_a_path_of_the_agents(harness: DockerHarness, volumes: tuple[str, str], way: str) -> None:
    """However it is asked for: the run wins, and the engine is asked for one thing in one place."""
    own, other = volumes
    asked: dict[str, Any] = {
        "binds": [f"{other}:/kept/"],
        "mounts": [{"Type": "volume", "Source": other, "Target": "/kept"}],
        "tmpfs": {"/kept": "size=1m"},
    }
    platform = harness.platform(volumes=[f"{own}:/kept", f"{own}:/too"])
    submission = harness.submission("ls /kept; echo; ls /too", run_config=DockerRun(host_config={way: asked[way]}))
    ended(platform, submission)
    assert platform.logs_tail(submission.name).split() == [*([] if way == "tmpfs" else [other]), own]
    assert mounts(harness, submission.name) == {"/too": own, **({} if way == "tmpfs" else {"/kept": other})}


@pytest.mark.parametrize("binds", [["x:relative"], [5], {"x": 5}, 5, "x:/y"], ids=str)
def test_binds_that_make_no_sense_are_refused(harness: DockerHarness, volumes: tuple[str, str], binds: object) -> None:
    """By SDK or engine; the run does not start without them."""
    submission = harness.submission(run_config=DockerRun(host_config={"binds": binds}))
    with pytest.raises(SubmissionRefused):
        harness.platform(volumes=[f"{volumes[0]}:/kept"]).create(submission)
    assert not harness.exists(submission.name)


def test_the_policy_is_asked_what_the_engine_would_be(harness: DockerHarness, volumes: tuple[str, str]) -> None:
    """The run's volume, and not the agent's that stays."""
    own, other = volumes
    submission = harness.submission(run_config=DockerRun(host_config={"binds": [f"{other}:/more"]}))
    assert harness.platform(volumes=[f"{own}:/kept"]).demands(submission).volumes == {f"volume/{other}"}
