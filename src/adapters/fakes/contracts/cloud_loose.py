"""The contract of a Cloud as loose as Prefect Server, and of a Cloud API on such a Cloud."""

import uuid
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Final, Protocol

import pytest

from prefect.agent.adapters.fakes.contracts.cloud_base import CloudContractBase, claim, one, request
from prefect.agent.adapters.fakes.contracts.harnesses import CloudHarness
from prefect.agent.domain.errors import OutcomeUnknown, RequestRejected
from prefect.agent.domain.model.ends import End, EndKind, EndVerdict
from prefect.agent.domain.model.flow_runs import Claimed, Deferred, FlowRunId, Lost
from prefect.agent.domain.model.states import Phase
from prefect.agent.ports.cloud_api import CloudApi, LogLine

LOCK: Final = 30.0
"""Seconds in which a flow run cannot become Submitted a second time."""

READ: Final = 75
"""How many due runs the queue reads before it looks at labels."""

ANSWERED: Final = 25
"""How many of them it gives at most."""

STATES: Final = ("Scheduled", "Submitted", "Running", "Cancelling", "Success", "Failed", "Cancelled")


class LooseCloudHarness(CloudHarness, Protocol):
    """A Cloud as loose as Prefect Server, whose clock advances when a test says so."""

    def now(self) -> datetime:
        """Return the Cloud's time."""
        ...

    def advance(self, seconds: float) -> None:
        """Let the Cloud's clock advance."""
        ...

    def submit(self, run_ids: Sequence[FlowRunId], version: int = 0) -> str:
        """Ask for Submitted states in one request, all at *version*; return the error, empty if there is none."""
        ...

    def queue(self, labels: Collection[str]) -> Sequence[FlowRunId]:
        """Return the due runs that an agent with *labels* is given."""
        ...

    def write(self, lines: Sequence[LogLine]) -> str:
        """Write log lines in one request; return the error, empty if there is none."""
        ...


class LooseContractBase(CloudContractBase):
    """A subclass defines the fixture ``harness``: a :class:`LooseCloudHarness` without flow runs."""

    @pytest.fixture
    def harness(self, world: LooseCloudHarness) -> LooseCloudHarness:
        """Return the harness of this suite: a subclass defines this fixture."""
        return world

    @pytest.fixture
    def world(self) -> LooseCloudHarness:
        """Return the harness of a suite that defines the fixture by its earlier name."""
        raise NotImplementedError("define the fixture harness in this suite")


class LooseCloudContract(LooseContractBase):
    """These tests check the Cloud itself through the harness, without the adapter."""

    @pytest.mark.parametrize("state", STATES)
    @pytest.mark.parametrize("version", [0, 1, 99])
    def test_a_run_can_be_submitted_from_any_state(self, harness: LooseCloudHarness, state: str, version: int) -> None:
        """No version is compared: even a finished run starts again."""
        run_id = harness.add_flow_run()
        harness.set_state(run_id, state)
        harness.advance(LOCK)

        assert harness.submit([run_id], version) == ""
        assert harness.flow_run(run_id).state == "Submitted"

    @pytest.mark.parametrize("state", [None, "Scheduled", "Running", "Success"])
    def test_a_run_is_submitted_once_in_30_seconds(self, harness: LooseCloudHarness, state: str | None) -> None:
        """A second submission is refused for 30 seconds, whatever happens in between; other runs are not affected."""
        run_id, other = harness.add_flow_run(), harness.add_flow_run()
        assert harness.submit([run_id]) == ""
        if state:
            harness.set_state(run_id, state)
        before = harness.flow_run(run_id)
        harness.advance(LOCK - 0.1)

        assert "already been submitted" in harness.submit([run_id])
        assert harness.flow_run(run_id) == before
        assert harness.submit([other]) == ""
        harness.advance(0.1)
        assert harness.submit([run_id]) == ""

    def test_of_several_states_those_that_are_accepted_stay(self, harness: LooseCloudHarness) -> None:
        """All states are attempted; a refused one makes the request an error but undoes nothing."""
        first, taken, last = (harness.add_flow_run() for _ in range(3))
        harness.submit([taken])

        assert "already been submitted" in harness.submit([first, taken, last])
        histories = [[kind for kind, _ in harness.flow_run(run_id).history] for run_id in (first, taken, last)]
        assert histories == [["Scheduled", "Submitted"]] * 3

    @pytest.mark.parametrize(("foreign", "is_offered"), [(READ - 1, True), (READ, False)])
    def test_runs_for_others_at_the_head_hide_those_behind(
        self, harness: LooseCloudHarness, foreign: int, *, is_offered: bool
    ) -> None:
        """The queue reads a fixed number of due runs before it compares labels."""
        run_id = harness.add_flow_run(labels=["mine"])
        due = harness.now() - timedelta(hours=1)
        for number in range(foreign):
            harness.add_flow_run(labels=[f"other-{number % 3}"], due=due)

        assert list(harness.queue(["mine"])) == [run_id] * is_offered

    def test_the_queue_is_cut_after_the_labels(self, harness: LooseCloudHarness) -> None:
        """At most 25 runs are offered, however many match."""
        for _ in range(ANSWERED + 5):
            harness.add_flow_run()

        assert len(harness.queue([])) == ANSWERED

    @pytest.mark.parametrize("bad", ["run", "nul"])
    def test_a_log_line_that_cannot_be_taken_fails_its_batch(self, harness: LooseCloudHarness, bad: str) -> None:
        """One line of an unknown run, or with a NUL character, keeps its whole batch from being written."""
        run_id = harness.add_flow_run()
        wrong = LogLine(flow_run_id=FlowRunId(str(uuid.uuid4())) if bad == "run" else run_id, message="x\x00")
        good = LogLine(flow_run_id=run_id, message="good")

        assert harness.write([good, wrong])
        assert list(harness.logs(run_id)) == []
        assert harness.write([good]) == ""


class LooseClaimContract(LooseContractBase):
    """These tests check the adapter on such a Cloud."""

    def test_the_adapter_says_that_nothing_is_compared(self, cloud: CloudApi, harness: LooseCloudHarness) -> None:
        """The adapter says that nothing is compared, so its user reads claims back."""
        harness.add_flow_run()
        cloud.claim([])

        assert cloud.compares is False

    def test_a_second_claim_within_the_lock_is_no_claim(self, cloud: CloudApi, harness: LooseCloudHarness) -> None:
        """The first claimant keeps the run, whether the second has the same view or a new one of a moved run."""
        run_id = harness.add_flow_run()
        old = one(cloud, run_id)
        first = claim(cloud, run_id)
        assert isinstance(first, Claimed)

        (second,) = harness.connection().claim([request(old, "agent-2")])
        harness.set_state(run_id, "Running")
        third = claim(harness.connection(), run_id, "agent-3")

        assert isinstance(second, Lost | Deferred)
        assert isinstance(third, Lost | Deferred)
        assert one(cloud, run_id).claim == first.record
        assert harness.flow_run(run_id).state == "Running"

    def test_a_claim_from_an_old_view_overwrites_what_happened_since(
        self, cloud: CloudApi, harness: LooseCloudHarness
    ) -> None:
        """After the lock nothing protects a Running run: the record that is read back names its present owner."""
        run_id = harness.add_flow_run()
        old = one(cloud, run_id)
        first = claim(cloud, run_id)
        harness.set_state(run_id, "Running")
        harness.advance(LOCK)

        (second,) = harness.connection().claim([request(old, "agent-2")])

        assert isinstance(first, Claimed)
        assert isinstance(second, Claimed)
        now_read = one(cloud, run_id)
        assert (now_read.state.phase, now_read.claim) == (Phase.CLAIMED, second.record)

    def test_an_end_of_a_claim_that_was_overwritten_does_nothing(
        self, cloud: CloudApi, harness: LooseCloudHarness
    ) -> None:
        """The fence of an end is the record, not the version."""
        run_id = harness.add_flow_run()
        first = claim(cloud, run_id)
        assert isinstance(first, Claimed)
        harness.advance(LOCK)
        harness.set_state(run_id, "Scheduled")
        second = claim(cloud, run_id, "agent-2")
        assert isinstance(second, Claimed)

        ends = [
            End(run_id=run_id, unit=record.unit, kind=EndKind.FAILED, message="gone")
            for record in (first.record, second.record)
        ]

        assert [outcome.verdict for outcome in cloud.end(ends[:1])] == [EndVerdict.NOT_OURS]
        assert harness.flow_run(run_id).state == "Submitted"
        assert [outcome.verdict for outcome in cloud.end(ends[1:])] == [EndVerdict.SETTLED]
        assert (harness.flow_run(run_id).state, harness.flow_run(run_id).message) == ("Failed", "gone")

    def test_of_racing_agents_one_gets_each_run(self, harness: LooseCloudHarness) -> None:
        """The lock holds within one process: of four agents at once, one claims each of ten runs."""
        made = [harness.add_flow_run() for _ in range(10)]

        def compete(number: int) -> list[FlowRunId]:
            cloud = harness.connection()
            outcomes = cloud.claim([request(run, f"agent-{number}") for run in cloud.flow_runs(made)])
            return [outcome.run.id for outcome in outcomes if isinstance(outcome, Claimed)]

        with ThreadPoolExecutor(4) as pool:
            won = [run_id for each in pool.map(compete, range(4)) for run_id in each]

        assert sorted(won) == sorted(made)

    def test_log_lines_that_cannot_be_taken_fail_their_batch(self, cloud: CloudApi, harness: LooseCloudHarness) -> None:
        """The Cloud may not say that the request is wrong; the caller halves the batch to find the line."""
        run_id = harness.add_flow_run()
        lines = [LogLine(flow_run_id=each, message="m") for each in (run_id, FlowRunId(str(uuid.uuid4())))]

        with pytest.raises((RequestRejected, OutcomeUnknown)):
            cloud.write_logs(lines)
        cloud.write_logs(lines[:1])

        assert [line.message for line in harness.logs(run_id)] == ["m"]
