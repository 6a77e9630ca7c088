"""A Cloud that knows none of the flow runs that execute here: it is doubted, and nothing is stopped."""

from support.sweep_harness import SweepHarness


def test_units_are_not_stopped_for_a_cloud_that_lost_everything() -> None:
    """A restored or emptied database deletes every run at once: the agent warns once and lets the units go on."""
    harness = SweepHarness()
    started = [harness.started() for _ in range(3)]
    harness.turn()
    for run_id, _ in started:
        harness.delete(run_id)
    harness.clock.advance(700)

    for _ in range(4):
        harness.turn()
        harness.clock.advance(100)

    assert "stop" not in harness.platform.calls
    assert sum("knows none of the 3 flow runs" in event.message for event in harness.heard.events) == 1


def test_a_single_deleted_run_is_stopped_beside_others_that_exist() -> None:
    """The Cloud knows the other run, so this one was deleted on purpose."""
    harness = SweepHarness()
    (deleted, unit), (_, other) = harness.started(), harness.started()
    harness.turn()
    harness.delete(deleted)
    harness.clock.advance(700)

    for _ in range(4):
        harness.turn()
        harness.clock.advance(100)

    assert [u.name for u in harness.platform.units() if not u.status.has_ended] == [other]
    assert unit != other
