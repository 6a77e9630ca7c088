"""A whole agent whose platform answers, but takes no flow runs at present."""

import attrs

from prefect.agent.domain.errors import CreateBlocked
from support.lab import FAST, Lab, QuickClock
from support.waiting import wait_until

FULL = CreateBlocked("the quota is full", patience=3600, needs_room=True)


def test_a_runs_log_says_at_once_what_it_waits_for_and_it_starts_when_there_is_room() -> None:
    """Finished units make room meanwhile."""
    lab = Lab()
    agent = lab.agent(attrs.evolve(FAST, keep_ended=3600), clock=QuickClock()).start()
    try:
        [first] = lab.add(1)
        lab.wait_started([first])
        [submission] = lab.platform.created
        lab.cloud.set_state(first, "Success")
        lab.platform.end(submission.name)
        for method in ("create", "check"):
            lab.platform.fail_next(method, FULL, times=1)

        second = lab.add(1)

        wait_until(lambda: lab.platform.unit(submission.name) is None, 30, "the first has made room")
        lab.wait_started(second)
    finally:
        agent.stop()
    said = [line.message for line in lab.cloud.logs(second[0])]
    assert said.count("The flow run waits to be started: the quota is full") == 1
