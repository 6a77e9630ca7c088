"""Where reports are kept until the Cloud has them: so that a crash of the agent loses none."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from prefect.agent.domain.model.flow_runs import FlowRunId

Entry = Mapping[str, Any]
"""One report as flat JSON-ready values: an end has the key ``end``, everything else is a log line."""


class ReportStore(abc.ABC):
    """Reports by flow run, in the order they were kept. Safe to use from several threads.

    No method raises: what cannot be kept is lost with the process only, and :attr:`problem` says why.
    """

    @property
    @abc.abstractmethod
    def where(self) -> str:
        """Where reports are kept, for people; for example ``memory``."""

    @property
    def problem(self) -> str:
        """Why reports cannot be kept any more; empty if they can."""
        return ""

    @property
    def dropped(self) -> int:
        """How many log lines had no room to be kept. Ends are never dropped."""
        return 0

    @abc.abstractmethod
    def load(self) -> Mapping[FlowRunId, Sequence[Entry]]:
        """Take up what an earlier process left; each entry is given out by one agent only. Call it once, first."""

    @abc.abstractmethod
    def add(self, run_id: FlowRunId, entry: Entry) -> None:
        """Keep one report."""

    @abc.abstractmethod
    def forget_lines(self, run_id: FlowRunId, count: int) -> None:
        """The first *count* log lines of the flow run are sent, or given up."""

    @abc.abstractmethod
    def forget(self, run_id: FlowRunId) -> None:
        """All reports of the flow run are sent, or given up. May be repeated."""

    def close(self) -> None:  # noqa: B027 - optional
        """Let go of files; what is added later is not kept. May be repeated."""


@attrs.frozen(kw_only=True)
class MemoryReports(ReportStore):
    """Keeps nothing: the outbox itself has the reports, and those that are not sent are lost with the process.

    Attributes:
        reason: Why it is the memory, if that is as it should be; shown in :attr:`where`.
        problem: Why it is the memory, if a person should mend that.
    """

    reason: str = ""
    _problem: str = attrs.field(default="", alias="problem")

    @property
    def problem(self) -> str:
        """Why it is the memory, if a person should mend that."""
        return self._problem

    @property
    def where(self) -> str:
        """Memory: nothing outlives the process."""
        return f"memory ({self.reason})" if self.reason else "memory"

    def load(self) -> Mapping[FlowRunId, Sequence[Entry]]:
        """There is nothing."""
        return {}

    def add(self, run_id: FlowRunId, entry: Entry) -> None:
        """Nothing to do."""

    def forget_lines(self, run_id: FlowRunId, count: int) -> None:
        """Nothing to do."""

    def forget(self, run_id: FlowRunId) -> None:
        """Nothing to do."""
