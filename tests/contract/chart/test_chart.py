"""deploy/chart, rendered by Helm: the same objects as `prefect agent install` prints, taken by a real API server."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import chart_rights
import pytest
import yaml

from prefect.agent.entrypoints.install.kubernetes import manifest
from prefect.agent.entrypoints.install.plan import DRAIN, LABELS, OPTIONAL, Install
from support.kubernetes.control_plane import ControlPlane

ROOT: Final = Path(__file__).resolve().parents[3]
CHART: Final = ROOT / "deploy" / "chart"
VERSION: Final = "0.1.0"
OF_HELM: Final = {"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart"}
SERVER: Final = {"backend": "server", "api": "http://10.0.0.1:4200"}

CASES: Final[Mapping[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "key": ({"apiKey": {"value": "pcu_key"}}, {"key": "pcu_key"}),
    "secret": ({"apiKey": {"existingSecret": "s", "key": "k"}}, {"existing_secret": ("s", "k")}),
    "server": (SERVER, SERVER),
    "without": ({**SERVER, "without": list(OPTIONAL)}, {**SERVER, "without": OPTIONAL}),
    "cluster-wide": ({"apiKey": {"value": "k"}, "clusterWide": True}, {"key": "k", "cluster_wide": True}),
    "cluster-wide without a key": ({**SERVER, "clusterWide": True}, {**SERVER, "cluster_wide": True}),
    "agent": (
        {**SERVER, "name": "a b", "labels": ["$x", "é"], "env": {"A": "$(HOME)"}, "args": ["--qps", "$(X)"]},
        {**SERVER, "name": "a b", "labels": ("$x", "é"), "env": {"A": "$(HOME)"}, "agent_options": ("--qps", "$(X)")},
    ),
    "jobs": (
        {**SERVER, "jobs": {"memoryLimit": "1Gi", "cpuRequest": "1"}, "image": {"pullSecrets": ["p"]}, "drain": 5},
        {**SERVER, "jobs": {"JOB_MEM_LIMIT": "1Gi", "JOB_CPU_REQUEST": "1"}, "pull_secrets": ("p",), "drain": 5},
    ),
}
"""By name: values of the chart, and what of :class:`Install` says the same."""


@pytest.fixture(scope="session")
def helm() -> str:
    """The program: from `make helm`, or of this machine."""
    own = Path(sys.executable).with_name("helm")
    program = str(own) if own.is_file() else shutil.which("helm")
    if program is None:
        pytest.skip("there is no helm: run `make helm`, or put it on PATH")
    return program


def template(helm: str, values: Mapping[str, Any], namespace: str) -> "subprocess.CompletedProcess[str]":
    """Run `helm template` with these values."""
    words = [helm, "template", "prefect-agent", str(CHART), "--namespace", namespace, "--values", "-"]
    return subprocess.run(words, input=json.dumps(values), capture_output=True, text=True, timeout=60, check=False)


def rendered(helm: str, values: Mapping[str, Any], namespace: str = "metrics") -> list[dict[str, Any]]:
    """The documents, as Helm writes them."""
    done = template(helm, values, namespace)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def comparable(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Documents by kind, without what a package manager adds and without what has no effect."""
    found = {}
    for document in documents:
        document["metadata"]["labels"] = dict(document["metadata"]["labels"].items() & LABELS.items())
        if document["kind"] == "Deployment":
            _simplify(document["spec"])
        found[document["kind"]] = document
    return found


def _simplify(spec: dict[str, Any]) -> None:
    for labels in (spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"]):
        for name in OF_HELM:
            labels.pop(name, None)
    [container] = spec["template"]["spec"]["containers"]
    container.pop("imagePullPolicy", None)
    if not container.get("command"):
        container.pop("command", None)
    container["env"] = {entry["name"]: entry.get("valueFrom") or _read(entry["value"]) for entry in container["env"]}
    container["env"] = {name: value for name, value in container["env"].items() if value}


def _read(value: str) -> object:
    """Lists and variables as the agent reads them, for JSON is written in more than one way."""
    return json.loads(value.replace("$$", "$")) if value[:1] in {"[", "{"} else value


@pytest.mark.parametrize(("values", "changes"), CASES.values(), ids=CASES)
def test_the_chart_makes_the_objects_that_install_prints(
    helm: str, values: dict[str, Any], changes: dict[str, Any]
) -> None:
    """Rights, account, Secret and Deployment; only Helm's own labels differ."""
    install = Install(image=f"prefect-agent:{VERSION}", namespace="metrics", **changes)
    printed = [document for document in yaml.safe_load_all(manifest(install)) if document]

    assert comparable(rendered(helm, values)) == comparable(printed)


def test_the_charts_permissions_are_the_table_of_the_code() -> None:
    """Which the Role of `install` and the check at start have, too."""
    assert (CHART / "permissions.yaml").read_text(encoding="utf-8") == chart_rights.text()


def test_the_charts_defaults_are_those_of_install() -> None:
    """Version and the seconds for an orderly stop."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    assert chart["version"] == chart["appVersion"] == VERSION
    assert f'\nversion = "{VERSION}"\n' in project
    assert values["drain"] == DRAIN


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "Prefect Cloud needs an API key"),
        ({**SERVER, "lables": ["a"]}, "lables"),
        ({**SERVER, "labels": "a"}, "labels"),
        ({**SERVER, "without": ["run"]}, "without"),
        ({**SERVER, "api": "https://NAME:PASSWORD@prefect.example"}, "api"),
        ({**SERVER, "drain": "150"}, "drain"),
    ],
    ids=["no key", "misspelt", "no list", "needed", "password", "text"],
)
def test_values_that_cannot_be_meant_are_refused(helm: str, values: dict[str, Any], said: str) -> None:
    """By the schema, or by the chart; the message names the value."""
    done = template(helm, values, "metrics")

    assert done.returncode != 0
    assert said in done.stderr


@pytest.mark.kubernetes
@pytest.mark.parametrize("values", [case[0] for case in CASES.values()], ids=CASES)
def test_the_api_server_takes_every_object(
    control_plane: ControlPlane, namespace: str, helm: str, values: dict[str, Any]
) -> None:
    """No unknown field, no wrong type."""
    for document in rendered(helm, values, namespace):
        control_plane.api.post(_path(document), document, fieldValidation="Strict", dryRun="All")


@pytest.mark.kubernetes
def test_the_account_of_the_chart_may_do_what_the_table_says(
    control_plane: ControlPlane, namespace: str, helm: str
) -> None:
    """Applied: it may make Jobs in its namespace, and read no Secret."""
    for document in rendered(helm, SERVER, namespace):
        control_plane.api.post(_path(document), document, fieldValidation="Strict")

    jobs = {"namespace": namespace, "group": "batch", "resource": "jobs", "verb": "create"}
    secrets = {"namespace": namespace, "resource": "secrets", "verb": "get"}
    assert control_plane.api.may(namespace, "prefect-agent", jobs)
    assert not control_plane.api.may(namespace, "prefect-agent", secrets)
    assert control_plane.api.exists(f"/apis/apps/v1/namespaces/{namespace}/deployments/prefect-agent")


def _path(document: dict[str, Any]) -> str:
    """Where the API server takes objects of that kind."""
    group = document["apiVersion"]
    base = f"/api/{group}" if "/" not in group else f"/apis/{group}"
    place = f"/namespaces/{document['metadata']['namespace']}" if "namespace" in document["metadata"] else ""
    return f"{base}{place}/{document['kind'].lower()}s"
