"""Short lives that a seed once found: each broke a rule when it was found."""

import pytest

from chaos.ledger import Ledger
from chaos.scenarios import Simulation, simulation


def _story(ledger: Ledger) -> str:
    return "\n".join(ledger.lines)


def _claim_and_die(here: Simulation) -> None:
    """Agent a claims a run and is killed before it creates the unit; then an hour passes."""
    here.add("long")
    agent = here.agent("a")
    agent.start()
    points = agent.points
    assert points is not None
    here.scheduler.wait(lambda: "before platform.create" in points.passed, 60)
    agent.kill()
    here.scheduler.run_for(3600)


@pytest.mark.parametrize("seed", range(12))
def test_a_late_hand_back_leaves_a_claim_alone_that_was_taken_over(seed: int) -> None:
    """One agent decides to hand an expired claim back; before that is sent, its sibling takes the claim over."""
    with simulation(seed, lives=20.0) as here:
        _claim_and_die(here)
        here.agent("c", labels=("x",)).start()
        here.agents[0].start()
        here.scheduler.run_for(120)
        here.settle()
    assert not here.environment.ledger.violations, _story(here.environment.ledger)


def test_a_unit_for_task_runs_that_dies_before_it_reports_ends_its_run() -> None:
    """A Running run whose due task runs were claimed, and whose new unit dies before it has touched them."""
    with simulation("task runs", lives=20.0) as here:
        run = here.add("retries")
        here.agent("a").start()
        here.scheduler.wait(lambda: here.environment.tasks_wait(run), 60)
        here.environment.change_fate(run, "stillborn")
        here.scheduler.run_for(400)
        here.settle()
    assert not here.environment.ledger.violations, _story(here.environment.ledger)
