"""What `prefect agent install` prints is applied to a control plane, and read back."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

from prefect.agent.entrypoints.install.plan import Install
from support.kubernetes.control_plane import ControlPlane

PLAIN: Final = Install(image="prefect-agent:1", key="pcu_key")


PATHS: Final = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
}


OFFICIAL: Final = """
apiVersion: apps/v1
kind: Deployment
metadata:
  labels: {app: prefect-agent}
  name: prefect-agent
spec:
  replicas: 1
  selector:
    matchLabels: {app: prefect-agent}
  template:
    metadata:
      labels: {app: prefect-agent}
    spec:
      containers:
      - name: agent
        image: prefecthq/prefect:1.4.1-python3.7
        imagePullPolicy: Always
        command: [/bin/bash, -c]
        args: [prefect agent kubernetes start]
        env:
        - {name: PREFECT__CLOUD__AGENT__AUTH_TOKEN, value: pcu_old}
        - {name: PREFECT__CLOUD__API_KEY, value: pcu_old}
"""
"""The shape of the manifest of 1.4.1 (protocol section 7.5)."""


def kubectl() -> str | None:
    """The program, from where the control plane's are, or of this machine."""
    beside = Path(os.environ.get("KUBEBUILDER_ASSETS", ""), "kubectl")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("kubectl")


def apply(plane: ControlPlane, text: str, *options: str) -> None:
    """`kubectl apply -f -` with strict validation; without kubectl, the same requests."""
    program = kubectl()
    if program is None:
        post(plane, text)
        return
    words = [program, "apply", "--kubeconfig", str(plane.kubeconfig), "--validate=strict", "--filename=-", *options]
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


def post(plane: ControlPlane, text: str, **query: str) -> None:
    """Create every document; an unknown or doubled field is refused."""
    for document in yaml.safe_load_all(text):
        path = PATHS[document["kind"]].format(document["metadata"].get("namespace"))
        plane.api.post(path, document, fieldValidation="Strict", **query)


def deployment(plane: ControlPlane, namespace: str) -> dict[str, Any]:
    """The agent's, as the API server has it."""
    return plane.api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/prefect-agent")


def env(plane: ControlPlane, namespace: str) -> dict[str, Any]:
    """The agent's variables, as the API server has them."""
    [container] = deployment(plane, namespace)["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value") for entry in container["env"]}
