"""Flow runs are read in pages; parts of an answer that cannot be used are left out."""

import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from prefect.agent.adapters.graphql import documents, wire
from prefect.agent.adapters.graphql.answers import dig, halved
from prefect.agent.adapters.graphql.transport import AnswerTooLarge, Transport
from prefect.agent.domain.errors import CloudUnavailable, RequestRejected
from prefect.agent.domain.labels import labels_match
from prefect.agent.domain.model.flow_runs import FlowRun, FlowRunId
from prefect.agent.domain.times import iso
from prefect.agent.ports.cloud_api import Changes

PAGE: Final = 200
"""Flow runs in one answer, with everything that is needed to start them."""

LIGHT_PAGE: Final = 1000
"""Flow runs in one answer without that."""

FULL_QUEUE: Final = 25
"""Ids that the queue gives at most."""

MAX_REMEMBERED: Final = 1000
MAX_CULPRITS: Final = 20
"""Runs whose answers are too large, in one call: if there are more, it is the Cloud that misbehaves."""

log = logging.getLogger("prefect.agent.cloud")


@attrs.frozen
class Found:
    """The flow runs that one read found.

    Attributes:
        unreadable: Ids of runs that may exist but could not be read.
    """

    runs: Mapping[FlowRunId, FlowRun] = attrs.field(factory=dict)
    unreadable: frozenset[FlowRunId] = frozenset()

    def run(self, run_id: FlowRunId) -> FlowRun | None:
        """Return the run with that id."""
        return self.runs.get(run_id)

    @classmethod
    def together(cls, several: Iterable["Found"]) -> "Found":
        """Return one object with the runs of all *found*."""
        runs: dict[FlowRunId, FlowRun] = {}
        unreadable: frozenset[FlowRunId] = frozenset()
        for found in several:
            runs.update(found.runs)
            unreadable |= found.unreadable
        return cls(runs, unreadable)


@attrs.define
class Reading:
    """This class has the reading methods of the port.

    Attributes:
        parameters: Whether to read parameters of flow runs, too: they may be large.
        tenant_id: Tenant whose queue is read.
        only_tenant: Tenant whose runs are read from tables; None if the key decides.
    """

    transport: Transport
    parameters: bool = False
    tenant_id: str | None = None
    only_tenant: str | None = None
    _oversized: dict[str, None] = attrs.field(factory=dict, init=False)
    _warned: dict[str, None] = attrs.field(factory=dict, init=False)
    _knows_contained_in: bool = attrs.field(default=True, init=False)

    def read(self, ids: Collection[FlowRunId]) -> Found:
        """Return runs as they are now, with their latest claims."""
        wanted, alone = list(dict.fromkeys(ids)), self._leave_out()
        pages = (wanted[start : start + PAGE] for start in range(0, len(wanted), PAGE))
        return Found.together(found for page in pages for found in halved(page, self._page, AnswerTooLarge, alone))

    def changes(self, platform: str, changed_since: datetime | None, due_before: datetime | None) -> Changes:
        """Return runs whose latest claim names *platform*, read in pages by id.

        The first page also says whether any run is due.
        """
        found: dict[FlowRunId, FlowRun] = {}
        last, size, none_due = "", LIGHT_PAGE, False
        due = documents.any_due(self.only_tenant, due_before, self.transport.now()) if due_before else ""
        while True:
            try:
                data = self.transport.ask(documents.claimed(self.only_tenant, last, size, changed_since, due=due))
                rows = _rows(data)
                none_due, due = none_due or data.get("due") == [], ""
            except AnswerTooLarge as problem:
                if size > 1:
                    size //= 2
                    continue
                rows = self._rows(documents.claimed_ids(self.only_tenant, last, changed_since))
                self._remember(_ids(rows, last), str(problem))
            else:
                runs = self._understood(rows).runs
                found |= {run.id: run for run in runs.values() if run.claim and run.claim.platform == platform}
            ids = _ids(rows, last)
            if len(rows) < size or not ids:
                return Changes(runs=list(found.values()), none_due=none_due)
            last, size = max(ids), min(LIGHT_PAGE, 2 * size)

    def ready(
        self, labels: Collection[str], before: datetime, limit: int, wait: float, skip: Collection[str]
    ) -> list[FlowRun]:
        """Return runs of the queue that can be started, except those to *skip*.

        A queue that is full of runs that cannot be offered hides those behind it: then the table is asked.
        """
        left_out = {*skip, *self._oversized}
        queue = self._queue(labels, before, wait)
        wanted = [run_id for run_id in queue if run_id not in left_out]
        found = self._offered(wanted[:limit])
        if len(found) < limit < len(wanted):  # the queue also names runs that wait for something else than an agent
            found += self._offered(wanted[limit:])[: limit - len(found)]
        if found or len(queue) < FULL_QUEUE:
            return found
        return self._offered(self._behind(labels, before, limit, left_out | set(queue)))

    def late(self, by: timedelta) -> list[FlowRunId]:
        """Return one page of the runs that have been due for longer than *by*, oldest first."""
        now = self.transport.now()
        document, _ = documents.due(self.only_tenant, now - by, now - by, (), limit=FULL_QUEUE)
        return [FlowRunId(run_id) for run_id in _ids(self._rows(document), "")]

    # --- inside ---

    def _queue(self, labels: Collection[str], before: datetime, wait: float) -> list[str]:
        given = {"tenant_id": self.tenant_id, "before": iso(before), "labels": sorted(labels)}
        data = self.transport.ask(documents.QUEUE, {"input": given}, wait=wait)
        found = dig(data, "get_runs_in_queue", "flow_run_ids")
        return list(dict.fromkeys(each for each in found if isinstance(each, str))) if isinstance(found, list) else []

    def _page(self, ids: Sequence[FlowRunId]) -> list[Found]:
        return [self._understood(self._rows(documents.flow_runs(ids, parameters=self.parameters)), ids)]

    def _leave_out(self) -> Callable[[FlowRunId, AnswerTooLarge], list[Found]]:
        """Leave out a run whose answer is too large even when it is asked for alone."""
        met: list[FlowRunId] = []

        def alone(run_id: FlowRunId, problem: AnswerTooLarge) -> list[Found]:
            met.append(run_id)
            if len(met) > MAX_CULPRITS:
                raise CloudUnavailable(str(problem)) from problem
            self._remember([run_id], str(problem))
            return [Found(unreadable=frozenset({run_id}))]

        return alone

    def _remember(self, ids: Iterable[str], problem: str) -> None:
        for run_id in ids:
            _add(self._oversized, run_id)
            self._warn_once(run_id, f"Flow run {run_id:.100} cannot be read and is left alone: {problem}")

    def _warn_once(self, key: str, words: str) -> None:
        if _add(self._warned, key):
            log.warning("%s", words)

    def _rows(self, document: str, variables: Mapping[str, object] | None = None) -> list[object]:
        return _rows(self.transport.ask(document, variables))

    def _understood(self, rows: Sequence[object], asked: Sequence[FlowRunId] = ()) -> Found:
        """Return the runs of those rows that are valid."""
        runs, unreadable = {}, set()
        due_before = self.transport.now() - documents.RETRY_SLACK
        for row in rows:
            run = wire.read_flow_run(row, due_before)
            if run is None:
                text = json.dumps(row)[:200]
                self._warn_once(text, f"The API sent a flow run that cannot be read; it is left alone: {text}")
                unreadable.add(str(dig(row, "id")))  # a list cannot be in a set
            else:
                runs[run.id] = run
        return Found(runs, frozenset(run_id for run_id in asked if run_id in unreadable and run_id not in runs))

    def _offered(self, ids: Sequence[str]) -> list[FlowRun]:
        """Return those of the runs that wait, in that order."""

        def page(some: Sequence[FlowRunId]) -> list[Found]:
            now = self.transport.now()
            return [self._understood(self._rows(documents.ready(some, now, parameters=self.parameters)), some)]

        wanted, alone = [FlowRunId(run_id) for run_id in ids], self._leave_out()
        pages = (wanted[start : start + PAGE] for start in range(0, len(wanted), PAGE))
        found = Found.together(f for some in pages for f in halved(some, page, AnswerTooLarge, alone))
        runs = [run for run in map(found.run, wanted) if run is not None]
        return [run for run in runs if run.state.is_waiting or run.due_task_runs]

    def _behind(self, labels: Collection[str], before: datetime, limit: int, skip: Collection[str]) -> list[str]:
        """Return ids of due runs that match *labels*, from the table itself, oldest first."""
        now = self.transport.now()
        if self._knows_contained_in:
            try:
                document, variables = documents.due(
                    self.only_tenant, before, now, skip, limit=FULL_QUEUE + limit, labels=labels
                )
                return _fitting(self._rows(document, variables), labels)[:limit]
            except RequestRejected:
                self._knows_contained_in = False
        document, _ = documents.due(self.only_tenant, before, now, skip, limit=LIGHT_PAGE)
        return _fitting(self._rows(document), labels)[:limit]


def _rows(data: Mapping[str, object]) -> list[object]:
    rows = data.get("flow_run")
    return rows if isinstance(rows, list) else []


def _add(remembered: dict[str, None], key: str) -> bool:
    """Remember *key* and forget the oldest of many; return whether it is new."""
    is_new = key not in remembered
    remembered[key] = None
    while len(remembered) > MAX_REMEMBERED:
        remembered.pop(next(iter(list(remembered))), None)  # a copy: other threads may add to it
    return is_new


def _fitting(rows: Iterable[object], labels: Collection[str]) -> list[str]:
    """Return ids of rows whose labels an agent with *labels* has; runs without labels go to agents without labels."""
    found = []
    for row in rows:
        run_id, of_run = dig(row, "id"), dig(row, "labels") or []
        names = {str(label) for label in of_run} if isinstance(of_run, list) else {""}
        if isinstance(run_id, str) and labels_match(names, labels):
            found.append(run_id)
    return found


def _ids(rows: Iterable[object], after: str) -> list[str]:
    return [run_id for run_id in (dig(row, "id") for row in rows) if isinstance(run_id, str) and run_id > after]
