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
from support.kubernetes.kubelet import ProcessKubelet
from support.kubernetes.lab import Lab, laboratory, merged, once_ended, seen, submission, with_pod
from support.kubernetes.place import NOWHERE
from support.kubernetes.place import job as foreign_job
from support.kubernetes.proxy import FaultProxy
from support.kubernetes.world import role
from support.waiting import wait_until

pytestmark = pytest.mark.kubernetes


@pytest.fixture
def lab(control_plane: ControlPlane, fault_proxy: FaultProxy) -> Iterator[Lab]:
    """A new namespace, behind a proxy."""
    with laboratory(control_plane, proxy=fault_proxy) as lab:
        yield lab


def waiting(template: Object | None = None, **changes: Any) -> Submission:
    """One whose pod finds no node."""
    return submission(template=merged(with_pod(nodeSelector=NOWHERE), template or {}), **changes)


def status(code: int, message: str, reason: str = "", **details: object) -> Object:
    """What the API server says when it refuses."""
    words = {"status": "Failure", "message": message, "reason": reason, "code": code, "details": details}
    return {"kind": "Status", "apiVersion": "v1", **words}


class TestRoom:
    """Out of something that comes back."""

    def test_a_quota_of_jobs(self, lab: Lab) -> None:
        """The message names the quota; the Job is made when there is room."""
        lab.post("api/v1 resourcequotas", {"metadata": {"name": "one"}, "spec": {"hard": {"count/jobs.batch": "0"}}})
        quota = f"/api/v1/namespaces/{lab.namespace}/resourcequotas/one"
        wait_until(lambda: not has_room(lab), 20, "the quota holds")
        lab.place.api.patch(quota, {"spec": {"hard": {"count/jobs.batch": "1"}}})
        wait_until(lambda: has_room(lab), 20, "there is room for one")
        platform, first, second = lab.platform(), waiting(), waiting()
        platform.create(first)

        with pytest.raises(
            PlatformUnavailable, match=r"the namespace's quota has no room.*exceeded quota: one"
        ) as raised:
            platform.create(second)
        assert raised.value.retry_after == 5
        assert platform.unit(second.name) is None
        lab.place.api.patch(quota, {"spec": {"hard": {"count/jobs.batch": "2"}}})

        def is_made() -> bool:
            try:
                return platform.create(second).status is UnitStatus.PENDING
            except PlatformUnavailable:
                return False

        wait_until(is_made, 20, "it is made")

    def test_a_conflict_of_the_quota(self, lab: Lab, fault_proxy: FaultProxy) -> None:
        """A 409 that is no AlreadyExists: nobody has the name, and the next try makes the Job."""
        message = 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified'
        fault_proxy.answer(409, status(409, message, "Conflict"), method="POST", path="/jobs$")
        platform, made = lab.platform(), waiting()
        with pytest.raises(PlatformUnavailable, match="the object has been modified"):
            platform.create(made)
        assert platform.create(made).status is UnitStatus.PENDING

    def test_a_namespace_on_its_way_out(self, lab: Lab) -> None:
        """It may come back under the same name."""
        make_admin(lab)
        namespace = lab.plane.api.new_namespace()  # not the account's own: it would take the account along
        path = f"/api/v1/namespaces/{namespace}"
        holds = {"metadata": {"name": "holds", "finalizers": ["lab.test/hold"]}}
        lab.plane.api.post(f"{path}/configmaps", holds)
        platform = lab.platform(scope={"namespace": namespace}, namespace=namespace)
        lab.plane.api.delete(path)
        try:
            with pytest.raises(PlatformUnavailable, match="because it is being terminated"):
                platform.create(waiting())
        finally:
            lab.plane.api.patch(f"{path}/configmaps/holds", {"metadata": {"finalizers": None}})

    def test_no_such_namespace(self, lab: Lab) -> None:
        """The check and each use say how to make it."""
        make_admin(lab)
        platform = lab.platform(scope={"namespace": "nowhere"}, namespace="nowhere")
        words = "the namespace 'nowhere' does not exist.*kubectl create namespace nowhere.*--namespace"
        with pytest.raises(PlatformUnavailable, match=words):
            platform.check()
        with pytest.raises(PlatformUnavailable, match=words):
            platform.create(waiting())


class TestTemplates:
    """Templates that Kubernetes does not take."""

    def test_an_unknown_field(self, lab: Lab) -> None:
        """It is named, and nothing is left behind."""
        made = waiting({"spec": {"template": {"spec": {"nodeSelectr": {"a": "b"}}}}})
        with pytest.raises(SubmissionRefused, match=r'unknown field "spec\.template\.spec\.nodeSelectr"'):
            lab.platform().create(made)
        assert lab.place.api.list(lab.place.jobs) == []
        assert lab.secrets() == []

    def test_a_value_that_makes_no_sense(self, lab: Lab) -> None:
        """The field is named."""
        made = submission(template=with_pod(containers=[{"name": "No Name"}]))
        with pytest.raises(SubmissionRefused, match=r"spec\.template\.spec\.containers\[0\]\.name: Invalid value"):
            lab.platform().create(made)

    def test_the_clusters_policy(self, lab: Lab) -> None:
        """The field is named, and whose word it is."""
        template = with_pod(containers=[{"name": "flow", "securityContext": {"privileged": True}}])
        with pytest.raises(SubmissionRefused, match=r"securityContext\.privileged: Forbidden: disallowed by cluster"):
            lab.platform().create(submission(template=template))

    def test_two_pods_at_once(self, lab: Lab) -> None:
        """A flow run is started once; this is found out here."""
        with pytest.raises(
            SubmissionRefused, match=r"spec\.parallelism must be 1 or absent: a flow run is started once"
        ):
            lab.platform().create(waiting({"spec": {"parallelism": 2}}))

    def test_another_namespace(self, lab: Lab) -> None:
        """The template may name one only if the agent is told so."""
        made = waiting({"metadata": {"namespace": "default"}})
        with pytest.raises(SubmissionRefused, match=r"names the namespace 'default'.*--cluster-wide"):
            lab.platform().create(made)

    def test_warnings_are_passed_on(self, lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
        """Once each: what Kubernetes thinks of a template that it takes."""
        template = with_pod(nodeSelector=NOWHERE, containers=[{"name": "flow", "env": [{"name": "A"}, {"name": "A"}]}])
        platform = lab.platform()
        platform.create(submission(template=template))
        platform.create(submission(template=template))
        said = [record.getMessage() for record in caplog.records if "warns" in record.getMessage()]
        assert len(said) == 1
        assert "hides previous definition of" in said[0]


class TestPolicies:
    """Admission, by whatever means."""

    def test_an_admission_policy(self, lab: Lab) -> None:
        """The policy's own message is in the refusal; nothing is made."""
        base, name = "/apis/admissionregistration.k8s.io/v1", lab.namespace
        rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
        only_here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
        check = {"expression": "'team' in object.metadata.labels", "message": "put a team label on your Jobs"}
        policy = {"matchConstraints": {"resourceRules": [rule]}, "validations": [check]}
        binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": only_here}
        for kind, spec in (("policies", policy), ("policybindings", binding)):
            lab.plane.api.post(f"{base}/validatingadmission{kind}", {"metadata": {"name": name}, "spec": spec})
            lab.stack.callback(lab.plane.api.delete, f"{base}/validatingadmission{kind}/{name}")
        platform, problems = lab.platform(), list[str]()

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
    def test_answers(self, lab: Lab, fault_proxy: FaultProxy, code: int, message: str, kind: type[Exception]) -> None:
        """Who says no to the run refuses it; who cannot say at present is asked again. The words are passed on."""
        fault_proxy.answer(code, status(code, message), method="POST", path="/jobs$")
        with pytest.raises(kind, match=re.escape(message)):
            lab.platform().create(waiting())

    @pytest.mark.parametrize(
        ("code", "kind"),
        [(403, PlatformForbidden), (400, PlatformUnavailable), (413, SubmissionRefused), (502, PlatformUnavailable)],
    )
    def test_gateways(self, lab: Lab, fault_proxy: FaultProxy, code: int, kind: type[Exception]) -> None:
        """What stands before the API server and speaks HTML judges no flow run, but by its size."""
        fault_proxy.answer(code, "<html>no</html>", method="POST", path="/jobs$")
        with pytest.raises(kind, match=f"HTTP {code}"):
            lab.platform().create(waiting())


class TestNames:
    """Names that are taken, and strange ones."""

    @pytest.mark.parametrize("kind", ["not ours", "another run's", "another attempt's"])
    def test_a_foreign_job(self, lab: Lab, kind: str) -> None:
        """It keeps its name, and is named with its owner; for the platform there is no such unit unless it is ours."""
        made = waiting()
        lab.place.api.post(lab.place.jobs, self._foreign(made, kind))
        platform = lab.platform()

        with pytest.raises(UnitNameTaken, match=f"{made.name}.*a Job of .* in {lab.namespace}"):
            platform.create(made)

        assert lab.job(made.name)["metadata"].get("deletionTimestamp") is None
        assert lab.secrets() == []
        if kind == "not ours":
            assert platform.unit(made.name) is None
            assert seen(platform, made.name) is None
            platform.stop(made.name, grace=1)
            platform.remove(made.name)
            assert lab.place.api.exists(f"{lab.place.jobs}/{made.name}")

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

    def test_a_job_that_is_being_deleted(self, lab: Lab) -> None:
        """Not this unit any more, not yet room for another."""
        platform, made = lab.platform(), waiting()
        platform.create(made)
        path = f"{lab.place.jobs}/{made.name}"
        lab.place.api.patch(path, {"metadata": {"finalizers": ["lab.test/hold"]}})
        lab.place.api.delete(path, propagationPolicy="Foreground")
        try:
            with pytest.raises(PlatformUnavailable, match="is being deleted externally"):
                platform.create(made)
        finally:
            lab.place.api.patch(path, {"metadata": {"finalizers": None}})

        def is_made() -> bool:
            try:
                return platform.create(made).status is UnitStatus.PENDING
            except PlatformUnavailable:
                return False

        wait_until(is_made, 20, "it is made anew")

    def test_strange_but_possible(self, lab: Lab, kubelet: ProcessKubelet) -> None:
        """The longest name, and ids that no label takes: the unit has them as they were."""
        strange = "../Ä 'ö\" $(HOME) " + "x" * 300
        made = submission("exit 2", name="a" * 63, attempt=strange, flow_run_id=FlowRunId(strange), flow_id="/")
        platform = lab.platform()
        first = platform.create(made)
        unit = once_ended(platform, made.name)
        assert (unit.name, unit.flow_run_id, unit.attempt) == ("a" * 63, strange, strange)
        assert str(unit.evidence) == "Error, exit code 2"
        assert platform.create(made).id == first.id
        platform.remove(made.name)
        assert platform.unit(made.name) is None


class TestClusterWide:
    """An agent for all namespaces."""

    def test_a_template_leads_elsewhere(self, lab: Lab, kubelet: ProcessKubelet) -> None:
        """The unit is found, stopped and removed where it is; its Secret is there, too."""
        base = "/apis/rbac.authorization.k8s.io/v1"
        about = {"metadata": {"name": lab.namespace}}
        rules = [{key: value for key, value in rule.items() if key != "resourceNames"} for rule in role(lab.namespace)]
        subject = {"kind": "ServiceAccount", "name": lab.account.name, "namespace": lab.namespace}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": lab.namespace}
        for path, body in (
            ("clusterroles", {"rules": rules}),
            ("clusterrolebindings", {"roleRef": reference, "subjects": [subject]}),
        ):
            lab.plane.api.post(f"{base}/{path}", {**about, **body})
            lab.stack.callback(lab.plane.api.delete, f"{base}/{path}/{lab.namespace}")
        elsewhere = lab.plane.api.new_namespace()
        lab.stack.callback(lab.plane.api.delete, f"/api/v1/namespaces/{elsewhere}")
        platform = lab.platform(scope={"cluster_wide": True})
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
        assert platform.logs_tail(made.name) == "hello\n"
        assert "container flow" in platform.account(made.name)
        jobs = f"/apis/batch/v1/namespaces/{elsewhere}/jobs"
        assert platform.create(made).id == lab.plane.api.get(f"{jobs}/{made.name}")["metadata"]["uid"]
        platform.remove(made.name)
        assert not lab.plane.api.exists(f"{jobs}/{made.name}")
        assert platform.unit(made.name) is None

        going = submission("exec sleep 600", template=there)
        platform.create(going)
        wait_until(lambda: kubelet.is_executing(going.name), 20, "it executes")
        platform.stop(going.name, grace=2)
        assert not kubelet.is_executing(going.name)


def has_room(lab: Lab) -> bool:
    """Whether the quotas would let one more Job in by now; none is made."""
    try:
        lab.place.api.post(lab.place.jobs, foreign_job("none"), dryRun="All")
    except ApiRefused as refused:
        if "quota" not in str(refused):
            raise
        return False
    return True


def make_admin(lab: Lab) -> None:
    """Let the account do everything, in every namespace."""
    bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    lab.plane.api.post(
        bindings,
        {
            "metadata": {"name": lab.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": lab.account.name, "namespace": lab.namespace}],
        },
    )
    lab.stack.callback(lab.plane.api.delete, f"{bindings}/{lab.namespace}")
    wait_until(lambda: _is_admin(lab), 20, "the account is an administrator's")


def _is_admin(lab: Lab) -> bool:
    """Whether the account may do everything by now."""
    makes_jobs = {"verb": "create", "group": "batch", "resource": "jobs", "namespace": "nowhere"}
    return lab.plane.api.may(lab.namespace, lab.account.name, makes_jobs)
