"""Wrappers that make any adapter fail on request, also one of a real backend."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from prefect.agent.adapters.fakes.failures import RequestedFailures
from prefect.agent.domain.errors import CloudError, OutcomeUnknown, PlatformError, PlatformUnavailable
from prefect.agent.domain.model.demands import Demands
from prefect.agent.domain.model.ends import End, EndOutcome, EndVerdict
from prefect.agent.domain.model.explaining import Reference, RunFacts
from prefect.agent.domain.model.flow_runs import ClaimOutcome, FlowRun, FlowRunId
from prefect.agent.domain.model.known_names import KnownNames
from prefect.agent.domain.model.orders import FlowDraft, FlowReference, RunOrder, RunStory
from prefect.agent.domain.model.submissions import PlatformTraits, Submission, Workload
from prefect.agent.domain.model.units import Unit
from prefect.agent.ports.cloud_api import AgentIdentity, Changes, ClaimRequest, CloudApi, LogLine, Tenant
from prefect.agent.ports.platform import ExecutionPlatform
from prefect.agent.ports.presence import Presence

CLOUD_CHANGES: Final = frozenset({"claim", "end", "write_logs", "create_flow_run"})
"""Methods that may raise ``OutcomeUnknown``."""

CLOUD_METHODS: Final = CLOUD_CHANGES | {
    "connect", "register", "ready_flow_runs", "flow_runs", "claimed_flow_runs", "facts", "late_flow_runs",
    "flow_drafts", "known_names", "run_story",
}  # fmt: skip
PLATFORM_CHANGES: Final = frozenset({"create", "stop", "remove"})
PLATFORM_METHODS: Final = PLATFORM_CHANGES | {
    "check", "demands", "preview", "prepare", "units", "unit", "watch", "logs_tail", "account",
}  # fmt: skip


class FallibleCloudApi(CloudApi):
    """A Cloud API whose calls are counted and fail on request."""

    def __init__(self) -> None:
        self._failures = RequestedFailures(CLOUD_METHODS, lossy=CLOUD_CHANGES, lost=OutcomeUnknown)

    @property
    def calls(self) -> list[str]:
        """Return the names of the methods called so far, in order.

        ``workload`` and ``close``, which send nothing, are left out.
        """
        return self._failures.calls

    def fail_next(self, method: str, error: CloudError, *, times: int = 1) -> None:
        """Let the next *times* calls of *method* raise *error* and do nothing. Requests queue up.

        Raises:
            ValueError: There is no such method.
        """
        self._failures.fail_next(method, error, times)

    def lose_answers(self, method: str | None = None, times: int = 1) -> None:
        """Let the next *times* calls of *method* do their work and then raise ``OutcomeUnknown``.

        Args:
            method: Its name; None for each method that changes something.

        Raises:
            ValueError: The method changes nothing, so its outcome cannot be unknown.
        """
        for each in CLOUD_CHANGES if method is None else (method,):
            self._failures.lose_answers(each, times)


class FalliblePlatform(ExecutionPlatform):
    """A platform whose calls are counted and fail on request."""

    def __init__(self) -> None:
        self._failures = RequestedFailures(PLATFORM_METHODS, lossy=PLATFORM_CHANGES, lost=PlatformUnavailable)

    @property
    def calls(self) -> list[str]:
        """Return the names of the methods called so far, in order, except ``traits``, ``identity`` and ``close``."""
        return self._failures.calls

    def fail_next(self, method: str, error: PlatformError, *, times: int = 1) -> None:
        """Let the next *times* calls of *method* raise *error* and do nothing. Requests queue up.

        Raises:
            ValueError: There is no such method.
        """
        self._failures.fail_next(method, error, times)

    def lose_answers(self, method: str | None = None, times: int = 1) -> None:
        """Let the next *times* calls of *method* do their work and then raise ``PlatformUnavailable``.

        Args:
            method: Its name; None for each method that changes something.

        Raises:
            ValueError: The method changes nothing.
        """
        for each in PLATFORM_CHANGES if method is None else (method,):
            self._failures.lose_answers(each, times)


class FailingCloudApi(FallibleCloudApi):
    """The wrapper passes every call on to *inner*, except those that are to fail."""

    def __init__(self, inner: CloudApi) -> None:
        super().__init__()
        self._inner = inner

    def connect(self) -> Tenant:
        with self._failures.call("connect"):
            return self._inner.connect()

    def register(self, agent: AgentIdentity) -> str:
        with self._failures.call("register"):
            return self._inner.register(agent)

    @property
    def identity(self) -> str:
        return self._inner.identity

    @property
    def compares(self) -> bool:
        return self._inner.compares

    @property
    def skew(self) -> float:
        return self._inner.skew

    @property
    def waits(self) -> bool:
        return self._inner.waits

    def ready_flow_runs(
        self,
        *,
        labels: Collection[str],
        before: datetime,
        limit: int,
        wait: float = 0.0,
        skip: Collection[FlowRunId] = (),
    ) -> Sequence[FlowRun]:
        with self._failures.call("ready_flow_runs"):
            return self._inner.ready_flow_runs(labels=labels, before=before, limit=limit, wait=wait, skip=skip)

    def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        with self._failures.call("claim"):
            return self._inner.claim(requests)

    def flow_runs(self, ids: Collection[FlowRunId]) -> Sequence[FlowRun]:
        with self._failures.call("flow_runs"):
            return self._inner.flow_runs(ids)

    def claimed_flow_runs(self, *, platform: str, changed_since: datetime | None = None) -> Sequence[FlowRun]:
        with self._failures.call("claimed_flow_runs"):
            return self._inner.claimed_flow_runs(platform=platform, changed_since=changed_since)

    def changes(self, *, platform: str, changed_since: datetime | None = None, due_before: datetime) -> Changes:
        with self._failures.call("claimed_flow_runs"):
            return self._inner.changes(platform=platform, changed_since=changed_since, due_before=due_before)

    def end(self, ends: Sequence[End]) -> Sequence[EndOutcome]:
        try:
            with self._failures.call("end"):
                return self._inner.end(ends)
        except OutcomeUnknown as problem:
            return [EndOutcome(verdict=EndVerdict.UNKNOWN, reason=str(problem)) for _ in ends]

    def write_logs(self, lines: Sequence[LogLine]) -> None:
        with self._failures.call("write_logs"):
            self._inner.write_logs(lines)

    def facts(self, reference: Reference) -> RunFacts | None:
        with self._failures.call("facts"):
            return self._inner.facts(reference)

    def late_flow_runs(self, *, by: timedelta) -> Sequence[FlowRunId]:
        with self._failures.call("late_flow_runs"):
            return self._inner.late_flow_runs(by=by)

    def flow_drafts(self, reference: FlowReference) -> Sequence[FlowDraft]:
        with self._failures.call("flow_drafts"):
            return self._inner.flow_drafts(reference)

    def known_names(self, *, limit: int) -> KnownNames:
        with self._failures.call("known_names"):
            return self._inner.known_names(limit=limit)

    def create_flow_run(self, order: RunOrder) -> FlowRunId:
        with self._failures.call("create_flow_run"):
            return self._inner.create_flow_run(order)

    def run_story(self, run_id: FlowRunId, *, after: object = None) -> RunStory | None:
        with self._failures.call("run_story"):
            return self._inner.run_story(run_id, after=after)

    def run_address(self, run_id: FlowRunId) -> str:
        return self._inner.run_address(run_id)

    def workload(self, run: FlowRun) -> Workload:
        return self._inner.workload(run)

    def close(self) -> None:
        self._inner.close()


class FailingPlatform(FalliblePlatform):
    """The wrapper passes every call on to *inner*, except those that are to fail."""

    def __init__(self, inner: ExecutionPlatform) -> None:
        super().__init__()
        self._inner = inner

    @property
    def traits(self) -> PlatformTraits:
        return self._inner.traits

    @property
    def identity(self) -> str:
        return self._inner.identity

    @property
    def aliases(self) -> Sequence[str]:
        return self._inner.aliases

    @property
    def fingerprint(self) -> str:
        return self._inner.fingerprint

    @property
    def skew(self) -> float:
        return self._inner.skew

    @property
    def presence(self) -> Presence | None:
        return self._inner.presence

    def check(self) -> None:
        with self._failures.call("check"):
            self._inner.check()

    def demands(self, submission: Submission) -> Demands:
        with self._failures.call("demands"):
            return self._inner.demands(submission)

    def preview(self, submission: Submission) -> Sequence[Mapping[str, Any]]:
        with self._failures.call("preview"):
            return self._inner.preview(submission)

    def prepare(self, submission: Submission) -> None:
        with self._failures.call("prepare"):
            self._inner.prepare(submission)

    def create(self, submission: Submission) -> Unit:
        with self._failures.call("create"):
            return self._inner.create(submission)

    def units(self) -> Sequence[Unit]:
        with self._failures.call("units"):
            return self._inner.units()

    def unit(self, name: str) -> Unit | None:
        with self._failures.call("unit"):
            return self._inner.unit(name)

    def watch(self, *, seconds: float) -> Iterator[Unit]:
        with self._failures.call("watch"):
            return self._inner.watch(seconds=seconds)

    def stop(self, name: str, *, grace: float) -> None:
        with self._failures.call("stop"):
            self._inner.stop(name, grace=grace)

    def remove(self, name: str) -> None:
        with self._failures.call("remove"):
            self._inner.remove(name)

    def logs_tail(self, name: str, *, lines: int = 50) -> str:
        with self._failures.call("logs_tail"):
            return self._inner.logs_tail(name, lines=lines)

    def account(self, name: str) -> str:
        with self._failures.call("account"):
            return self._inner.account(name)

    def close(self) -> None:
        self._inner.close()
