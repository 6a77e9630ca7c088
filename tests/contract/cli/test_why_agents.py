"""What ``prefect agent why`` learns from real agents that run: full, paused, unhealthy, or with room."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from support.agent_machine import Machine, machine_at
from support.waiting import wait_until
from support.why_cloud import served, why


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Without agents."""
    with machine_at(tmp_path) as machine:
        yield machine


def test_an_agent_that_is_full_is_certain(machine: Machine) -> None:
    """It is asked at its socket: exit code 1, the count, the limit, and what to do."""
    machine.start("ann", "--limit", "1")
    waits = machine.fill("ann")

    found = machine.why(waits)

    assert found["agent-full"]["stops"]
    assert "is full: 1 unit is alive, --limit 1." in found["agent-full"]["text"]
    assert "start it with a higher --limit" in found["agent-full"]["remedies"]
    assert found["agents"]["text"].endswith("ann.")
    assert next(iter(found)) == "agent-full"


def test_an_agent_elsewhere_is_asked_at_its_address(machine: Machine) -> None:
    """As ``--agent-address`` has it; without, it is only said that it asks for work."""
    machine.start("ann", "--limit", "1")
    waits = machine.fill("ann")
    elsewhere = {"PREFECT_AGENT_RUNTIME_DIRECTORY": str(machine.home / "none")}
    address = machine.status("ann")["agent"]["address"]

    asked = machine.why(waits, "--agent-address", address, **elsewhere)
    unasked = machine.why(waits, **elsewhere)
    units = machine.why(waits, "process", **elsewhere)

    assert asked["agent-full"]["stops"]
    assert address in asked["agent-full"]["text"]
    assert "agent-full" not in unasked
    assert "may be full" in units["units-alive"]["text"]


def test_an_agent_of_others_may_take_what_a_full_one_cannot(machine: Machine) -> None:
    """Another one asks for work that cannot be asked itself: that ours is full stops nothing for certain."""
    machine.start("ann", "--limit", "1")
    waits = machine.fill("ann")
    machine.cloud.ask_for_work()

    found = machine.why(waits)

    assert not found["agent-full"]["stops"]
    assert found["agents"]["text"].endswith("ann, gpu-1.")


def test_an_agent_that_leaves_a_run_alone_says_why(machine: Machine) -> None:
    """The run is later than its ``--max-lateness``: no other agent is there, so it does not start."""
    machine.start("ann", "--max-lateness", "300")
    due = datetime.now(timezone.utc) - timedelta(minutes=10)
    run_id = machine.cloud.new_run(scheduled_start_time=due.isoformat())
    wait_until(lambda: machine.status("ann")["declined"], 60, "ann has read it")

    found = machine.why(run_id)

    assert found["agent-declines"]["stops"]
    assert "ann" in found["agent-declines"]["text"]
    assert "this agent starts nothing later than 300 s (--max-lateness)" in found["agent-declines"]["text"]
    assert "schedule the run again" in found["agent-declines"]["remedies"]
    assert "late" not in found


def test_an_agent_with_room_is_said_to_have_it(machine: Machine) -> None:
    """The run is not due yet; this is what keeps it."""
    machine.start("ann", "--limit", "3")
    due = datetime.now(timezone.utc) + timedelta(hours=2)
    run_id = machine.cloud.new_run(scheduled_start_time=due.isoformat())

    found = machine.why(run_id)

    assert found["not-due"]["stops"]
    assert found["agent-has-room"]["text"].endswith("has room: 0 units are alive, --limit 3.")
    assert not found["agent-has-room"]["stops"]


def test_an_agent_that_is_paused(machine: Machine) -> None:
    """With the command that lets it go on; an agent of other labels does not matter."""
    machine.start("ann")
    machine.start("gpu", "--label", "gpu")
    assert machine.prefect("pause", "ann").returncode == 0
    run_id = machine.cloud.new_run()

    found = machine.why(run_id)

    assert found["agent-paused"]["stops"]
    assert found["agent-paused"]["remedies"] == ["prefect agent resume ann"]
    assert "agent-has-room" not in found


def test_an_agent_whose_key_is_refused(machine: Machine) -> None:
    """It is unhealthy, and says why itself."""
    machine.start("ann")
    machine.cloud.serve(key="another-key")
    machine.wait_for("ann", "unhealthy")

    found = machine.why(machine.cloud.new_run(), PREFECT__CLOUD__API_KEY="another-key")

    assert found["agent-unhealthy"]["stops"]
    assert "is unhealthy: " in found["agent-unhealthy"]["text"]


def test_an_address_at_which_no_agent_answers(machine: Machine) -> None:
    """What the Cloud says is said all the same."""
    found = machine.why(machine.cloud.new_run(), "--agent-address", "127.0.0.1:1")

    assert found["agent-unseen"]["text"].startswith("The agent at http://127.0.0.1:1 could not be asked: it does not")
    assert found["no-agents"]["stops"]


def test_the_agent_of_another_tenant_is_not_mistaken_for_one_that_could(machine: Machine) -> None:
    """It is there, and works for another Cloud."""
    with served(machine.home / "other.db") as other:
        machine.start("ann")
        found = why(other, machine.home, other.new_run(), **machine.variables)

    assert "no-agents" in found
    assert "agent-has-room" not in found
