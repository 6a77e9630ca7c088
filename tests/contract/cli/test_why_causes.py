"""Each cause that ``prefect agent why`` names, against the embedded Cloud and real platforms."""

import os
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import pytest

from prefect.agent import Agent
from prefect.agent.adapters.process import ProcessPlatform
from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit
from prefect.agent.domain.wait_kinds import WaitKind
from support.embedded import Json, task_run
from support.fault_proxy import FaultProxy, dated
from support.waiting import wait_until
from support.why_cloud import Cloud, claim, command, served, why

SCHEDULE = {"clocks": [{"type": "IntervalClock", "interval": 3_600_000_000, "start_date": None}]}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A Cloud of one's own."""
    with served(tmp_path / "cloud.db") as cloud:
        yield cloud


def test_a_run_that_is_not_due(cloud: Cloud, tmp_path: Path) -> None:
    """With the time, by the Cloud's clock."""
    due = datetime.now(timezone.utc) + timedelta(hours=2)
    run = cloud.new_run(scheduled_start_time=due.isoformat())

    found = why(cloud, tmp_path, run)["not-due"]

    assert found["stops"]
    assert f"at {due:%Y-%m-%d %H:%M:%S} UTC" in found["text"]


def test_a_run_that_is_due_by_this_machines_clock_only(cloud: Cloud, tmp_path: Path) -> None:
    """The Cloud's clock counts, and is said to differ."""
    run = cloud.new_run()
    behind = format_datetime(datetime.now(timezone.utc) - timedelta(minutes=10), usegmt=True)
    where = urlsplit(cloud.url)
    with closing(FaultProxy((str(where.hostname), where.port or 0))) as proxy:
        proxy.fail("*", dated(behind))
        found = why(cloud, tmp_path, run, PREFECT__CLOUD__API=proxy.url)["not-due"]

    assert found["stops"]
    assert re.search(r"it starts in (9|10) min", found["text"]), found["text"]
    assert re.search(r"The Cloud's clock is (9|10) min( \d+ s)? behind this machine's", found["text"]), found["text"]


def test_a_label_that_local_storage_adds_is_explained(cloud: Cloud, tmp_path: Path) -> None:
    """It is the name of the machine that registered the flow, and a process agent there has it."""
    storage = {"__version__": "1.4.1", "type": "Local", "path": "/f", "flows": {}, "secrets": []}
    flow = cloud.flow(cloud.project(), storage=storage, run_config={"type": "UniversalRun", "labels": ["vm"]})

    found = why(cloud, tmp_path, cloud.run(flow, labels=["vm"]))["no-agents"]

    assert "With Local storage Prefect 1.x adds the name of the machine" in found["text"]
    assert found["remedies"][0] == "prefect agent start process --label vm"


def test_a_run_whose_labels_no_agent_takes(cloud: Cloud, tmp_path: Path) -> None:
    """With what each agent lacks, and the command of one that lacks nothing."""
    run = cloud.new_run(labels=["gpu", "vm"])
    cloud.ask_for_work("gpu")

    found = why(cloud, tmp_path, run)["no-agent"]

    assert found["stops"]
    assert found["text"] == "No agent takes its labels: gpu, vm."
    assert (found["rows"][1][0], found["rows"][1][-1]) == ("gpu-1", "vm")
    assert "prefect agent start --label gpu --label vm" in found["remedies"]


def test_a_tenant_without_agents(cloud: Cloud, tmp_path: Path) -> None:
    """None has ever asked it for work."""
    found = why(cloud, tmp_path, cloud.new_run())["no-agents"]

    assert found["stops"]
    assert found["text"] == "No agent asks this tenant for work."
    assert "prefect agent start" in found["remedies"][0]


def test_agents_that_have_gone(cloud: Cloud, tmp_path: Path) -> None:
    """With the time when each was seen last."""
    run = cloud.new_run(labels=["vm"])
    cloud.back = timedelta(minutes=5)
    cloud.ask_for_work("vm")
    cloud.back = timedelta()

    found = why(cloud, tmp_path, run)["agents-gone"]

    assert found["rows"][1][:3] == ["gpu-1", "DockerAgent", "vm"]
    assert found["rows"][1][3].startswith("5 min")


def test_a_flow_whose_schedule_is_off(cloud: Cloud, tmp_path: Path) -> None:
    """It keeps no run that is there from being started."""
    flow = cloud.flow(cloud.project(), schedule=SCHEDULE)
    cloud.change("set_schedule_inactive", "success", flow_id=flow)
    run = cloud.run(flow)
    cloud.ask_for_work()

    found = why(cloud, tmp_path, run)

    assert not found["schedule-off"]["stops"]
    assert not found["agents"]["stops"]


def test_a_flow_without_a_schedule_has_none_that_is_off(cloud: Cloud, tmp_path: Path) -> None:
    """Nothing is said."""
    assert "schedule-off" not in why(cloud, tmp_path, cloud.new_run())


def test_a_name_that_several_runs_have(cloud: Cloud, tmp_path: Path) -> None:
    """The latest one is explained; the earlier ones are named, for one of them may be meant."""
    flow = cloud.flow(cloud.project())
    first, latest = cloud.run(flow, flow_run_name="nightly"), cloud.run(flow, flow_run_name="nightly")

    found = why(cloud, tmp_path, "nightly")["namesakes"]

    assert not found["stops"]
    assert found["text"] == f"This is the latest run of that name; earlier ones: {first}."
    assert found["remedies"] == [f"if another one is meant: prefect agent why {first}"]
    assert "namesakes" not in why(cloud, tmp_path, latest)


def test_a_flow_that_is_archived(cloud: Cloud, tmp_path: Path) -> None:
    """The Cloud has cancelled the run: with the remedy."""
    flow = cloud.flow(cloud.project())
    run = cloud.run(flow)
    cloud.change("archive_flow", "success", flow_id=flow)

    assert why(cloud, tmp_path, run)["archived"]["stops"]


def test_a_run_that_a_limit_keeps(cloud: Cloud, tmp_path: Path) -> None:
    """With the name of the run that holds the place."""
    cloud.change("update_flow_concurrency_limit", "id", label="vm", limit=1)
    flow = cloud.flow(cloud.project())
    holder, waits = (cloud.run(flow, flow_run_name=name, labels=["vm"]) for name in ("holder", "waits"))
    cloud.set_state(holder, "Running")
    cloud.set_state(waits, "Running")

    found = why(cloud, tmp_path, waits)["queued"]

    assert "The places are held by holder." in found["text"]


def test_a_run_that_is_paused(cloud: Cloud, tmp_path: Path) -> None:
    """A person has to resume it."""
    run = cloud.new_run()
    cloud.set_state(run, "Paused")

    assert why(cloud, tmp_path, run)["paused"]["stops"]


def test_task_runs_that_wait_for_a_retry(cloud: Cloud, tmp_path: Path) -> None:
    """How many, and when."""
    run = cloud.new_run(tasks=1)
    cloud.set_state(run, "Running")
    again = datetime.now(timezone.utc) + timedelta(minutes=7)
    state = {"type": "Retrying", "message": "again", "start_time": again.isoformat()}
    task = {"task_run_id": task_run(cloud, run), "state": state}
    cloud.change("set_task_run_states", "states { id }", states=[task])

    found = why(cloud, tmp_path, run)["retries-wait"]

    assert not found["stops"]
    assert found["text"].startswith(f"1 of its task runs wait to be tried again, the first one at {again:%H:%M:%S} UTC")


def test_a_platform_that_is_away(cloud: Cloud, tmp_path: Path) -> None:
    """What the Cloud says is said all the same."""
    found = why(cloud, tmp_path, cloud.new_run(), "docker", DOCKER_HOST="tcp://127.0.0.1:1")

    assert found["platform-unavailable"]["stops"]
    assert "no-agents" in found


@pytest.mark.parametrize(
    ("config", "options", "cause"),
    [
        ({"type": "LocalRun", "env": {"LD_PRELOAD": "x"}}, ("--policy", "restricted"), "refused-by-policy"),
        ({"type": "KubernetesRun"}, (), "refused"),
    ],
)
def test_a_run_that_an_agent_refused(
    cloud: Cloud, tmp_path: Path, config: Json, options: tuple[str, ...], cause: str
) -> None:
    """By its policy, or since the platform cannot run it: a real agent says it in the run's state."""
    run = cloud.run(cloud.flow(cloud.project(), run_config={**config, "labels": []}))
    words = ("start", "process", "--no-hostname-label", "--max-polls", "1", *options)
    done = command(cloud, tmp_path, *words)
    assert cloud.state(run) == "Failed", done.stderr

    found = why(cloud, tmp_path, run)[cause]

    assert found["stops"]
    assert found["remedies"]


class Failing(Agent):
    """An agent that can start nothing."""

    def deploy_flow(self, flow_run: object) -> str:
        """Fail as a platform does."""
        raise PlatformUnavailable("cannot pull the image 'x:1': no such host", wait_kind=WaitKind.IMAGE)


def test_a_run_that_an_agent_gave_up(cloud: Cloud, tmp_path: Path) -> None:
    """It failed before it began, with what was in the way."""
    run = cloud.new_run()
    environ = {"PREFECT__BACKEND": "server", "HOME": str(tmp_path)}
    Failing(api=cloud.url, environ=environ, max_polls=1).start()
    assert cloud.state(run) == "Failed"

    found = why(cloud, tmp_path, run)["gave-up"]

    assert found["stops"]
    lacking = "could not be started for lack of its image: cannot pull the image 'x:1': no such host"
    assert found["text"].endswith(lacking)
    assert found["remedies"][0] == "correct or push the image"


def test_a_run_that_is_late(cloud: Cloud, tmp_path: Path) -> None:
    """An agent takes its labels, asks for work, and yet does not claim it: it cannot be asked why."""
    cloud.back = timedelta(minutes=5)
    run = cloud.new_run()
    cloud.back = timedelta()
    cloud.ask_for_work()

    found = why(cloud, tmp_path, run)["late"]

    assert found["stops"]
    assert found["text"].startswith("It has been due for 5 min")
    assert "prefect agent status" in found["remedies"][0]


def test_a_run_that_has_ended(cloud: Cloud, tmp_path: Path) -> None:
    """Nothing keeps it; with its last message."""
    run = cloud.new_run()
    cloud.set_state(run, "Success")

    found = why(cloud, tmp_path, run)["finished"]

    assert (found["stops"], found["text"]) == (False, "It has ended. Success.")


def test_a_state_that_no_agent_acts_on(cloud: Cloud, tmp_path: Path) -> None:
    """With what to do about it."""
    run = cloud.new_run()
    cloud.set_state(run, "ClientFailed")

    found = why(cloud, tmp_path, run)["unknown-state"]

    assert found["stops"]
    assert "ClientFailed" in found["text"]
    assert found["remedies"]


@pytest.mark.parametrize(("state", "minutes", "stops"), [("Submitted", 0, False), ("Submitted", 5, True)])
def test_a_run_that_another_product_has_claimed(
    cloud: Cloud, tmp_path: Path, state: str, minutes: int, *, stops: bool
) -> None:
    """It left no record; after a minute that is a cause."""
    run = cloud.new_run()
    cloud.back = timedelta(minutes=minutes)
    cloud.set_state(run, state)
    cloud.back = timedelta()

    found = why(cloud, tmp_path, run)["foreign-claim"]

    assert found["stops"] is stops
    assert found["text"].startswith("It has been Submitted for ")


# --- claimed ---


@attrs.frozen
class Claimed:
    """A run that an agent has claimed for a unit of this machine's processes."""

    submission: Submission
    platform: ProcessPlatform

    @property
    def run(self) -> str:
        """The run's id."""
        return self.submission.flow_run_id

    def start(self, script: str) -> None:
        """The claim's unit."""
        self.platform.create(attrs.evolve(self.submission, command=("/bin/sh", "-c", script)))

    def look(self) -> Unit:
        """The unit."""
        unit = self.platform.unit(self.submission.name)
        assert unit is not None
        return unit


@pytest.fixture
def claimed(cloud: Cloud, tmp_path: Path) -> Iterator[Claimed]:
    """A claim without a unit."""
    platform = ProcessPlatform(tmp_path / ".prefect-agent" / "units", environ={"PATH": os.environ["PATH"]})
    with closing(platform):
        submission = claim(cloud, platform.identity)
        try:
            yield Claimed(submission, platform)
        finally:
            platform.stop(submission.name, grace=0)


def test_a_claim_whose_unit_is_absent(cloud: Cloud, claimed: Claimed, tmp_path: Path) -> None:
    """By whom, when, and for which unit it was claimed."""
    found = why(cloud, tmp_path, claimed.run, "process")

    text = found["claimed"]["text"]
    assert text.startswith("The agent vm-1 claimed it 3 min")
    assert text.endswith(f"for the unit {claimed.submission.name}.")
    assert found["recovered"]["text"].startswith("Its claim was recovered 2 times")
    assert found["unit-absent"]["stops"]


def test_a_claim_whose_unit_executes(cloud: Cloud, claimed: Claimed, tmp_path: Path) -> None:
    """Nothing keeps the run, until it is late."""
    claimed.start("exec sleep 600")

    assert not why(cloud, tmp_path, claimed.run, "process")["unit-executes"]["stops"]


def test_a_claim_whose_unit_has_ended(cloud: Cloud, claimed: Claimed, tmp_path: Path) -> None:
    """With its evidence."""
    claimed.start("exit 3")
    wait_until(lambda: claimed.look().status.has_ended, 30, "the unit has ended")

    assert "exit code 3" in why(cloud, tmp_path, claimed.run, "process")["unit-ended"]["text"]


def test_a_claim_on_a_platform_that_was_not_asked(cloud: Cloud, claimed: Claimed, tmp_path: Path) -> None:
    """With the command that asks it."""
    assert f"why {claimed.run}" in why(cloud, tmp_path, claimed.run)["unit-unseen"]["remedies"][0]


def test_units_that_may_fill_an_agent(cloud: Cloud, claimed: Claimed, tmp_path: Path) -> None:
    """Of a run that waits it is said how many units are alive: an agent at its limit takes none."""
    claimed.start("exec sleep 600")

    found = why(cloud, tmp_path, cloud.run(cloud.flow(cloud.project("q"))), "process")["units-alive"]

    assert not found["stops"]
    assert found["text"].startswith("1 unit is alive")
    assert "may be full" in found["text"]
    assert found["remedies"]
