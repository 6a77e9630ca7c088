"""An agent that has nothing to start: how often it asks its Cloud, in virtual time."""

from collections import Counter
from typing import Final

import pytest

from chaos.scenarios import Simulation, simulation

MINUTES: Final = 20
PER_MINUTE: Final = 6
"""Requests of an agent with no work: as many as the official agent's polls."""

PER_RUN: Final = 0.2
"""Requests for each run that is started; the official agent makes two."""

ASKS: Final = ("ready_flow_runs", "changes", "claimed_flow_runs", "flow_runs", "end", "write_logs")


def asked(here: Simulation) -> int:
    """How often the Cloud was asked something; each of these is one request while nothing is due."""
    points = here.agents[0].points
    assert points is not None
    names = Counter(point.removeprefix("before cloud.") for point in points.passed)
    return sum(names[ask] for ask in ASKS)


@pytest.mark.parametrize("living", [0, 25])
def test_an_idle_agent_asks_no_more_than_the_official_one(living: int) -> None:
    """Sweeps take the place of polls: their answers also say that nothing is due."""
    with simulation(f"idle {living}", lives=20.0) as here:
        for _ in range(living):
            here.add("deaf")
        here.agent("a", poll_last=10.0).start()
        here.scheduler.run_for(600)
        before = asked(here)

        here.scheduler.run_for(60 * MINUTES)

        assert round((asked(here) - before) / MINUTES) <= PER_MINUTE  # pauses have jitter


@pytest.mark.parametrize("count", [200, 1000])
def test_draining_a_queue_takes_a_fifth_of_a_request_for_each_run(count: int) -> None:
    """At all sizes: queue, rows and claims are asked for in batches, and log lines of many runs are sent together."""
    with simulation(f"drain {count}", lives=20.0) as here:
        runs = [here.add("deaf") for _ in range(count)]
        here.agent("a").start()
        here.scheduler.wait(lambda: all(here.environment.state(run) != "Scheduled" for run in runs), 3600)

        points = here.agents[0].points
        assert points is not None
        # The queue and the rows of what it names are two requests.
        made = asked(here) + Counter(points.passed)["before cloud.ready_flow_runs"] + claims(here)
        assert made <= PER_RUN * count


def claims(here: Simulation) -> int:
    """Requests with claims."""
    points = here.agents[0].points
    assert points is not None
    return Counter(points.passed)["before cloud.claim"]


def test_a_run_is_found_as_soon_by_an_agent_whose_sweeps_spare_it_polls() -> None:
    """No run waits longer than the longest pause between polls with its jitter."""
    with simulation("found", lives=20.0) as here:
        here.agent("a", poll_last=10.0).start()
        here.scheduler.run_for(300)
        for pause in range(20):
            here.scheduler.run_for(60 + 3.1 * pause)
            run = here.add("well")
            assert here.scheduler.wait(lambda run=run: here.environment.state(run) != "Scheduled", 13), f"{pause}"  # type: ignore[misc]
