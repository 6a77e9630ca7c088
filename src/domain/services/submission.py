"""Turn a claimed flow run into a unit of execution."""

from collections.abc import Callable, Collection, Mapping

import attrs

from prefect.agent.domain.errors import (
    CloudError,
    CreateBlocked,
    PlatformForbidden,
    PlatformUnavailable,
    SubmissionRefused,
    asked_to_wait,
    wait_kind_of,
)
from prefect.agent.domain.model.demands import Demands, asked
from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.domain.model.flow_runs import Claimed, FlowRun, FlowRunId
from prefect.agent.domain.model.giving_up import CANNOT_START, not_started
from prefect.agent.domain.model.leases import is_expired
from prefect.agent.domain.model.pauses import back_off
from prefect.agent.domain.model.policy import OPEN, Policy, judge
from prefect.agent.domain.model.run_configs import frozen_mapping
from prefect.agent.domain.model.states import Phase
from prefect.agent.domain.model.submissions import Submission, plan_submission
from prefect.agent.domain.model.units import Unit, UnitStatus, owner
from prefect.agent.domain.services.gate import PlatformGate
from prefect.agent.domain.services.reporting import Outbox
from prefect.agent.domain.services.waits import Waits
from prefect.agent.domain.services.work_in_hand import WorkInHand
from prefect.agent.domain.texts import readable_name
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.platform import ExecutionPlatform


class NoLongerOurs(Exception):
    """The run was cancelled or taken back before its unit could be created: nothing is to be started."""


class PlatformAway(Exception):
    """The platform gave no answer until the deadline, and created nothing: the claim is to be handed back."""


class NoRoom(PlatformAway):
    """The platform answers, but created nothing until the deadline, for want of something that comes back."""


class UnitInDoubt(PlatformUnavailable):
    """A create was not answered: the unit may exist, or come into being yet. A claim in doubt is never handed back."""


class StartOverdue(PlatformUnavailable):
    """The platform answers, but did not create the unit until the deadline."""


class ClaimUnconfirmed(PlatformUnavailable):
    """The claim has expired, and the Cloud does not say whether it still stands: nothing is created."""


@attrs.define(kw_only=True)
class CreateUnit:
    """Plan and create the unit of one claimed flow run; errors that may pass are retried until a deadline.

    Attributes:
        env: Variables of ``--env``.
        agent_name, labels: The agent's: they mark its units.
        deadline: Seconds from the first try until an error that may pass is raised.
        gate: Knows whether the platform answers at all.
        policy: What flow runs may ask for; asked before the platform does anything for one.
        work: Learns of each unit that was made, and of runs that wait for the room of ended ones.
        note: Takes a flow run's id, and a line for its log with its level.
    """

    cloud: CloudApi
    platform: ExecutionPlatform
    clock: Clock
    gate: PlatformGate
    work: WorkInHand
    env: Mapping[str, str] = attrs.field(factory=dict, converter=frozen_mapping)
    agent_name: str = "agent"
    labels: Collection[str] = ()
    deadline: float = 120.0
    policy: Policy = OPEN
    note: Callable[[FlowRunId, str, str], None] = attrs.field(default=lambda *_: None)
    tell: EventSink = events.ignore
    _waits: Waits = attrs.field(factory=Waits, init=False)

    def __call__(self, run: FlowRun) -> Unit:
        """Create the unit for *run*, or raise why there is none.

        Args:
            run: Claimed; ``run.claim`` is the record of the claim.

        Raises:
            SubmissionRefused: It is the run's fault.
            StartOverdue, PlatformForbidden: The deadline went by; the platform answers and has no such unit.
            PlatformAway: Likewise, without an answer to anything; nothing was created.
            NoRoom: Likewise, for want of something that may still come back.
            UnitInDoubt: Likewise; whether the unit was created is seen to by a sweep, once the platform answers.
            NoLongerOurs: The run was cancelled or taken back meanwhile.
        """
        submission = self._plan(run)
        self._say_ignored(submission)
        give_up = self.clock.monotonic() + self.deadline
        misses, in_doubt = 0, False
        while True:
            try:
                return self._say_created(run, self._create(run, submission), since=give_up - self.deadline)
            except (PlatformUnavailable, PlatformForbidden) as problem:
                in_doubt |= isinstance(problem, UnitInDoubt)
                left = give_up - self.clock.monotonic()
                if left <= 0:
                    return self._last_look(run, submission.name, problem, in_doubt=in_doubt)
                pause = max(back_off(misses, first=0.5, last=10.0), asked_to_wait(problem))
                self._say_retried(run, problem)
                if isinstance(problem, CreateBlocked):
                    self._wait_for_room(run, problem)
                self.clock.pause(min(pause, left))
                misses += 1
                if misses > 2:
                    self._check_still_ours(run)

    def _plan(self, run: FlowRun) -> Submission:
        workload = self.cloud.workload(run)
        mark = owner(self.cloud.identity, self.agent_name, self.labels)
        plan = plan_submission(run, workload, self.platform.traits, agent_env=self.env)
        self._check_allowed(asked(plan))  # the platform may have to read something to know more
        return attrs.evolve(plan, owner=mark)

    def _check_allowed(self, demands: Demands) -> None:
        refusal = judge(self.policy, demands)
        if refusal is not None:
            raise SubmissionRefused(refusal)

    def _last_look(
        self, run: FlowRun, name: str, problem: PlatformUnavailable | PlatformForbidden, *, in_doubt: bool
    ) -> Unit:
        """At the deadline: a create without an answer may have taken effect. If not, raise why there is no unit."""
        if isinstance(problem, CreateBlocked) and not in_doubt:
            self._check_patience(run, problem)
            raise NoRoom(str(problem)) from problem
        if not in_doubt and (isinstance(problem, ClaimUnconfirmed) or not self.gate.check()):
            raise PlatformAway(str(problem)) from problem
        try:
            unit = self.platform.unit(name) if in_doubt else None
        except (PlatformUnavailable, PlatformForbidden):
            raise UnitInDoubt(str(problem)) from problem
        if unit is not None and unit.status is not UnitStatus.CREATED:
            return self._say_created(run, unit, since=self.clock.monotonic() - self.deadline)
        if isinstance(problem, PlatformForbidden):
            raise problem
        raise StartOverdue(str(problem), wait_kind=problem.wait_kind) from problem

    def _create(self, run: FlowRun, submission: Submission) -> Unit:
        if not self.gate.is_open and not self.gate.check():
            # A create that is not sent leaves no doubt.
            raise self.gate.blocked or PlatformUnavailable(self.gate.problem)
        if not self.policy.is_open:
            self._check_allowed(self.platform.demands(submission))
        self.platform.prepare(submission)
        if self._has_expired(run):
            self._check_still_ours(run, must_know=True)
        try:
            unit = self.platform.create(submission)
        except CreateBlocked as problem:
            self.gate.block(problem)
            raise
        except PlatformUnavailable as problem:
            self.gate.check()
            raise UnitInDoubt(str(problem), retry_after=problem.retry_after, wait_kind=problem.wait_kind) from problem
        if self._has_expired(run):
            self._stop_if_not_ours(run, unit)
        return unit

    def _wait_for_room(self, run: FlowRun, problem: CreateBlocked) -> None:
        """Say in the run's log what it waits for, at once and then rarely; give it up after a time."""
        if problem.needs_room:
            self.work.ask_for_room()
        if self._waits.is_to_be_said(run.id, self.clock.monotonic()):
            self.note(run.id, f"The flow run waits to be started: {problem}", "WARNING")
        self._check_patience(run, problem)

    def _check_patience(self, run: FlowRun, problem: CreateBlocked) -> None:
        """Raise StartOverdue if *run* has waited for too long, however often it was handed back."""
        waited = self._waits.seconds(run.id, self.clock.monotonic())
        if problem.patience is not None and waited >= problem.patience:
            self._waits.forget(run.id)
            message = f"it waited for {waited:.0f} s: {problem}"
            raise StartOverdue(message, wait_kind=problem.wait_kind) from problem

    def _say_created(self, run: FlowRun, unit: Unit, *, since: float) -> Unit:
        """Note the unit, and say how long it took since the first try and since the run was due."""
        self._waits.forget(run.id)
        self.work.note_unit(unit)
        message = f"Started flow run {run.title} as {unit.name} ({unit.info})"
        fields: dict[str, object] = {**_fields(run), "unit": unit.name}
        fields["duration_s"] = round(self.clock.monotonic() - since, 3)
        if run.due is not None:
            now = self.clock.now_ahead(self.cloud.skew)
            fields["late_s"] = round(max(0.0, (now - run.due).total_seconds()), 3)
        self.tell(Event(name=events.UNIT_CREATED, message=message, fields=fields))
        return unit

    def _say_ignored(self, submission: Submission) -> None:
        if submission.ignored:
            names = ", ".join(map(readable_name, submission.ignored[:20]))
            message = f"Ignored of the run config's env, since the agent alone sets them: {names}"
            self.note(submission.flow_run_id, message, "WARNING")

    def _has_expired(self, run: FlowRun) -> bool:
        now = self.clock.now_ahead(self.cloud.skew)
        return run.claim is not None and is_expired(run.claim, now)

    def _stop_if_not_ours(self, run: FlowRun, unit: Unit) -> None:
        """A create may outlast its lease: if the run was handed back meanwhile, another unit may execute it, too."""
        try:
            current = self.cloud.flow_runs([run.id])
        except CloudError:
            return
        if current and (current[0].claim is None or current[0].claim.unit != unit.name):
            self.platform.stop(unit.name, grace=0)
            raise NoLongerOurs(f"this claim holds it no longer; {unit.name} was created too late and is stopped")

    def _check_still_ours(self, run: FlowRun, *, must_know: bool = False) -> None:
        """A run that was cancelled or taken over while its platform was away must not be started afterwards.

        Args:
            must_know: The lease is over: without an answer nothing is created.
        """
        try:
            current = self.cloud.flow_runs([run.id])
        except CloudError as problem:
            if must_know:
                raise ClaimUnconfirmed(f"the claim has expired and cannot be confirmed: {problem}") from problem
            return
        if not current:
            raise NoLongerOurs("it was deleted before its unit could be created")
        now, claim = current[0].state, current[0].claim
        if run.claim is not None and claim != run.claim:
            raise NoLongerOurs(f"it is {now.name} now, and this claim holds it no longer; no unit is created")
        if now.phase is not (Phase.RUNNING if run.state.is_running else Phase.CLAIMED):
            raise NoLongerOurs(f"it is {now.name} now; no unit is created")

    def _say_retried(self, run: FlowRun, problem: Exception) -> None:
        message = f"Cannot start flow run {run.title} yet: {problem}"
        fields = {**_fields(run), "problem": str(problem), "wait_kind": wait_kind_of(problem).value}
        self.tell(Event(name=events.UNIT_RETRIED, level="WARNING", message=message, fields=fields))


@attrs.frozen
class OwnDeploy:
    """A user's own way to start flow runs, in place of the platform's; what it starts may have no unit here.

    Attributes:
        deploy: Starts a claimed run and returns what the run's log shall say about it; may raise anything.
        recovers: Whether it may be called again for a claim of which it is not known whether the run was started.
    """

    deploy: Callable[[FlowRun], str]
    recovers: bool = False


@attrs.define(kw_only=True)
class StartFlowRun:
    """Start one claimed flow run and report what came of it: nothing that goes wrong leaves here unreported.

    Attributes:
        create: Starts runs on the platform.
        own: Starts runs instead, if the user has a way of their own.
        work: Counts what was started.
    """

    create: Callable[[FlowRun], Unit]
    clock: Clock
    outbox: Outbox
    work: WorkInHand
    own: OwnDeploy | None = None
    tell: EventSink = events.ignore

    def __call__(self, claimed: Claimed) -> bool:
        """Whether *claimed* was started. If not, the outbox has the reason."""
        run, unit = claimed.run, claimed.record.unit
        try:
            info = self.create(run).info if self.own is None else self.own.deploy(run)
        except NoLongerOurs as turn:
            self.tell(Event(name=events.RUN_DROPPED, message=f"Flow run {run.title}: {turn}", fields=_fields(run)))
            return False
        except NoRoom as problem:
            message = f"The flow run waits to be started: {problem}"
            self._end(claimed, EndKind.HANDED_BACK, message, counts=False)
            return False
        except PlatformAway as problem:
            message = f"The flow run cannot be started now ({problem}); it is handed back to be started later"
            self._end(claimed, EndKind.HANDED_BACK, message)
            return False
        except UnitInDoubt as problem:
            message = (
                f"It is not known whether {unit} was created ({problem}); the agent looks when the platform answers"
            )
            self.tell(Event(name=events.RUN_DROPPED, level="WARNING", message=message, fields=_fields(run)))
            self.outbox.log(run.id, message, "WARNING")
            return False
        except SubmissionRefused as refusal:
            return self._fail(claimed, f"{CANNOT_START}: {refusal}")
        except (Exception, SystemExit) as problem:  # noqa: BLE001 - a user's deploy_flow may raise anything
            return self._fail(claimed, not_started(str(problem) or repr(problem), wait_kind_of(problem)))
        self.outbox.log(run.id, f"Submitted for execution: {info or unit}")
        self.work.note_start(unit, self.clock.monotonic())
        return True

    def _fail(self, claimed: Claimed, reason: str) -> bool:
        self._end(claimed, EndKind.FAILED, reason)
        return False

    def _end(self, claimed: Claimed, kind: EndKind, message: str, *, counts: bool = True) -> None:
        run_id, unit, lease = claimed.run.id, claimed.record.unit, claimed.record.lease
        self.outbox.end(End(run_id=run_id, unit=unit, kind=kind, message=message, lease=lease, counts=counts))


def _fields(run: FlowRun) -> dict[str, str]:
    return {**run.fields, "attempt": str(run.attempt)}
