"""What an agent says and does on signals: it drains on the first one, and ends at once on a later second one."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect.agent.adapters.process import ProcessPlatform
from support.agent_machine import Machine, machine_at
from support.waiting import wait_until

DOCKER = ("docker",)
NO_IMAGE = "no-registry.invalid/flow:1"
FIRST = re.compile(
    r"(SIG\w+): finishing 1 start \((\S+)\), up to (\d+) s more; 0 flow runs go on; again to stop at once\n"
)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Without agents."""
    with machine_at(tmp_path) as machine:
        yield machine


def begin(machine: Machine, *words: str) -> "tuple[subprocess.Popen[bytes], str]":
    """An agent that tries to start a container again and again; its process, and the name of the run."""
    process, cloud = machine.start("ann", *words, platform=DOCKER), machine.cloud
    config = {"type": "DockerRun", "image": NO_IMAGE, "labels": []}
    cloud.run(cloud.flow(cloud.project(), run_config=config), flow_run_name="crimson-dolphin")
    wait_until(lambda: "Cannot start flow run" in machine.log("ann"), 60, "the start has failed once")
    return process, "crimson-dolphin"


@pytest.mark.docker
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_drains(machine: Machine, small_image: str, number: signal.Signals) -> None:
    """It names what it finishes, and for how long; after ``--drain-timeout`` it ends with 0."""
    process, run = begin(machine, "--drain-timeout", "2")

    process.send_signal(number)

    assert process.wait(60) == 0
    found = FIRST.search(machine.log("ann"))
    assert found is not None, machine.log("ann")
    assert found.groups() == (number.name, run, "2")
    assert machine.log("ann").endswith("Stopped\n")


@pytest.mark.docker
def test_a_second_signal_ends_the_process_if_it_comes_later(machine: Machine, small_image: str) -> None:
    """Two that come together are one; what is waited for is told again after ten seconds."""
    process, run = begin(machine, "--drain-timeout", "90")
    process.send_signal(signal.SIGINT)
    wait_until(lambda: "SIGINT: finishing 1 start" in machine.log("ann"), 30, "it drains")

    process.send_signal(signal.SIGINT)
    wait_until(lambda: f"Still finishing 1 start ({run}), up to 80 s more" in machine.log("ann"), 30, "it goes on")
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)

    assert process.wait(30) == 128 + signal.SIGTERM
    assert machine.log("ann").endswith("Second signal: stopping at once\n")


def slots(machine: Machine) -> tuple[int, int]:
    """How many units are alive, and how many are being started."""
    facts = machine.status("ann")["slots"]
    return facts["alive"], facts["starting"]


def test_flow_runs_outlive_their_agent(machine: Machine) -> None:
    """They are counted, also those that no sweep has seen yet, and go on."""
    process, cloud = machine.start("ann"), machine.cloud
    run = cloud.new_run()
    wait_until(lambda: slots(machine) == (1, 0), 60, "the unit is there")

    process.send_signal(signal.SIGTERM)

    assert process.wait(60) == 0
    said = "SIGTERM: nothing is being started; 1 flow run goes on; sending the last reports\n"
    assert said in machine.log("ann")
    platform = ProcessPlatform(machine.home / ".prefect-agent" / "units", environ={"PATH": os.environ["PATH"]})
    assert [(unit.flow_run_id, unit.status.has_ended) for unit in platform.units()] == [(run, False)]
    platform.close()
