"""The contract of ends: what becomes of runs whose units did not report, and which claim an end may affect."""

import uuid
from datetime import timedelta

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
)
from prefect.agent.adapters.fakes.contracts.harnesses import CloudHarness
from prefect.agent.domain.errors import CloudError
from prefect.agent.domain.model.ends import EndKind, EndOutcome, EndVerdict
from prefect.agent.domain.model.flow_runs import Claimed, FlowRunId
from prefect.agent.domain.model.states import Phase
from prefect.agent.ports.cloud_api import CloudApi

SETTLED = EndOutcome(verdict=EndVerdict.SETTLED)
NOT_OURS = EndOutcome(verdict=EndVerdict.NOT_OURS)
KINDS = list(EndKind)


class RunEndingContract(CloudContractBase):
    """These tests check the method ``end``."""

    @pytest.mark.parametrize("state", ["Submitted", "Running", "Cancelling"])
    def test_a_claimed_run_fails(self, cloud: CloudApi, harness: CloudHarness, state: str) -> None:
        """A run that is not over becomes Failed with the message of the end; its claim is remembered."""
        mine = claimed(cloud, harness, state)

        assert end(cloud, end_of(mine, message="the image does not exist")) == SETTLED

        seen = harness.flow_run(mine.run.id)
        assert (seen.state, seen.message) == ("Failed", "the image does not exist")
        assert one(cloud, mine.run.id).claim == mine.record

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("state", ["Success", "Failed", "Cancelled", "Skipped", "TimedOut"])
    def test_a_finished_run_stays_as_it_is(
        self, cloud: CloudApi, harness: CloudHarness, state: str, kind: EndKind
    ) -> None:
        """An end of a finished run is settled and changes nothing."""
        mine = claimed(cloud, harness, state)
        before = harness.flow_run(mine.run.id)

        assert end(cloud, end_of(mine, kind)) == SETTLED

        assert harness.flow_run(mine.run.id) == before

    @pytest.mark.parametrize("kind", [EndKind.FAILED, EndKind.CANCELLED])
    def test_an_end_may_be_repeated(self, cloud: CloudApi, harness: CloudHarness, kind: EndKind) -> None:
        """An end that is repeated is settled, and the message of the first one stays."""
        mine = claimed(cloud, harness, "Cancelling")

        outcomes = [end(cloud, end_of(mine, kind, message)) for message in ("first", "second", "third")]

        seen = harness.flow_run(mine.run.id)
        assert outcomes == [SETTLED] * 3
        assert seen.message == "first"
        assert [state for state, _ in seen.history].count(seen.state) == 1

    @pytest.mark.usefixtures("strict")
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("state", ["Submitted", "Running", "Cancelling"])
    def test_an_end_never_touches_the_run_of_another_claim(
        self, cloud: CloudApi, harness: CloudHarness, state: str, kind: EndKind
    ) -> None:
        """A run that was scheduled again and claimed by another agent is left alone by the first one's ends."""
        mine = claimed(cloud, harness, "Running")
        harness.set_state(mine.run.id, "Scheduled")
        theirs = claim(harness.connection(), mine.run.id, "agent-2")
        if state != "Submitted":
            harness.set_state(mine.run.id, "Running")
        if state == "Cancelling":
            harness.cancel(mine.run.id)
        before = harness.flow_run(mine.run.id)

        assert isinstance(theirs, Claimed)
        assert end(cloud, end_of(mine, kind)) == NOT_OURS
        assert harness.flow_run(mine.run.id) == before
        assert one(cloud, mine.run.id).claim == theirs.record

    @pytest.mark.usefixtures("strict")
    @pytest.mark.parametrize("state", ["Scheduled", "Submitted", "Running"])
    def test_an_end_never_touches_a_run_without_our_claim(
        self, cloud: CloudApi, harness: CloudHarness, state: str
    ) -> None:
        """A run that was scheduled again, or that another product executes, is not ended."""
        mine = claimed(cloud, harness, "Running")
        harness.set_state(mine.run.id, "Scheduled")
        if state != "Scheduled":
            harness.set_state(mine.run.id, state)
        before = harness.flow_run(mine.run.id)

        for kind in (EndKind.FAILED, EndKind.CANCELLED):
            assert end(cloud, end_of(mine, kind)) == NOT_OURS

        assert harness.flow_run(mine.run.id) == before

    def test_a_run_that_does_not_exist_is_not_ours(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """An end of a run that does not exist is not ours, and spoils no other end."""
        first, last = claimed(cloud, harness), claimed(cloud, harness)
        gone = attrs.evolve(end_of(first), run_id=FlowRunId(str(uuid.uuid4())))

        outcomes = cloud.end([end_of(first), gone, end_of(last)])

        assert list(outcomes) == [SETTLED, NOT_OURS, SETTLED]

    def test_a_cancelling_run_is_cancelled(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A Cancelling run whose unit executes nothing becomes Cancelled with the message."""
        mine = claimed(cloud, harness, "Cancelling")

        assert end(cloud, end_of(mine, EndKind.CANCELLED, "its unit is gone")) == SETTLED

        assert (harness.flow_run(mine.run.id).state, harness.flow_run(mine.run.id).message) == (
            "Cancelled",
            "its unit is gone",
        )

    @pytest.mark.parametrize("state", ["Submitted", "Running"])
    def test_only_a_cancelling_run_is_cancelled(self, cloud: CloudApi, harness: CloudHarness, state: str) -> None:
        """A run that is not being cancelled is left alone."""
        mine = claimed(cloud, harness, state)
        before = harness.flow_run(mine.run.id)

        assert end(cloud, end_of(mine, EndKind.CANCELLED)) == NOT_OURS
        assert harness.flow_run(mine.run.id) == before

    # --- handing back ---

    def test_a_run_that_is_handed_back_waits_again(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A run that is handed back waits at least a minute, belongs to no claim, and keeps its recoveries."""
        mine = claimed(cloud, harness)
        before = now()

        assert end(cloud, end_of(mine, EndKind.HANDED_BACK, "no place for it here")) == SETTLED

        run = one(harness.connection(), mine.run.id)
        assert (run.state.phase, run.state.message) == (Phase.WAITING, "no place for it here")
        assert run.due is not None
        assert before + MINUTE - timedelta(seconds=2) <= run.due <= before + 2 * MINUTE
        assert (run.claim, run.recoveries) == (None, 1)
        assert list(ready(cloud)) == []
        assert ids(ready(cloud, before=now() + 3 * MINUTE)) == [run.id]
        assert ids(cloud.claimed_flow_runs(platform=HERE)) == []

    def test_a_run_that_is_not_due_yet_keeps_its_time(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A run that was claimed early waits for its own time."""
        due = now() + 30 * MINUTE
        outcome = claim(cloud, harness.add_flow_run(due=due))
        assert isinstance(outcome, Claimed)

        assert end(cloud, end_of(outcome, EndKind.HANDED_BACK)) == SETTLED

        again = one(cloud, outcome.run.id).due
        assert again is not None
        assert abs(again - due) < timedelta(milliseconds=1)

    @pytest.mark.usefixtures("strict")
    def test_recoveries_add_up(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """The next claim starts from what the waiting state remembers; handing back adds one."""
        mine = claimed(cloud, harness)
        for count in (1, 2, 3):
            assert end(cloud, end_of(mine, EndKind.HANDED_BACK)) == SETTLED
            assert one(cloud, mine.run.id).recoveries == count
            again = claim(cloud, mine.run.id)
            assert isinstance(again, Claimed)
            assert again.record.recoveries == count
            mine = again

    @pytest.mark.usefixtures("strict")
    def test_a_wait_for_room_is_no_recovery(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A claim that is handed back without counting leaves the number as it was."""
        mine = claimed(cloud, harness)
        for counts, count in ((True, 1), (False, 1), (False, 1), (True, 2)):
            assert end(cloud, attrs.evolve(end_of(mine, EndKind.HANDED_BACK), counts=counts)) == SETTLED
            assert one(cloud, mine.run.id).recoveries == count
            again = claim(cloud, mine.run.id)
            assert isinstance(again, Claimed)
            mine = again

    def test_handing_back_may_be_repeated(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Handing back a run that waits again already is settled, and counts once."""
        mine = claimed(cloud, harness)

        outcomes = [end(cloud, end_of(mine, EndKind.HANDED_BACK)) for _ in range(3)]

        assert outcomes == [SETTLED] * 3
        assert one(cloud, mine.run.id).recoveries == 1

    @pytest.mark.parametrize("state", ["Running", "Cancelling"])
    def test_a_run_that_was_started_is_not_handed_back(
        self, cloud: CloudApi, harness: CloudHarness, state: str
    ) -> None:
        """A run of which something executes, or did, is not handed back."""
        mine = claimed(cloud, harness, state)

        assert end(cloud, end_of(mine, EndKind.HANDED_BACK)) == NOT_OURS
        assert harness.flow_run(mine.run.id).state == state

    def test_claimed_task_runs_are_handed_back(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A Running run stays Running; its claimed task runs wait as before, and remember the recovery."""
        run_id = harness.add_flow_run()
        harness.set_state(run_id, "Running")
        tasks = sorted(harness.add_task_run(run_id, "Retrying", now() - MINUTE) for _ in range(2))
        mine = claim(cloud, run_id)
        assert isinstance(mine, Claimed)

        assert end(cloud, end_of(mine, EndKind.HANDED_BACK)) == SETTLED

        run = one(harness.connection(), run_id)
        assert (run.state.phase, run.tasks_wait, run.recoveries, run.claim) == (Phase.RUNNING, True, 1, None)
        assert (run.claimed_task_runs, run.due_task_runs) == ((), ())
        assert ids(cloud.claimed_flow_runs(platform=HERE)) == []
        for task_run in tasks:
            harness.set_task_state(run_id, task_run, "Retrying", now() - MINUTE)
        again = claim(cloud, run_id, "agent-2")
        assert isinstance(again, Claimed)
        assert [each.id for each in one(cloud, run_id).claimed_task_runs] == tasks
        assert one(cloud, run_id).claim == again.record

    # --- batches ---

    def test_no_ends(self, cloud: CloudApi) -> None:
        """A call without ends is allowed."""
        assert list(cloud.end([])) == []

    def test_one_outcome_for_each_end_in_order(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Many ends of all kinds at once: each is carried out, and has its own outcome."""
        failed = [claimed(cloud, harness, "Running") for _ in range(40)]
        cancelled = [claimed(cloud, harness, "Cancelling") for _ in range(20)]
        over, back = claimed(cloud, harness, "Success"), claimed(cloud, harness)
        ends = [
            *map(end_of, failed),
            end_of(over),
            *(end_of(each, EndKind.CANCELLED) for each in cancelled),
            attrs.evolve(end_of(over), unit="another"),
            end_of(back, EndKind.HANDED_BACK),
        ]

        outcomes = list(cloud.end(ends))

        assert outcomes == [SETTLED] * len(ends)
        assert {harness.flow_run(each.run.id).state for each in failed} == {"Failed"}
        assert {harness.flow_run(each.run.id).state for each in cancelled} == {"Cancelled"}
        assert [harness.flow_run(each.run.id).state for each in (over, back)] == ["Success", "Scheduled"]

    def test_two_ends_of_one_run_in_one_call(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """The first of two ends of one run in one call counts."""
        mine = claimed(cloud, harness, "Cancelling")

        outcomes = list(cloud.end([end_of(mine, EndKind.CANCELLED, "first"), end_of(mine, EndKind.FAILED, "second")]))

        assert outcomes == [SETTLED, SETTLED]
        assert (harness.flow_run(mine.run.id).state, harness.flow_run(mine.run.id).message) == ("Cancelled", "first")

    def test_an_end_whose_answer_is_lost_may_be_repeated(self, harness: CloudHarness, cloud: CloudApi) -> None:
        """An end whose answer is lost is never refused; the same end again is settled and changes nothing."""
        mine = claimed(cloud, harness, "Running")
        lossy = harness.lose_next_answer()

        try:
            assert end(lossy, end_of(mine, message="once")).verdict in {EndVerdict.SETTLED, EndVerdict.UNKNOWN}
        except CloudError:
            pytest.fail("a lost answer of a change is an outcome")
        assert end(lossy, end_of(mine, message="twice")) == SETTLED

        seen = harness.flow_run(mine.run.id)
        assert (seen.state, seen.message) == ("Failed", "once")
        assert [state for state, _ in seen.history].count("Failed") == 1
