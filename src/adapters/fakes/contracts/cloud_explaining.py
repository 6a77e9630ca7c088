"""The contract of methods that save polls and explain runs. They are optional, but their answers have to be true."""

import pytest

from prefect.agent.adapters.fakes.contracts.cloud_base import HERE, MINUTE, CloudContractBase, claimed, ids, now
from prefect.agent.adapters.fakes.contracts.harnesses import CloudHarness
from prefect.agent.domain.errors import RequestRejected
from prefect.agent.domain.model.checks import Severity, examine
from prefect.agent.domain.model.explaining import Reference, RunFacts
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.states import Phase
from prefect.agent.ports.cloud_api import AgentIdentity, CloudApi


class ExplainingContract(CloudContractBase):
    """These tests check ``changes``, ``facts`` and ``late_flow_runs``."""

    def test_changes_never_say_that_nothing_is_due_while_a_run_waits(
        self, cloud: CloudApi, harness: CloudHarness
    ) -> None:
        """A due run counts whatever its labels; the claimed runs are those of ``claimed_flow_runs``."""
        mine = claimed(cloud, harness)
        harness.add_flow_run(labels=("elsewhere",))

        found = cloud.changes(platform=HERE, due_before=now() + MINUTE)

        assert ids(found.runs) == [mine.run.id]
        assert not found.none_due

    def test_changes_see_task_runs_that_are_due(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A Running run with a task run that is to be retried is work for an agent."""
        run_id = harness.add_flow_run()
        harness.set_state(run_id, "Running")
        harness.add_task_run(run_id, "Retrying", now() - MINUTE)

        assert not cloud.changes(platform=HERE, due_before=now()).none_due

    def test_facts_for_an_explanation(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """The facts of a run, found by id or by name, are its state, labels and claim, and the agents that ask."""
        cloud.register(AgentIdentity(name="vm-1", type="DockerAgent", labels=("vm",)))
        cloud.ready_flow_runs(labels=["vm"], before=now(), limit=1)
        waiting = harness.add_flow_run(labels=("vm", "gpu"))
        mine = claimed(cloud, harness, "Running")

        found, by_claim = facts(cloud, run_id=waiting), facts(cloud, run_id=mine.run.id)

        assert found is not None
        assert by_claim is not None
        assert (found.id, found.state.phase, found.labels) == (waiting, Phase.WAITING, frozenset({"vm", "gpu"}))
        assert facts(cloud, name=found.name) is not None
        assert (by_claim.state.phase, by_claim.claim) == (Phase.RUNNING, mine.record)
        (agent,) = found.agents
        assert (agent.name, agent.labels) == ("vm-1", frozenset({"vm"}))
        assert agent.last_seen is not None
        assert abs(agent.last_seen - found.at) < MINUTE

    def test_earlier_runs_of_a_name_are_told(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """The latest one is explained; the others may be meant, unless an id says which one is."""
        first, second, third = (harness.add_flow_run(name="nightly") for _ in range(3))
        harness.add_flow_run(name="another")

        by_name, by_id = facts(cloud, name="nightly"), facts(cloud, run_id=first)

        assert by_name is not None
        assert by_id is not None
        assert (by_name.id, by_name.namesakes) == (third, (second, first))
        assert (by_id.id, by_id.namesakes) == (first, ())

    def test_late_flow_runs_are_those_that_are_due_for_long(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Late flow runs come oldest first, whatever their labels; a Cloud may be unable to list them."""
        old = harness.add_flow_run(labels=("vm",), due=now() - 3 * MINUTE)
        older = harness.add_flow_run(due=now() - 5 * MINUTE)
        harness.add_flow_run()
        claimed(cloud, harness, "Running")

        assert list(cloud.late_flow_runs(by=MINUTE)) in ([older, old], [])

    def test_no_facts_of_what_is_not_there(self, cloud: CloudApi) -> None:
        """A run that does not exist has no facts, neither by id nor by name."""
        assert facts(cloud, run_id=FlowRunId("00000000-0000-4000-8000-00000000dead")) is None
        assert facts(cloud, name='no "such" run') is None

    def test_a_doctor_finds_nothing_wrong_with_a_cloud_that_works(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """No check fails, each step has a name of its own, and waiting runs go on waiting."""
        waiting = harness.add_flow_run()
        steps = cloud.checks()

        found = list(examine(steps))

        assert not [check for check in found if check.severity is Severity.FAIL]
        assert len({step.name for step in steps}) == len(steps)
        assert harness.flow_run(waiting).state == "Scheduled"

    def test_drafts_are_of_flows_whose_runs_an_agent_with_the_labels_gets(
        self, cloud: CloudApi, harness: CloudHarness
    ) -> None:
        """Drafts can be planned as any run can; a Cloud may be unable to make them. No flow has labels here."""
        real = harness.add_flow_run()

        drafts = cloud.drafts(labels=(), limit=10)

        assert {draft.flow.id for draft in drafts} <= {run.flow.id for run in cloud.flow_runs([real])}
        assert all(cloud.workload(draft).command for draft in drafts)
        assert not cloud.drafts(labels=("vm",), limit=10)


def facts(cloud: CloudApi, *, run_id: FlowRunId | None = None, name: str = "") -> RunFacts | None:
    """Return the facts of one flow run; skip the test for a Cloud that has none."""
    try:
        return cloud.facts(Reference(run_id=run_id, name=name))
    except RequestRejected as problem:
        pytest.skip(f"this Cloud does not explain: {problem}")
