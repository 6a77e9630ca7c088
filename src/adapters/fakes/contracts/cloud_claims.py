"""The contract of claims: which agent gets a run, and what the others observe."""

import threading
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest

from prefect.agent.adapters.fakes.contracts.cloud_base import (
    HERE,
    MINUTE,
    CloudContractBase,
    claim,
    claimed,
    end,
    end_of,
    ids,
    now,
    one,
    ready,
    request,
    run_with_due_tasks,
)
from prefect.agent.adapters.fakes.contracts.harnesses import CloudHarness
from prefect.agent.domain.errors import OutcomeUnknown
from prefect.agent.domain.model.ends import EndKind, EndVerdict
from prefect.agent.domain.model.flow_runs import (
    Claimed,
    ClaimOutcome,
    FlowRun,
    FlowRunId,
    Lost,
    Refused,
)
from prefect.agent.domain.model.states import Phase
from prefect.agent.ports.cloud_api import ClaimRequest, CloudApi

RUNS = 50


class ClaimContract(CloudContractBase):
    """These tests check the method ``claim``."""

    def test_a_claimed_run_is_submitted_and_says_who_has_it(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A claim makes the run Submitted; the record is read back by every agent, in both ways."""
        run_id = harness.add_flow_run()
        (run,) = ready(cloud)
        wanted = request(run)

        (outcome,) = cloud.claim([wanted])

        assert outcome == Claimed(run, wanted.record)
        assert harness.flow_run(run_id).state == "Submitted"
        other = harness.connection()
        assert one(other, run_id).claim == wanted.record
        assert [found.claim for found in other.claimed_flow_runs(platform=HERE)] == [wanted.record]

    def test_a_claimed_run_keeps_its_attempt(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """The run that comes back has the attempt that was claimed, since the unit's name is made from it."""
        harness.add_flow_run()
        (run,) = ready(cloud)

        (outcome,) = cloud.claim([request(run)])

        assert isinstance(outcome, Claimed)
        assert outcome.run.attempt == run.attempt
        assert attrs.evolve(outcome.run, state=run.state) == run

    def test_no_requests_no_outcomes(self, cloud: CloudApi) -> None:
        """A call without requests is allowed."""
        assert list(cloud.claim([])) == []

    def test_one_outcome_for_each_request_in_order(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Outcomes of many claims come in the order of the requests, and a lost claim spoils no other."""
        runs = cloud.flow_runs([harness.add_flow_run() for _ in range(60)])
        taken = {run.id for run in runs[::7]}
        for run_id in taken:
            assert isinstance(claim(harness.connection(), run_id, "agent-2"), Claimed)

        outcomes = cloud.claim([request(run) for run in runs])

        assert [outcome.run.id for outcome in outcomes] == ids(runs)
        assert [isinstance(outcome, Lost) for outcome in outcomes] == [run.id in taken for run in runs]
        assert {type(outcome) for outcome in outcomes} == {Claimed, Lost}
        claimants = [record.claimant for run in cloud.flow_runs(ids(runs)) if (record := run.claim)]
        assert Counter(claimants) == {"agent-1": 60 - len(taken), "agent-2": len(taken)}

    def test_a_run_that_does_not_exist_spoils_no_other(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A request for a run that was deleted is lost or refused; its neighbours are claimed."""
        first, last = cloud.flow_runs([harness.add_flow_run(), harness.add_flow_run()])
        gone = attrs.evolve(first, id=FlowRunId(str(uuid.uuid4())))

        outcomes = cloud.claim([request(first), request(gone), request(last)])

        assert [type(outcomes[0]), type(outcomes[2])] == [Claimed, Claimed]
        assert isinstance(outcomes[1], Lost | Refused)

    def test_a_claim_may_be_repeated(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Repeating a claim that was committed is answered Lost, to its owner too, and changes nothing."""
        run_id = harness.add_flow_run()
        wanted = request(one(cloud, run_id))
        (first,) = cloud.claim([wanted])
        before = harness.flow_run(run_id)

        outcomes = [cloud.claim([wanted])[0] for _ in range(3)]

        assert isinstance(first, Claimed)
        assert [type(outcome) for outcome in outcomes] == [Lost] * 3
        assert harness.flow_run(run_id) == before
        assert one(cloud, run_id).claim == wanted.record

    def test_the_same_run_twice_in_one_call(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Asked for twice in one call, a run is claimed once."""
        wanted = request(one(cloud, harness.add_flow_run()))

        assert [type(outcome) for outcome in cloud.claim([wanted, wanted])] == [Claimed, Lost]

    @pytest.mark.usefixtures("strict")
    @pytest.mark.parametrize("state", ["Submitted", "Running", "Success", "Failed", "Cancelled"])
    def test_a_run_that_moved_on_is_lost(self, cloud: CloudApi, harness: CloudHarness, state: str) -> None:
        """A run that stopped waiting since it was read is lost and stays as it is."""
        run_id = harness.add_flow_run()
        run = one(cloud, run_id)
        harness.set_state(run_id, state, "moved on")

        (outcome,) = cloud.claim([request(run)])

        assert isinstance(outcome, Lost)
        assert (harness.flow_run(run_id).state, harness.flow_run(run_id).message) == (state, "moved on")

    @pytest.mark.usefixtures("strict")
    def test_an_old_attempt_is_lost(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A run that was scheduled again waits for another attempt: the old one is lost, the new one can be claimed."""
        run_id = harness.add_flow_run()
        old = one(cloud, run_id)
        harness.set_state(run_id, "Scheduled")

        assert [type(outcome) for outcome in cloud.claim([request(old)])] == [Lost]
        assert harness.flow_run(run_id).state == "Scheduled"
        assert isinstance(claim(cloud, run_id), Claimed)

    @pytest.mark.usefixtures("strict")
    def test_a_run_can_be_claimed_again_after_it_was_handed_back(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A Submitted run that is Scheduled again has another attempt, with another unit name."""
        run_id = harness.add_flow_run()
        first = claim(cloud, run_id)
        harness.set_state(run_id, "Scheduled")

        second = claim(harness.connection(), run_id, "agent-2")

        assert isinstance(first, Claimed)
        assert isinstance(second, Claimed)
        assert first.record.unit != second.record.unit
        assert one(cloud, run_id).claim == second.record

    def test_of_racing_agents_exactly_one_gets_each_run(self, harness: CloudHarness) -> None:
        """Four agents ask for the same fifty runs at once: each run is claimed exactly once, as the Cloud's record."""
        made = [harness.add_flow_run() for _ in range(RUNS)]
        start = threading.Barrier(4)

        outcomes = _race(harness, made, start)

        won = Counter(outcome.run.id for outcome in outcomes if isinstance(outcome, Claimed))
        assert won == dict.fromkeys(made, 1)
        assert {type(outcome) for outcome in outcomes} == {Claimed, Lost}
        winners = {outcome.run.id: outcome.record for outcome in outcomes if isinstance(outcome, Claimed)}
        assert {run.id: run.claim for run in harness.connection().flow_runs(made)} == winners
        assert all([kind for kind, _ in harness.flow_run(i).history].count("Submitted") == 1 for i in made)

    # --- claims over ---

    @pytest.mark.usefixtures("strict")
    def test_a_claim_can_be_claimed_over(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A run that was read as claimed gets another record; the first claimant's record is no longer the latest."""
        mine = claimed(cloud, harness)
        run = one(cloud, mine.run.id)
        record = attrs.evolve(mine.record, claimant="agent-2", recoveries=1)

        (outcome,) = harness.connection().claim([ClaimRequest(run=run, record=record)])

        assert outcome == Claimed(run, record)
        assert one(cloud, run.id).claim == record
        assert [kind for kind, _ in harness.flow_run(run.id).history].count("Submitted") == 2
        assert [type(each) for each in cloud.claim([ClaimRequest(run=run, record=mine.record)])] == [Lost]

    @pytest.mark.usefixtures("strict")
    def test_a_run_that_was_claimed_over_waits_as_it_waited_first(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A run that was claimed over any number of times can be handed back to its original start time."""
        due = now() + 30 * MINUTE
        mine = claim(cloud, harness.add_flow_run(due=due))
        assert isinstance(mine, Claimed)
        for count in (1, 2):
            record = attrs.evolve(mine.record, recoveries=count)
            (mine,) = cloud.claim([ClaimRequest(run=one(cloud, mine.run.id), record=record)])
            assert isinstance(mine, Claimed)

        assert end(cloud, end_of(mine, EndKind.HANDED_BACK)).verdict is EndVerdict.SETTLED

        run = one(cloud, mine.run.id)
        assert (run.state.phase, run.recoveries) == (Phase.WAITING, 3)
        assert run.due is not None
        assert abs(run.due - due) < MINUTE / 1000

    @pytest.mark.usefixtures("strict")
    @pytest.mark.parametrize("state", ["Running", "Success", "Cancelled"])
    def test_a_claim_that_moved_on_is_not_claimed_over(
        self, cloud: CloudApi, harness: CloudHarness, state: str
    ) -> None:
        """A run that was started meanwhile, or has ended, is lost and stays as it is."""
        mine = claimed(cloud, harness)
        run = one(cloud, mine.run.id)
        harness.set_state(run.id, state)

        (outcome,) = cloud.claim([ClaimRequest(run=run, record=mine.record)])

        assert isinstance(outcome, Lost)
        assert harness.flow_run(run.id).state == state

    @pytest.mark.usefixtures("strict")
    def test_claimed_task_runs_can_be_claimed_over(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A Running run is claimed over by its claimed task runs, once at the attempt that was read."""
        run_id = run_with_due_tasks(harness, tasks=2)
        mine = claim(cloud, run_id)
        assert isinstance(mine, Claimed)
        run = one(cloud, run_id)
        assert (run.due_task_runs, len(run.claimed_task_runs)) == ((), 2)
        record = attrs.evolve(mine.record, claimant="agent-2", recoveries=1)

        outcomes = [cloud.claim([ClaimRequest(run=run, record=record)])[0] for _ in range(2)]

        assert [type(outcome) for outcome in outcomes] == [Claimed, Lost]
        assert one(cloud, run_id).claim == record

    @pytest.mark.usefixtures("strict")
    def test_of_racing_agents_exactly_one_claims_over(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Four agents that recover the same ten claims at once: each claim has one new owner."""
        made = [claimed(cloud, harness).run.id for _ in range(10)]

        outcomes = _race(harness, made, threading.Barrier(4))

        won = Counter(outcome.run.id for outcome in outcomes if isinstance(outcome, Claimed))
        assert won == dict.fromkeys(made, 1)
        winners = {outcome.run.id: outcome.record for outcome in outcomes if isinstance(outcome, Claimed)}
        assert {run.id: run.claim for run in cloud.flow_runs(made)} == winners

    # --- Running runs ---

    def test_a_running_run_is_claimed_by_its_task_runs(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Claiming a Running run takes its due task runs; it stays Running, with the record to be read back."""
        run_id = run_with_due_tasks(harness, tasks=3)
        (run,) = ready(cloud)
        wanted = request(run)

        (outcome,) = cloud.claim([wanted])

        assert outcome == Claimed(run, wanted.record)
        assert harness.flow_run(run_id).state == "Running"
        assert list(ready(cloud)) == []
        other = harness.connection()
        assert one(other, run_id).claim == wanted.record
        assert one(other, run_id).due_task_runs == ()
        assert [(found.id, found.claim) for found in other.claimed_flow_runs(platform=HERE)] == [
            (run_id, wanted.record)
        ]

    @pytest.mark.usefixtures("strict")
    def test_a_claimed_running_run_is_lost_to_others(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A second claim of a Running run is lost, by the same agent or by another."""
        run_id = run_with_due_tasks(harness, tasks=2)
        run = one(cloud, run_id)
        (first,) = cloud.claim([request(run)])

        again = [cloud.claim([request(run)])[0], harness.connection().claim([request(run, "agent-2")])[0]]

        assert isinstance(first, Claimed)
        assert [type(outcome) for outcome in again] == [Lost, Lost]
        assert one(cloud, run_id).claim == first.record

    def test_every_retry_of_a_running_run_is_an_attempt_of_its_own(
        self, cloud: CloudApi, harness: CloudHarness
    ) -> None:
        """A task run that waits once more makes another attempt, with another unit name."""
        run_id = harness.add_flow_run()
        harness.set_state(run_id, "Running")
        task_run = harness.add_task_run(run_id, "Retrying", now() - MINUTE)
        first = claim(cloud, run_id)
        harness.set_task_state(run_id, task_run, "Retrying", now() - MINUTE)

        second = claim(cloud, run_id)

        assert isinstance(first, Claimed)
        assert isinstance(second, Claimed)
        assert first.record.unit != second.record.unit
        assert one(cloud, run_id).claim == second.record

    def test_running_and_scheduled_runs_in_one_call(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Runs of both kinds in one call: outcomes stay with their requests."""
        plain, running, last = harness.add_flow_run(), run_with_due_tasks(harness, tasks=3), harness.add_flow_run()
        runs = {run.id: run for run in cloud.flow_runs([plain, running, last])}
        claim(harness.connection(), plain, "agent-2")

        outcomes = cloud.claim([request(runs[run_id]) for run_id in (plain, running, last)])

        assert [(outcome.run.id, type(outcome)) for outcome in outcomes] == [
            (plain, Lost),
            (running, Claimed),
            (last, Claimed),
        ]

    @pytest.mark.usefixtures("strict")
    def test_of_racing_agents_exactly_one_gets_a_running_run(self, harness: CloudHarness) -> None:
        """Exactly one of four agents gets each Running run."""
        made = [run_with_due_tasks(harness, tasks=2) for _ in range(10)]

        outcomes = _race(harness, made, threading.Barrier(4))

        won = Counter(outcome.run.id for outcome in outcomes if isinstance(outcome, Claimed))
        assert won == dict.fromkeys(made, 1)

    # --- unknown outcomes ---

    def test_a_lost_answer_is_read_back(self, harness: CloudHarness, cloud: CloudApi) -> None:
        """A claim whose answer is lost has an unknown outcome; reading back shows who owns the runs."""
        made = [harness.add_flow_run() for _ in range(3)]
        runs = cloud.flow_runs(made)
        assert isinstance(claim(cloud, made[1], "agent-2"), Claimed)
        requests = [request(run) for run in runs]
        lossy = harness.lose_next_answer()

        with pytest.raises(OutcomeUnknown):
            lossy.claim(requests)

        now_read = {run.id: run for run in lossy.flow_runs(made)}
        claimants = [record and record.claimant for record in (now_read[run_id].claim for run_id in made)]
        assert claimants == ["agent-1", "agent-2", "agent-1"]
        assert [type(outcome) for outcome in lossy.claim(requests)] == [Lost] * 3


def _race(harness: CloudHarness, made: Sequence[FlowRunId], start: threading.Barrier) -> list[ClaimOutcome]:
    """Let all agents of *start* claim all runs at once, in different orders."""

    def compete(number: int) -> list[ClaimOutcome]:
        cloud = harness.connection()
        runs: list[FlowRun] = list(cloud.flow_runs(made))
        if number % 2:
            runs.reverse()
        start.wait(30)
        return [outcome for run in runs for outcome in cloud.claim([request(run, f"agent-{number}")])]

    with ThreadPoolExecutor(start.parties) as pool:
        return [outcome for outcomes in pool.map(compete, range(start.parties)) for outcome in outcomes]
