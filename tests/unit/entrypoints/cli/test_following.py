"""Following a run on a Cloud in memory, by a clock that does not wait."""

import itertools
from collections.abc import Callable

import pytest

from prefect.agent.adapters.fakes import InMemoryCloudApi, ManualClock
from prefect.agent.domain.errors import CloudUnavailable
from prefect.agent.domain.model.orders import StoryEntry
from prefect.agent.entrypoints.cli.following import PATIENCE, Follow
from prefect.agent.ports.clock import Wake
from prefect.agent.ports.cloud_api import LogLine


class ActingClock(ManualClock):
    """Does something at each pause."""

    def __init__(self, act: Callable[[int], None] = lambda _: None) -> None:
        super().__init__()
        self._act, self._pauses = act, itertools.count(1)

    def pause(self, seconds: float, wake: Wake | None = None) -> bool:
        """Act, then let the time pass."""
        self._act(next(self._pauses))
        self.advance(seconds)
        return False


def follow(
    cloud: InMemoryCloudApi, clock: ManualClock, seconds: float = 600
) -> tuple[Follow, list[StoryEntry], list[str]]:
    """Something that follows, what it tells and what it warns of."""
    entries, warned = list[StoryEntry](), list[str]()
    made = Follow(cloud=cloud, clock=clock, tell=entries.append, warn=warned.append, seconds=seconds)
    return made, entries, warned


def test_states_and_lines_are_shown_once_and_the_last_lines_are_waited_for() -> None:
    """A flow process sends its last lines after its last state."""
    cloud = InMemoryCloudApi()
    run_id = cloud.add_flow_run()

    def act(pause: int) -> None:
        if pause == 2:
            cloud.set_state(run_id, "Running")
        if pause == 3:
            cloud.set_state(run_id, "Success", "all is well")
        if pause == 5:
            cloud.write_logs([LogLine(flow_run_id=run_id, message="the last line")])

    following, entries, warned = follow(cloud, ActingClock(act))
    end = following(run_id)

    assert end is not None
    assert end.name == "Success"
    assert [each.name for each in entries] == ["Scheduled", "Running", "Success", "agent"]
    assert entries[-1].message == "the last line"
    assert not warned


def test_a_watch_ends_in_time_though_the_run_goes_on() -> None:
    """None; the time is the clock's."""
    cloud, clock = InMemoryCloudApi(), ActingClock()
    following, _, _ = follow(cloud, clock, seconds=30)
    began = clock.monotonic()

    assert following(cloud.add_flow_run()) is None
    assert clock.monotonic() - began == pytest.approx(30)


def test_a_cloud_that_is_away_for_a_while_is_borne_and_said_once() -> None:
    """The watch goes on where it was."""
    cloud = InMemoryCloudApi()
    run_id = cloud.add_flow_run()
    cloud.fail_next("run_story", CloudUnavailable("no answer"), times=5)
    following, entries, warned = follow(
        cloud, ActingClock(lambda pause: cloud.set_state(run_id, "Cancelled") if pause == 8 else None)
    )

    end = following(run_id)

    assert end is not None
    assert end.is_cancelled
    assert warned == ["no answer; looking again"]
    assert [each.name for each in entries] == ["Scheduled", "Cancelled"]


def test_a_cloud_that_stays_away_ends_the_watch() -> None:
    """After five minutes, with its error."""
    cloud, clock = InMemoryCloudApi(), ActingClock()
    cloud.fail_next("run_story", CloudUnavailable("no answer"), times=1000)
    following, _, _ = follow(cloud, clock, seconds=10_000)
    began = clock.monotonic()

    with pytest.raises(CloudUnavailable):
        following(cloud.add_flow_run())

    assert PATIENCE <= clock.monotonic() - began <= PATIENCE + 2
