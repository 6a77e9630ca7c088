"""The port of report stores: they keep reports until the Cloud has them, so that a crash of the agent loses none."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from prefect.agent.domain.model.flow_runs import FlowRunId

Entry = Mapping[str, Any]
"""One report as flat values that JSON can hold: an end has the key ``end``, every other report is a log line."""


class ReportStore(abc.ABC):
    """Reports by flow run, in the order in which they were added. Safe to use from several threads.

    No method raises. The agent also holds each report in memory, so what cannot be kept here is lost only if the
    process ends before the Cloud has it; :attr:`problem` says why it cannot be kept.
    """

    @property
    @abc.abstractmethod
    def where(self) -> str:
        """Where reports are kept, for people: a folder, or ``memory``."""

    @property
    def problem(self) -> str:
        """Why reports can no longer be kept; empty if they can."""
        return ""

    @property
    def dropped(self) -> int:
        """How many log lines were not kept for want of room. Ends are never dropped."""
        return 0

    @abc.abstractmethod
    def load(self) -> Mapping[FlowRunId, Sequence[Entry]]:
        """Return what an earlier process has left, and keep it as if it had been added.

        Of several agents on one store, only one gets each entry. Called once, before everything else.
        """

    @abc.abstractmethod
    def add(self, run_id: FlowRunId, entry: Entry) -> None:
        """Keep one report of a flow run."""

    @abc.abstractmethod
    def forget_lines(self, run_id: FlowRunId, count: int) -> None:
        """Drop the first *count* log lines of the flow run: they were sent, or given up."""

    @abc.abstractmethod
    def forget(self, run_id: FlowRunId) -> None:
        """Drop all reports of the flow run: they were sent, or given up. May be repeated."""

    def close(self) -> None:  # noqa: B027 - optional
        """Release files; what is added later is not kept. May be repeated."""


@attrs.frozen(kw_only=True)
class MemoryReports(ReportStore):
    """A store that keeps nothing: reports that are not sent yet are lost with the process.

    Args:
        reason: Why nothing is kept, if that is intended; shown in :attr:`where`.
        problem: Why nothing is kept, if the operator should change that; see :attr:`problem`.
    """

    reason: str = ""
    _problem: str = attrs.field(default="", alias="problem")

    @property
    def problem(self) -> str:
        """Why nothing is kept, if the operator should change that; empty if it is intended."""
        return self._problem

    @property
    def where(self) -> str:
        """The word memory, with the reason if there is one."""
        return f"memory ({self.reason})" if self.reason else "memory"

    def load(self) -> Mapping[FlowRunId, Sequence[Entry]]:
        """Return nothing: no earlier process can have left anything."""
        return {}

    def add(self, run_id: FlowRunId, entry: Entry) -> None:
        """Do nothing: the agent itself holds the report."""

    def forget_lines(self, run_id: FlowRunId, count: int) -> None:
        """Do nothing: no line was kept."""

    def forget(self, run_id: FlowRunId) -> None:
        """Do nothing: no report was kept."""
