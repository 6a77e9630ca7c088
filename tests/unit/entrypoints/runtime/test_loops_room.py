"""A whole agent whose platform answers, but takes no flow runs at present."""

import attrs

from prefect.agent.domain.errors import CreateBlocked
from support.agent_harness import FAST, AgentHarness, QuickClock
from support.waiting import wait_until

FULL = CreateBlocked("the quota is full", patience=3600, needs_room=True)


def test_a_runs_log_says_at_once_what_it_waits_for_and_it_starts_when_there_is_room() -> None:
    """Finished units make room meanwhile."""
    harness = AgentHarness()
    agent = harness.agent(attrs.evolve(FAST, keep_ended=3600), clock=QuickClock()).start()
    try:
        [first] = harness.add(1)
        harness.wait_started([first])
        [submission] = harness.platform.created
        harness.cloud.set_state(first, "Success")
        harness.platform.end(submission.name)
        for method in ("create", "check"):
            harness.platform.fail_next(method, FULL, times=1)

        second = harness.add(1)

        wait_until(lambda: harness.platform.unit(submission.name) is None, 30, "the first has made room")
        harness.wait_started(second)
    finally:
        agent.stop()
    said = [line.message for line in harness.cloud.logs(second[0])]
    assert said.count("The flow run waits to be started: the quota is full") == 1
