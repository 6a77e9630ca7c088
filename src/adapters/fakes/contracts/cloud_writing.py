"""The contract of logs, workloads and closing."""

import uuid
from datetime import datetime, timedelta, timezone

import pytest

from prefect.agent.adapters.fakes.contracts.cloud_base import WRITTEN, CloudContractBase, one
from prefect.agent.adapters.fakes.contracts.harnesses import CloudHarness
from prefect.agent.domain.errors import OutcomeUnknown, RequestRejected
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.ports.cloud_api import CloudApi, LogLine


class WritingContract(CloudContractBase):
    """These tests check ``write_logs``, ``workload`` and ``close``."""

    def test_logs_are_appended(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """Lines go to the logs of their own runs, with level, name and time, in order."""
        first, second = harness.add_flow_run(), harness.add_flow_run()
        later = WRITTEN + timedelta(seconds=1)
        cloud.write_logs(
            [
                LogLine(flow_run_id=first, message="one", level="WARNING", name="my agent", timestamp=WRITTEN),
                LogLine(flow_run_id=second, message="elsewhere"),
                LogLine(flow_run_id=first, message="two\nlines, and \u00fcml\u00e4uts", timestamp=later),
            ]
        )

        assert [(line.message, line.level, line.name, line.timestamp) for line in harness.logs(first)] == [
            ("one", "WARNING", "my agent", WRITTEN),
            ("two\nlines, and \u00fcml\u00e4uts", "INFO", "agent", later),
        ]
        assert [line.message for line in harness.logs(second)] == ["elsewhere"]

    def test_the_cloud_takes_its_own_time(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A line without a time gets the Cloud's time."""
        run_id = harness.add_flow_run()
        before = datetime.now(timezone.utc) - timedelta(seconds=5)

        cloud.write_logs([LogLine(flow_run_id=run_id, message="now")])

        (line,) = harness.logs(run_id)
        assert line.timestamp is not None
        assert before < line.timestamp < before + timedelta(minutes=1)

    def test_no_lines(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A call without lines is allowed."""
        run_id = harness.add_flow_run()

        cloud.write_logs([])

        assert list(harness.logs(run_id)) == []

    def test_very_many_lines(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """All lines arrive in order, however many there are."""
        run_id = harness.add_flow_run()
        lines = [
            LogLine(flow_run_id=run_id, message=f"{number} " + 5000 * "x", timestamp=WRITTEN + timedelta(0, number))
            for number in range(1200)
        ]

        cloud.write_logs(lines)

        assert [line.message.split()[0] for line in harness.logs(run_id)] == [str(number) for number in range(1200)]

    def test_lines_whose_answer_is_lost_may_be_repeated(self, harness: CloudHarness) -> None:
        """If the answer is lost, the outcome is unknown; the same call again succeeds."""
        run_id = harness.add_flow_run()
        lossy = harness.lose_next_answer()
        lines = [LogLine(flow_run_id=run_id, message="once or twice")]

        with pytest.raises(OutcomeUnknown):
            lossy.write_logs(lines)
        lossy.write_logs(lines)

        assert {line.message for line in harness.logs(run_id)} == {"once or twice"}

    def test_a_workload_says_which_run_it_is(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A workload has a command, and its variables that cannot be overridden differ from run to run."""
        first, second = (one(cloud, harness.add_flow_run()) for _ in range(2))

        assert cloud.workload(first).command
        assert first.id in cloud.workload(first).fixed.values()
        assert first.id not in cloud.workload(second).fixed.values()

    def test_runs_that_are_gone_keep_no_line_from_being_written(self, cloud: CloudApi, harness: CloudHarness) -> None:
        """A line of a run that was deleted is ignored, or fails its batch: then the others are written without it."""
        run_id, gone = harness.add_flow_run(), FlowRunId(str(uuid.uuid4()))
        lost, kept = LogLine(flow_run_id=gone, message="lost"), LogLine(flow_run_id=run_id, message="kept")

        try:
            cloud.write_logs([lost, kept])
        except (RequestRejected, OutcomeUnknown):
            cloud.write_logs([kept])

        assert {line.message for line in harness.logs(run_id)} == {"kept"}

    def test_closing_may_be_repeated(self, cloud: CloudApi) -> None:
        """An adapter may be closed twice."""
        cloud.connect()
        cloud.close()
        cloud.close()
