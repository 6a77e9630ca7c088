"""What a real Kubernetes API server refuses to make, and what the person who made the flow run is told."""

import re
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from prefect.agent.adapters.kubernetes import manifest
from prefect.agent.adapters.kubernetes.templates import BUILT_IN
from prefect.agent.domain.errors import PlatformForbidden, PlatformUnavailable, SubmissionRefused, UnitNameTaken
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import UnitStatus
from support.kubernetes.api import ApiRefused, Object
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import (
    KubernetesHarness,
    kubernetes_harness,
    merged,
    once_ended,
    seen,
    submission,
    with_pod,
)
from support.kubernetes.kubelet import ProcessKubelet
from support.kubernetes.platform_harness import role
from support.kubernetes.proxy import FaultProxy
from support.kubernetes.scratch_namespace import NOWHERE
from support.kubernetes.scratch_namespace import job as foreign_job
from support.waiting import wait_until

pytestmark = pytest.mark.kubernetes


@pytest.fixture
def harness(control_plane: ControlPlane, fault_proxy: FaultProxy) -> Iterator[KubernetesHarness]:
    """A new namespace, behind a proxy."""
    with kubernetes_harness(control_plane, proxy=fault_proxy) as harness:
        yield harness


def waiting(template: Object | None = None, **changes: Any) -> Submission:
    """One whose pod finds no node."""
    return submission(template=merged(with_pod(nodeSelector=NOWHERE), template or {}), **changes)


def status(code: int, message: str, reason: str = "", **details: object) -> Object:
    """What the API server says when it refuses."""
    words = {"status": "Failure", "message": message, "reason": reason, "code": code, "details": details}
    return {"kind": "Status", "apiVersion": "v1", **words}


class TestRoom:
    """Out of something that comes back."""

    def test_a_quota_of_jobs(self, harness: KubernetesHarness) -> None:
        """The message names the quota; the Job is made when there is room."""
        harness.post(
            "api/v1 resourcequotas", {"metadata": {"name": "one"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
        )
        quota = f"/api/v1/namespaces/{harness.namespace}/resourcequotas/one"
        wait_until(lambda: not has_room(harness), 20, "the quota holds")
        harness.scratch.api.patch(quota, {"spec": {"hard": {"count/jobs.batch": "1"}}})
        wait_until(lambda: has_room(harness), 20, "there is room for one")
        platform, first, second = harness.platform(), waiting(), waiting()
        platform.create(first)

        with pytest.raises(
            PlatformUnavailable, match=r"the namespace's quota has no room.*exceeded quota: one"
        ) as raised:
            platform.create(second)
        assert raised.value.retry_after == 5
        assert platform.unit(second.name) is None
        harness.scratch.api.patch(quota, {"spec": {"hard": {"count/jobs.batch": "2"}}})

        def is_made() -> bool:
            try:
                return platform.create(second).status is UnitStatus.PENDING
            except PlatformUnavailable:
                return False

        wait_until(is_made, 20, "it is made")

    def test_a_conflict_of_the_quota(self, harness: KubernetesHarness, fault_proxy: FaultProxy) -> None:
        """A 409 that is no AlreadyExists: nobody has the name, and the next try makes the Job."""
        message = 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified'
        fault_proxy.answer(409, status(409, message, "Conflict"), method="POST", path="/jobs$")
        platform, made = harness.platform(), waiting()
        with pytest.raises(PlatformUnavailable, match="the object has been modified"):
            platform.create(made)
        assert platform.create(made).status is UnitStatus.PENDING

    def test_a_namespace_on_its_way_out(self, harness: KubernetesHarness) -> None:
        """It may come back under the same name."""
        make_admin(harness)
        namespace = harness.plane.api.new_namespace()  # not the account's own: it would take the account along
        path = f"/api/v1/namespaces/{namespace}"
        holds = {"metadata": {"name": "holds", "finalizers": ["lab.test/hold"]}}
        harness.plane.api.post(f"{path}/configmaps", holds)
        platform = harness.platform(scope={"namespace": namespace}, namespace=namespace)
        harness.plane.api.delete(path)
        try:
            with pytest.raises(PlatformUnavailable, match="because it is being terminated"):
                platform.create(waiting())
        finally:
            harness.plane.api.patch(f"{path}/configmaps/holds", {"metadata": {"finalizers": None}})

    def test_no_such_namespace(self, harness: KubernetesHarness) -> None:
        """The check and each use say how to make it."""
        make_admin(harness)
        platform = harness.platform(scope={"namespace": "nowhere"}, namespace="nowhere")
        words = "the namespace 'nowhere' does not exist.*kubectl create namespace nowhere.*--namespace"
        with pytest.raises(PlatformUnavailable, match=words):
            platform.check()
        with pytest.raises(PlatformUnavailable, match=words):
            platform.create(waiting())


class TestTemplates:
    """Templates that Kubernetes does not take."""

    def test_an_unknown_field(self, harness: KubernetesHarness) -> None:
        """It is named, and nothing is left behind."""
        made = waiting({"spec": {"template": {"spec": {"nodeSelectr": {"a": "b"}}}}})
        with pytest.raises(SubmissionRefused, match=r'unknown field "spec\.template\.spec\.nodeSelectr"'):
            harness.platform().create(made)
        assert harness.scratch.api.list(harness.scratch.jobs) == []
        assert harness.secrets() == []

    def test_a_value_that_makes_no_sense(self, harness: KubernetesHarness) -> None:
        """The field is named."""
        made = submission(template=with_pod(containers=[{"name": "No Name"}]))
        with pytest.raises(SubmissionRefused, match=r"spec\.template\.spec\.containers\[0\]\.name: Invalid value"):
            harness.platform().create(made)

    def test_the_clusters_policy(self, harness: KubernetesHarness) -> None:
        """The field is named, and whose word it is."""
        template = with_pod(containers=[{"name": "flow", "securityContext": {"privileged": True}}])
        with pytest.raises(SubmissionRefused, match=r"securityContext\.privileged: Forbidden: disallowed by cluster"):
            harness.platform().create(submission(template=template))

    def test_two_pods_at_once(self, harness: KubernetesHarness) -> None:
        """A flow run is started once; this is found out here."""
        with pytest.raises(
            SubmissionRefused, match=r"spec\.parallelism must be 1 or absent: a flow run is started once"
        ):
            harness.platform().create(waiting({"spec": {"parallelism": 2}}))

    def test_another_namespace(self, harness: KubernetesHarness) -> None:
        """The template may name one only if the agent is told so."""
        made = waiting({"metadata": {"namespace": "default"}})
        with pytest.raises(SubmissionRefused, match=r"names the namespace 'default'.*--cluster-wide"):
            harness.platform().create(made)

    def test_warnings_are_passed_on(self, harness: KubernetesHarness, caplog: pytest.LogCaptureFixture) -> None:
        """Once each: what Kubernetes thinks of a template that it takes."""
        template = with_pod(nodeSelector=NOWHERE, containers=[{"name": "flow", "env": [{"name": "A"}, {"name": "A"}]}])
        platform = harness.platform()
        platform.create(submission(template=template))
        platform.create(submission(template=template))
        said = [record.getMessage() for record in caplog.records if "warns" in record.getMessage()]
        assert len(said) == 1
        assert "hides previous definition of" in said[0]


class TestPolicies:
    """Admission, by whatever means."""

    def test_an_admission_policy(self, harness: KubernetesHarness) -> None:
        """The policy's own message is in the refusal; nothing is made."""
        base, name = "/apis/admissionregistration.k8s.io/v1", harness.namespace
        rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
        only_here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
        check = {"expression": "'team' in object.metadata.labels", "message": "put a team label on your Jobs"}
        policy = {"matchConstraints": {"resourceRules": [rule]}, "validations": [check]}
        binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": only_here}
        for kind, spec in (("policies", policy), ("policybindings", binding)):
            harness.plane.api.post(f"{base}/validatingadmission{kind}", {"metadata": {"name": name}, "spec": spec})
            harness.stack.callback(harness.plane.api.delete, f"{base}/validatingadmission{kind}/{name}")
        platform, problems = harness.platform(), list[str]()

        def is_refused() -> bool:
            try:
                platform.create(waiting())
            except SubmissionRefused as refused:
                problems.append(str(refused))
            return bool(problems)

        wait_until(is_refused, 30, "the policy holds")

        assert "denied request: put a team label on your Jobs" in problems[0]
        platform.create(waiting({"metadata": {"labels": {"team": "a"}}}))

    @pytest.mark.parametrize(
        ("code", "message", "kind"),
        [
            (403, 'admission webhook "no.test" denied the request: not on Fridays', SubmissionRefused),
            (400, "the server could not understand", SubmissionRefused),
            (413, "Request entity too large: limit is 3145728", SubmissionRefused),
            (500, 'Internal error occurred: failed calling webhook "w.test": deadline exceeded', PlatformUnavailable),
        ],
    )
    def test_answers(
        self, harness: KubernetesHarness, fault_proxy: FaultProxy, code: int, message: str, kind: type[Exception]
    ) -> None:
        """Who says no to the run refuses it; who cannot say at present is asked again. The words are passed on."""
        fault_proxy.answer(code, status(code, message), method="POST", path="/jobs$")
        with pytest.raises(kind, match=re.escape(message)):
            harness.platform().create(waiting())

    @pytest.mark.parametrize(
        ("code", "kind"),
        [(403, PlatformForbidden), (400, PlatformUnavailable), (413, SubmissionRefused), (502, PlatformUnavailable)],
    )
    def test_gateways(
        self, harness: KubernetesHarness, fault_proxy: FaultProxy, code: int, kind: type[Exception]
    ) -> None:
        """What stands before the API server and speaks HTML judges no flow run, but by its size."""
        fault_proxy.answer(code, "<html>no</html>", method="POST", path="/jobs$")
        with pytest.raises(kind, match=f"HTTP {code}"):
            harness.platform().create(waiting())


class TestNames:
    """Names that are taken, and strange ones."""

    @pytest.mark.parametrize("kind", ["not ours", "another run's", "another attempt's"])
    def test_a_foreign_job(self, harness: KubernetesHarness, kind: str) -> None:
        """It keeps its name, and is named with its owner; for the platform there is no such unit unless it is ours."""
        made = waiting()
        harness.scratch.api.post(harness.scratch.jobs, self._foreign(made, kind))
        platform = harness.platform()

        with pytest.raises(UnitNameTaken, match=f"{made.name}.*a Job of .* in {harness.namespace}"):
            platform.create(made)

        assert harness.job(made.name)["metadata"].get("deletionTimestamp") is None
        assert harness.secrets() == []
        if kind == "not ours":
            assert platform.unit(made.name) is None
            assert seen(platform, made.name) is None
            platform.stop(made.name, grace=1)
            platform.remove(made.name)
            assert harness.scratch.api.exists(f"{harness.scratch.jobs}/{made.name}")

    @staticmethod
    def _foreign(made: Submission, kind: str) -> Object:
        if kind == "not ours":
            return foreign_job(made.name)
        change = {"flow_run_id": FlowRunId("other")} if kind == "another run's" else {"attempt": "2"}
        reference = manifest.SecretReference(name="none")
        defaults = manifest.JobDefaults()
        job = manifest.job(attrs.evolve(made, **change), BUILT_IN, from_run=False, defaults=defaults, secret=reference)
        job["metadata"].pop("namespace")
        return job

    def test_a_job_that_is_being_deleted(self, harness: KubernetesHarness) -> None:
        """Not this unit any more, not yet room for another."""
        platform, made = harness.platform(), waiting()
        platform.create(made)
        path = f"{harness.scratch.jobs}/{made.name}"
        harness.scratch.api.patch(path, {"metadata": {"finalizers": ["lab.test/hold"]}})
        harness.scratch.api.delete(path, propagationPolicy="Foreground")
        try:
            with pytest.raises(PlatformUnavailable, match="is being deleted externally"):
                platform.create(made)
        finally:
            harness.scratch.api.patch(path, {"metadata": {"finalizers": None}})

        def is_made() -> bool:
            try:
                return platform.create(made).status is UnitStatus.PENDING
            except PlatformUnavailable:
                return False

        wait_until(is_made, 20, "it is made anew")

    def test_strange_but_possible(self, harness: KubernetesHarness, kubelet: ProcessKubelet) -> None:
        """The longest name, and ids that no label takes: the unit has them as they were."""
        strange = "../Ä 'ö\" $(HOME) " + "x" * 300
        made = submission("exit 2", name="a" * 63, attempt=strange, flow_run_id=FlowRunId(strange), flow_id="/")
        platform = harness.platform()
        first = platform.create(made)
        unit = once_ended(platform, made.name)
        assert (unit.name, unit.flow_run_id, unit.attempt) == ("a" * 63, strange, strange)
        assert str(unit.evidence) == "Error, exit code 2"
        assert platform.create(made).id == first.id
        platform.remove(made.name)
        assert platform.unit(made.name) is None


class TestClusterWide:
    """An agent for all namespaces."""

    def test_a_template_leads_elsewhere(self, harness: KubernetesHarness, kubelet: ProcessKubelet) -> None:
        """The unit is found, stopped and removed where it is; its Secret is there, too."""
        base = "/apis/rbac.authorization.k8s.io/v1"
        about = {"metadata": {"name": harness.namespace}}
        rules = [
            {key: value for key, value in rule.items() if key != "resourceNames"} for rule in role(harness.namespace)
        ]
        subject = {"kind": "ServiceAccount", "name": harness.account.name, "namespace": harness.namespace}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": harness.namespace}
        for path, body in (
            ("clusterroles", {"rules": rules}),
            ("clusterrolebindings", {"roleRef": reference, "subjects": [subject]}),
        ):
            harness.plane.api.post(f"{base}/{path}", {**about, **body})
            harness.stack.callback(harness.plane.api.delete, f"{base}/{path}/{harness.namespace}")
        elsewhere = harness.plane.api.new_namespace()
        harness.stack.callback(harness.plane.api.clear, elsewhere)
        platform = harness.platform(scope={"cluster_wide": True})
        there = {"metadata": {"namespace": elsewhere}}
        made = submission("echo hello; exit 5", template=there)

        def may() -> bool:
            try:
                platform.check()
            except PlatformForbidden:
                return False
            return True

        wait_until(may, 20, "the ClusterRole holds")
        platform.create(made)

        unit = once_ended(platform, made.name)
        assert str(unit.evidence) == "Error, exit code 5"
        assert platform.unit(made.name) == unit
        assert platform.logs_tail(made.name) == "hello"
        assert "container flow" in platform.account(made.name)
        jobs = f"/apis/batch/v1/namespaces/{elsewhere}/jobs"
        assert platform.create(made).id == harness.plane.api.get(f"{jobs}/{made.name}")["metadata"]["uid"]
        platform.remove(made.name)
        assert not harness.plane.api.exists(f"{jobs}/{made.name}")
        assert platform.unit(made.name) is None

        going = submission("exec sleep 600", template=there)
        platform.create(going)
        wait_until(lambda: kubelet.is_executing(going.name), 20, "it executes")
        platform.stop(going.name, grace=2)
        assert not kubelet.is_executing(going.name)


def has_room(harness: KubernetesHarness) -> bool:
    """Whether the quotas would let one more Job in by now; none is made."""
    try:
        harness.scratch.api.post(harness.scratch.jobs, foreign_job("none"), dryRun="All")
    except ApiRefused as refused:
        if "quota" not in str(refused):
            raise
        return False
    return True


def make_admin(harness: KubernetesHarness) -> None:
    """Let the account do everything, in every namespace."""
    bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    harness.plane.api.post(
        bindings,
        {
            "metadata": {"name": harness.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": harness.account.name, "namespace": harness.namespace}],
        },
    )
    harness.stack.callback(harness.plane.api.delete, f"{bindings}/{harness.namespace}")
    wait_until(lambda: _is_admin(harness), 20, "the account is an administrator's")


def _is_admin(harness: KubernetesHarness) -> bool:
    """Whether the account may do everything by now."""
    makes_jobs = {"verb": "create", "group": "batch", "resource": "jobs", "namespace": "nowhere"}
    return harness.plane.api.may(harness.namespace, harness.account.name, makes_jobs)
