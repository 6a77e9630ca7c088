"""Turn a claimed flow run into a unit of execution."""

from collections.abc import Callable, Mapping

import attrs

from prefect.agent.domain.errors import CloudError, PlatformForbidden, PlatformUnavailable, SubmissionRefused
from prefect.agent.domain.model.flow_runs import Claimed, FlowRun
from prefect.agent.domain.model.planning import back_off
from prefect.agent.domain.model.run_configs import frozen_mapping
from prefect.agent.domain.model.states import RUNNING, SUBMITTED
from prefect.agent.domain.model.units import Submission, Unit, unit_name
from prefect.agent.domain.model.workloads import plan_submission
from prefect.agent.domain.services.reporting import Outbox
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.platform import ExecutionPlatform


class NoLongerOurs(Exception):
    """While the platform was in trouble the run moved on (cancelled, taken back): nothing is to be started."""


@attrs.define(kw_only=True)
class CreateUnit:
    """Plan and create the unit of one claimed flow run; trouble that passes is sat out inside a deadline.

    Attributes:
        env: Variables of ``--env``.
        deadline: Seconds from the first try until passing trouble is raised.
    """

    cloud: CloudApi
    platform: ExecutionPlatform
    clock: Clock
    env: Mapping[str, str] = attrs.field(factory=dict, converter=frozen_mapping)
    deadline: float = 120.0
    tell: EventSink = events.ignore

    def __call__(self, run: FlowRun) -> Unit:
        """Create the unit for *run*, or raise why there is none.

        Raises:
            SubmissionRefused: It is the run's fault.
            PlatformUnavailable, PlatformForbidden: The deadline went by.
            NoLongerOurs: The run was cancelled or taken back meanwhile.
        """
        workload = self.cloud.workload(run)
        submission = plan_submission(run, workload, self.platform.traits, agent_env=self.env)
        give_up = self.clock.monotonic() + self.deadline
        misses = 0
        while True:
            try:
                return self._create(run, submission)
            except (PlatformUnavailable, PlatformForbidden) as trouble:
                left = give_up - self.clock.monotonic()
                if left <= 0:
                    raise
                pause = max(back_off(misses, first=0.5, last=10.0, chance=0.5), getattr(trouble, "retry_after", 0) or 0)
                self._tell_trouble(run, trouble)
                self.clock.pause(min(pause, left))
                misses += 1
                if misses > 2:
                    self._check_still_ours(run)

    def _create(self, run: FlowRun, submission: Submission) -> Unit:
        unit = self.platform.create(submission)
        message = f"Started flow run {run.name or run.id} as {unit.name} ({unit.info})"
        self.tell(Event(name=events.UNIT_CREATED, message=message, fields={**_fields(run), "unit": unit.name}))
        return unit

    def _check_still_ours(self, run: FlowRun) -> None:
        """A run that was cancelled while its platform was away must not be started when it comes back."""
        try:
            current = self.cloud.flow_runs([run.id])
        except CloudError:
            return
        if not current:
            raise NoLongerOurs("it was deleted before its unit could be created")
        now, claim = current[0].state, current[0].claim
        if claim is not None and claim.unit != unit_name(run.id, run.attempt):
            raise NoLongerOurs("somebody else has claimed it since; no unit is created")
        if now.type != (RUNNING if run.state.is_running else SUBMITTED):
            raise NoLongerOurs(f"it is {now.type} now; no unit is created")

    def _tell_trouble(self, run: FlowRun, trouble: Exception) -> None:
        message = f"Cannot start flow run {run.name or run.id} yet: {trouble}"
        self.tell(Event(name=events.UNIT_RETRIED, level="WARNING", message=message, fields=_fields(run)))


@attrs.define(kw_only=True)
class StartFlowRun:
    """Deploy one claimed flow run and say what came of it: nothing that goes wrong leaves here unreported.

    Attributes:
        deploy: Starts the run and returns what the run's log shall say about it.
    """

    deploy: Callable[[FlowRun], str]
    outbox: Outbox
    tell: EventSink = events.ignore

    def __call__(self, claimed: Claimed) -> bool:
        """Whether *claimed* was started. If not, the outbox has the reason."""
        run = claimed.run
        try:
            info = self.deploy(run)
        except NoLongerOurs as turn:
            self.tell(Event(name=events.RUN_DROPPED, message=f"Flow run {run.id}: {turn}", fields=_fields(run)))
            return False
        except SubmissionRefused as refusal:
            self.outbox.fail(run.id, f"The flow run cannot be started: {refusal}")
            return False
        except (Exception, SystemExit) as trouble:  # noqa: BLE001 - a user's deploy_flow may raise anything; P3
            self.outbox.fail(run.id, f"The flow run could not be started: {str(trouble) or repr(trouble)}")
            return False
        self.outbox.log(run.id, f"Submitted for execution: {info or claimed.record.unit}")
        return True


def _fields(run: FlowRun) -> dict[str, str]:
    return {"flow_run_id": run.id, "attempt": str(run.attempt)}
