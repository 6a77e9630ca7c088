"""Back doors that the suites need: what an adapter's tests implement without the adapter itself."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.run_configs import RunConfig
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.ports.cloud_api import CloudApi, LogLine
from prefect.agent.ports.platform import ExecutionPlatform


class RunSeen(Protocol):
    """A flow run as it is inside the Cloud."""

    @property
    def state(self) -> str:
        """Type of its state."""
        ...

    @property
    def message(self) -> str:
        """The state's message."""
        ...

    @property
    def history(self) -> Sequence[tuple[str, str]]:
        """Type and message of every state there has been, the present one last."""
        ...


class CloudHarness(Protocol):
    """A Cloud that belongs to one test, and what people and flow processes do there.

    The suites name states in the words of 1.x (``Running``, ``Success``). A harness of another backend translates them
    into its own, both ways; the adapter under test is looked at by phases only.
    """

    @property
    def is_strict(self) -> bool:
        """Whether this Cloud compares and sets claims; what is promised of such Clouds only is not looked at else."""
        return True

    def connection(self) -> CloudApi:
        """One more connected agent's adapter; the harness closes it in the end."""
        ...

    def lose_next_answer(self) -> CloudApi:
        """An adapter whose next change is carried out, and whose answer to it gets lost on its way back."""
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

        The run config is an ``UnusableRunConfig`` if the Cloud is to hold nonsense.
        """
        ...

    def add_task_run(self, run_id: FlowRunId, state: str, start_time: datetime) -> str:
        """Give the flow run one more task run in a state that waits until *start_time*; return its id.

        Where agents do not start the task runs of Running flow runs again, call ``pytest.skip``.
        """
        ...

    def set_task_state(self, run_id: FlowRunId, task_run_id: str, state: str, start_time: datetime) -> None:
        """Put a task run into a state."""
        ...

    def set_state(self, run_id: FlowRunId, state: str, message: str = "") -> None:
        """Put the flow run into a state; Scheduled means due now."""
        ...

    def cancel(self, run_id: FlowRunId) -> None:
        """Do what a person does who cancels a flow run."""
        ...

    def limit_label(self, label: str, places: int | None) -> bool:
        """Let at most so many flow runs with a label run at a time; None lifts the limit.

        False if this Cloud has no such limits: what is promised of them is not looked at then.
        """
        ...

    def flow_run(self, run_id: FlowRunId) -> RunSeen:
        """Look at the flow run."""
        ...

    def logs(self, run_id: FlowRunId) -> Sequence[LogLine]:
        """The flow run's log, oldest first."""
        ...


class PlatformHarness(Protocol):
    """A platform that a test uses, and what happens there without the agent. Others may use it at the same time."""

    def platform(self) -> ExecutionPlatform:
        """One more adapter object on the same place; the harness closes it in the end."""
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
        """A submission of a new flow run.

        Args:
            exit_code: It ends at once with this code; None lets it execute until it is stopped.
            padding: How many lines of 2,000 zeros it puts out first.
            prints: The lines that it puts out then.
            stubborn: It does not end when it is asked to.
            detaches: It starts a child that goes on without it: in a session of its own, with no descriptors.
        """
        ...

    def is_own(self, name: str) -> bool:
        """Whether :meth:`submission` gave the name out."""
        ...

    def let_end(self, submission: Submission) -> None:
        """For platforms that execute nothing: let the unit end as its submission wants. Else do nothing."""
        ...

    def starts(self, name: str) -> int:
        """How many times the unit's command has been started."""
        ...

    def is_executing(self, name: str) -> bool:
        """Whether anything of the unit executes."""
        ...

    def is_detached(self, name: str) -> bool:
        """Whether the child executes that a unit which ``detaches`` started; without the command if that is to end."""
        ...

    def environment(self, name: str) -> Mapping[str, str]:
        """The variables that the unit's command was given."""
        ...

    def kill(self, name: str) -> None:
        """End the unit as the machine would that has no memory left: at once, without asking."""
        ...

    def vanish(self, name: str) -> None:
        """Delete the unit, whatever it does."""
        ...

    def take_name(self, name: str) -> None:
        """Make something that is not ours, under a unit's name."""
        ...

    def is_taken(self, name: str) -> bool:
        """Whether what :meth:`take_name` made is still there."""
        ...

    def leave_unstarted(self, submission: Submission) -> bool:
        """Leave what a crash between creating a unit and starting it leaves; False if there is no such moment."""
        ...

    def cannot_start(self) -> Submission | None:
        """A submission of a new flow run that the platform accepts but can never start (its image does not exist).

        Needed for ``PatientPlatformContract`` only; None if ``create`` refuses such submissions itself.
        """
        return None


def eventually(condition: Callable[[], object], what: str, *, seconds: float = 60) -> None:
    """Return as soon as *condition* gives something true.

    It is looked at once more when the time is over: the test itself may have stood still.

    Raises:
        AssertionError: It did not come true in time.
    """
    end = time.monotonic() + seconds
    is_late = False
    while not condition():
        if is_late:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.005)
        is_late = time.monotonic() >= end
