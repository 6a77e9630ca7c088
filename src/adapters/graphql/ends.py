"""Ends are read, judged, carried out and read back, in three requests for a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from prefect.agent.adapters.graphql import documents
from prefect.agent.adapters.graphql.answers import REJECTIONS, codes, describe, field_of, halved
from prefect.agent.adapters.graphql.claims import BATCH, Entry, check_whole
from prefect.agent.adapters.graphql.reading import Found, Reading
from prefect.agent.adapters.graphql.records import ended_state, handed_back_state
from prefect.agent.adapters.graphql.transport import Transport
from prefect.agent.adapters.graphql.wire import fence_of, fence_of_task
from prefect.agent.domain.errors import CloudError, CloudUnavailable, OutcomeUnknown, RequestRejected, Unauthorised
from prefect.agent.domain.model.ends import End, EndKind, EndOutcome, EndVerdict, judge_end, recoveries_after
from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId
from prefect.agent.domain.state_names import CANCELLED, FAILED

Said = tuple[FlowRunId, EndOutcome]
"""What the API answered to the update of one run, if that was no success."""


@attrs.frozen
class RunEnding:
    """An object of this class is the method ``end`` of the port."""

    transport: Transport
    reading: Reading

    def __call__(self, ends: Sequence[End]) -> list[EndOutcome]:
        """Carry out the ends that are due.

        Raises:
            CloudUnavailable: Nothing was changed.
            Unauthorised: Likewise.
        """
        refused: dict[FlowRunId, EndOutcome] = {}
        seen = self._look([end.run_id for end in ends], refused)
        due: dict[FlowRunId, tuple[End, FlowRun]] = {}
        for end in ends:
            run = seen.run(end.run_id)
            if run is not None and _judged(end, seen) is None:
                due.setdefault(end.run_id, (end, run))
        if due:
            refused |= self._change(list(due.values()))
            seen = self._look_again(list(due), seen, refused)
        return [_outcome(end, seen, refused) for end in ends]

    def _look(self, ids: Sequence[FlowRunId], refused: dict[FlowRunId, EndOutcome]) -> Found:
        """Read the runs; only an id that the API calls wrong is refused."""

        def alone(run_id: FlowRunId, problem: RequestRejected) -> list[Found]:
            refused[run_id] = EndOutcome(verdict=EndVerdict.REFUSED, reason=str(problem))
            return [Found(unreadable=frozenset({run_id}))]

        wanted = list(dict.fromkeys(ids))
        found = halved(wanted, lambda some: [self.reading.read(some)], RequestRejected, alone) if wanted else []
        return Found.together(found)

    def _look_again(self, ids: Sequence[FlowRunId], seen: Found, refused: dict[FlowRunId, EndOutcome]) -> Found:
        """Return *seen* with the runs of *ids* as they are now; what cannot be read back is unknown."""
        try:
            again = self.reading.read(ids)
        except CloudError as problem:
            for run_id in ids:
                refused.setdefault(run_id, _unknown(f"not read back: {problem}"))
            return seen
        others = {run_id: run for run_id, run in seen.runs.items() if run_id not in ids}
        return Found.together([attrs.evolve(seen, runs=others), again])

    def _change(self, due: Sequence[tuple[End, FlowRun]]) -> dict[FlowRunId, EndOutcome]:
        """Send the ends that are due; return those that did not succeed."""
        said: list[Said] = []
        for start in range(0, len(due), BATCH):
            try:
                said += halved(due[start : start + BATCH], self._send, RequestRejected, _refused)
            except (CloudUnavailable, Unauthorised) as problem:
                if not start:
                    raise
                said += [(end.run_id, _unknown(str(problem))) for end, _ in due[start:]]
                break
        return dict(said)

    def _send(self, due: Sequence[tuple[End, FlowRun]]) -> list[Said]:
        """Send updates in one document; an unknown outcome counts for each of them, to be read back."""
        entries: list[Entry] = []
        whose: dict[str, FlowRunId] = {}
        for end, run in due:
            for entry in self._entries(end, run):
                whose[documents.alias(len(entries))] = run.id
                entries.append(entry)
        document, variables = documents.updates(entries)
        try:
            answer = self.transport.send(document, variables, changes=True)
            check_whole(answer)
        except OutcomeUnknown as problem:
            return [(end.run_id, _unknown(str(problem))) for end, _ in due]
        named = [(whose.get(field_of(error) or ""), error) for error in answer.errors]
        return [(run_id, _refusal(error)) for run_id, error in named if run_id is not None]

    def _entries(self, end: End, run: FlowRun) -> list[Entry]:
        if end.kind is not EndKind.HANDED_BACK:
            kind = FAILED if end.kind is EndKind.FAILED else CANCELLED
            return [_flow_run_entry(run, ended_state(kind, end.message))]
        waits: dict[str, Any] = {
            "now": self.transport.now(),
            "recoveries": recoveries_after(end, run.claim),
        }
        if not run.claimed_task_runs:
            state = handed_back_state(run.source.get("serialized_state"), end.message, **waits)
            return [_flow_run_entry(run, state)]
        return [
            (
                documents.SET_TASK_RUN,
                {
                    "task_run_id": task_run.id,
                    "version": fence.version,
                    "state": handed_back_state(fence.payload, end.message, **waits),
                },
            )
            for task_run, fence in ((task_run, fence_of_task(task_run)) for task_run in run.claimed_task_runs)
        ]


def _flow_run_entry(run: FlowRun, state: Mapping[str, Any]) -> Entry:
    return documents.SET_FLOW_RUN, {"flow_run_id": run.id, "version": fence_of(run).version, "state": state}


def _judged(end: End, seen: Found) -> EndVerdict | None:
    run = seen.run(end.run_id)
    if end.run_id in seen.unreadable:
        return EndVerdict.UNKNOWN
    if end.kind is EndKind.HANDED_BACK and run is not None and run.state.is_waiting:
        return EndVerdict.SETTLED
    return judge_end(end, run)


def _outcome(end: End, seen: Found, said: Mapping[FlowRunId, EndOutcome]) -> EndOutcome:
    """Return the outcome of an end: what was read back counts first, then what the answer said."""
    verdict = _judged(end, seen)
    if verdict is not None and verdict is not EndVerdict.UNKNOWN:
        return EndOutcome(verdict=verdict)
    run = seen.run(end.run_id)
    state = f"the run is still {run.state.name}" if run else "the run cannot be read"
    return said.get(end.run_id) or _unknown(state)


def _refusal(error: Mapping[str, Any]) -> EndOutcome:
    verdict = EndVerdict.REFUSED if codes(error) & REJECTIONS else EndVerdict.UNKNOWN
    return EndOutcome(verdict=verdict, reason=describe([error]))


def _refused(item: tuple[End, FlowRun], problem: RequestRejected) -> list[Said]:
    return [(item[0].run_id, EndOutcome(verdict=EndVerdict.REFUSED, reason=str(problem)))]


def _unknown(reason: str) -> EndOutcome:
    return EndOutcome(verdict=EndVerdict.UNKNOWN, reason=reason)
