"""The contract of fences: no claim is sent with an attempt that was not read together with its run."""

from collections.abc import Mapping

import attrs
import pytest

from prefect.agent.adapters.fakes.cloud_api import InMemoryCloudApi
from prefect.agent.adapters.fakes.contracts.cloud_base import CloudContractBase, claim, one, request, run_with_due_tasks
from prefect.agent.adapters.fakes.contracts.harnesses import CloudHarness
from prefect.agent.domain.model.flow_runs import Attempt, Claimed, Refused, SimpleAttempt
from prefect.agent.domain.model.states import Phase
from prefect.agent.ports.cloud_api import CloudApi

FOREIGN = ("a name only", "a lookalike", "of another backend", "of its neighbour")
"""Kinds of attempts that were not read together with the run that they are given for."""


class FenceContract(CloudContractBase):
    """These tests check what ``claim`` refuses to send, because a Cloud that compares nothing would accept it."""

    @pytest.mark.parametrize("kind", FOREIGN)
    def test_an_attempt_that_was_not_read_with_its_run_is_refused(
        self, cloud: CloudApi, harness: CloudHarness, kind: str
    ) -> None:
        """A run with a foreign attempt is left alone and can be claimed with its own; the claims beside it are made."""
        first, second = cloud.flow_runs([harness.add_flow_run(), harness.add_flow_run()])
        strange = request(attrs.evolve(first, attempt=foreign(kind, first.attempt, second.attempt)))

        outcomes = cloud.claim([strange, request(second)])

        assert [type(outcome) for outcome in outcomes] == [Refused, Claimed]
        assert one(cloud, first.id).state.phase is Phase.WAITING
        assert isinstance(claim(cloud, first.id), Claimed)

    @pytest.mark.parametrize("kind", FOREIGN)
    def test_every_due_task_run_needs_its_own_fence(self, cloud: CloudApi, harness: CloudHarness, kind: str) -> None:
        """A Running run with one foreign task run is refused as a whole; none of its task runs is claimed."""
        run_id = run_with_due_tasks(harness, tasks=2)
        run = one(cloud, run_id)
        first, second = run.due_task_runs
        strange = attrs.evolve(second, attempt=foreign(kind, second.attempt, first.attempt))

        (outcome,) = cloud.claim([request(attrs.evolve(run, due_task_runs=(first, strange)))])

        assert isinstance(outcome, Refused)
        assert (one(cloud, run_id).due_task_runs, one(cloud, run_id).claim) == (run.due_task_runs, None)

    @pytest.mark.parametrize("kind", FOREIGN)
    def test_every_claimed_task_run_needs_its_own_fence(
        self, cloud: CloudApi, harness: CloudHarness, kind: str
    ) -> None:
        """Taking a claim over with a foreign attempt is refused and leaves the earlier claim as it is."""
        run_id = run_with_due_tasks(harness, tasks=2)
        mine = claim(cloud, run_id)
        assert isinstance(mine, Claimed)
        run = one(cloud, run_id)
        first, second = run.claimed_task_runs
        strange = attrs.evolve(second, attempt=foreign(kind, second.attempt, first.attempt))

        (outcome,) = cloud.claim([request(attrs.evolve(run, claimed_task_runs=(first, strange)), "agent-2")])

        assert isinstance(outcome, Refused)
        assert one(cloud, run_id).claim == mine.record


@attrs.frozen
class Lookalike(Attempt):
    """An invented attempt that reads like the real one and has the same fields."""

    words: str
    version: int = 1
    payload: Mapping[str, object] = attrs.field(factory=dict, eq=False)

    def __str__(self) -> str:
        return self.words


def foreign(kind: str, own: Attempt, neighbour: Attempt) -> Attempt:
    """Return an attempt that was not read together with the run whose attempt is *own*."""
    if kind == "of another backend":
        other = InMemoryCloudApi()
        (run,) = other.flow_runs([other.add_flow_run()])
        return run.attempt
    made_up = {"a name only": SimpleAttempt(str(own)), "a lookalike": Lookalike(str(own))}
    return made_up.get(kind, neighbour)
