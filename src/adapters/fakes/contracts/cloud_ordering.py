"""Runs that a person orders and follows. Optional for a Cloud, but what it does has to be right."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from prefect.agent.adapters.fakes.contracts.cloud_base import MINUTE, CloudContractBase, now, one, ready
from prefect.agent.adapters.fakes.contracts.harnesses import CloudHarness
from prefect.agent.domain.errors import OutcomeUnknown, RequestRejected
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.orders import FlowDraft, FlowReference, RunOrder, RunStory
from prefect.agent.domain.model.states import Outcome, Phase
from prefect.agent.ports.cloud_api import CloudApi, LogLine

NO_RUN = FlowRunId("00000000-0000-4000-8000-00000000dead")


class OrderingContract(CloudContractBase):
    """``flow_drafts``, ``known_names``, ``create_flow_run``, ``run_story`` and ``run_address``."""

    def test_a_flow_is_found_by_id_and_by_name(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """One draft, which can be planned as any run and is no run of the Cloud."""
        flow = one(cloud, harness.add_flow_run()).flow

        for reference in (FlowReference(flow_id=flow.id), FlowReference(name=flow.name)):
            (draft,) = drafts(cloud, reference)
            assert (draft.run.flow.id, draft.run.flow.name) == (flow.id, flow.name)
            assert draft.run.state.is_waiting
            assert cloud.workload(draft.run).command
            assert not cloud.flow_runs([draft.run.id])

    def test_no_flow_is_found_that_is_not_there(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Neither by id, nor by name, nor in a project that does not exist."""
        flow = one(cloud, harness.add_flow_run()).flow
        elsewhere = FlowReference(name=flow.name, project='no "such" project')

        for reference in (FlowReference(flow_id=NO_RUN), FlowReference(name='no "such" flow'), elsewhere):
            assert not drafts(cloud, reference)

    def test_flows_and_runs_are_known_by_name(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """The latest of each, no more than asked for; a flow that is named so can be drafted."""
        flow = one(cloud, harness.add_flow_run()).flow
        order = RunOrder(flow_id=flow_of(cloud, harness), name="blue", due=now() + 1000 * MINUTE)
        cloud.create_flow_run(order)

        found = cloud.known_names(limit=1)

        if not found.flows:
            pytest.skip("this Cloud does not tell which names it has")
        assert list(found.runs) == ["blue"]
        (named,) = found.flows
        assert flow.name in {each.name for each in cloud.known_names(limit=100).flows}
        assert [draft.run.flow.name for draft in drafts(cloud, named)] == [named.name]

    def test_an_ordered_run_is_offered_as_any_other(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """With its labels and its name, from the time on for which it was ordered."""
        flow_id = flow_of(cloud, harness)
        due = now() + 10 * MINUTE

        run_id = cloud.create_flow_run(RunOrder(flow_id=flow_id, labels=("vm",), name="blue", due=due))

        assert run_id not in [run.id for run in ready(cloud, labels=["vm"])]
        (found,) = ready(cloud, labels=["vm"], before=due + MINUTE)
        assert (found.id, found.name, found.state.phase) == (run_id, "blue", Phase.WAITING)
        assert found.due is not None
        assert abs(found.due - due) < timedelta(milliseconds=1)

    def test_an_order_without_a_time_is_due_at_once(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """And two orders without a key are two runs."""
        order = RunOrder(flow_id=flow_of(cloud, harness))

        made = [cloud.create_flow_run(order) for _ in range(2)]

        assert len(set(made)) == 2
        assert set(made) <= {run.id for run in ready(cloud)}

    def test_an_order_with_a_key_creates_one_run(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Also if the answer to the first one was lost."""
        order = RunOrder(flow_id=flow_of(cloud, harness), key="key-1", name="blue")
        before = {run.id for run in ready(cloud)}

        with pytest.raises(OutcomeUnknown):
            harness.lose_next_answer().create_flow_run(order)
        made = {cloud.create_flow_run(order) for _ in range(2)}

        assert len(made) == 1
        assert {run.id for run in ready(cloud)} - before == made

    def test_an_order_of_an_unknown_flow_is_refused(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """With a reason; the outcome is known."""
        flow_of(cloud, harness)

        with pytest.raises(RequestRejected, match=r".+"):
            cloud.create_flow_run(RunOrder(flow_id=NO_RUN))

    def test_a_story_grows_with_the_run(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """States and lines in order, each once, also lines that come late; then the end with its outcome."""
        run_id = harness.add_flow_run()
        first = story(cloud, run_id)
        assert first is not None
        assert [entry.name for entry in first.news if entry.is_state][-1] == one(cloud, run_id).state.name
        assert first.state.is_waiting

        harness.set_state(run_id, "Running")
        lines = [LogLine(flow_run_id=run_id, message=text, level="WARNING", name="flow") for text in ("one", "two")]
        cloud.write_logs(lines)
        second = story(cloud, run_id, after=first.mark)
        assert second is not None
        assert second.state.is_running
        assert [entry.message for entry in second.news if not entry.is_state] == ["one", "two"]
        assert {(entry.level, entry.name) for entry in second.news if not entry.is_state} == {("WARNING", "flow")}

        late = LogLine(flow_run_id=run_id, message="late", timestamp=now() - timedelta(seconds=5))
        cloud.write_logs([late])
        harness.set_state(run_id, "Success", "all is well")
        third = story(cloud, run_id, after=second.mark)
        assert third is not None
        assert third.state.outcome is Outcome.SUCCESS
        assert {entry.message for entry in third.news} == {"late", "all is well"}
        last = story(cloud, run_id, after=third.mark)
        assert last is not None
        assert not last.news

    def test_there_is_no_story_of_a_run_that_is_not_there(self, cloud: CloudApi) -> None:
        """None, not an error."""
        assert story(cloud, NO_RUN) is None

    def test_an_address_names_the_run(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Or there is none."""
        run_id = harness.add_flow_run()

        address = cloud.run_address(run_id)

        assert address == "" or (address.startswith("http") and run_id in address)


def drafts(cloud: CloudApi, reference: FlowReference) -> Sequence[FlowDraft]:
    """The drafts of a flow; a Cloud that cannot say is excused."""
    try:
        return cloud.flow_drafts(reference)
    except RequestRejected as problem:
        pytest.skip(f"this Cloud does not show flows: {problem}")


def flow_of(cloud: CloudApi, harness: CloudHarness) -> str:
    """Id of a flow whose runs can be ordered; a Cloud without orders is excused."""
    flow_id = one(cloud, harness.add_flow_run()).flow.id
    drafts(cloud, FlowReference(flow_id=flow_id))
    try:
        cloud.create_flow_run(RunOrder(flow_id=flow_id, key="probe", due=now() + 1000 * MINUTE))
    except RequestRejected as problem:
        pytest.skip(f"runs cannot be ordered in this Cloud: {problem}")
    return flow_id


def story(cloud: CloudApi, run_id: FlowRunId, *, after: object = None) -> RunStory | None:
    """What is new of a run; a Cloud that cannot say is excused."""
    try:
        return cloud.run_story(run_id, after=after)
    except RequestRejected as problem:
        pytest.skip(f"this Cloud does not show runs: {problem}")
