"""The contract of connecting, registering and reading."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from prefect.agent.adapters.fakes.contracts.cloud_base import (
    HERE,
    MINUTE,
    CloudContractBase,
    claim,
    claimed,
    ids,
    now,
    one,
    ready,
    request,
)
from prefect.agent.adapters.fakes.contracts.harnesses import CloudHarness
from prefect.agent.domain.model.flow_runs import Claimed, FlowRunId
from prefect.agent.domain.model.run_configs import DockerRun, UniversalRun, UnusableRunConfig
from prefect.agent.domain.model.states import Outcome, Phase
from prefect.agent.ports.cloud_api import AgentIdentity, CloudApi

PHASES = [
    ("Scheduled", Phase.WAITING, None),
    ("Retrying", Phase.WAITING, None),
    ("Queued", Phase.WAITING, None),
    ("Submitted", Phase.CLAIMED, None),
    ("Running", Phase.RUNNING, None),
    ("Success", Phase.FINISHED, Outcome.SUCCESS),
    ("Failed", Phase.FINISHED, Outcome.FAILURE),
    ("TimedOut", Phase.FINISHED, Outcome.FAILURE),
    ("Cancelled", Phase.FINISHED, Outcome.CANCELLED),
]
"""States in the words of 1.x, and what the agent is to make of them."""

AGENT = AgentIdentity(name="agent", type="DockerAgent", labels=("a", "b"))


class ReadingContract(CloudContractBase):
    """These tests check ``register`` and the methods that change nothing."""

    def test_connect_names_the_tenant(self, cloud: CloudApi) -> None:
        """Connecting returns the tenant of the key, and may be repeated."""
        tenant = cloud.connect()

        assert tenant.id
        assert cloud.connect() == tenant

    def test_the_same_agent_gets_the_same_id(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Registration may be repeated, also by another process: the same identity gets the same id."""
        first = cloud.register(AGENT)

        assert first
        assert cloud.register(AGENT) == first
        assert harness.connection().register(AGENT) == first

    def test_another_agent_gets_another_id(self, cloud: CloudApi) -> None:
        """Agents that differ in name, type or labels are different agents."""
        agents = [
            AGENT,
            AgentIdentity(name="other", type="DockerAgent", labels=("a", "b")),
            AgentIdentity(name="agent", type="LocalAgent", labels=("a", "b")),
            AgentIdentity(name="agent", type="DockerAgent", labels=("a",)),
        ]
        assert len({cloud.register(agent) for agent in agents}) == len(agents)

    def test_nothing_is_ready_in_an_empty_cloud(self, cloud: CloudApi) -> None:
        """A Cloud without flow runs offers none."""
        assert list(ready(cloud)) == []

    def test_a_due_run_is_ready(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A Scheduled run that is due comes with its name, due time, run config and flow."""
        due = now() - MINUTE
        run_id = harness.add_flow_run(due=due, name="amber-fox", run_config=UniversalRun(env={"A": "1"}))

        (run,) = ready(cloud)

        assert (run.id, run.name, run.state.phase, run.claim) == (run_id, "amber-fox", Phase.WAITING, None)
        assert run.due is not None
        assert abs(run.due - due) < timedelta(milliseconds=1)
        assert run.run_config == UniversalRun(env={"A": "1"})
        assert run.flow.id
        assert run.flow.name
        assert run.due_task_runs == ()

    def test_a_run_brings_the_run_config_of_its_platform(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A Docker run config arrives as a Docker run config."""
        config = DockerRun(env={"A": "1"}, image="lab/busybox:latest")
        harness.add_flow_run(run_config=config)

        assert [run.run_config for run in ready(cloud)] == [config]

    def test_a_run_config_without_sense_is_told_on_its_run(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """An invalid run config is an ``UnusableRunConfig`` on its run; other runs are not affected."""
        bad = harness.add_flow_run(run_config=UnusableRunConfig(reason="of no known type"))
        good = harness.add_flow_run()

        runs = {run.id: run for run in ready(cloud)}

        assert isinstance(runs[bad].run_config, UnusableRunConfig)
        assert runs[good].run_config == UniversalRun()

    def test_only_runs_due_before_the_given_time_are_ready(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """*before* decides: it may lie in the future (then runs come early) or in the past."""
        late = harness.add_flow_run(due=now() + 10 * MINUTE)
        early = harness.add_flow_run(due=now() - 10 * MINUTE)

        assert ids(ready(cloud)) == [early]
        assert ids(ready(cloud, before=now() + 20 * MINUTE)) == [early, late]
        assert ids(ready(cloud, before=now() - 20 * MINUTE)) == []

    def test_oldest_first_and_at_most_the_limit(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """At most *limit* runs, those that have waited longest, oldest first, whatever order they were made in."""
        made = {age: harness.add_flow_run(due=now() - age * MINUTE) for age in (3, 9, 1, 7, 5)}
        oldest = [made[age] for age in sorted(made, reverse=True)]

        assert ids(ready(cloud)) == oldest
        assert ids(ready(cloud, limit=2)) == oldest[:2]

    @pytest.mark.parametrize("limit", [0, -1])
    def test_a_limit_of_nothing_returns_nothing(self, cloud: CloudApi, harness: CloudHarness, limit: int) -> None:
        """A limit of zero or less returns nothing."""
        harness.add_flow_run()

        assert list(ready(cloud, limit=limit)) == []
        assert len(ready(cloud, limit=1)) == 1

    def test_nothing_is_reserved(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """The same run is offered again, to every agent, until it is claimed."""
        run_id = harness.add_flow_run()
        other = harness.connection()

        assert ids(ready(cloud)) == ids(ready(cloud)) == ids(ready(other)) == [run_id]
        claim(cloud, run_id)
        assert ids(ready(cloud)) == ids(ready(other)) == []

    @pytest.mark.parametrize("state", ["Submitted", "Running", "Success", "Failed", "Cancelled"])
    def test_runs_that_do_not_wait_are_not_ready(self, cloud: CloudApi, harness: CloudHarness, state: str) -> None:
        """A run that was claimed, executes or has ended is not ready."""
        harness.set_state(harness.add_flow_run(), state)
        waiting = harness.add_flow_run()

        assert ids(ready(cloud)) == [waiting]

    @pytest.mark.parametrize("state", ["Queued", "Retrying", "Resume", "Paused"])
    def test_only_scheduled_runs_wait_for_an_agent(self, cloud: CloudApi, harness: CloudHarness, state: str) -> None:
        """A flow run that waits for something else is not ready, and hides none that is."""
        for _ in range(30):
            harness.set_state(harness.add_flow_run(due=now() - 10 * MINUTE), state)
        mine = harness.add_flow_run()

        assert ids(ready(cloud, before=now() + 60 * MINUTE)) == [mine]

    @pytest.mark.parametrize(
        ("of_run", "of_agent", "given"),
        [
            ([], [], 1),
            ([], ["a"], 0),
            (["a"], [], 0),
            (["a"], ["a"], 1),
            (["a"], ["a", "b"], 1),
            (["a", "b"], ["b", "a"], 1),
            (["a", "b"], ["a"], 0),
            (["a"], ["A"], 0),
        ],
    )
    def test_labels(
        self, cloud: CloudApi, harness: CloudHarness, of_run: list[str], of_agent: list[str], given: int
    ) -> None:
        """An agent gets the runs all of whose labels it has; runs without labels go to agents without labels."""
        run_id = harness.add_flow_run(labels=of_run)

        assert ids(ready(cloud, labels=of_agent)) == [run_id] * given

    def test_runs_of_others_do_not_use_up_the_limit(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Runs whose labels do not fit, however old and many, do not hide one that fits."""
        for _ in range(30):
            harness.add_flow_run(labels=["gpu"], due=now() - MINUTE)
        mine = harness.add_flow_run(labels=["cpu"])

        assert ids(ready(cloud, labels=["cpu"], limit=1)) == [mine]

    def test_a_running_run_with_a_due_task_run_is_ready(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A Running run comes back with the task runs that are due again, and with another attempt than before."""
        run_id = harness.add_flow_run()
        harness.set_state(run_id, "Running")
        before = one(cloud, run_id).attempt
        due = harness.add_task_run(run_id, "Retrying", now() - MINUTE)
        harness.add_task_run(run_id, "Retrying", now() + 10 * MINUTE)

        (run,) = ready(cloud)

        assert (run.id, run.state.phase) == (run_id, Phase.RUNNING)
        assert [task_run.id for task_run in run.due_task_runs] == [due]
        assert run.due is None or run.due <= now()
        assert str(run.attempt) != str(before)
        assert one(cloud, run_id).attempt == run.attempt

    def test_a_running_run_whose_task_runs_wait_is_not_ready(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Task runs that are due later, or do not wait, do not bring a Running run back."""
        run_id = harness.add_flow_run()
        harness.set_state(run_id, "Running")
        harness.add_task_run(run_id, "Retrying", now() + 10 * MINUTE)
        harness.add_task_run(run_id, "Success", now() - MINUTE)

        assert list(ready(cloud)) == []

    def test_what_is_ready_is_not_waited_for(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A ready run is returned at once, however long the caller would wait."""
        run_id = harness.add_flow_run()
        began = time.monotonic()

        assert ids(ready(cloud, wait=60)) == [run_id]
        assert time.monotonic() - began < 30

    def test_waiting_for_nothing_ends(self, cloud: CloudApi) -> None:
        """A call without ready runs returns nothing in the end, whether the Cloud waits or not."""
        assert list(ready(cloud, wait=1)) == []

    def test_a_cloud_that_waits_answers_when_there_is_a_run(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A Cloud that waits answers as soon as a run is ready. One that does not wait answers before, and says so."""
        ready(cloud)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ready, cloud, wait=60)
            run_id = harness.add_flow_run()
            found = ids(answer.result(30))

        assert found in ([run_id], []) if not cloud.waits else found == [run_id]

    def test_flow_runs_reads_any_number(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Runs are read as they are now; each once, however many, whatever their state; unknown ids are left out."""
        made = [harness.add_flow_run() for _ in range(60)]
        harness.set_state(made[0], "Running")
        unknown = [FlowRunId(str(uuid.uuid4())) for _ in range(400)]

        found = cloud.flow_runs([*made, *unknown, *made])

        assert sorted(ids(found)) == sorted(made)
        assert {run.id: run.state.phase for run in found}[made[0]] is Phase.RUNNING
        assert list(cloud.flow_runs([])) == []
        assert list(cloud.flow_runs(unknown[:1])) == []

    @pytest.mark.parametrize(("state", "phase", "outcome"), PHASES)
    def test_a_state_is_read_with_its_phase(
        self, cloud: CloudApi, harness: CloudHarness, state: str, phase: Phase, outcome: Outcome | None
    ) -> None:
        """The agent decides by the phase alone; the name is for people, and is never empty."""
        run_id = harness.add_flow_run()
        harness.set_state(run_id, state)

        found = one(cloud, run_id).state

        assert (found.phase, found.outcome) == (phase, outcome)
        assert found.name

    def test_attempts_are_equal_until_something_happens(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Two agents read the same attempt of a run; scheduling it again makes another one."""
        run_id = harness.add_flow_run()
        (first,), second = ready(cloud), one(harness.connection(), run_id)

        assert first.attempt == second.attempt
        assert (str(first.attempt), hash(first.attempt)) == (str(second.attempt), hash(second.attempt))
        harness.set_state(run_id, "Scheduled")
        assert one(cloud, run_id).attempt != first.attempt
        assert str(one(cloud, run_id).attempt) != str(first.attempt)

    def test_claimed_runs_are_found_by_platform(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """All runs that are not over and whose latest claim names the platform, by any claimant; no others."""
        mine, siblings = claimed(cloud, harness), claimed(harness.connection(), harness, claimant="agent-2")
        started, cancelling = claimed(cloud, harness, "Running"), claimed(cloud, harness, "Cancelling")
        claimed(cloud, harness, platform="platform:elsewhere")
        for state in ("Success", "Failed", "Scheduled"):
            claimed(cloud, harness, state)
        harness.add_flow_run()

        found = {run.id: run for run in cloud.claimed_flow_runs(platform=HERE)}

        expected = {each.run.id: each.record for each in (mine, siblings, started, cancelling)}
        assert {run.id: run.claim for run in found.values()} == expected
        assert [found[each.run.id].state.phase for each in (mine, started, cancelling)] == [
            Phase.CLAIMED,
            Phase.RUNNING,
            Phase.CANCELLING,
        ]

    def test_what_changed_is_found_whatever_its_state(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """With *changed_since* a read returns claimed runs that changed then or later, finished ones too."""
        made = [
            claimed(cloud, harness, state) for state in ("Submitted", "Running", "Cancelling", "Success", "Cancelled")
        ]
        claimed(cloud, harness, platform="platform:elsewhere")

        found = ids(cloud.claimed_flow_runs(platform=HERE, changed_since=now() - MINUTE))

        assert sorted(found) == sorted(each.run.id for each in made)
        assert list(cloud.claimed_flow_runs(platform=HERE, changed_since=now() + MINUTE)) == []

    def test_a_claimed_task_run_is_a_change(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A Running run whose task runs were claimed has changed, and shows them."""
        run_id = harness.add_flow_run()
        harness.set_state(run_id, "Running")
        task_run = harness.add_task_run(run_id, "Retrying", now() - MINUTE)
        outcome = claim(cloud, run_id)

        (found,) = cloud.claimed_flow_runs(platform=HERE, changed_since=now() - MINUTE)

        assert isinstance(outcome, Claimed)
        assert (found.id, found.claim) == (run_id, outcome.record)
        assert [each.id for each in found.claimed_task_runs] == [task_run]

    @pytest.mark.parametrize("state", ["Submitted", "Running", "Cancelling", "Success", "Failed", "Cancelled"])
    def test_a_run_belongs_to_its_latest_claim(self, cloud: CloudApi, harness: CloudHarness, state: str) -> None:
        """The record is read back whatever the state is now, with every field of it."""
        mine = claimed(cloud, harness, state)

        assert one(harness.connection(), mine.run.id).claim == mine.record

    @pytest.mark.usefixtures("strict")
    def test_a_run_that_was_scheduled_again_belongs_to_no_claim(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A run that was scheduled again belongs to no claim, even if another product executes it since."""
        mine = claimed(cloud, harness, "Running")
        harness.set_state(mine.run.id, "Scheduled")
        assert one(cloud, mine.run.id).claim is None

        for state in ("Submitted", "Running"):
            harness.set_state(mine.run.id, state)
            assert one(cloud, mine.run.id).claim is None

    def test_the_claim_of_task_runs_is_the_latest(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A Running run belongs to the claim of its task runs, also once these have been started or have ended."""
        first = claimed(cloud, harness, "Running")
        task_run = harness.add_task_run(first.run.id, "Retrying", now() - MINUTE)
        assert one(cloud, first.run.id).claim == first.record
        second = claim(cloud, first.run.id, "agent-2")

        assert isinstance(second, Claimed)
        assert one(cloud, first.run.id).claim == second.record
        for state in ("Running", "Success"):
            harness.set_task_state(first.run.id, task_run, state, now())
            assert one(cloud, first.run.id).claim == second.record

    def test_runs_to_skip_hide_no_others(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """However many runs at the head of the queue are skipped, those behind them are offered, oldest first."""
        skipped = [harness.add_flow_run(labels=["a"], due=now() - 9 * MINUTE) for _ in range(60)]
        harness.add_flow_run(labels=["b"], due=now() - 5 * MINUTE)
        harness.add_flow_run(due=now() - 5 * MINUTE)
        harness.add_flow_run(labels=["a"], due=now() + 9 * MINUTE)
        wanted = [harness.add_flow_run(labels=["a"], due=now() - age * MINUTE) for age in (4, 3, 2)]

        assert ids(ready(cloud, labels=["a", "c"], skip=skipped)) == wanted
        assert ids(ready(cloud, labels=["a", "c"], limit=1, skip=skipped)) == wanted[:1]
        assert ids(ready(cloud, labels=["a", "c"], skip=[*skipped, *wanted])) == []

    def test_skipped_runs_are_left_out_before_the_cut(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A limit counts only the runs that are offered."""
        first, second = (harness.add_flow_run(due=now() - age * MINUTE) for age in (2, 1))

        assert ids(ready(cloud, limit=1)) == [first]
        assert ids(ready(cloud, limit=1, skip=[first])) == [second]

    def test_the_identity_names_cloud_and_tenant(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """The identity is the same for every agent that is offered the same runs."""
        assert cloud.identity
        assert cloud.identity.isprintable()
        assert harness.connection().identity == cloud.identity

    def test_clocks_that_agree_show_no_skew(self, cloud: CloudApi) -> None:
        """Neither the duration nor the precision of answers shows as skew."""
        for _ in range(5):
            ready(cloud)
        assert cloud.skew == 0.0

    def test_claimed_runs_without_our_record_are_not_ours(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A run that an official agent made Submitted carries no record: it is read without one and not ours."""
        run_id = harness.add_flow_run()
        harness.set_state(run_id, "Submitted")

        assert one(cloud, run_id).claim is None
        assert list(cloud.claimed_flow_runs(platform=HERE)) == []

    def test_very_many_claimed_runs_are_found(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Pages are the adapter's business: 230 claimed runs come back, each once."""
        made = [harness.add_flow_run() for _ in range(230)]
        outcomes = cloud.claim([request(run) for run in cloud.flow_runs(made)])
        assert {type(outcome) for outcome in outcomes} == {Claimed}

        assert sorted(ids(cloud.claimed_flow_runs(platform=HERE))) == sorted(made)
