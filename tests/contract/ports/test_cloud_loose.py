"""Clouds as loose as Prefect Server: in memory, and the embedded one over HTTP."""

from collections.abc import Collection, Generator, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest
import requests

from prefect.agent.adapters.fakes import InMemoryCloudApi, ManualClock
from prefect.agent.adapters.fakes.contracts import (
    CloudApiContract,
    LooseClaimContract,
    LooseCloudContract,
    LooseCloudHarness,
)
from prefect.agent.adapters.fakes.contracts.harnesses import CloudHarness
from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.domain.errors import RequestRejected
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.entrypoints.server.testing import running_server
from prefect.agent.ports.cloud_api import LogLine
from support.cloud_harnesses import MemoryCloudHarness, ServedCloudHarness


def a_clock() -> ManualClock:
    """One that begins now, so that its times fit those of adapters, which have another clock."""
    return ManualClock(datetime.now(timezone.utc))


class LooseMemoryCloudHarness(MemoryCloudHarness, LooseCloudHarness):
    """The in-memory Cloud."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = a_clock()
        self.api = InMemoryCloudApi(self._clock, loose=True)

    @property
    def is_strict(self) -> bool:
        """It compares nothing."""
        return False

    def now(self) -> datetime:
        """The Cloud's time."""
        return self._clock.now()

    def advance(self, seconds: float) -> None:
        """Advance the clock."""
        self._clock.advance(seconds)

    def submit(self, run_ids: Sequence[FlowRunId], version: int = 0) -> str:
        """One after the other: nothing is compared, so there is no version to give."""
        del version
        refusals = []
        for run_id in run_ids:
            try:
                self.api.set_state(run_id, "Submitted")
            except CloudRefusal as refusal:
                refusals.append(refusal.message)
        return refusals[0] if refusals else ""

    def queue(self, labels: Collection[str]) -> Sequence[FlowRunId]:
        """Ask as an agent does."""
        return [run.id for run in self.api.ready_flow_runs(labels=labels, before=self.now(), limit=100)]

    def write(self, lines: Sequence[LogLine]) -> str:
        """Write as an agent does."""
        try:
            self.api.write_logs(lines)
        except RequestRejected as refusal:
            return str(refusal)
        return ""


@attrs.define
class LooseServedCloudHarness(ServedCloudHarness, LooseCloudHarness):
    """The embedded Cloud over HTTP."""

    clock: ManualClock = attrs.field(kw_only=True)

    @property
    def is_strict(self) -> bool:
        """It compares nothing."""
        return False

    def now(self) -> datetime:
        """The Cloud's time."""
        return self.clock.now()

    def advance(self, seconds: float) -> None:
        """Advance the clock."""
        self.clock.advance(seconds)

    def submit(self, run_ids: Sequence[FlowRunId], version: int = 0) -> str:
        """One mutation with all states."""
        state = {"type": "Submitted", "message": "Submitted for execution"}
        states = [{"flow_run_id": run_id, "version": version, "state": state} for run_id in run_ids]
        return self._refusal("set_flow_run_states", "states { id }", states=states)

    def queue(self, labels: Collection[str]) -> Sequence[FlowRunId]:
        """Ask as an agent does."""
        found = self.change("get_runs_in_queue", "flow_run_ids", labels=list(labels))["flow_run_ids"]
        return [FlowRunId(run_id) for run_id in found]

    def write(self, lines: Sequence[LogLine]) -> str:
        """One mutation with all lines."""
        logs = [{"flow_run_id": line.flow_run_id, "message": line.message} for line in lines]
        return self._refusal("write_run_logs", "success", logs=logs)

    def _refusal(self, mutation: str, gives: str, /, **given: Any) -> str:
        """The text of the one error, if there is one."""
        document = f"mutation($input: {mutation}_input!) {{ {mutation}(input: $input) {{ {gives} }} }}"
        answer = requests.post(self.url, json={"query": document, "variables": {"input": given}}, timeout=30).json()
        if "errors" not in answer:
            return ""
        [error] = answer["errors"]
        assert answer["data"] == {mutation: None}
        assert error["path"] == [mutation]
        return str(error["message"])


@pytest.fixture
def served(tmp_path: Path) -> Generator[LooseServedCloudHarness]:
    """A new Cloud in a file."""
    clock = a_clock()
    with running_server(tmp_path / "cloud.db", as_loose_as_server=True, now=clock.now) as url, ExitStack() as stack:
        harness = LooseServedCloudHarness(url, stack, clock=clock)
        harness.make_flow()
        yield harness


class TestInMemoryCloud(LooseCloudContract, LooseClaimContract):
    """The fake, and its adapter, which are one."""

    @pytest.fixture
    def harness(self) -> LooseCloudHarness:
        """A new Cloud."""
        return LooseMemoryCloudHarness()


class TestEmbeddedCloud(LooseCloudContract):
    """The embedded Cloud, without an adapter."""

    @pytest.fixture
    def harness(self, served: LooseServedCloudHarness) -> LooseCloudHarness:
        """A new Cloud in a file."""
        return served


class TestGraphQLCloudApi(LooseClaimContract):
    """The real adapter on the embedded Cloud."""

    @pytest.fixture
    def harness(self, served: LooseServedCloudHarness) -> LooseCloudHarness:
        """A new Cloud in a file."""
        return served


class ComparesNothing(ServedCloudHarness):
    """The embedded Cloud by the real time."""

    @property
    def is_strict(self) -> bool:
        """It compares nothing."""
        return False


class TestPortOnMemory(CloudApiContract):
    """All that the port promises, kept by a Cloud that compares nothing."""

    @pytest.fixture
    def harness(self) -> CloudHarness:
        """A new Cloud."""
        return LooseMemoryCloudHarness()


class TestPortOnGraphQL(CloudApiContract):
    """Likewise, over HTTP, by the real time."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Generator[CloudHarness]:
        """A new Cloud in a file."""
        with running_server(tmp_path / "cloud.db", as_loose_as_server=True) as url, ExitStack() as stack:
            harness = ComparesNothing(url, stack)
            harness.make_flow()
            yield harness
