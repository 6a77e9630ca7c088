"""Claim flow runs: many in one request, from a fresh view; what the Cloud did not confirm is read back."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from prefect.agent.domain.errors import (
    CloudError,
    CloudUnavailable,
    OutcomeUnknown,
    RequestRejected,
    Unauthorised,
    asked_to_wait,
)
from prefect.agent.domain.model.flow_runs import (
    Claimed,
    ClaimOutcome,
    ClaimRecord,
    Deferred,
    FlowRun,
    FlowRunId,
    Lost,
    Refused,
    SimpleAttempt,
)
from prefect.agent.domain.model.leases import Claimant, new_record, taken_over, waits_for_its_unit
from prefect.agent.domain.model.pauses import back_off
from prefect.agent.domain.model.units import unit_name
from prefect.agent.domain.services.batches import in_halves
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import ClaimRequest, CloudApi
from prefect.agent.ports.events import Event, EventSink

READ_BACK_TRIES: Final = 5
"""How often runs are read, with growing pauses, to learn what became of claims."""

ASK_RIVALS: Final = 5
"""Lost runs that are read to learn who else claims."""

CLAIMS: Final = 25
"""Claims in one call of the port."""


@attrs.define(kw_only=True)
class ClaimFlowRuns:
    """Ask for flow runs and know what came of it, even if an answer gets lost.

    Attributes:
        claimant: This agent process.
        create_within: Seconds from a claim in which its unit may be created without reading the run again.
    """

    cloud: CloudApi
    clock: Clock
    claimant: Claimant
    create_within: float = 120.0
    tell: EventSink = events.ignore

    def __call__(self, runs: Sequence[FlowRun]) -> list[ClaimOutcome]:
        """Return one outcome per run, in order. ``Claimed.run`` carries the record as its claim.

        A run whose fate cannot be learned is ``Deferred``: if the claim was committed after all, the sweep finds
        it by its record.

        Raises:
            Unauthorised: The key is not accepted.
        """
        within, now = timedelta(seconds=self.create_within), self.now()
        records = [
            new_record(run, unit_name(run.id, run.attempt), self.claimant, now=now, create_within=within)
            for run in runs
        ]
        return self._claim([ClaimRequest(run=run, record=record) for run, record in zip(runs, records, strict=True)])

    def take_over(self, runs: Sequence[FlowRun]) -> list[ClaimOutcome]:
        """Claim runs over whose claims have no unit; return one outcome per run, in order.

        ``Claimed.run`` has the attempt that was claimed first, since its unit is named by that.

        Args:
            runs: As they are now, each with a claim that waits for its unit.

        Raises:
            Unauthorised: The key is not accepted.
        """
        within, now = timedelta(seconds=self.create_within), self.now()
        requests = [
            ClaimRequest(run=run, record=taken_over(run.claim, self.claimant, now=now, create_within=within))
            for run in runs
            if run.claim is not None
        ]
        return [_as_first_claimed(outcome) for outcome in self._claim(requests)]

    def now(self) -> datetime:
        """The Cloud's time."""
        return self.clock.now_ahead(self.cloud.skew)

    def refreshed(self, runs: Sequence[FlowRun]) -> dict[FlowRunId, FlowRun]:
        """Those of *runs* that still wait for a claim, as they are now.

        Raises:
            CloudError: They cannot be read.
        """
        now = self.cloud.flow_runs([run.id for run in runs]) if runs else []
        return {run.id: run for run in now if run.state.is_waiting or run.due_task_runs}

    def rivals(self, lost: Sequence[FlowRunId]) -> list[str]:
        """Claimants that have the runs that were lost, as far as a few of these tell."""
        try:
            found = self.cloud.flow_runs(lost[:ASK_RIVALS])
        except CloudError:
            return []
        return [run.claim.claimant for run in found if run.claim is not None]

    def _claim(self, requests: Sequence[ClaimRequest]) -> list[ClaimOutcome]:
        if not requests:
            return []
        outcomes = self._confirmed(requests, self._ask(requests))
        for outcome in outcomes:
            self.tell(_event(outcome))
        return [_with_claim(outcome) for outcome in outcomes]

    def _ask(self, requests: Sequence[ClaimRequest]) -> list[ClaimOutcome]:
        """Ask in batches. One that fails may do so for one run's sake: it is halved until that run waits alone.

        If nothing goes out any more, or it cannot be learned what became of a claim, the rest waits unasked.
        """
        known: dict[FlowRunId, ClaimOutcome] = {}
        problems: list[CloudError] = []

        def send(some: Sequence[ClaimRequest]) -> None:
            if any(isinstance(problem, OutcomeUnknown) for problem in problems):
                raise problems[-1]
            try:
                outcomes, unknown = self._sent(some)
            except CloudError as problem:
                problems.append(problem)
                raise
            known.update((request.run.id, outcome) for request, outcome in zip(some, outcomes, strict=True))
            problems.extend(unknown)

        def spoiled(request: ClaimRequest, problem: CloudError, _sure: bool) -> None:  # noqa: FBT001 - as in_halves calls it
            known[request.run.id] = self._spoiled(request, problem)

        batches = [requests[begin : begin + CLAIMS] for begin in range(0, len(requests), CLAIMS)]
        try:
            in_halves(batches, send, spoiled)
        except Unauthorised:
            raise
        except CloudError as problem:
            rest = [request for request in requests if request.run.id not in known]
            known.update((request.run.id, self._spoiled(request, problem)) for request in rest)
        self._say_why(problems)
        return [known[request.run.id] for request in requests]

    def _sent(self, requests: Sequence[ClaimRequest]) -> tuple[list[ClaimOutcome], list[CloudError]]:
        """The outcomes; and the error, if the answer was lost and it cannot be learned what became of the claims.

        Raises:
            CloudError: Nothing was claimed.
        """
        try:
            return list(self.cloud.claim(requests)), []
        except OutcomeUnknown as problem:
            message = f"Claim without an answer: {problem}"
            self.tell(Event(name=events.CLAIM_READ_BACK, level="WARNING", message=message))
            outcomes = self._read_back(requests)
            is_learned = any(not isinstance(outcome, Deferred) for outcome in outcomes)
            return outcomes, [] if is_learned else [problem]

    def _spoiled(self, request: ClaimRequest, problem: CloudError) -> ClaimOutcome:
        """The outcome of a claim that failed alone, or that was not asked for."""
        if isinstance(problem, RequestRejected):
            return Refused(request.run, str(problem))
        wait = asked_to_wait(problem)
        return Deferred(request.run, self.now() + timedelta(seconds=wait) if wait else None, str(problem))

    def _say_why(self, problems: Sequence[CloudError]) -> None:
        """Say once, however many requests it took to find the culprit."""
        away = [problem for problem in problems if isinstance(problem, CloudUnavailable)]
        if away:
            message, fields = f"Cannot claim now: {away[0]}", {"loop": "claim"}
            self.tell(Event(name=events.CLOUD_TROUBLE, level="WARNING", message=message, fields=fields))

    def _confirmed(self, requests: Sequence[ClaimRequest], outcomes: list[ClaimOutcome]) -> list[ClaimOutcome]:
        """Where the Cloud does not compare and set, only what is read back with our record is ours."""
        if self.cloud.compares:
            return outcomes
        ours = [request for request, out in zip(requests, outcomes, strict=True) if isinstance(out, Claimed)]
        if not ours:
            return outcomes
        known = self._read_back(ours, again=False)
        confirmed = {outcome.run.id: outcome for outcome in known}
        return [confirmed[out.run.id] if isinstance(out, Claimed) else out for out in outcomes]

    def _read_back(self, requests: Sequence[ClaimRequest], *, again: bool = True) -> list[ClaimOutcome]:
        """Learn what became of claims.

        Args:
            again: Whether to ask again for those that were not committed; else they are ``Lost``.
        """
        known: dict[FlowRunId, ClaimOutcome] = {}
        open_requests = list(requests)
        for misses in range(READ_BACK_TRIES):
            try:
                self._settle(open_requests, known, portion=max(1, len(open_requests) >> misses) if again else 0)
            except Unauthorised:
                raise
            except CloudError:
                self.clock.pause(back_off(misses, first=0.25, last=8.0))
            open_requests = [request for request in requests if request.run.id not in known]
            if not open_requests:
                break
        return [known.get(r.run.id, Deferred(r.run, message="the claim's answer was lost")) for r in requests]

    def _settle(self, requests: Iterable[ClaimRequest], known: dict[FlowRunId, ClaimOutcome], *, portion: int) -> None:
        """Read the runs, and claim those again that were not committed.

        Args:
            known: What is learned is put in here.
            portion: How many are claimed again in one request; 0: none, they are ``Lost``.

        Raises:
            CloudError: Something is not known yet.
        """
        now = {run.id: run for run in self.cloud.flow_runs([request.run.id for request in requests])}
        uncommitted: list[ClaimRequest] = []
        for request in requests:
            current = now.get(request.run.id)
            if current is None:
                known[request.run.id] = Lost(request.run)
            elif _holds(current, request.record):
                known[request.run.id] = Claimed(request.run, request.record)
            elif current.attempt == request.run.attempt and portion:
                uncommitted.append(request)
            else:
                known[request.run.id] = Lost(request.run)
        self._claim_again(_portions(uncommitted, portion), known)

    def _claim_again(self, portions: Sequence[Sequence[ClaimRequest]], known: dict[FlowRunId, ClaimOutcome]) -> None:
        """One run may spoil its request: the other portions are claimed all the same, if the first or the last is.

        Raises:
            CloudError: A portion was not taken.
        """
        problems: list[CloudError] = []
        for tried, portion in enumerate(portions):
            try:
                outcomes = self.cloud.claim(portion)
            except Unauthorised:
                raise
            except CloudError as problem:
                problems.append(problem)
                if len(problems) == tried + 1 > 1:
                    break
                continue
            for request, outcome in zip(portion, outcomes, strict=True):
                # Lost may mean that the first request arrived late and won: the next round reads that.
                if not isinstance(outcome, Lost):
                    known[request.run.id] = outcome
        if problems:
            raise problems[0]


def _portions(requests: Sequence[ClaimRequest], size: int) -> list[Sequence[ClaimRequest]]:
    """*requests* in portions: the first, the last, then those between."""
    portions = [requests[begin : begin + size] for begin in range(0, len(requests), size or 1)]
    return [*portions[:1], *portions[1:][-1:], *portions[1:-1]]


def _holds(current: FlowRun, record: ClaimRecord) -> bool:
    """Whether the run still waits for the unit of this very claim by this very claimant."""
    return current.claim == record and waits_for_its_unit(current)


def _with_claim(outcome: ClaimOutcome) -> ClaimOutcome:
    if isinstance(outcome, Claimed):
        return Claimed(attrs.evolve(outcome.run, claim=outcome.record), outcome.record)
    return outcome


def _as_first_claimed(outcome: ClaimOutcome) -> ClaimOutcome:
    if isinstance(outcome, Claimed):
        return Claimed(attrs.evolve(outcome.run, attempt=SimpleAttempt(outcome.record.attempt)), outcome.record)
    return outcome


def _event(outcome: ClaimOutcome) -> Event:
    fields = {**outcome.run.fields, "attempt": str(outcome.run.attempt)}
    name = outcome.run.title
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
            return Event(name=events.CLAIM_DEFERRED, level="DEBUG", message=message, fields=fields)
        case Refused(reason=why):
            message = f"The claim of flow run {name} is refused: {why}"
            return Event(name=events.CLAIM_REFUSED, level="DEBUG", message=message, fields=fields)
