"""Turn a claimed flow run into a unit of execution."""

from collections.abc import Mapping

import attrs

from prefect.agent.domain.errors import CloudError, PlatformForbidden, PlatformUnavailable, SubmissionRefused
from prefect.agent.domain.model.flow_runs import Claimed, FlowRun
from prefect.agent.domain.model.planning import back_off
from prefect.agent.domain.model.run_configs import frozen_mapping
from prefect.agent.domain.model.states import SUBMITTED
from prefect.agent.domain.model.units import Submission, Unit
from prefect.agent.domain.model.workloads import plan_submission
from prefect.agent.domain.services.reporting import Outbox
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.platform import ExecutionPlatform


class NoLongerOurs(Exception):  # noqa: N818 - a turn of events, not an error
    """While the platform was in trouble the run moved on (cancelled, taken back): nothing is to be started."""


@attrs.define(kw_only=True)
class StartUnit:
    """Plan and create the unit of one claimed flow run; trouble that passes is sat out inside a deadline.

    Attributes:
        env: Variables of ``--env``.
        deadline: Seconds from the first try until passing trouble becomes a failure of the run.
    """

    cloud: CloudApi
    platform: ExecutionPlatform
    clock: Clock
    outbox: Outbox
    env: Mapping[str, str] = attrs.field(factory=dict, converter=frozen_mapping)
    deadline: float = 120.0
    tell: EventSink = events.ignore

    def __call__(self, claimed: Claimed) -> Unit | None:
        """Start *claimed*. Returns the unit, or None if there will be none; then the outbox has the reason."""
        run = claimed.run
        try:
            unit = self.deploy(run)
        except NoLongerOurs as turn:
            self.tell(Event(name=events.RUN_DROPPED, message=f"Flow run {run.id}: {turn}", fields=_fields(run)))
            return None
        except SubmissionRefused as refusal:
            self.outbox.fail(run.id, f"The flow run cannot be started: {refusal}")
            return None
        except (PlatformUnavailable, PlatformForbidden) as trouble:
            self.outbox.fail(run.id, f"The flow run could not be started: {trouble}")
            return None
        self.outbox.log(run.id, f"Submitted for execution: {unit.info or unit.name}")
        message = f"Started flow run {run.name or run.id} as {unit.name} ({unit.info})"
        self.tell(Event(name=events.UNIT_CREATED, message=message, fields={**_fields(run), "unit": unit.name}))
        return unit

    def deploy(self, run: FlowRun) -> Unit:
        """Create the unit for *run*, or raise why there is none.

        Raises:
            SubmissionRefused: It is the run's fault.
            PlatformUnavailable, PlatformForbidden: The deadline went by.
            NoLongerOurs: The run was cancelled or taken back meanwhile.
        """
        workload = self.cloud.workload(run)
        submission = plan_submission(run, workload, self.platform.traits, agent_env=self.env)
        return self._create(run, submission)

    def _create(self, run: FlowRun, submission: Submission) -> Unit:
        give_up = self.clock.monotonic() + self.deadline
        misses = 0
        while True:
            try:
                return self.platform.create(submission)
            except (PlatformUnavailable, PlatformForbidden) as trouble:
                if self.clock.monotonic() >= give_up:
                    raise
                self._tell_trouble(run, trouble)
                pause = back_off(misses, first=0.5, last=10.0, chance=0.5)
                asked = getattr(trouble, "retry_after", None) or 0.0
                self.clock.pause(min(max(pause, asked), max(0.0, give_up - self.clock.monotonic())))
                misses += 1
                if misses > 2:
                    self._check_still_ours(run)

    def _check_still_ours(self, run: FlowRun) -> None:
        """A run that was cancelled while its platform was away must not be started when it comes back."""
        try:
            current = self.cloud.flow_runs([run.id])
        except CloudError:
            return
        if not current:
            raise NoLongerOurs("it was deleted before its unit could be created")
        if run.state.is_scheduled and current[0].state.type != SUBMITTED:
            raise NoLongerOurs(f"it is {current[0].state.type} now; no unit is created")

    def _tell_trouble(self, run: FlowRun, trouble: Exception) -> None:
        message = f"Cannot start flow run {run.name or run.id} yet: {trouble}"
        self.tell(Event(name=events.UNIT_RETRIED, level="WARNING", message=message, fields=_fields(run)))


def _fields(run: FlowRun) -> dict[str, str]:
    return {"flow_run_id": run.id, "attempt": str(run.attempt)}
