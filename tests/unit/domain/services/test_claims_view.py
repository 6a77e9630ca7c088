"""The view of the claims on a platform: read whole once, then only what has changed."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs
import pytest

from prefect.agent.adapters.fakes import InMemoryCloudApi, ManualClock
from prefect.agent.domain.errors import CloudUnavailable
from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId
from prefect.agent.domain.model.leases import Claimant
from prefect.agent.domain.services import claims_view
from prefect.agent.domain.services.claiming import ClaimFlowRuns
from prefect.agent.domain.services.claims_view import SLACK, WHOLE_EVERY, ClaimsView
from support.builders import ids


class RecordingCloud(InMemoryCloudApi):
    """Keeps since when changes were asked for, and how many there were; its clock may be ahead."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.asked: list[tuple[datetime | None, int]] = []
        self.ahead = 0.0

    @property
    def skew(self) -> float:
        """As the agent has measured it."""
        return self.ahead

    def delete(self, run_id: FlowRunId) -> None:
        """Delete a run."""
        del self._store.runs[run_id]

    def claimed_flow_runs(self, *, platform: str, changed_since: datetime | None = None) -> Sequence[FlowRun]:
        """Like the Cloud's."""
        found = super().claimed_flow_runs(platform=platform, changed_since=changed_since)
        self.asked.append((changed_since, len(found)))
        return found


@attrs.define
class Office:
    """A Cloud and the view of one platform that was once called by another name."""

    clock: ManualClock = attrs.field(factory=lambda: ManualClock(auto=True))
    cloud: RecordingCloud = attrs.field(init=False)
    view: ClaimsView = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.cloud = RecordingCloud(self.clock)
        self.view = ClaimsView(cloud=self.cloud, clock=self.clock, platforms=("here", "once-here"))

    def claimed(self, platform: str = "here", state: str = "Submitted") -> FlowRunId:
        """A run that is claimed for a platform."""
        run_id = self.cloud.add_flow_run()
        self.claim(run_id, platform)
        if state != "Submitted":
            self.cloud.set_state(run_id, state)
        return run_id

    def claim(self, run_id: FlowRunId, platform: str) -> None:
        """Claim a run for a platform."""
        here = Claimant(id="a", platform=platform)
        ClaimFlowRuns(cloud=self.cloud, clock=self.clock, claimant=here)(self.cloud.flow_runs([run_id]))

    def seen(self, *keep: FlowRunId) -> list[FlowRunId]:
        """Ids of the open runs, after a refresh."""
        self.view.refresh(keep)
        return ids(self.view.open_runs())

    def state(self, run_id: FlowRunId) -> str | None:
        """What the view says of a run."""
        run = self.view.get(run_id)
        return None if run is None else run.state.name


@pytest.fixture
def office() -> Office:
    """No claims."""
    return Office()


def test_what_is_claimed_and_not_over_is_open(office: Office) -> None:
    """By the latest claim of the history, under each name of the platform; others' claims are not read."""
    mine = [office.claimed(state=state) for state in ("Submitted", "Running", "Cancelling")]
    renamed = office.claimed("once-here")
    office.claimed("elsewhere")
    office.claimed(state="Success")
    office.cloud.add_flow_run(state="Running")

    assert set(office.seen()) == {*mine, renamed}


def test_only_changes_are_read_after_the_first_time(office: Office) -> None:
    """A sweep costs the same whatever lives. A little more is asked for, as clocks differ and commits come late."""
    old = [office.claimed() for _ in range(5)]
    office.clock.advance(60)
    office.seen()
    read_at = office.clock.now()
    office.clock.advance(60)
    new = office.claimed()

    assert set(office.seen()) == {*old, new}
    assert office.cloud.asked == [(None, 5), (None, 0), (read_at - SLACK, 1), (read_at - SLACK, 0)]


def test_changes_are_asked_for_in_the_clouds_time(office: Office) -> None:
    """An agent whose clock is behind does not ask for too much, one whose clock is ahead does not miss any."""
    office.cloud.ahead = -45.0
    office.seen()
    read_at = office.clock.now()
    office.seen()

    assert office.cloud.asked[-1][0] == read_at - timedelta(seconds=45) - SLACK


def test_everything_is_read_anew_from_time_to_time(office: Office) -> None:
    """A change that was missed, or a run that was deleted in the Cloud, is found then."""
    run_id = office.claimed()
    office.seen()
    office.cloud.delete(run_id)
    office.clock.advance(WHOLE_EVERY - 1)
    before = office.seen()
    office.clock.advance(1)

    assert (before, office.seen()) == ([run_id], [])


def test_reading_everything_costs_the_same_however_much_there_is(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as many runs are read anew half as often."""
    monkeypatch.setattr(claims_view, "WHOLE", 2)
    for _ in range(4):
        office.claimed()
    office.seen()
    office.clock.advance(2 * WHOLE_EVERY - 1)
    office.seen()
    office.clock.advance(1)
    office.seen()

    assert [since is None for since, _ in office.cloud.asked[::2]] == [True, False, True]


def test_a_run_that_is_over_leaves_the_view(office: Office) -> None:
    """Unless it has a unit: then what it says is still needed, without asking for it again."""
    done, kept = office.claimed(), office.claimed()
    office.seen()
    for run_id in (done, kept):
        office.cloud.set_state(run_id, "Success")

    assert office.seen(kept) == []
    assert (office.state(done), office.state(kept)) == (None, "Success")


def test_a_view_that_cannot_be_read_is_as_it_was(office: Office) -> None:
    """The next refresh asks for everything since the last one that succeeded."""
    run_id = office.claimed()
    office.seen()
    office.clock.advance(60)
    office.cloud.set_state(run_id, "Running")
    office.clock.advance(60)
    office.cloud.fail_next("claimed_flow_runs", CloudUnavailable("away"))
    with pytest.raises(CloudUnavailable):
        office.seen()
    assert office.state(run_id) == "Submitted"

    assert office.seen() == [run_id]
    assert office.state(run_id) == "Running"


def test_a_first_view_that_cannot_be_read_is_read_whole_later(office: Office) -> None:
    """Also if it was half read."""
    run_id = office.claimed("once-here")
    office.cloud.fail_next("claimed_flow_runs", CloudUnavailable("away"))
    with pytest.raises(CloudUnavailable):
        office.seen()
    assert office.view.get(run_id) is None

    assert office.seen() == [run_id]


def test_what_was_read_for_another_reason_corrects_the_view(office: Office) -> None:
    """Claimed elsewhere or deleted: out; over: kept, so that it is not asked for again; ours: as it is now."""
    moved, deleted, done, running = (office.claimed() for _ in range(4))
    office.seen()
    office.cloud.set_state(moved, "Scheduled")
    office.claim(moved, "elsewhere")
    office.cloud.set_state(done, "Success")
    office.cloud.set_state(running, "Running")
    asked = [moved, deleted, done, running]
    office.view.correct(asked, [run for run in office.cloud.flow_runs(asked) if run.id != deleted])

    assert [office.state(run_id) for run_id in asked] == [None, None, "Success", "Running"]


def test_a_run_that_another_product_claimed_is_not_in_the_view(office: Office) -> None:
    """No record: not ours."""
    run_id = office.cloud.add_flow_run(state="Submitted")
    office.view.correct([run_id], office.cloud.flow_runs([run_id]))

    assert office.view.get(run_id) is None
