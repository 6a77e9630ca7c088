"""What ``prefect agent why RUN docker`` says of a run's container, with a real engine and the embedded Cloud."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from prefect.agent.domain.model.submissions import Submission
from support.agent_machine import Machine, machine_at
from support.docker_harness import DockerHarness
from support.image_registry import image_registry
from support.waiting import wait_until
from support.why_cloud import Cloud, claim, served, why

pytestmark = pytest.mark.docker


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A Cloud of one's own."""
    with served(tmp_path / "cloud.db") as cloud:
        yield cloud


def claimed(cloud: Cloud, harness: DockerHarness, script: str) -> Submission:
    """A run that was claimed for this engine, and what its container is to be of."""
    submission = claim(cloud, harness.platform().identity)
    harness.own(submission.name)
    return attrs.evolve(submission, command=("sh", "-c", script), image=harness.image)


def test_a_container_that_executes(cloud: Cloud, harness: DockerHarness, tmp_path: Path) -> None:
    """Nothing keeps the run, as long as it is not late."""
    made = claimed(cloud, harness, "exec sleep 600")
    harness.platform().create(made)

    found = why(cloud, tmp_path, made.flow_run_id, "docker")

    assert not found["unit-executes"]["stops"]
    assert found["unit-executes"]["text"].startswith(f"Its unit {made.name} executes")


def test_a_container_that_has_ended(cloud: Cloud, harness: DockerHarness, tmp_path: Path) -> None:
    """With its exit code."""
    made, platform = claimed(cloud, harness, "exit 3"), harness.platform()
    platform.create(made)

    def has_ended() -> bool:
        unit = platform.unit(made.name)
        return unit is not None and unit.status.has_ended

    wait_until(has_ended, 30, "the container has ended")
    found = why(cloud, tmp_path, made.flow_run_id, "docker")["unit-ended"]

    assert found["stops"]
    assert "exit code 3" in found["text"]


def test_a_container_that_is_gone(cloud: Cloud, harness: DockerHarness, tmp_path: Path) -> None:
    """A person has removed it."""
    made = claimed(cloud, harness, "exec sleep 600")
    harness.platform().create(made)
    harness.client.remove_container(made.name, force=True)

    found = why(cloud, tmp_path, made.flow_run_id, "docker")["unit-absent"]

    assert found["stops"]
    assert f"Its unit {made.name} does not exist." in found["text"]


def test_an_engine_that_is_away(cloud: Cloud, harness: DockerHarness, tmp_path: Path) -> None:
    """The unit could not be looked for; who claimed the run is said all the same."""
    made = claimed(cloud, harness, "exit 0")

    found = why(cloud, tmp_path, made.flow_run_id, "docker", DOCKER_HOST="tcp://127.0.0.1:1")

    assert found["platform-unavailable"]["stops"]
    assert "127.0.0.1:1" in found["platform-unavailable"]["text"]
    assert not found["unit-unseen"]["stops"]
    assert found["claimed"]["text"].startswith("The agent vm-1 claimed it")


# --- its agent creates it ---

AGENT = ("docker",)


@pytest.fixture
def machine(tmp_path: Path, small_image: str) -> Iterator[Machine]:
    """Where an agent of containers may run."""
    with machine_at(tmp_path) as machine:
        yield machine


def asked_for(machine: Machine, image: str) -> str:
    """A run of this image, claimed by an agent; its id."""
    cloud = machine.cloud
    run_id = cloud.run(cloud.flow(cloud.project(), run_config={"type": "DockerRun", "image": image, "labels": []}))
    wait_until(lambda: cloud.state(run_id) == "Submitted", 60, "the run is claimed")
    return run_id


def test_an_image_that_is_being_pulled(machine: Machine) -> None:
    """The agent creates the unit: nothing stops the run, though the engine has no container."""
    with image_registry() as registry:
        registry.hold.clear()
        machine.start("ann", platform=AGENT)
        run_id = asked_for(machine, f"{registry.address}/why-{uuid.uuid4().hex[:8]}:1")
        wait_until(lambda: registry.tags_asked > 0, 60, "the image is asked for")

        found = machine.why(run_id, "docker")
        registry.answer = (404, "MANIFEST_UNKNOWN")
        registry.hold.set()

    assert not found["unit-starting"]["stops"]
    assert found["unit-starting"]["text"].startswith("The agent ann (process ")
    assert "unit-absent" not in found


def test_an_image_that_cannot_be_pulled_now(machine: Machine) -> None:
    """What the agent waits for is said in the engine's words, with what to do; the engine need not be asked."""
    machine.start("ann", platform=AGENT)
    run_id = asked_for(machine, "no-registry.invalid/flow:1")
    wait_until(lambda: machine.status("ann")["runs"][0]["stage"] == "retrying", 60, "the pull has failed once")

    shown = machine.prefect("status").stdout
    assert re.search(r"^    retrying f\S*/\S+  waits for: cannot pull the image", shown, re.MULTILINE), shown
    for words in ((), ("docker",)):
        found = machine.why(run_id, *words)["unit-pending"]
        assert found["stops"]
        assert "waits for its image. The agent ann (process " in found["text"]
        assert "cannot pull the image 'no-registry.invalid/flow:1' now" in found["text"]
        assert "correct or push the image" in found["remedies"]


def test_an_image_that_cannot_be_pulled_is_told_once(machine: Machine) -> None:
    """However often it is tried; that the run cannot be started is folded."""
    machine.start("ann", platform=AGENT)
    asked_for(machine, "no-registry.invalid/flow:1")

    def tries() -> int:
        problems = machine.status("ann")["problems"]
        return next((each["count"] for each in problems if each["kind"].startswith("unit_retried")), 0)

    wait_until(lambda: tries() >= 4, 60, "it was tried again")
    log = machine.log("ann")
    assert log.count("Pulling the image no-registry.invalid/flow:1\n") == 1, log
    assert log.count("The image no-registry.invalid/flow:1 could not be pulled") == 1, log


def test_an_agent_that_is_about_to_end_takes_no_more(machine: Machine) -> None:
    """It finishes a start, and is not counted as one that takes another run."""
    process = machine.start("ann", platform=AGENT)
    asked_for(machine, "no-registry.invalid/flow:1")
    wait_until(lambda: machine.status("ann")["runs"][0]["stage"] == "retrying", 60, "the pull has failed once")
    process.terminate()
    machine.wait_for("ann", "stopping")

    found = machine.why(machine.cloud.run(machine.cloud.flow(machine.cloud.project("another"))))

    assert found["agent-stopping"]["stops"]
    assert "claims nothing more" in found["agent-stopping"]["text"]
    assert found["agent-stopping"]["remedies"] == ["prefect agent start"]
