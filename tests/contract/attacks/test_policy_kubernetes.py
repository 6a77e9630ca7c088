"""Attacks by run configs on a real Kubernetes API server: no Job is made, nothing is read for the author.

Each docstring names the attack and the rule that stops it.
"""

import http.server
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from prefect.agent.adapters.kubernetes import KubernetesPlatform
from prefect.agent.domain.errors import PlatformUnavailable, SubmissionRefused
from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.policy import OPEN, RESTRICTED, Policy, judge
from prefect.agent.domain.model.run_configs import KubernetesRun
from prefect.agent.domain.model.units import Unit, unit_name
from prefect.agent.domain.services.submission import CreateUnit
from support.authors import claimed
from support.kubernetes.api import ApiRefused, Object
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import KubernetesHarness, kubernetes_harness, submission, with_pod
from support.kubernetes.scratch_namespace import NOWHERE

pytestmark = pytest.mark.kubernetes

CANARY = "c4nary"
"""In every line of what an author must not read."""


@attrs.define
class Author:
    """A person who may make flow runs for an agent, and no more."""

    harness: KubernetesHarness
    policy: Policy = RESTRICTED
    deadline: float = 120.0

    def claimed(self, config: KubernetesRun) -> tuple[CreateUnit, FlowRun]:
        """The agent with a claim of a flow run that has this run config."""
        platform = self.harness.platform(template_paths=self.policy.template_paths)
        return claimed(platform, config, self.policy, deadline=self.deadline)

    def starts(self, config: KubernetesRun) -> Unit:
        """The unit of a flow run with this run config."""
        create, run = self.claimed(config)
        return create(run)

    def is_refused(self, **config: Any) -> str:
        """Why there is none, and that there is none."""
        create, run = self.claimed(KubernetesRun(**{"image": "lab/none:1", **config}))
        with pytest.raises(SubmissionRefused) as refusal:
            create(run)
        names = [job["metadata"]["name"] for job in self.harness.scratch.api.list(self.harness.scratch.jobs)]
        assert unit_name(run.id, run.attempt) not in names
        return str(refusal.value)


@pytest.fixture
def harness(control_plane: ControlPlane) -> Iterator[KubernetesHarness]:
    """A new namespace."""
    with kubernetes_harness(control_plane) as harness:
        yield harness


@pytest.fixture
def author(harness: KubernetesHarness) -> Author:
    """Under the policy ``restricted``."""
    return Author(harness)


def flow(**container: Any) -> Object:
    """A template whose first container has this."""
    return with_pod(containers=[container])


@pytest.mark.parametrize(
    ("template", "rule"),
    [
        (with_pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), "host_paths"),
        (with_pod(volumes=[{"name": "v", "hostPath": {"path": "/var/run/docker.sock"}}]), "engine_sockets"),
        (with_pod(hostPID=True), "host_namespaces"),
        (with_pod(hostNetwork=True), "host_namespaces"),
        (flow(securityContext={"privileged": True}), "privileges"),
        (flow(securityContext={"capabilities": {"add": ["SYS_ADMIN"]}}), "capabilities"),
        (with_pod(nodeName="control-plane"), "nodes"),
        (with_pod(serviceAccountName="other"), "service_accounts"),
        (flow(envFrom=[{"secretRef": {"name": "other"}}]), "secrets"),
        (with_pod(volumes=[{"name": "v", "secret": {"secretName": "other"}}]), "secrets"),
        ({"metadata": {"finalizers": ["a.b/never"]}}, "finalizers"),
        ({"metadata": {"ownerReferences": [{"kind": "Deployment", "name": "prefect-agent"}]}}, "owner_references"),
        ({"metadata": {"namespace": "kube-system"}}, "namespaces"),
        (with_pod(priorityClassName="system-node-critical"), "pod_fields"),
        (flow(env=[{"name": "LD_PRELOAD", "value": "/tmp/mine.so"}]), "environment"),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_more_than_the_operator_gives(author: Author, template: Object, rule: str) -> None:
    """Attack: a template of the run's own that asks for the node, for others' rights, or for a Job that never goes."""
    assert f"rule {rule}:" in author.is_refused(job_template=template)


def test_the_agents_own_account(author: Author) -> None:
    """Attack: the pod under the agent's account, which may make Jobs. Rule: agent_account, whatever else is listed."""
    name = author.harness.account.name
    author.policy = Policy.read({"preset": "restricted", "service_accounts": ["**"]})
    for config in ({"service_account_name": name}, {"job_template": with_pod(serviceAccountName=name)}):
        said = author.is_refused(**config)
        assert f"rule agent_account: the agent's own service account {name!r}" in said
        assert "rule service_accounts" not in said


def test_an_agent_that_does_not_know_its_account_says_so(
    control_plane: ControlPlane, fault_proxy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A server older than 1.28: the rule agent_account cannot hold, and the log says what to do."""
    with kubernetes_harness(control_plane, proxy=fault_proxy) as harness:
        words = {"kind": "Status", "apiVersion": "v1", "code": 404, "message": "not found"}
        fault_proxy.answer(404, words, method="POST", path="selfsubjectreviews$")
        author = Author(harness, policy=Policy.read({"preset": "restricted", "service_accounts": ["**"], "nodes": []}))
        with caplog.at_level(logging.WARNING):
            said = author.is_refused(job_template=with_pod(serviceAccountName=harness.account.name, nodeName="n"))
        assert "rule agent_account" not in said
        assert "List accounts one by one under service_accounts" in caplog.text


def test_what_is_listed_starts(author: Author) -> None:
    """No attack: a Secret and an account that the operator listed."""
    author.policy = Policy.read({"preset": "restricted", "secrets": ["mine"], "service_accounts": ["flows"]})
    template = with_pod(
        nodeSelector=NOWHERE, serviceAccountName="flows", containers=[{"envFrom": [{"secretRef": {"name": "mine"}}]}]
    )
    unit = author.starts(KubernetesRun(image="lab/none:1", job_template=template))
    assert author.harness.job(unit.name)["spec"]["template"]["spec"]["serviceAccountName"] == "flows"


# --- templates that the agent reads ---


class Inner(http.server.BaseHTTPRequestHandler):
    """A server that only the agent reaches; it may redirect, and remembers what it was asked for."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Answer."""
        self.asked.append(self.path)
        path, _, target = self.path.partition("?")
        body = f"spec:\n  {CANARY}field: {CANARY}\n".encode()
        self.send_response(302 if path == "/to" else 200)
        if target:
            self.send_header("Location", target)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""


@pytest.fixture
def inner(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its address."""
    monkeypatch.setenv("NO_PROXY", "*")
    Inner.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Inner)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def shadow(tmp_path: Path) -> str:
    """A file of the agent's machine that looks like a Job to YAML."""
    file = tmp_path / "shadow"
    file.write_text(f"root:{CANARY}:0\nspec: {{{CANARY}field: {CANARY}}}\n", encoding="utf-8")
    return str(file)


@pytest.mark.parametrize("policy", [OPEN, RESTRICTED], ids=["open", "restricted"])
def test_a_file_of_the_agents_machine(author: Author, shadow: str, policy: Policy) -> None:
    """Attack: ``job_template_path="/etc/shadow"``, to read it in errors. Rule: template_paths, in every preset.

    A file that is not there gives the same answer.
    """
    author.policy = policy
    for path in (shadow, f"file://{shadow}", "/etc/shadow"):
        said = author.is_refused(job_template_path=path)
        assert "rule template_paths:" in said
        assert CANARY not in said
        assert said.replace(path, "X") == author.is_refused(job_template_path="/nowhere/at/all").replace(
            "/nowhere/at/all", "X"
        )


def test_the_network_of_the_agent(author: Author, inner: str) -> None:
    """Attack: a server that only the agent reaches, on loopback. Rule: template_paths, public addresses only."""
    author.policy = OPEN
    port = inner.partition(":")[2]
    for address in (f"http://{inner}/x", f"http://localhost:{port}/x", f"http://[::1]:{port}/x", "http://127.0.0.1:1/"):
        assert "is not a public one" in author.is_refused(job_template_path=address)
    assert "is not a public one" in author.is_refused(job_template_path="http://169.254.169.254/latest/meta-data")
    assert Inner.asked == []


def test_a_redirect_to_loopback(author: Author, inner: str) -> None:
    """Attack: an address that may be read redirects to one that may not. Rule: template_paths, at each redirect."""
    scratch = f"http://{inner}/to"
    author.policy = OPEN.replacing("template_paths", ["public", scratch])
    said = author.is_refused(job_template_path=f"{scratch}?http://localhost:{inner.partition(':')[2]}/secret")
    assert "is not a public one" in said
    assert [path.partition("?")[0] for path in Inner.asked] == ["/to"]


def test_the_words_of_the_api_server(author: Author, shadow: str, inner: str, caplog: pytest.LogCaptureFixture) -> None:
    """Attack: a file in a listed place that is no Job, whose lines the API server repeats. Rule: no text of a template.

    Unknown fields, values of the wrong kind, values that validation refuses, namespaces and owners.
    """
    author.policy = OPEN.replacing("template_paths", [str(Path(shadow).parent), f"http://{inner}"])
    said = [author.is_refused(job_template_path=path) for path in (shadow, f"http://{inner}/x")]
    for text in (
        f"{CANARY}: 1\n",
        f"{CANARY}: {{1: 2}}\n",
        f"metadata: {{namespace: {CANARY}}}\n",
        f"metadata: {{labels: {{'{CANARY} x': b}}}}\n",
        f"metadata: {{annotations: {{a: [{CANARY}]}}}}\n",
        f"metadata: {{ownerReferences: [{{apiVersion: batch/v1, kind: Job, name: {CANARY}, uid: u}}]}}\n",
        f"spec: {{template: {{spec: {{restartPolicy: {CANARY}}}}}}}\n",
        f"spec: {{template: {{spec: {{containers: [{{image: a, imagePullPolicy: {CANARY}}}]}}}}}}\n",
        f"spec: {{template: {{spec: {{containers: [{{resources: {{limits: {{cpu: {CANARY}}}}}}}]}}}}}}\n",
        f"spec: {{template: {{spec: {{nodeSelector: {{'{CANARY} x': a}}}}}}}}\n",
        f"spec: [{CANARY}]\n",
        f"{CANARY}\n{CANARY}: [\n",
    ):
        Path(shadow).write_text(text, encoding="utf-8")
        said.append(author.is_refused(job_template_path=shadow))
    assert [text for text in said if CANARY in text] == []
    assert CANARY not in caplog.text
    assert "look at spec.template.spec.containers[0].imagePullPolicy" in "".join(said)


def test_the_warnings_of_the_api_server(author: Author, shadow: str, caplog: pytest.LogCaptureFixture) -> None:
    """Attack: the same through a warning, which the agent logs. Rule: no text of a template but of inline ones."""
    author.policy = OPEN.replacing("template_paths", [str(Path(shadow).parent)])
    twice = [{"name": CANARY, "value": "a"}, {"name": CANARY, "value": "b"}]
    template = with_pod(nodeSelector=NOWHERE, containers=[{"env": twice}])
    Path(shadow).write_text(json.dumps(template), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        author.starts(KubernetesRun(image="lab/none:1", job_template_path=shadow))
    assert CANARY not in caplog.text
    assert "Kubernetes warns of a Job: not shown" in caplog.text
    with caplog.at_level(logging.WARNING):
        author.starts(KubernetesRun(image="lab/none:1", job_template=template))
    assert CANARY in caplog.text


def test_the_words_of_a_refusal(author: Author, shadow: str) -> None:
    """Attack: the same through the policy's own sentence. Rule: a fetched template is judged without being quoted."""
    author.policy = RESTRICTED.replacing("template_paths", [str(Path(shadow).parent)])
    Path(shadow).write_text(
        f"spec: {{template: {{spec: {{nodeName: {CANARY}, serviceAccountName: {CANARY}, {CANARY}: 1}}}}}}\n",
        encoding="utf-8",
    )
    said = author.is_refused(job_template_path=shadow)
    assert "rule nodes: the node that its job template names" in said
    assert CANARY not in said


def test_a_template_that_changes_after_it_was_judged(
    author: Author, shadow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: a harmless template for the policy, another one for the Job. Rule: what was judged is what is used."""
    author.policy = RESTRICTED.replacing("template_paths", [str(Path(shadow).parent)])
    harmless = f"spec: {{template: {{spec: {{nodeSelector: {NOWHERE}}}}}}}\n".replace("'", '"')
    Path(shadow).write_text(harmless, encoding="utf-8")
    judged = KubernetesPlatform.demands

    def and_changed(platform: KubernetesPlatform, submission: Any) -> Any:
        found = judged(platform, submission)
        Path(shadow).write_text("spec: {template: {spec: {hostPID: true}}}\n", encoding="utf-8")
        return found

    monkeypatch.setattr(KubernetesPlatform, "demands", and_changed)
    unit = author.starts(KubernetesRun(image="lab/none:1", job_template_path=shadow))
    assert "hostPID" not in author.harness.job(unit.name)["spec"]["template"]["spec"]


def test_an_error_of_the_server_is_retried_without_its_words(
    control_plane: ControlPlane, fault_proxy: Any, shadow: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Attack: the same through errors that pass, which the agent logs. Rule: no text of a template."""
    with kubernetes_harness(control_plane, proxy=fault_proxy) as harness:
        author = Author(harness, policy=OPEN.replacing("template_paths", [str(Path(shadow).parent)]), deadline=0.0)
        Path(shadow).write_text("spec: {}\n", encoding="utf-8")
        words = {"kind": "Status", "apiVersion": "v1", "code": 500, "message": f"webhook says {CANARY}"}
        fault_proxy.answer(500, words, method="POST", path="/jobs$")
        create, run = author.claimed(KubernetesRun(image="lab/none:1", job_template_path=shadow))
        with caplog.at_level(logging.DEBUG), pytest.raises(PlatformUnavailable) as unavailable:
            create(run)
        assert CANARY not in str(unavailable.value) + caplog.text


# --- Kubernetes' own standard ---

APPARMOR = "container.apparmor.security.beta.kubernetes.io"

BREAKS_BASELINE = [
    with_pod(hostPID=True),
    with_pod(hostIPC=True),
    with_pod(hostNetwork=True),
    with_pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
    with_pod(securityContext={"seccompProfile": {"type": "Unconfined"}}),
    with_pod(securityContext={"seLinuxOptions": {"type": "spc_t"}}),
    with_pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
    with_pod(securityContext={"windowsOptions": {"hostProcess": True}}, hostNetwork=True),
    with_pod(securityContext={"appArmorProfile": {"type": "Unconfined"}}),
    flow(securityContext={"privileged": True}),
    flow(securityContext={"capabilities": {"add": ["NET_ADMIN"]}}),
    flow(securityContext={"procMount": "Unmasked"}),
    flow(ports=[{"containerPort": 80, "hostPort": 80}]),
    with_pod(initContainers=[{"name": "i", "image": "a/b:1", "securityContext": {"privileged": True}}]),
    {"spec": {"template": {"metadata": {"annotations": {f"{APPARMOR}/flow": "unconfined"}}}}},
]


@pytest.mark.parametrize("template", BREAKS_BASELINE, ids=lambda value: str(value)[32:110])
def test_what_the_baseline_of_pod_security_forbids(control_plane: ControlPlane, template: Object) -> None:
    """Attack: each control of the Pod Security Standard *baseline*, which the API server itself confirms as broken.

    Rules: the preset restricted refuses each of them, also in a namespace that has no such standard.
    """
    with kubernetes_harness(control_plane, labels={"pod-security.kubernetes.io/enforce": "baseline"}) as harness:
        platform, asking = harness.platform(), submission(template=template, secret_env={})
        pod = platform._body(asking, template, None)["spec"]["template"]
        metadata = {"name": "trial", "annotations": pod["metadata"].get("annotations", {})}
        with pytest.raises(
            ApiRefused, match=r"violates PodSecurity|disallowed by cluster policy|hostProcess|procMount"
        ):
            harness.scratch.api.post(
                f"/api/v1/namespaces/{harness.namespace}/pods?dryRun=All", {"metadata": metadata, "spec": pod["spec"]}
            )
        assert judge(RESTRICTED, platform.demands(asking)) is not None
