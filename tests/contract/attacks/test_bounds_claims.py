"""Attack: one flow run makes the Cloud answer 503 to every claim that it is part of.

Rule: such a batch is halved until the culprit waits alone; the others are claimed in the same turn.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import pytest

from chaos.http_lives import OverHttp
from prefect.agent.adapters.graphql import GraphQLCloudApi
from prefect.agent.adapters.system import SystemClock
from prefect.agent.domain.model.flow_runs import Claimed, Deferred, FlowRun, FlowRunId
from prefect.agent.domain.model.leases import Claimant
from prefect.agent.domain.services.claiming import ClaimFlowRuns
from prefect.agent.entrypoints.server.testing import running_server
from support.fault_proxy import Fault, FaultProxy, status

RUNS = 30


@attrs.define
class ClaimsHarness:
    """An agent's claims, a proxy that fails, and the embedded Cloud with flow runs that are due."""

    proxy: FaultProxy
    claim: ClaimFlowRuns
    runs: list[FlowRun]


@pytest.fixture
def harness() -> Iterator[ClaimsHarness]:
    """Thirty flow runs that are ready."""
    with running_server() as url:
        cloud = OverHttp(Path(), url=url)
        flow = cloud.flow(cloud.project())
        ids = [FlowRunId(cloud.run(flow, labels=["bounds"])) for _ in range(RUNS)]
        host, port = urlsplit(url).hostname, urlsplit(url).port
        assert host is not None
        assert port is not None
        with closing(FaultProxy((host, port))) as proxy:
            clock = SystemClock()
            with closing(GraphQLCloudApi(proxy.url, clock=clock)) as api:
                api.connect()
                runs = list(api.flow_runs(ids))
                claimant = Claimant(id="agent", platform="memory:bounds")
                yield ClaimsHarness(proxy, ClaimFlowRuns(cloud=api, clock=clock, claimant=claimant), runs)


@pytest.mark.parametrize("fault", [status(503), status(429)], ids=lambda fault: str(fault.name))
@pytest.mark.parametrize("place", [0, 26])
def test_one_run_that_spoils_its_requests_holds_back_no_other(harness: ClaimsHarness, fault: Fault, place: int) -> None:
    """Twenty-nine are claimed, one waits, in a bounded number of requests."""
    assert len(harness.runs) == RUNS
    culprit = harness.runs[place].id
    harness.proxy.fail("set_flow_run_states", fault, holding=culprit)

    outcomes = harness.claim(harness.runs)

    expected = [Deferred if run.id == culprit else Claimed for run in harness.runs]
    assert [type(outcome) for outcome in outcomes] == expected
    assert harness.proxy.hits[fault.name] <= 12
