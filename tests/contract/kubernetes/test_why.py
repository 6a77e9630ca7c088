"""What a Job that does not start waits for, on a real Kubernetes API server: why names it, and what to do."""

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

from prefect.agent.adapters.phases import named_state
from prefect.agent.domain.model.explaining import RunFacts, UnitFacts, explain
from prefect.agent.domain.model.flow_runs import ClaimRecord
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import KubernetesHarness, kubernetes_harness, once, submission, with_pod
from support.kubernetes.kubelet import ProcessKubelet
from support.kubernetes.scratch_namespace import NOWHERE

pytestmark = pytest.mark.kubernetes


@pytest.fixture(scope="module")
def harness(control_plane: ControlPlane, kubelet: ProcessKubelet) -> Iterator[KubernetesHarness]:
    """A namespace in which no pod may ask for a gigabyte."""
    with kubernetes_harness(control_plane) as harness:
        path = f"/api/v1/namespaces/{harness.namespace}/resourcequotas"
        harness.scratch.api.post(path, {"metadata": {"name": "memory"}, "spec": {"hard": {"requests.memory": "1Gi"}}})
        yield harness


def pod(**spec: Any) -> Submission:
    """Of a run whose pod has this specification, and asks for a little memory."""
    little = {"resources": {"requests": {"memory": "1Mi"}}}
    return submission(template=with_pod(**{"containers": [{"name": "flow", **little}], **spec}))


LARGE = [{"name": "flow", "resources": {"requests": {"memory": "2Gi"}}}]
CLAIM = [{"name": "data", "persistentVolumeClaim": {"claimName": "no-such-claim"}}]
MISSING = submission(
    ending="image-error:ErrImagePull:no such image",
    template=with_pod(containers=[{"name": "flow", "resources": {"requests": {"memory": "1Mi"}}}]),
)


@pytest.mark.parametrize(
    ("made", "waits_for"),
    [
        (pod(nodeSelector=NOWHERE), "a node"),
        (pod(volumes=CLAIM), "a volume"),
        (pod(containers=LARGE), "room in a quota"),
        (MISSING, "its image"),
    ],
    ids=["scheduling", "volume", "quota", "image"],
)
def test_a_pending_unit_says_what_it_waits_for(harness: KubernetesHarness, made: Submission, waits_for: str) -> None:
    """With what to do about it."""
    platform = harness.platform()
    platform.create(made)

    def is_said(unit: Unit) -> bool:
        return bool(unit.evidence and unit.evidence.reason not in {"Slow", "ContainerCreating"})

    unit = once(platform, made.name, is_said)

    now = datetime.now(timezone.utc)
    claim = ClaimRecord(claimant="a", platform="here", unit=made.name, attempt="1", claimed_at=now)
    state = named_state("Submitted")
    facts = RunFacts(id=made.flow_run_id, name="run", flow="f", state=state, since=now, claim=claim, at=now)
    found = explain(facts, UnitFacts(platform="here", unit=unit))[0]
    assert found.cause == "unit-pending"
    assert f"waits for {waits_for}: " in found.text
    assert found.remedies
