"""What the tests of the GraphQL adapter share."""

from typing import Any

from prefect.agent.adapters.graphql.workloads import workload
from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.submissions import Workload


def work(run: FlowRun, **more: Any) -> Workload:
    """The workload of *run* on a Prefect Server without a key."""
    found: dict[str, Any] = {
        "url": "http://api",
        "backend": "server",
        "key": None,
        "tenant_id": None,
        "labels": [],
        "log_level": "INFO",
        "send_logs": True,
    }
    return workload(run, **{**found, **more})
