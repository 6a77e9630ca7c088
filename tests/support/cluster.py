"""A cluster whose nodes run pods: how to talk to it, an embedded Cloud that pods reach, and images.

=========================================== ==========================================================================
``KUBECONFIG``                              of somebody who may make namespaces
``PREFECT_AGENT_TEST_CLUSTER=1``            the tests may use the cluster
``LAB_NETNS``                               network namespace in which programs must run to reach it (needs root)
``PREFECT_AGENT_TEST_CLUSTER_IMAGE``        image with Prefect 1.4.1, as the cluster names it
``PREFECT_AGENT_TEST_CLUSTER_AGENT_IMAGE``  image of the agent, likewise; without it one is built from Containerfile
``PREFECT_AGENT_TEST_CLUSTER_LOAD``         command that hands the nodes an image of the Docker engine: its last word
``PREFECT_AGENT_TEST_CLUSTER_RESTART``      command that kills the API server and starts it again
=========================================== ==========================================================================
"""

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import attrs
import docker
import pytest

from support.real_prefect import OWN_PREFECT, RealPrefect
from support.waiting import wait_until

ROOT: Final = Path(__file__).resolve().parents[2]
VARIABLE: Final = "PREFECT_AGENT_TEST_CLUSTER"
LAB_IMAGE: Final = "docker.io/lab/prefect:1.4.1"
PUBLIC_IMAGE: Final = "docker.io/prefecthq/prefect:1.4.1"
LAB_BASE: Final = "lab/python:3.11"
KUBECTL_SECONDS: Final = 120
LOOK_EVERY: Final = 0.2

OWN_ADDRESS: Final = """
import socket, sys
from urllib.parse import urlsplit
server = urlsplit(sys.argv[1])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect((server.hostname, server.port or 443))
    print(probe.getsockname()[0])
"""
"""Prints by which address this machine talks to the API server. Nothing is sent."""

ASK: Final = """
import json, sys, urllib.request
url, key = sys.argv[1:]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for line in sys.stdin:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with opener.open(urllib.request.Request(url, line.encode(), headers), timeout=60) as answer:
        print(json.dumps(json.load(answer)), flush=True)
"""
"""Hands on GraphQL requests, one a line, to where this program is and the tests are not."""

Object = dict[str, Any]


def eventually(condition: Callable[[], object], seconds: float, what: str) -> None:
    """As ``wait_until``, for conditions that start a program or load a server: they are looked at less often."""
    wait_until(condition, seconds, what, every=LOOK_EVERY)


@attrs.frozen
class Cluster:
    """A cluster, through kubectl.

    Attributes:
        kubectl: The program.
        netns: Where programs run that talk to it; empty for here.
    """

    kubeconfig: Path
    kubectl: str
    netns: str

    @classmethod
    def found(cls) -> "Cluster":
        """The one that the environment names."""
        beside = Path(os.environ.get("KUBEBUILDER_ASSETS", ""), "kubectl")
        kubectl = str(beside) if os.access(beside, os.X_OK) else shutil.which("kubectl")
        if kubectl is None:
            lacking("there is no kubectl, neither on PATH nor in KUBEBUILDER_ASSETS: install it")
        return cls(Path(os.environ["KUBECONFIG"]), kubectl, os.environ.get("LAB_NETNS", ""))

    @property
    def env(self) -> dict[str, str]:
        """Variables for programs that talk to the cluster."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def command(self, *words: str | Path) -> list[str]:
        """The words that run a program where it reaches the cluster."""
        return [*(("nsenter", f"--net={self.netns}") if self.netns else ()), *map(str, words)]

    def ask(self, *words: str, given: str = "") -> str:
        """Run ``kubectl WORDS``; return what it prints; it must succeed."""
        done = self.attempt(*words, given=given)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def attempt(self, *words: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        """Run ``kubectl WORDS``, which may fail."""
        command = self.command(self.kubectl, *words)
        return subprocess.run(
            command, env=self.env, input=given, capture_output=True, text=True, timeout=KUBECTL_SECONDS, check=False
        )

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        """Objects of a namespace."""
        words = ("get", kind, "--namespace", namespace, "--selector", selector, "--output", "json")
        found: list[Object] = json.loads(self.ask(*words))["items"]
        return found

    def images(self) -> set[str]:
        """Names of images that a node has told of."""
        nodes = json.loads(self.ask("get", "nodes", "--output", "json"))["items"]
        return {name for node in nodes for image in node["status"].get("images", ()) for name in image.get("names", ())}

    def own_address(self) -> str:
        """The address by which pods reach programs of this machine, if they reach it at all."""
        server = self.ask("config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}")
        command = self.command(sys.executable, "-I", "-c", OWN_ADDRESS, server)
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()

    @contextmanager
    def namespace(self, prefix: str) -> Generator[str]:
        """A namespace in which only pods run that are restricted, as Pod Security has it; it is deleted."""
        name = f"{prefix}-{os.urandom(4).hex()}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        about = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self.ask("create", "--filename", "-", given=json.dumps(about))
        try:
            yield name
        finally:
            self.attempt("delete", "namespace", name, "--wait=false")


def lacking(what: str) -> NoReturn:
    """Skip the test; fail it where clusters are required."""
    if "cluster" in os.environ.get("PREFECT_AGENT_REQUIRE", "").split(","):
        pytest.fail(f"cluster: {what}", pytrace=False)
    pytest.skip(f"cluster: {what}")


# --- images ---


def flow_image(cluster: Cluster) -> str:
    """An image with Prefect 1.4.1: the one that is named, the lab's if the node has it, else the public one."""
    given = os.environ.get(f"{VARIABLE}_IMAGE")
    return given or (LAB_IMAGE if LAB_IMAGE in cluster.images() else PUBLIC_IMAGE)


def agent_image() -> str:
    """The image of the agent: the one that is named, else one that is built from this checkout and loaded."""
    given, load = os.environ.get(f"{VARIABLE}_AGENT_IMAGE"), os.environ.get(f"{VARIABLE}_LOAD")
    if given:
        return given
    if not load:
        lacking(
            f"name an image of the agent in {VARIABLE}_AGENT_IMAGE, or in {VARIABLE}_LOAD a command that hands an image"
            " of the Docker engine to the nodes: `COMMAND IMAGE`"
        )
    with _built() as name:
        done = subprocess.run([*shlex.split(load), name], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{load} {name}: {done.stdout}\n{done.stderr}"
    return f"docker.io/library/{name}"


@contextmanager
def _built() -> Generator[str]:
    """Build what Containerfile says and yield a tag of it, which is of this test run alone."""
    try:
        client = docker.from_env(timeout=600)
    except docker.errors.DockerException as problem:
        lacking(f"no Docker engine answers to build the agent's image with: {problem}")
    with closing(client):
        base = {"BASE": LAB_BASE} if client.images.list(name=LAB_BASE) else {}
        try:
            image, _ = client.images.build(path=str(ROOT), dockerfile="Containerfile", buildargs=base, rm=True)
        except docker.errors.BuildError as problem:
            told = "".join(str(line.get("stream", "")) for line in problem.build_log)[-1000:]
            lacking(f"the agent's image cannot be built (run `make wheelhouse` where there is no network): {told}")
        tag = f"prefect-agent-test:{uuid.uuid4().hex[:12]}"
        image.tag(tag)
        try:
            yield tag
        finally:
            client.images.remove(tag, noprune=True)


# --- the embedded Cloud, and the real client, both where pods are reached ---


@contextmanager
def running_cloud(cluster: Cluster, database: Path, key: str) -> Generator[str]:
    """Serve an embedded Cloud to pods; yield its address."""
    words = ("server", "start", "--host", cluster.own_address(), "--port", "0", "--database", str(database))
    command = cluster.command(OWN_PREFECT, *words, "--api-key", key)
    with subprocess.Popen(command, env=cluster.env, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            greeting = server.stdout.readline()
            match = re.search(r"http://\S+:\d+", greeting)
            assert match, greeting
            yield match[0]
        finally:
            server.terminate()
            server.communicate(timeout=30)


@attrs.frozen
class Asker:
    """A program beside the embedded Cloud that hands on what the tests ask."""

    _process: "subprocess.Popen[str]"

    def ask(self, document: str, variables: Mapping[str, Any] | None) -> Object:
        """The data of the answer to a GraphQL request."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"query": document, "variables": variables}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "errors" not in answer, answer
        data: Object = answer["data"]
        return data


@contextmanager
def running_asker(cluster: Cluster, url: str, key: str) -> Generator[Asker]:
    """Start one, and end it."""
    command = cluster.command(sys.executable, "-I", "-c", ASK, url, key)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Asker(process)
        process.communicate(timeout=30)


@attrs.frozen(kw_only=True)
class PrefectInside(RealPrefect):
    """The real client where it reaches the embedded Cloud."""

    cluster: Cluster
    asker: Asker

    def graphql(self, document: str, variables: dict[str, Any] | None = None) -> Object:
        """Ask the embedded Cloud; return the data."""
        return self.asker.ask(document, variables)

    def end_of(self, run_id: str) -> Object:
        """State, message and times of a flow run."""
        fields = "state state_message states { state timestamp }"
        document = f"query($id: uuid!) {{ flow_run_by_pk(id: $id) {{ {fields} }} }}"
        found: Object = self.graphql(document, {"id": run_id})["flow_run_by_pk"]
        return found

    def _done(self, words: list[str], given: str = "") -> "subprocess.CompletedProcess[str]":
        return super()._done(self.cluster.command(*words), given)


def occurs(secret: str, text: str) -> bool:
    """Whether a secret can be read from a text, plainly or as Kubernetes encodes it."""
    return secret in text or base64.b64encode(secret.encode()).decode().rstrip("=") in text
