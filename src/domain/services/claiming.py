"""Claim flow runs: many in one request, and an answer that was lost is read back."""

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from prefect.agent.domain.errors import CloudError, CloudUnavailable, OutcomeUnknown, RequestRejected, Unauthorised
from prefect.agent.domain.model.flow_runs import (
    Claimed,
    ClaimOutcome,
    ClaimRecord,
    Deferred,
    FlowRun,
    FlowRunId,
    Lost,
    Refused,
)
from prefect.agent.domain.model.planning import back_off
from prefect.agent.domain.model.units import unit_name
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import ClaimRequest, CloudApi
from prefect.agent.ports.events import Event, EventSink

READ_BACK_TRIES: Final = 5


@attrs.define(kw_only=True)
class ClaimFlowRuns:
    """Ask for flow runs and know what came of it, even if an answer gets lost.

    Attributes:
        claimant: Unique to this agent process.
        platform: Identity of the platform that will execute the runs.
    """

    cloud: CloudApi
    clock: Clock
    claimant: str
    platform: str
    agent_name: str = "agent"
    tell: EventSink = events.ignore

    def __call__(self, runs: Sequence[FlowRun]) -> list[ClaimOutcome]:
        """Return one outcome per run, in order.

        A run whose fate cannot be learned is ``Deferred``: if the claim was committed after all, the sweep finds
        it by its record.

        Raises:
            Unauthorised: The key is not accepted.
        """
        if not runs:
            return []
        requests = [ClaimRequest(run=run, record=self._record(run)) for run in runs]
        outcomes = self._ask(requests)
        for outcome in outcomes:
            self.tell(_event(outcome))
        return outcomes

    def _record(self, run: FlowRun) -> ClaimRecord:
        return ClaimRecord(
            claimant=self.claimant,
            platform=self.platform,
            unit=unit_name(run.id, run.attempt),
            attempt=str(run.attempt),
            agent_name=self.agent_name,
        )

    def _ask(self, requests: Sequence[ClaimRequest]) -> list[ClaimOutcome]:
        try:
            return list(self.cloud.claim(requests))
        except OutcomeUnknown as trouble:
            self.tell(
                Event(name=events.CLAIM_READ_BACK, level="WARNING", message=f"Claim without an answer: {trouble}")
            )
            return self._read_back(requests)
        except CloudUnavailable as trouble:
            self.tell(Event(name=events.CLOUD_TROUBLE, level="WARNING", message=f"Cannot claim now: {trouble}"))
            return [Deferred(request.run, message=str(trouble)) for request in requests]
        except RequestRejected as trouble:
            return self._one_by_one(requests, trouble)

    def _one_by_one(self, requests: Sequence[ClaimRequest], trouble: RequestRejected) -> list[ClaimOutcome]:
        """A request that is refused whole may be the fault of one run: find out which."""
        if len(requests) == 1:
            return [Refused(requests[0].run, str(trouble))]
        return [outcome for request in requests for outcome in self._ask([request])]

    def _read_back(self, requests: Sequence[ClaimRequest]) -> list[ClaimOutcome]:
        """Learn what became of claims whose answer was lost; ask again for those that were not committed."""
        known: dict[FlowRunId, ClaimOutcome] = {}
        open_requests = list(requests)
        for misses in range(READ_BACK_TRIES):
            try:
                known.update(self._settle(open_requests))
            except Unauthorised:
                raise
            except CloudError:
                self.clock.pause(back_off(misses, first=0.25, last=8.0, chance=0.5))
            open_requests = [request for request in requests if request.run.id not in known]
            if not open_requests:
                break
        return [known.get(r.run.id, Deferred(r.run, message="the claim's answer was lost")) for r in requests]

    def _settle(self, requests: Iterable[ClaimRequest]) -> dict[FlowRunId, ClaimOutcome]:
        now = {run.id: run for run in self.cloud.flow_runs([request.run.id for request in requests])}
        known: dict[FlowRunId, ClaimOutcome] = {}
        again: list[ClaimRequest] = []
        for request in requests:
            current = now.get(request.run.id)
            if current is None:
                known[request.run.id] = Lost(request.run)
            elif current.claim == request.record:
                known[request.run.id] = Claimed(request.run, request.record)
            elif current.attempt == request.run.attempt:
                again.append(request)
            else:
                known[request.run.id] = Lost(request.run)
        if again:
            outcomes = zip(again, self.cloud.claim(again), strict=True)
            # Lost may mean that the first request arrived late and won: the next round reads that.
            known.update({request.run.id: out for request, out in outcomes if not isinstance(out, Lost)})
        return known


def _event(outcome: ClaimOutcome) -> Event:
    fields = {"flow_run_id": outcome.run.id, "attempt": str(outcome.run.attempt)}
    name = outcome.run.name or outcome.run.id
    match outcome:
        case Claimed(record=record):
            return Event(
                name=events.CLAIMED, message=f"Claimed flow run {name}", fields={**fields, "unit": record.unit}
            )
        case Lost():
            message = f"Flow run {name} went to another agent or moved on"
            return Event(name=events.CLAIM_LOST, level="DEBUG", message=message, fields=fields)
        case Deferred(message=why):
            message = f"Flow run {name} has to wait: {why or 'the Cloud says not now'}"
            return Event(name=events.CLAIM_DEFERRED, message=message, fields=fields)
        case Refused(reason=why):
            message = f"Claim of flow run {name} refused: {why}"
            return Event(name=events.CLAIM_REFUSED, level="ERROR", message=message, fields=fields)
