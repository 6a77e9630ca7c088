"""``--limit N`` holds for the units that are alive on the platform, also after ``kill -9`` and a restart."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect.agent.adapters.process import ProcessPlatform
from support.agent_machine import Machine, machine_at
from support.waiting import wait_until

LIMIT = 2
RUNS = 5


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Without agents; its flow runs sleep."""
    with machine_at(tmp_path) as machine:
        yield machine


@pytest.fixture
def platform(machine: Machine) -> Iterator[ProcessPlatform]:
    """The units of this home, without the agent."""
    platform = ProcessPlatform(machine.home / ".prefect-agent" / "units", environ={})
    yield platform
    platform.close()


def alive(platform: ProcessPlatform) -> set[str]:
    """Runs with a living unit."""
    return {unit.flow_run_id for unit in platform.units() if not unit.status.has_ended}


def claimed(machine: Machine, runs: list[str]) -> set[str]:
    """Runs that are not Scheduled any more."""
    return {run for run in runs if machine.cloud.state(run) != "Scheduled"}


def test_a_limit_is_never_exceeded(machine: Machine, platform: ProcessPlatform) -> None:
    """Not by one agent, not by the next one after it was killed; an end makes room for one."""
    flow = machine.cloud.flow(machine.cloud.project())
    runs = [machine.cloud.run(flow) for _ in range(RUNS)]
    first = machine.start("ann", "--limit", str(LIMIT))
    wait_until(lambda: len(alive(platform)) == LIMIT, 60, "the agent is full")
    first.kill()
    first.wait(60)

    machine.start("ann", "--limit", str(LIMIT))
    wait_until(lambda: machine.status("ann")["busy"], 60, "the next agent has counted")
    assert machine.status("ann")["slots"] == {"limit": LIMIT, "alive": LIMIT, "starting": 0, "waiting": 0}
    assert claimed(machine, runs) == alive(platform)
    assert len(alive(platform)) == LIMIT

    ended = next(unit for unit in platform.units() if not unit.status.has_ended)
    platform.stop(ended.name, grace=0)
    most = 0

    def has_gone_on() -> bool:
        nonlocal most
        most = max(most, len(alive(platform)))
        return len(claimed(machine, runs)) == LIMIT + 1 and len(alive(platform)) == LIMIT

    wait_until(has_gone_on, 90, "one more run is claimed")
    assert most <= LIMIT
    assert ended.flow_run_id not in alive(platform)
