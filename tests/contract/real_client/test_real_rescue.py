"""Flow processes of the real client that die without a word, and what becomes of their runs (protocol section 13.5)."""

import os
import re
import signal
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import attrs
import pytest

from prefect.agent.domain.times import iso, read_time
from prefect.agent.entrypoints.server import services
from prefect.agent.entrypoints.server.services import Routine
from prefect.agent.entrypoints.server.testing import running_server
from support.processes import has_ended
from support.real_prefect import RealPrefect, found
from support.waiting import wait_until

pytestmark = pytest.mark.real_prefect

HERE = Path(__file__).parent
A_WHILE = 300
ROUTINE = Routine(periods={"lazarus": 0.5, "zombie-killer": 0.5})

LIVELY = ("--env", "PREFECT__CLOUD__HEARTBEAT_MODE=thread", "--env", "PREFECT__CLOUD__HEARTBEAT_INTERVAL=1")
AGENT = ("local", "start", "--no-hostname-label")
TASK = "work-1"


@attrs.define
class Silence:
    """When the Cloud takes silence for death: a time of day in place of an age, which a busy machine may exceed."""

    lost_before: str | None = None
    """Heartbeats older than this come from processes that are gone; None: nobody's."""


@pytest.fixture(scope="module")
def silence() -> Iterator[Silence]:
    """At first nobody is lost."""
    found = Silence()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(services, "lost_before", lambda *_: found.lost_before)
        yield found


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, prefect_python: Path, silence: Silence) -> Iterator[RealPrefect]:
    """The real client against a Cloud that looks for the lost more often than others do."""
    del silence  # it is in force
    home = tmp_path_factory.mktemp("home")
    with running_server(home / "cloud.db", routine=ROUTINE) as url:
        yield RealPrefect(prefect_python, url, home)


@attrs.frozen
class Victims:
    """Flow runs of the real local agent, by what happened to them."""

    real: RealPrefect
    runs: dict[str, str]

    def file(self, name: str) -> Path:
        """The run's work ends when this exists."""
        return self.real.home / f"{name}.go"

    def task(self, name: str) -> str:
        """State of its task run."""
        return str(self.real.task_runs(self.runs[name])[TASK, -1]["state"])

    def state(self, name: str) -> str:
        """State of its flow run."""
        return self.real.states([self.runs[name]])[0]

    def kill(self, name: str) -> None:
        """End its process at once, by the id that the agent wrote into its log."""
        said = r"Submitted for execution: PID: (\d+)"
        wait_until(lambda: re.search(said, "\n".join(self.real.logs(self.runs[name]))), A_WHILE, "its id")
        process = int(found(said, "\n".join(self.real.logs(self.runs[name]))))
        os.kill(process, signal.SIGKILL)
        wait_until(lambda: has_ended(process), A_WHILE, "its death")

    def next_heartbeat(self, name: str) -> str:
        """Wait for it; return a time of day that is before it and after all that was sent when this was called."""
        query = "query($id: uuid!) { flow_run_by_pk(id: $id) { heartbeat } }"
        now = iso(datetime.now(timezone.utc))

        def heartbeat() -> datetime:
            return read_time(self.real.graphql(query, {"id": self.runs[name]})["flow_run_by_pk"]["heartbeat"])

        wait_until(lambda: heartbeat() > read_time(now), A_WHILE, "a heartbeat")
        return now


@pytest.fixture(scope="module")
def victims(real: RealPrefect, silence: Silence) -> Iterator[Victims]:
    """Five runs at work, of which four lose their process; and one that was claimed and got none."""
    given = {"project": "rescue", "paths": [str(HERE / "flows" / "mortal.py")]}
    flows = real.program(HERE / "programs" / "register.py", given)
    switch = "mutation($i: disable_flow_heartbeat_input!) { disable_flow_heartbeat(input: $i) { success } }"
    real.graphql(switch, {"i": {"flow_id": flows["spared"]}})
    which = {"killed": "mortal", "alive": "mortal", "cancelled": "mortal", "spared": "spared", "retried": "retried"}
    found = Victims(real, {})

    def create(name: str, flow: str) -> None:
        found.runs[name] = real.create_run(flows[flow], parameters={"path": str(found.file(name))})

    create("lost", "mortal")
    found.file("lost").touch()
    with real.agent(*AGENT, "--env", "PYTHONHOME=/nowhere", own=False):  # its processes die before they say a word
        wait_until(lambda: found.state("lost") == "Submitted", A_WHILE, "the claim")
        wait_until(lambda: any("PID" in line for line in real.logs(found.runs["lost"])), A_WHILE, "the start")
    for name, flow in which.items():
        create(name, flow)
    with real.agent(*AGENT, *LIVELY, own=False):
        try:
            wait_until(lambda: {found.task(name) for name in which} == {"Running"}, A_WHILE, "all at work")
            for name in ("spared", "killed", "cancelled", "retried"):
                found.kill(name)
            cancel = "mutation($i: cancel_flow_run_input!) { cancel_flow_run(input: $i) { state } }"
            real.graphql(cancel, {"i": {"flow_run_id": found.runs["cancelled"]}})
            found.file("retried").touch()
            found.next_heartbeat("alive")  # by then all that the others sent has been taken
            silence.lost_before = found.next_heartbeat("alive")
            yield found
        finally:
            for name in which:  # nothing works on after a test that failed
                found.file(name).touch()


def test_a_run_whose_process_was_killed_ends_failed(victims: Victims) -> None:
    """The zombie killer fails the task run; Lazarus has the flow run started again, which finds the task Failed."""
    wait_until(lambda: victims.state("killed") == "Failed", A_WHILE, "Failed")

    assert victims.task("killed") == "Failed"
    history = victims.real.history(victims.runs["killed"])
    assert history == ["Scheduled", "Submitted", "Running", "Scheduled", "Submitted", "Running", "Failed"]
    written = "\n".join(victims.real.logs(victims.runs["killed"]))
    assert "No heartbeat of its flow run since" in written
    assert "Rescheduled by Lazarus" in written


def test_a_task_with_retries_left_is_tried_again(victims: Victims) -> None:
    """By another process, of the same flow run, which then ends well."""
    wait_until(lambda: victims.state("retried") == "Success", A_WHILE, "Success")

    assert victims.real.history(victims.runs["retried"]) == ["Scheduled", "Submitted", "Running", "Success"]
    history = victims.real.task_runs(victims.runs["retried"])[TASK, -1]["history"]
    assert history == ["Pending", "Running", "Retrying", "Submitted", "Running", "Success"]


def test_a_cancellation_that_nobody_can_finish_is_finished(victims: Victims) -> None:
    """The run was being cancelled when its process was gone already."""
    wait_until(lambda: victims.state("cancelled") == "Failed", A_WHILE, "Failed")

    assert victims.real.history(victims.runs["cancelled"])[-3:] == ["Running", "Cancelling", "Failed"]
    wait_until(lambda: victims.task("cancelled") == "Failed", A_WHILE, "its task run likewise")


def test_a_claimed_run_whose_process_never_came_is_scheduled_again(victims: Victims) -> None:
    """Once, and the next agent runs it."""
    wait_until(lambda: victims.state("lost") == "Success", A_WHILE, "Success")

    run_id = victims.runs["lost"]
    history = ["Scheduled", "Submitted", "Scheduled", "Submitted", "Running", "Success"]
    assert victims.real.history(run_id) == history
    query = "query($id: uuid!) { flow_run_by_pk(id: $id) { times_resurrected } }"
    assert victims.real.graphql(query, {"id": run_id})["flow_run_by_pk"]["times_resurrected"] == 1


def test_who_sends_heartbeats_or_need_not_is_left_alone(victims: Victims) -> None:
    """A run at work works on; a flow that has switched heartbeats off is nobody's business."""
    wait_until(lambda: victims.state("killed") == "Failed", A_WHILE, "the others' end")

    assert (victims.state("alive"), victims.task("alive")) == ("Running", "Running")
    assert (victims.state("spared"), victims.task("spared")) == ("Running", "Running")
    victims.file("alive").touch()
    wait_until(lambda: victims.state("alive") == "Success", A_WHILE, "Success")
    assert victims.real.history(victims.runs["alive"]) == ["Scheduled", "Submitted", "Running", "Success"]
