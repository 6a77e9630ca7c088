"""A Cloud that knows none of the flow runs that execute here: it is doubted, and nothing is stopped."""

from support.sweeps import World


def test_units_are_not_stopped_for_a_cloud_that_lost_everything() -> None:
    """A restored or emptied database deletes every run at once: the agent warns once and lets the units go on."""
    world = World()
    started = [world.started() for _ in range(3)]
    world.turn()
    for run_id, _ in started:
        world.delete(run_id)
    world.clock.advance(700)

    for _ in range(4):
        world.turn()
        world.clock.advance(100)

    assert "stop" not in world.platform.calls
    assert sum("knows none of the 3 flow runs" in event.message for event in world.heard.events) == 1


def test_a_single_deleted_run_is_stopped_beside_others_that_exist() -> None:
    """The Cloud knows the other run, so this one was deleted on purpose."""
    world = World()
    (deleted, unit), (_, other) = world.started(), world.started()
    world.turn()
    world.delete(deleted)
    world.clock.advance(700)

    for _ in range(4):
        world.turn()
        world.clock.advance(100)

    assert [u.name for u in world.platform.units() if not u.status.has_ended] == [other]
    assert unit != other
