"""Reporting the end of a run, logs, and what comes with the rest of the port."""

import uuid
from datetime import datetime, timedelta, timezone

import pytest

from prefect.agent.adapters.fakes.contracts.cloud_base import CloudContractBase, claim, one
from prefect.agent.adapters.fakes.contracts.worlds import CloudWorld
from prefect.agent.domain.errors import OutcomeUnknown
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.ports.cloud_api import CloudApi, LogLine

WRITTEN = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=timezone.utc)


class WritingContract(CloudContractBase):
    """Methods ``fail``, ``cancelled``, ``write_logs``, ``workload`` and ``close``."""

    @pytest.mark.parametrize("state", ["Scheduled", "Submitted", "Running", "Cancelling"])
    def test_fail_ends_a_run_whatever_its_version(self, cloud: CloudApi, world: CloudWorld, state: str) -> None:
        """An unfinished run becomes Failed with the reason as its message, whatever happened to it before."""
        run_id = world.add_flow_run()
        one(cloud, run_id)
        world.set_state(run_id, "Scheduled")
        world.set_state(run_id, state)

        cloud.fail(run_id, "the image does not exist")

        seen = world.flow_run(run_id)
        assert (seen.state, seen.message) == ("Failed", "the image does not exist")

    def test_fail_ends_a_claimed_run(self, cloud: CloudApi, world: CloudWorld) -> None:
        """A run that this agent claimed fails; its claim is over."""
        run_id = world.add_flow_run()
        outcome = claim(cloud, run_id)

        cloud.fail(run_id, "no")

        assert world.flow_run(run_id).state == "Failed"
        assert one(cloud, run_id).claim is None
        assert one(cloud, run_id).attempt != outcome.run.attempt

    @pytest.mark.parametrize("state", ["Success", "Failed", "Cancelled", "Skipped", "TimedOut"])
    def test_fail_never_touches_a_finished_run(self, cloud: CloudApi, world: CloudWorld, state: str) -> None:
        """A finished run stays as it is, and that is a success."""
        run_id = world.add_flow_run()
        world.set_state(run_id, "Running")
        world.set_state(run_id, state, "its own end")
        before = world.flow_run(run_id)

        cloud.fail(run_id, "too late")

        assert world.flow_run(run_id) == before
        assert before.message == "its own end"

    def test_fail_may_be_repeated(self, cloud: CloudApi, world: CloudWorld) -> None:
        """The first reason stays."""
        run_id = world.add_flow_run()
        for reason in ("first", "second", "third"):
            cloud.fail(run_id, reason)

        seen = world.flow_run(run_id)
        assert (seen.state, seen.message) == ("Failed", "first")
        assert [kind for kind, _ in seen.history].count("Failed") == 1

    def test_cancelled_ends_a_cancelling_run(self, cloud: CloudApi, world: CloudWorld) -> None:
        """A Cancelling run becomes Cancelled with the message; repeating changes nothing."""
        run_id = world.add_flow_run()
        world.set_state(run_id, "Running")
        world.cancel(run_id)
        assert world.flow_run(run_id).state == "Cancelling"

        cloud.cancelled(run_id, "its unit is gone")
        cloud.cancelled(run_id, "said again")

        seen = world.flow_run(run_id)
        assert (seen.state, seen.message) == ("Cancelled", "its unit is gone")
        assert [kind for kind, _ in seen.history].count("Cancelled") == 1

    @pytest.mark.parametrize("state", ["Success", "Failed", "Cancelled", "Running"])
    def test_cancelled_touches_no_other_run(self, cloud: CloudApi, world: CloudWorld, state: str) -> None:
        """A finished run stays as it is, and so does one that nobody cancelled."""
        run_id = world.add_flow_run()
        world.set_state(run_id, state, "as it is")
        before = world.flow_run(run_id)

        cloud.cancelled(run_id, "gone")

        assert world.flow_run(run_id) == before
        assert before.state == state

    def test_logs_are_appended(self, cloud: CloudApi, world: CloudWorld) -> None:
        """Lines go to the logs of their own runs, with level, name and time, in order."""
        first, second = world.add_flow_run(), world.add_flow_run()
        later = WRITTEN + timedelta(seconds=1)
        cloud.write_logs(
            [
                LogLine(flow_run_id=first, message="one", level="WARNING", name="my agent", timestamp=WRITTEN),
                LogLine(flow_run_id=second, message="elsewhere"),
                LogLine(flow_run_id=first, message="two\nlines, and \u00fcml\u00e4uts", timestamp=later),
            ]
        )

        assert [(line.message, line.level, line.name, line.timestamp) for line in world.logs(first)] == [
            ("one", "WARNING", "my agent", WRITTEN),
            ("two\nlines, and \u00fcml\u00e4uts", "INFO", "agent", later),
        ]
        assert [line.message for line in world.logs(second)] == ["elsewhere"]

    def test_the_cloud_takes_its_own_time(self, cloud: CloudApi, world: CloudWorld) -> None:
        """A line without a time gets the Cloud's."""
        run_id = world.add_flow_run()
        before = datetime.now(timezone.utc) - timedelta(seconds=5)

        cloud.write_logs([LogLine(flow_run_id=run_id, message="now")])

        (line,) = world.logs(run_id)
        assert line.timestamp is not None
        assert before < line.timestamp < before + timedelta(minutes=1)

    def test_no_lines(self, cloud: CloudApi, world: CloudWorld) -> None:
        """Writing nothing is allowed."""
        run_id = world.add_flow_run()

        cloud.write_logs([])

        assert list(world.logs(run_id)) == []

    def test_very_many_lines(self, cloud: CloudApi, world: CloudWorld) -> None:
        """However much there is to write, all of it arrives, in order."""
        run_id = world.add_flow_run()
        lines = [
            LogLine(flow_run_id=run_id, message=f"{number} " + 5000 * "x", timestamp=WRITTEN + timedelta(0, number))
            for number in range(1200)
        ]

        cloud.write_logs(lines)

        assert [line.message.split()[0] for line in world.logs(run_id)] == [str(number) for number in range(1200)]

    @pytest.mark.parametrize("method", ["fail", "cancelled", "write_logs"])
    def test_a_change_whose_answer_is_lost_may_be_repeated(self, world: CloudWorld, method: str) -> None:
        """The outcome is unknown; the same call again is a success."""
        run_id = world.add_flow_run()
        world.set_state(run_id, "Running")
        world.cancel(run_id)

        def change(cloud: CloudApi) -> None:
            if method == "write_logs":
                cloud.write_logs([LogLine(flow_run_id=run_id, message="once or twice")])
            elif method == "fail":
                cloud.fail(run_id, "once")
            else:
                cloud.cancelled(run_id, "once")

        lossy = world.lose_next_answer()
        with pytest.raises(OutcomeUnknown):
            change(lossy)
        change(lossy)

        seen = world.flow_run(run_id)
        if method == "write_logs":
            assert {line.message for line in world.logs(run_id)} == {"once or twice"}
        else:
            assert (seen.state, seen.message) == ("Failed" if method == "fail" else "Cancelled", "once")

    def test_a_workload_says_which_run_it_is(self, cloud: CloudApi, world: CloudWorld) -> None:
        """A workload has a command, and its variables, which nobody may override, differ from run to run."""
        first, second = (one(cloud, world.add_flow_run()) for _ in range(2))

        assert cloud.workload(first).command
        assert first.id in cloud.workload(first).fixed.values()
        assert first.id not in cloud.workload(second).fixed.values()

    def test_runs_that_are_gone_spoil_no_log(self, cloud: CloudApi, world: CloudWorld) -> None:
        """Lines of a run that was deleted do not keep other lines from being written."""
        run_id, gone = world.add_flow_run(), FlowRunId(str(uuid.uuid4()))

        cloud.write_logs([LogLine(flow_run_id=gone, message="lost"), LogLine(flow_run_id=run_id, message="kept")])

        assert [line.message for line in world.logs(run_id)] == ["kept"]

    def test_closing_may_be_repeated(self, cloud: CloudApi) -> None:
        """An adapter may be closed twice."""
        cloud.connect()
        cloud.close()
        cloud.close()
