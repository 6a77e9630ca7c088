"""From a row of the Cloud to a container of a real engine: the flow's own image, and the Cloud's address inside."""

import uuid
from typing import Any

import pytest

from prefect.agent.adapters.graphql import wire
from prefect.agent.adapters.system import SystemClock
from prefect.agent.domain.model.submissions import Workload, plan_submission
from support.docker_harness import DockerHarness, ended

pytestmark = pytest.mark.docker


def shown(harness: DockerHarness, row: dict[str, Any], *, address: str = "http://10.0.0.1:4200") -> tuple[str, str]:
    """The image that a run of this row executes in, and the address that it is given."""
    whole = {"id": str(uuid.uuid4()), "version": 1, "state": "Scheduled", "name": "old", **row}
    run = wire.read_flow_run(whole, SystemClock().now())
    assert run is not None
    workload = Workload(
        command=("sh", "-c", 'echo "$API"'),
        default_image=f"{harness.image}-default",
        defaults={"API": address},
        address_variables=frozenset({"API"}),
    )
    platform = harness.platform()
    submission = plan_submission(run, workload, platform.traits, agent_env={})
    harness.own(submission.name)
    ended(platform, submission)
    return str(harness.about(submission.name)["Config"]["Image"]), platform.logs_tail(submission.name)


@pytest.mark.parametrize("kind", ["LocalEnvironment", "KubernetesJobEnvironment", "FargateTaskEnvironment"])
def test_a_flow_with_an_environment_runs_in_its_image(harness: DockerHarness, kind: str) -> None:
    """Whatever the type: the default image is not even there."""
    environment = {"type": kind, "metadata": {"image": harness.image}, "labels": [], "__version__": "0.13.2"}
    row = {"run_config": None, "flow": {"id": "f", "environment": environment, "core_version": "0.13.2"}}
    assert shown(harness, row)[0] == harness.image


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "[::]", "localhost.localdomain", "ip6-localhost", "127.3.2.1", "localhost", "[::ffff:127.0.0.1]"],
)
def test_an_address_of_this_machine_is_the_hosts_inside(harness: DockerHarness, host: str) -> None:
    """In all its spellings; the port stays."""
    row = {"flow": {"id": "f", "environment": {"metadata": {"image": harness.image}}}}
    assert shown(harness, row, address=f"http://{host}:4200/graphql")[1] == "http://host.docker.internal:4200/graphql"
