"""What `prefect agent install` prints, over an older agent and through kustomize, on a real API server."""

import subprocess
from contextlib import closing
from pathlib import Path

import attrs
import pytest
import yaml
from click.testing import CliRunner, Result

from prefect.agent.adapters.kubernetes import KubernetesPlatform, templates
from prefect.agent.adapters.kubernetes.api_server import Cluster
from prefect.agent.adapters.kubernetes.jobs import Scope
from prefect.agent.adapters.kubernetes.manifest import JobDefaults, SecretReference
from prefect.agent.adapters.kubernetes.presence import PodProcess
from prefect.agent.adapters.kubernetes.throttle import Throttle
from prefect.agent.domain.errors import PlatformForbidden
from prefect.agent.entrypoints.cli.install import install
from prefect.agent.entrypoints.install.kubernetes import manifest
from prefect.agent.entrypoints.library.kinds import kubernetes_options
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import submission, with_pod
from support.kubernetes.installing import OFFICIAL, PLAIN, apply, deployment, env, kubectl
from support.kubernetes.scratch_namespace import NOWHERE
from support.waiting import wait_until

pytestmark = pytest.mark.kubernetes


@pytest.mark.parametrize("made", ["create", "apply --server-side", "apply"])
@pytest.mark.parametrize("mine", ["apply", "apply --server-side --force-conflicts"])
def test_it_replaces_the_official_agent_however_that_was_made(
    control_plane: ControlPlane, namespace: str, made: str, mine: str
) -> None:
    """What is not known to be ``kubectl apply``'s own stays, so the documents say of each value that it goes."""
    program = kubectl()
    if program is None:
        pytest.skip("kubernetes: there is no kubectl, whose way of merging this is about")
    official = f"{OFFICIAL}        - {{name: NAMESPACE, value: other}}\n"
    ours = manifest(attrs.evolve(PLAIN, namespace=namespace))
    for words, text in ((made, official), (mine, ours), (mine, ours)):
        command = [program, *words.split(), "--kubeconfig", str(control_plane.kubeconfig), "--namespace", namespace]
        done = subprocess.run(
            [*command, "--filename=-"], input=text, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr

    [container] = deployment(control_plane, namespace)["spec"]["template"]["spec"]["containers"]
    assert not container.get("command")
    assert "pcu_old" not in str(container)
    assert container["args"] == ["agent", "start", "kubernetes"]
    assert env(control_plane, namespace)["NAMESPACE"] is None


def run(words: list[str]) -> Result:
    """`prefect agent install`."""
    return CliRunner().invoke(install, words, help_option_names=["-h", "--help"])


def test_a_deployment_with_another_selector_stops_the_install(
    control_plane: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is changed: nothing is printed for kubectl, and the error has the command to run."""
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    words = ["--token", "pcu_key", "--namespace", namespace, "--image", "x"]
    assert run(words).exit_code == 0
    labels_of_helm = {"app.kubernetes.io/name": "agent", "app.kubernetes.io/managed-by": "Helm"}
    body = yaml.safe_load(OFFICIAL)
    body["spec"]["selector"]["matchLabels"] = body["spec"]["template"]["metadata"]["labels"] = labels_of_helm
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    control_plane.api.post(path, body)

    done = run(words)
    assert (done.exit_code, done.stdout) == (78, "")
    assert f"kubectl delete deployment prefect-agent --namespace {namespace}" in done.stderr
    release = {"meta.helm.sh/release-name": "old"}
    control_plane.api.patch(f"{path}/prefect-agent", {"metadata": {"labels": labels_of_helm, "annotations": release}})
    assert f"helm uninstall old --namespace {namespace}" in run(words).stderr
    assert run([*words, "--offline"]).exit_code == 0


def kustomized(text: str, folder: Path, **changes: str) -> str:
    """What kubectl's kustomize makes of it."""
    program = kubectl()
    if program is None:
        pytest.skip("kubernetes: there is no kubectl, which has kustomize")
    (folder / "agent.yaml").write_text(text)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["agent.yaml"], **changes}))
    done = subprocess.run([program, "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kustomize_may_rename_it(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    """With another namespace and a prefix the agent misses no right, and its Jobs find their Secret."""
    text = manifest(attrs.evolve(PLAIN, namespace="elsewhere"))
    apply(control_plane, kustomized(text, tmp_path, namespace=namespace, namePrefix="blue-"))
    pods = f"/api/v1/namespaces/{namespace}/pods"
    wait_until(lambda: bool(control_plane.api.list(pods, labelSelector="app=prefect-agent")), 30, "the agent's pod")
    pod, *_ = control_plane.api.list(pods, labelSelector="app=prefect-agent")
    [container] = pod["spec"]["containers"]
    told = {each["name"]: each.get("value") for each in container["env"]}
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/blue-prefect-agent/token"
    token = control_plane.api.post(account, {"spec": {"expirationSeconds": 3600}})["status"]["token"]
    process = PodProcess.this(
        {"POD_NAMESPACE": namespace, "POD_NAME": pod["metadata"]["name"], "POD_UID": pod["metadata"]["uid"]}
    )
    options = kubernetes_options({name: value for name, value in told.items() if value})
    name, key = options["api_key_secret"].split("/")
    platform = KubernetesPlatform(
        Cluster(kubeconfig=str(control_plane.kubeconfig_for_token(token, namespace)), throttle=Throttle(100, 100)),
        scope=Scope(namespace=namespace),
        defaults=JobDefaults(namespace=namespace),
        template=templates.BUILT_IN,
        api_key_secret=SecretReference(name, key),
        process=process,
    )
    with closing(platform):

        def passes() -> bool:
            try:
                platform.check()
            except PlatformForbidden:
                return False
            return True

        wait_until(passes, 30, "the Role to hold")
        unit = submission(template=with_pod(nodeSelector=NOWHERE))
        platform.create(unit)

    job = control_plane.api.get(f"/apis/batch/v1/namespaces/{namespace}/jobs/{unit.name}")
    [flow] = job["spec"]["template"]["spec"]["containers"]
    reference = next(each["valueFrom"]["secretKeyRef"] for each in flow["env"] if each["name"] == "API_KEY")
    assert reference == {"name": "blue-prefect-agent", "key": "api-key"}
    assert control_plane.api.exists(f"/api/v1/namespaces/{namespace}/secrets/{reference['name']}")
