"""Harnesses prepare and inspect a backend for the contract suites, without the adapter under test."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.run_configs import RunConfig
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.wait_kinds import WaitKind
from prefect.agent.ports.cloud_api import CloudApi, LogLine
from prefect.agent.ports.platform import ExecutionPlatform


class RunSeen(Protocol):
    """A flow run as it is inside the Cloud."""

    @property
    def state(self) -> str:
        """Return the type of its state."""
        ...

    @property
    def message(self) -> str:
        """Return the state's message."""
        ...

    @property
    def history(self) -> Sequence[tuple[str, str]]:
        """Return type and message of every state so far, the present one last."""
        ...


class CloudHarness(Protocol):
    """A Cloud that belongs to one test, with everything that people and flow processes do there.

    The suites name states in the words of 1.x (``Running``, ``Success``). A harness of another backend translates them
    into its own, both ways; the suites compare only the phases that the adapter reports.
    """

    @property
    def is_strict(self) -> bool:
        """Return whether this Cloud compares and sets claims; tests of that promise are skipped otherwise."""
        return True

    def connection(self) -> CloudApi:
        """Return the adapter of one more connected agent; the harness closes it in the end."""
        ...

    def lose_next_answer(self) -> CloudApi:
        """Return an adapter whose next change is carried out, but whose answer to it gets lost."""
        ...

    def add_flow_run(
        self,
        *,
        labels: Collection[str] = (),
        due: datetime | None = None,
        run_config: RunConfig | None = None,
        name: str = "",
    ) -> FlowRunId:
        """Schedule a flow run, for now if *due* is None.

        An ``UnusableRunConfig`` makes the Cloud hold an invalid run config.
        """
        ...

    def add_task_run(self, run_id: FlowRunId, state: str, start_time: datetime) -> str:
        """Add a task run in a state that waits until *start_time* to the flow run; return its id.

        Where agents do not start the task runs of Running flow runs again, call ``pytest.skip``.
        """
        ...

    def set_task_state(self, run_id: FlowRunId, task_run_id: str, state: str, start_time: datetime) -> None:
        """Put a task run into a state; the words are those of :meth:`set_state`."""
        ...

    def set_state(self, run_id: FlowRunId, state: str, message: str = "") -> None:
        """Put the flow run into a state. What the backend does not have is skipped: call ``pytest.skip``.

        - ``Scheduled``: it waits for an agent and is due now.
        - ``Queued``, ``Retrying``, ``Paused``, ``Resume``: it waits for something else, so agents are not offered it: a
          free place of a limit, its own process, a person, its own process again.
        - ``Submitted``, ``Running``, ``Cancelling``: it was claimed, is executed, is to be stopped.
        - ``Success``, ``Skipped``; ``Failed``, ``TimedOut``; ``Cancelled``: it has ended well, without success, or
          by a cancellation.
        """
        ...

    def cancel(self, run_id: FlowRunId) -> None:
        """Cancel a flow run, as a person would."""
        ...

    def limit_label(self, label: str, places: int | None) -> bool:
        """Let at most *places* flow runs with a label run at a time; None lifts the limit.

        Return False if this Cloud has no such limits; their tests are skipped then.
        """
        ...

    def flow_run(self, run_id: FlowRunId) -> RunSeen:
        """Return the flow run as it is inside the Cloud."""
        ...

    def logs(self, run_id: FlowRunId) -> Sequence[LogLine]:
        """Return the flow run's log, oldest line first."""
        ...


class PlatformHarness(Protocol):
    """A platform that a test uses, with everything that happens there without the agent.

    Others may use it at the same time.

    Attributes:
        wait_kind: What the unit of :meth:`cannot_start` waits for.
    """

    wait_kind: WaitKind = WaitKind.IMAGE

    def platform(self) -> ExecutionPlatform:
        """Return one more adapter object on the same place; the harness closes it in the end."""
        ...

    def submission(
        self,
        *,
        exit_code: int | None = None,
        prints: str = "",
        padding: int = 0,
        stubborn: bool = False,
        detaches: bool = False,
        env: Mapping[str, str] | None = None,
        secret_env: Mapping[str, str] | None = None,
    ) -> Submission:
        """Return a submission of a new flow run.

        Args:
            exit_code: Code with which the unit ends at once; None lets it execute until it is stopped.
            padding: Number of lines of 2,000 zeros that the unit prints first.
            prints: Lines that the unit prints then.
            stubborn: Whether the unit ignores the request to end.
            detaches: Whether the unit starts a child that goes on without it, in its own session, with no descriptors.
        """
        ...

    def is_own(self, name: str) -> bool:
        """Return whether :meth:`submission` issued the name."""
        ...

    def let_end(self, submission: Submission) -> None:
        """Let the unit end as its submission wants if the platform executes nothing; otherwise do nothing."""
        ...

    def starts(self, name: str) -> int:
        """Return how many times the unit's command has been started."""
        ...

    def is_executing(self, name: str) -> bool:
        """Return whether anything of the unit executes."""
        ...

    def is_detached(self, name: str) -> bool:
        """Return whether the child of a unit with ``detaches`` executes, and the command has ended if it is to end."""
        ...

    def environment(self, name: str) -> Mapping[str, str]:
        """Return the variables that the unit's command was given."""
        ...

    def kill(self, name: str) -> None:
        """Kill the unit at once, as a machine without memory would."""
        ...

    def vanish(self, name: str) -> None:
        """Delete the unit, whatever it does."""
        ...

    def take_name(self, name: str) -> None:
        """Create an object that is not ours under a unit's name."""
        ...

    def is_taken(self, name: str) -> bool:
        """Return whether the object that :meth:`take_name` made still exists."""
        ...

    def leave_unstarted(self, submission: Submission) -> bool:
        """Leave what a crash between creating and starting a unit leaves; return False if there is no such moment."""
        ...

    def cannot_start(self) -> Submission | None:
        """Return a submission that the platform accepts but can never start, for want of its image.

        A platform without images sets :attr:`wait_kind` to what its unit waits for instead.
        Needed for ``PatientPlatformContract`` only; None if ``create`` refuses such submissions itself.
        """
        return None


def eventually(condition: Callable[[], object], what: str, *, seconds: float = 60) -> None:
    """Return as soon as *condition* returns something true.

    The condition is checked once more when the time is over: the test itself may have stood still.

    Raises:
        AssertionError: The condition did not become true in time.
    """
    end = time.monotonic() + seconds
    is_late = False
    while not condition():
        if is_late:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.005)
        is_late = time.monotonic() >= end
