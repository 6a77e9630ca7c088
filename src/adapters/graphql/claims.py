"""Claims: many are sent in one document, and each has its own outcome."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import attrs

from prefect.agent.adapters.graphql import documents
from prefect.agent.adapters.graphql.answers import (
    LOST,
    REJECTIONS,
    Answer,
    Error,
    codes,
    describe,
    dig,
    field_of,
    halved,
    is_rejection,
)
from prefect.agent.adapters.graphql.records import submitted_state
from prefect.agent.adapters.graphql.transport import Transport
from prefect.agent.adapters.graphql.wire import fence_of, fence_of_task
from prefect.agent.domain.errors import CloudError, ForeignAttempt, OutcomeUnknown, RequestRejected, asked_to_wait
from prefect.agent.domain.model.flow_runs import Claimed, ClaimOutcome, Deferred, FlowRun, Lost, Refused, TaskRun
from prefect.agent.ports.cloud_api import ClaimRequest

BATCH: Final = 25
"""Updates in one document: a backend may refuse very large ones."""

LOCK: Final = timedelta(seconds=30)
"""For how long Prefect Server refuses a second claim of a run."""

_LOST_TEXT: Final = "State update failed"
_LOCKED_TEXT: Final = "already been submitted"

Entry = tuple[str, Mapping[str, Any]]


@attrs.frozen
class Claiming:
    """An object of this class is the method ``claim`` of the port."""

    transport: Transport

    def __call__(self, requests: Sequence[ClaimRequest]) -> list[ClaimOutcome]:
        """Claim in batches; a later batch that fails does not discard what earlier ones claimed.

        Raises:
            CloudError: As the port says; of none of the claims is anything known.
        """
        outcomes = {n: unsent for n, request in enumerate(requests) if (unsent := _unsent(request.run))}
        found: list[ClaimOutcome] = []
        own = [request for n, request in enumerate(requests) if n not in outcomes]
        for start in range(0, len(own), BATCH):
            try:
                found += halved(own[start : start + BATCH], self._claim, RequestRejected, _refused)
            except CloudError as problem:
                if not found:
                    raise
                found += [self._deferred(request.run, problem) for request in own[start:]]
                break
        rest = iter(found)
        return [outcomes[n] if n in outcomes else next(rest) for n in range(len(requests))]

    def _claim(self, requests: Sequence[ClaimRequest]) -> list[ClaimOutcome]:
        """Send claims in one document. A Running run takes one entry for each task run; the first of them decides."""
        entries: list[Entry] = []
        first = []
        for request in requests:
            first.append(len(entries))
            entries += _entries(request)
        document, variables = documents.updates(entries)
        answer = self.transport.send(document, variables, changes=True)
        check_whole(answer)
        return [self._outcome(request, answer, number) for request, number in zip(requests, first, strict=True)]

    def _outcome(self, request: ClaimRequest, answer: Answer, number: int) -> ClaimOutcome:
        key = documents.alias(number)
        for error in answer.errors:
            if field_of(error) == key:
                return self._refusal(request, error)
        states = dig(answer.data, key, "states")
        state = states[0] if isinstance(states, list) and states and isinstance(states[0], Mapping) else None
        if state is None:
            return Deferred(request.run, message="the API said nothing about this claim")
        if state.get("status") == "QUEUED":
            return Deferred(request.run, message=str(state.get("message") or "the Cloud has queued the run"))
        return Claimed(request.run, request.record)

    def _refusal(self, request: ClaimRequest, error: Error) -> ClaimOutcome:
        message, known = str(error.get("message") or ""), codes(error)
        if LOST in known:
            return Lost(request.run)
        if message.startswith(_LOST_TEXT):
            is_locked = _LOCKED_TEXT in message and is_taken_over(request.run)
            return Deferred(request.run, self.transport.now() + LOCK, message) if is_locked else Lost(request.run)
        if known & REJECTIONS:
            return Refused(request.run, message)
        # Anything else may be a passing failure of the backend, and no fault of the run: it is offered again.
        return Deferred(request.run, message=message)

    def _deferred(self, run: FlowRun, problem: CloudError) -> Deferred:
        wait = asked_to_wait(problem)
        return Deferred(run, self.transport.now() + timedelta(seconds=wait) if wait else None, str(problem))


def check_whole(answer: Answer) -> None:
    """Raise the error that an answer contains for all updates of its document.

    Raises:
        RequestRejected: The API names the whole document as wrong.
        OutcomeUnknown: It failed as a whole in another way.
    """
    if not answer.errors or any(map(field_of, answer.errors)) or any(answer.data.values()):
        return
    error = RequestRejected if is_rejection(answer.errors) else OutcomeUnknown
    raise error(describe(answer.errors))


def is_taken_over(run: FlowRun) -> bool:
    """Return whether a claim of *run*, as it was read, replaces another claim."""
    return run.state.is_claimed or bool(run.claimed_task_runs and not run.due_task_runs)


def _entries(request: ClaimRequest) -> list[Entry]:
    run = request.run
    if run.claimable_task_runs:
        return [_task_entry(task_run, request) for task_run in run.claimable_task_runs]
    state = submitted_state(run.source.get("serialized_state"), request.record)
    entry = {"flow_run_id": run.id, "version": fence_of(run).version, "state": state}
    return [(documents.SET_FLOW_RUN, entry)]


def _task_entry(task_run: TaskRun, request: ClaimRequest) -> Entry:
    fence = fence_of_task(task_run)
    entry = {
        "task_run_id": task_run.id,
        "version": fence.version,
        "state": submitted_state(dict(fence.payload), request.record),
    }
    return documents.SET_TASK_RUN, entry


def _unsent(run: FlowRun) -> ClaimOutcome | None:
    """Return the outcome of a claim that is not sent because a Cloud that compares nothing might accept it."""
    tasks = (*run.due_task_runs, *run.claimed_task_runs)
    try:
        fence_of(run)
        for task_run in tasks:
            fence_of_task(task_run)
    except ForeignAttempt as problem:
        return Refused(run, str(problem))
    return None if tasks or run.state.is_waiting or run.state.is_claimed else Lost(run)


def _refused(request: ClaimRequest, problem: RequestRejected) -> list[ClaimOutcome]:
    return [Refused(request.run, str(problem))]
