"""A backend with state names of its own: the agent works as long as its adapter sets phases."""

import pytest

from prefect.agent.adapters.fakes import ManualClock
from prefect.agent.adapters.fakes.contracts import CloudApiContract, CloudHarness
from prefect.agent.domain.model.explaining import Reference, explain
from prefect.agent.domain.model.states import Phase
from support.cloud_harnesses import MemoryCloudHarness
from support.foreign_names import TYPES, ForeignCloudApi
from support.sweep_harness import SweepHarness


class ForeignCloudHarness(MemoryCloudHarness):
    """The in-memory Cloud, whose adapter says ``COMPLETED``."""

    def __init__(self) -> None:
        super().__init__()
        self.api = ForeignCloudApi()


class TestForeignCloudApi(CloudApiContract):
    """The contract asks for phases, never for names."""

    @pytest.fixture
    def harness(self) -> CloudHarness:
        """A new Cloud."""
        return ForeignCloudHarness()


@pytest.fixture
def here() -> SweepHarness:
    """A foreign Cloud, a platform, and an agent's sweep between them."""
    clock = ManualClock(auto=True)
    return SweepHarness(clock=clock, cloud=ForeignCloudApi(clock))


def test_the_adapter_passes_the_foreign_names_on(here: SweepHarness) -> None:
    """The tests below prove nothing otherwise."""
    run_id, _ = here.started("Success")

    [run] = here.cloud.flow_runs([run_id])

    assert (run.state.name, run.state.phase) == ("COMPLETED", Phase.FINISHED)
    assert not set(TYPES.values()) & set(TYPES)


def test_a_foreign_claim_without_a_unit_gets_one(here: SweepHarness) -> None:
    """``PENDING`` is a claim."""
    claimed = here.claim()

    here.turn(2)

    assert here.made() == [claimed.record.unit]


def test_a_dead_unit_of_a_foreign_running_run_is_reported(here: SweepHarness) -> None:
    """``RUNNING``, and the unit was killed: the run fails, and people read the backend's own word."""
    run_id, name = here.started()
    here.platform.end(name, 137, reason="OOMKilled")

    here.turn()

    assert here.state(run_id) == "Failed"
    assert "while the flow run was RUNNING" in here.cloud.flow_run(run_id).message


def test_a_dead_unit_of_a_foreign_claimed_run_is_reported(here: SweepHarness) -> None:
    """``PENDING``, and the unit has ended: nothing will report any more."""
    run_id, name = here.started("Submitted")
    here.platform.end(name, 1)

    here.turn()

    assert here.state(run_id) == "Failed"


def test_the_unit_of_a_foreign_cancelled_run_is_stopped(here: SweepHarness) -> None:
    """``CANCELLING`` stops the unit after its grace, and the run becomes cancelled; likewise ``CANCELLED``."""
    cancelling, first = here.started()
    here.cloud.cancel(cancelling)
    _, second = here.started("Cancelled")

    for _ in range(3):
        here.turn()
        here.clock.advance(60)
    here.turn()

    assert here.state(cancelling) == "Cancelled"
    assert [here.is_alive(name) for name in (first, second)] == [False, False]


def test_a_foreign_finished_run_settles_its_unit(here: SweepHarness) -> None:
    """``COMPLETED`` is an end: the unit goes once it has been kept, and the run stays as it is."""
    run_id, name = here.started()
    here.cloud.set_state(run_id, "Success")
    here.platform.end(name, 1)

    here.turn()
    here.clock.advance(301)
    here.turn()

    assert here.platform.unit(name) is None
    assert here.state(run_id) == "Success"


def test_a_foreign_state_that_no_phase_fits_is_left_alone(here: SweepHarness) -> None:
    """The agent neither fails such a run nor stops its unit."""
    run_id, name = here.started("Pending")

    here.turn(3)
    here.clock.advance(600)
    here.turn()

    assert here.is_alive(name)
    assert here.state(run_id) == "Pending"


def test_a_foreign_queue_is_explained(here: SweepHarness) -> None:
    """What holds a run is a fact of the adapter's, like the phase."""
    here.cloud.limit_label("gpu", 1)
    for _ in range(2):
        run_id = here.cloud.add_flow_run(labels=["gpu"])
        here.cloud.set_state(run_id, "Running")

    facts = here.cloud.facts(Reference(run_id=run_id))

    assert facts is not None
    assert facts.state.name == "AwaitingConcurrencySlot"
    assert [finding.cause for finding in explain(facts)][:1] == ["queued"]
