"""Where reports are kept until the Cloud has them: so that a crash of the agent loses none."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

from prefect.agent.domain.model.flow_runs import FlowRunId

Entry = Mapping[str, Any]
"""One report as flat JSON-ready values."""


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

    @abc.abstractmethod
    def load(self) -> Mapping[FlowRunId, Sequence[Entry]]:
        """Take up what an earlier process left; each entry is given out by one agent only. Call it once, first."""

    @abc.abstractmethod
    def add(self, run_id: FlowRunId, entry: Entry) -> None:
        """Keep one report."""

    @abc.abstractmethod
    def forget(self, run_id: FlowRunId) -> None:
        """All reports of the flow run are sent, or given up."""

    def close(self) -> None:  # noqa: B027 - optional
        """Let go of files. May be repeated."""


class MemoryReports(ReportStore):
    """Keeps nothing: reports that are not sent are lost with the process."""

    @property
    def where(self) -> str:
        """Memory: nothing outlives the process."""
        return "memory"

    def load(self) -> Mapping[FlowRunId, Sequence[Entry]]:
        """There is nothing."""
        return {}

    def add(self, run_id: FlowRunId, entry: Entry) -> None:
        """Nothing to do: the outbox itself has it."""

    def forget(self, run_id: FlowRunId) -> None:
        """Nothing to do."""
