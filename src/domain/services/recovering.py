"""Claims without a unit: take them over and start them, hand them back, or give them up."""

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from prefect.agent.domain.errors import PlatformError
from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.domain.model.flow_runs import Claimed, ClaimRecord, Deferred, FlowRun
from prefect.agent.domain.model.leases import LeaseVerdict, is_expired, judge_lease, waits_for_its_unit
from prefect.agent.domain.model.units import UnitStatus
from prefect.agent.domain.model.verdicts import is_plausible
from prefect.agent.domain.services.claiming import ClaimFlowRuns
from prefect.agent.domain.services.gate import PlatformGate
from prefect.agent.domain.services.reporting import Outbox
from prefect.agent.domain.services.work_in_hand import WorkInHand
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.platform import ExecutionPlatform
from prefect.agent.ports.presence import Presence

PORTION: Final = 25
"""Claims taken over in one request."""


@attrs.define(kw_only=True)
class RecoverClaims:
    """Sees to claims that have no unit. Every decision is made on what Cloud and platform say at that moment.

    Attributes:
        work: Knows which claims this process has started.
        presence: Knows whether a claimant still lives; None if that cannot be known.
        recovers: Whether such claims may be started again; not if code of a subclass starts flow runs in its own way.

    On a platform without units only a claim whose claimant is gone, or that is late by an hour, counts as not started.
    """

    claim: ClaimFlowRuns
    platform: ExecutionPlatform
    clock: Clock
    outbox: Outbox
    gate: PlatformGate
    work: WorkInHand
    presence: Presence | None = None
    recovers: bool = True
    tell: EventSink = events.ignore

    def wanted(self, runs: Sequence[FlowRun]) -> list[FlowRun]:
        """Those of *runs* about which something is to be done, as far as their records say.

        Args:
            runs: All claims that wait for a unit and have none.
        """
        claims = {run.claim.unit for run in runs if run.claim is not None}
        self.work.forget_starts(claims, self.clock.monotonic())
        return [run for run in runs if self._verdict(run) is not LeaseVerdict.LEAVE]

    def is_left_to_claimant(self, run: FlowRun) -> bool:
        """Whether another agent process holds the run's claim, lives as far as is known, and has time left."""
        record, me = run.claim, self.claim.claimant
        if record is None or record.claimant == me.id or is_expired(record, self.claim.now()):
            return False
        return not self._is_gone(record)

    def __call__(self, runs: Sequence[FlowRun], start: Callable[[Claimed], None]) -> None:
        """See to some claims: read them again, and act on those that still have no unit.

        Args:
            runs: As the sweep saw them; at most :data:`PORTION`.
            start: Starts a claim that was taken over.

        Raises:
            CloudError: What was not done is done by a later sweep.
        """
        seen = {run.id: run.claim for run in runs}
        current = [run for run in self.claim.cloud.flow_runs(list(seen)) if self._is_unchanged(run, seen[run.id])]
        verdicts = [(run, self._verdict(run)) for run in current]
        self._take_over([run for run, verdict in verdicts if verdict is LeaseVerdict.RECOVER], start)
        for run, verdict in verdicts:
            if verdict is LeaseVerdict.HAND_BACK:
                self._end(run, EndKind.HANDED_BACK, _handed_back(run))
            elif verdict is LeaseVerdict.GIVE_UP:
                self._end(run, EndKind.FAILED, _given_up(run, recovers=self.recovers))

    def _is_unchanged(self, run: FlowRun, record: ClaimRecord | None) -> bool:
        """Whether the claim still stands as the sweep saw it, and still has no unit: the second proof."""
        if record is None or run.claim != record or not waits_for_its_unit(run):
            return False
        return self._is_absent(record.unit)

    def _is_absent(self, name: str) -> bool:
        """Whether the unit is proven absent or was never started; a unit that cannot be looked at keeps no other."""
        try:
            unit = self.platform.unit(name)
        except PlatformError as problem:
            message = f"Cannot look for the unit {name} yet: {problem}"
            self.tell(Event(name=events.PLATFORM_TROUBLE, level="WARNING", message=message))
            return False
        except Exception as bug:  # noqa: BLE001 - an adapter's bug on one unit must not stop the recovery of others
            message = f"Bug while looking for the unit {name}: {bug!r}"
            self.tell(Event(name=events.BUG, level="ERROR", message=message))
            return False
        return unit is None or unit.status is UnitStatus.CREATED

    def _verdict(self, run: FlowRun) -> LeaseVerdict:
        record = run.claim
        if record is None or not is_plausible(run) or self._has_started(record):
            return LeaseVerdict.LEAVE
        now, me = self.claim.now(), self.claim.claimant
        gone = self._is_gone(record)
        able = {"recovers": self.recovers, "sees_units": self.platform.traits.has_units}
        verdict = judge_lease(record, me, now, claimant_is_gone=gone, **able)
        return LeaseVerdict.LEAVE if verdict is LeaseVerdict.RECOVER and not self.gate.is_open else verdict

    def _has_started(self, record: ClaimRecord) -> bool:
        """Whether this process has started the claim: it does not start it again, whatever became of the unit."""
        return record.claimant == self.claim.claimant.id and self.work.has_started(record.unit)

    def _is_gone(self, record: ClaimRecord) -> bool:
        return self.presence is not None and bool(record.place) and self.presence.is_gone(record.place)

    def _take_over(self, runs: Sequence[FlowRun], start: Callable[[Claimed], None]) -> None:
        if not runs:
            return
        for outcome in self.claim.take_over(runs):
            run = outcome.run
            if not isinstance(outcome, Claimed):
                why = outcome.message if isinstance(outcome, Deferred) else "another agent has it, or it moved on"
                message = f"The claim of flow run {run.title} is not taken over: {why}"
                self.tell(Event(name=events.RUN_DROPPED, level="DEBUG", message=message, fields=run.fields))
                continue
            unit = outcome.record.unit
            message = f"Flow run {run.title} was claimed but has no unit; creating {unit}"
            fields = {**run.fields, "unit": unit, "recoveries": outcome.record.recoveries}
            self.tell(Event(name=events.RUN_RECOVERED, level="WARNING", message=message, fields=fields))
            start(outcome)

    def _end(self, run: FlowRun, kind: EndKind, message: str) -> None:
        assert run.claim is not None
        self.outbox.end(End(run_id=run.id, unit=run.claim.unit, kind=kind, message=message, lease=run.claim.lease))


def _handed_back(run: FlowRun) -> str:
    assert run.claim is not None
    return (
        f"Agent {run.claim.agent_name!r} claimed this flow run and started nothing, and no agent that would start it "
        "in the same way has taken it over; it is handed back to wait for an agent"
    )


def _given_up(run: FlowRun, *, recovers: bool) -> str:
    record = run.claim
    assert record is not None
    if not recovers:
        return (
            f"Agent {record.agent_name!r} claimed this flow run and ended before it reported a start: it is not known "
            "whether the run was started"
        )
    return (
        f"Agents have claimed this flow run {record.recoveries + 1} times, and no unit of execution lasted until it "
        f"reported anything; look for what removes {record.unit} (an owner reference in a template, a clean-up job) "
        "or keeps agents from creating it"
    )


def portions(runs: Sequence[FlowRun]) -> list[Sequence[FlowRun]]:
    """*runs* in portions for :class:`RecoverClaims`."""
    return [runs[begin : begin + PORTION] for begin in range(0, len(runs), PORTION)]
