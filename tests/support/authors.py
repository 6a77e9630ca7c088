"""Flow runs of a person who may make them, and no more: claimed by an agent that has a policy."""

from typing import Any

from prefect.agent.adapters.fakes import InMemoryCloudApi, ManualClock
from prefect.agent.domain.model.flow_runs import Claimed, FlowRun
from prefect.agent.domain.model.leases import Claimant
from prefect.agent.domain.model.policy import Policy
from prefect.agent.domain.model.run_configs import RunConfig
from prefect.agent.domain.services.claiming import ClaimFlowRuns
from prefect.agent.domain.services.gate import PlatformGate
from prefect.agent.domain.services.submission import CreateUnit
from prefect.agent.domain.services.work_in_hand import WorkInHand
from prefect.agent.ports.platform import ExecutionPlatform


def claimed(
    platform: ExecutionPlatform, config: RunConfig, policy: Policy, *, deadline: float = 120.0
) -> tuple[CreateUnit, FlowRun]:
    """What creates units of such an agent, and its claim of a flow run with that run config."""
    clock = ManualClock(auto=True)
    cloud = InMemoryCloudApi(clock, command=("sh", "-c", "exit 0"))
    run_id = cloud.add_flow_run(run_config=config)
    claim = ClaimFlowRuns(cloud=cloud, clock=clock, claimant=Claimant(id="a", platform=platform.identity))
    [outcome] = claim(cloud.flow_runs([run_id]))
    assert isinstance(outcome, Claimed)
    gate = PlatformGate(platform=platform, clock=clock)
    parts: dict[str, Any] = {"cloud": cloud, "platform": platform, "clock": clock, "gate": gate, "work": WorkInHand()}
    create = CreateUnit(**parts, policy=policy, deadline=deadline)
    return create, outcome.run
