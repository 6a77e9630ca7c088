"""Attack: the key is read where the agent left it: logs, messages, specs, command lines, files, requests.

Rule: what the agent sends or keeps anywhere passes one mask. The environment of the flow's own unit (on
Kubernetes its Secret) and what the flow itself prints there are the only exceptions: they have the flow runs' own
key, if there is one, and the agent's key is nowhere.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import docker
import pytest

from prefect.agent.domain.secrets import MASK
from support.commands import bare_environment
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import KubernetesHarness, kubernetes_harness
from support.kubernetes.kubelet import ProcessKubelet
from support.secrets_harness import FLOW_KEY, KEY, TELLTALE, SecretsHarness, secrets_harness

ELSEWHERE: Final = {"PREFECT__CLOUD__API": "http://127.0.0.1:1", "PREFECT__cloud__auth_token": "mine"}
OUTPUT: Final = "output"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[SecretsHarness]:
    """A Cloud, and an agent's home in which ``prefect`` prints its key and fails."""
    with secrets_harness(tmp_path, bare_environment(tmp_path, TELLTALE)) as harness:
        yield harness


def check(harness: SecretsHarness, logs: str) -> None:
    """Neither key shows; the run's log has the output of its unit, masked, and what was ignored of the run config."""
    assert harness.places_of(KEY) == []
    assert harness.places_of(FLOW_KEY) == []
    assert f"it is {MASK}" in logs
    assert "PREFECT__CLOUD__API, PREFECT__cloud__auth_token" in logs
    assert "command lines" in logs
    assert "command line with the key" not in logs
    assert len(harness.found) > 10


def test_a_process_agent_shows_no_key(harness: SecretsHarness) -> None:
    """Of a flow run whose process prints its key."""
    logs = harness.run({"type": "LocalRun", "env": ELSEWHERE}, "process", "--agent-address", "http://127.0.0.1:0")

    harness.look_at_files(harness.home / ".prefect-agent", but=OUTPUT)
    check(harness, logs)
    [output] = (harness.home / ".prefect-agent" / "units").glob(f"*/{OUTPUT}")
    assert "health" in harness.found
    assert f"it is {FLOW_KEY}\n" in output.read_text(encoding="utf-8")


@pytest.mark.docker
def test_a_docker_agent_shows_no_key(harness: SecretsHarness, small_image: str, tmp_path: Path) -> None:
    """Only the environment of the container has one, and it is the flow runs' own."""
    program = tmp_path / "bin" / "prefect"
    config = {
        "type": "DockerRun",
        "image": small_image,
        "env": {**ELSEWHERE, "PATH": "/flow:/usr/bin:/bin"},
        "host_config": {"network_mode": "none"},
    }
    client = docker.from_env()
    try:
        logs = harness.run(config, "docker", "--no-pull", "--volume", f"{program.parent}:/flow:ro")
        [container] = client.containers.list(all=True, filters={"label": "io.prefect.flow-name=f", **_since(harness)})
        about = client.api.inspect_container(str(container.id))
        container.remove(force=True)
    finally:
        client.close()

    assert f"PREFECT__CLOUD__API_KEY={FLOW_KEY}" in about["Config"].pop("Env")
    harness.found["inspect of the container"] = json.dumps(about).encode()
    harness.look_at_files(harness.home / ".prefect-agent")
    check(harness, logs)


def _since(harness: SecretsHarness) -> dict[str, str]:
    """The container of this harness's flow run, and of no other test's."""
    run_id = harness.ask("query { flow_run { id } }")["flow_run"][0]["id"]
    return {"label": f"io.prefect.flow-run-id={run_id}"}


@pytest.fixture
def cluster(control_plane: ControlPlane, kubelet: ProcessKubelet) -> Iterator[KubernetesHarness]:
    """A new namespace, in which pods are processes."""
    with kubernetes_harness(control_plane) as cluster:
        yield cluster


@pytest.mark.kubernetes
def test_a_kubernetes_agent_shows_no_key(
    harness: SecretsHarness, cluster: KubernetesHarness, kubelet: ProcessKubelet
) -> None:
    """Only the Job's Secret has one, and it is the flow runs' own."""
    container = {"name": "flow", "env": [{"name": "PATH", "value": f"{harness.home}/bin:/usr/bin:/bin"}]}
    template = {"spec": {"template": {"spec": {"containers": [container]}}}}
    config = {"type": "KubernetesRun", "image": "none", "env": ELSEWHERE, "job_template": template}
    logs = harness.run(config, "kubernetes", "--kubeconfig", cluster.kubeconfig(), "--namespace", cluster.namespace)

    for group, kind in (("apis/batch/v1", "jobs"), ("api/v1", "pods"), ("api/v1", "events"), ("api/v1", "configmaps")):
        found = cluster.scratch.api.get(f"/{group}/namespaces/{cluster.namespace}/{kind}")
        harness.found[f"all {kind}"] = json.dumps(found).encode()
    harness.look_at_files(harness.home / ".prefect-agent")
    check(harness, logs)
    secrets = json.dumps(cluster.scratch.api.get(f"/api/v1/namespaces/{cluster.namespace}/secrets"))
    harness.found = {"Secrets": secrets.encode()}
    assert (harness.places_of(KEY), harness.places_of(FLOW_KEY)) == ([], ["Secrets"])
