"""The contract of concurrency limits: which runs may execute, and what agents observe of those that have to wait."""

import pytest

from prefect.agent.adapters.fakes.contracts.cloud_base import (
    MINUTE,
    CloudContractBase,
    claim,
    end,
    end_of,
    ids,
    now,
    one,
    ready,
)
from prefect.agent.adapters.fakes.contracts.harnesses import CloudHarness
from prefect.agent.domain.model.ends import EndVerdict
from prefect.agent.domain.model.flow_runs import Claimed, FlowRunId
from prefect.agent.domain.model.states import Phase
from prefect.agent.ports.cloud_api import CloudApi


class LimitContract(CloudContractBase):
    """These tests check what limits of labels mean for agents. They are skipped for a Cloud without limits."""

    @pytest.fixture
    def narrow(self, harness: CloudHarness) -> CloudHarness:
        """Return a Cloud where only one flow run at a time may have the label "narrow"."""
        if not harness.limit_label("narrow", 1):
            pytest.skip("this Cloud has no concurrency limits")
        return harness

    def test_a_run_without_a_free_place_is_queued(self, cloud: CloudApi, narrow: CloudHarness) -> None:
        """Claims take no places; of two runs that begin, the second has to wait, and its message names the label."""
        first, second = (narrow.add_flow_run(labels=["narrow"]) for _ in range(2))
        assert [type(claim(cloud, run_id)) for run_id in (first, second)] == [Claimed, Claimed]

        for run_id in (first, second):
            narrow.set_state(run_id, "Running")

        assert [narrow.flow_run(run_id).state for run_id in (first, second)] == ["Running", "Queued"]
        assert "narrow" in narrow.flow_run(second).message
        assert one(cloud, second).state.phase is Phase.WAITING

    def test_a_queued_run_is_its_process_business(self, cloud: CloudApi, narrow: CloudHarness) -> None:
        """A queued run is offered to no agent, however long it has waited, and does not count as claimed."""
        waiting = _queued(narrow)

        assert list(ready(cloud, labels=["narrow"], before=now() + 60 * MINUTE)) == []
        assert waiting not in ids(cloud.claimed_flow_runs(platform="platform:here"))

    def test_a_place_that_gets_free_can_be_had(self, narrow: CloudHarness) -> None:
        """When the other run has ended, the next run that asks gets the place."""
        running = narrow.add_flow_run(labels=["narrow"])
        narrow.set_state(running, "Running")
        waiting = narrow.add_flow_run(labels=["narrow"])
        narrow.set_state(waiting, "Running")
        assert narrow.flow_run(waiting).state == "Queued"

        narrow.set_state(running, "Failed")
        narrow.set_state(waiting, "Running")

        assert narrow.flow_run(waiting).state == "Running"
        assert [kind for kind, _ in narrow.flow_run(waiting).history] == ["Scheduled", "Queued", "Running"]

    def test_every_label_must_have_room(self, narrow: CloudHarness) -> None:
        """A run with several limited labels needs a place of each; labels without a limit do not matter."""
        narrow.limit_label("wide", 2)
        made = [narrow.add_flow_run(labels=labels) for labels in (["wide"], ["narrow", "wide"], ["wide"], ["other"])]

        for run_id in made:
            narrow.set_state(run_id, "Running")

        assert [narrow.flow_run(run_id).state for run_id in made] == ["Running", "Running", "Queued", "Running"]

    def test_a_cancelling_run_keeps_its_place(self, narrow: CloudHarness) -> None:
        """A cancelling run works on, and keeps its place, until its unit is gone."""
        first, second = (narrow.add_flow_run(labels=["narrow"]) for _ in range(2))
        narrow.set_state(first, "Running")
        narrow.cancel(first)

        narrow.set_state(second, "Running")

        assert [narrow.flow_run(run_id).state for run_id in (first, second)] == ["Cancelling", "Queued"]

    def test_a_run_that_runs_needs_no_other_place(self, narrow: CloudHarness) -> None:
        """A Running run may report Running as often as it likes."""
        run_id = narrow.add_flow_run(labels=["narrow"])

        for _ in range(3):
            narrow.set_state(run_id, "Running")

        assert narrow.flow_run(run_id).state == "Running"

    def test_no_places_and_no_limit(self, narrow: CloudHarness) -> None:
        """A limit of zero stops a label; lifting the limit lets all runs run."""
        run_id = narrow.add_flow_run(labels=["narrow"])
        narrow.limit_label("narrow", 0)
        narrow.set_state(run_id, "Running")
        assert narrow.flow_run(run_id).state == "Queued"

        narrow.limit_label("narrow", None)
        narrow.set_state(run_id, "Running")

        assert narrow.flow_run(run_id).state == "Running"

    def test_a_queued_run_belongs_to_its_claim(self, cloud: CloudApi, narrow: CloudHarness) -> None:
        """A run whose process waits for a place keeps its claim; its end can be reported, and it can be cancelled."""
        holder = narrow.add_flow_run(labels=["narrow"])
        narrow.set_state(holder, "Running")
        outcomes = [claim(cloud, narrow.add_flow_run(labels=["narrow"])) for _ in range(2)]
        first, second = (outcome for outcome in outcomes if isinstance(outcome, Claimed))
        for run_id in (first.run.id, second.run.id):
            narrow.set_state(run_id, "Running")

        assert one(cloud, first.run.id).claim == first.record
        assert end(cloud, end_of(first)).verdict is EndVerdict.SETTLED
        narrow.cancel(second.run.id)

        assert [narrow.flow_run(each.run.id).state for each in (first, second)] == ["Failed", "Cancelled"]


def _queued(harness: CloudHarness) -> FlowRunId:
    """Add a run that waits for a place that another run has."""
    holder = harness.add_flow_run(labels=["narrow"])
    harness.set_state(holder, "Running")
    run_id = harness.add_flow_run(labels=["narrow"])
    harness.set_state(run_id, "Running")
    assert harness.flow_run(run_id).state == "Queued"
    return run_id
