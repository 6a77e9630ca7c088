"""What a run config asks of the cluster, as the policy sees it."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.adapters.kubernetes.demanding import asked_of_the_cluster
from prefect.agent.adapters.kubernetes.templates import BUILT_IN
from prefect.agent.domain.model.demands import Demands
from prefect.agent.domain.model.policy import RESTRICTED, judge
from prefect.agent.domain.model.run_configs import KubernetesRun
from support.kubernetes_jobs import a_job, a_submission, with_flow, with_pod


def seen(
    template: Mapping[str, Any] | None = None,
    config: KubernetesRun | None = None,
    own: Mapping[str, Any] = BUILT_IN,
    **defaults: Any,
) -> Demands:
    """What is seen of a run with this template and run config, where the agent has its own template."""
    submission = a_submission(config)
    wanted = a_job(submission, own if template is None else template, from_run=template is not None, **defaults)
    given = a_job(a_submission(), own, **defaults)
    return asked_of_the_cluster(Demands(), wanted, given, own, account="prefect-agent")


def volume(**kind: Any) -> dict[str, Any]:
    """A template with this volume."""
    return with_pod({"volumes": [{"name": "v", **kind}]})


def context(**security: Any) -> dict[str, Any]:
    """A template whose first container has this security context."""
    return with_flow({"securityContext": security})


def variable(name: str, **source: Any) -> dict[str, Any]:
    """A template with a variable."""
    return with_flow({"env": [{"name": name, "valueFrom": source}]})


@pytest.mark.parametrize(
    ("template", "attribute", "value"),
    [
        (volume(hostPath={"path": "/"}), "host_paths", "/"),
        (volume(hostPath={"path": "//etc/../etc/kubernetes"}), "host_paths", "/etc/kubernetes"),
        (volume(hostPath={"path": "/var/run/docker.sock"}), "engine_sockets", "/run/docker.sock"),
        (volume(hostPath={"path": "/run/containerd"}), "engine_sockets", "/run/containerd"),
        (volume(secret={"secretName": "other"}), "secrets", "other"),
        (volume(projected={"sources": [{"secret": {"name": "other"}}]}), "secrets", "other"),
        (volume(csi={"driver": "d", "nodePublishSecretRef": {"name": "other"}}), "secrets", "other"),
        (volume(csi={"driver": "secrets-store.csi.k8s.io"}), "volumes", "csi/secrets-store.csi.k8s.io"),
        (volume(azureFile={"secretName": "other", "shareName": "s"}), "secrets", "other"),
        (volume(cephfs={"secretRef": {"name": "other"}}), "secrets", "other"),
        (volume(nfs={"server": "s", "path": "/"}), "volumes", "nfs"),
        (volume(kindOfTomorrow={}), "volumes", "kindOfTomorrow"),
        (with_flow({"envFrom": [{"secretRef": {"name": "other"}}]}), "secrets", "other"),
        (variable("A", secretKeyRef={"name": "other", "key": "k"}), "secrets", "other"),
        (variable("LD_PRELOAD"), "environment", "LD_PRELOAD"),
        (with_pod({"initContainers": [{"env": [{"name": "LD_AUDIT"}]}]}), "environment", "LD_AUDIT"),
        (with_pod({"imagePullSecrets": [{"name": "other"}]}), "secrets", "other"),
        (context(privileged=True), "privileges", "privileged"),
        (with_pod({"initContainers": [{"securityContext": {"privileged": True}}]}), "privileges", "privileged"),
        (context(allowPrivilegeEscalation=True), "privileges", "escalation"),
        (context(runAsUser=0), "privileges", "root"),
        (with_pod({"securityContext": {"runAsUser": 0}}), "privileges", "root"),
        (context(windowsOptions={"hostProcess": True}), "privileges", "host-process"),
        (context(capabilities={"add": ["CAP_SYS_ADMIN"]}), "capabilities", "SYS_ADMIN"),
        (context(seccompProfile={"type": "Unconfined"}), "security_options", "seccomp=Unconfined"),
        (context(appArmorProfile={"type": "Unconfined"}), "security_options", "apparmor=Unconfined"),
        (context(seLinuxOptions={"type": "spc_t"}), "security_options", "selinux=spc_t"),
        (context(procMount="Unmasked"), "security_options", "procMount=Unmasked"),
        (with_pod({"securityContext": {"sysctls": [{"name": "kernel.x"}]}}), "security_options", "sysctl=kernel.x"),
        (with_flow({"resources": {"limits": {"nvidia.com/gpu": 1}}}), "devices", "resource/nvidia.com/gpu"),
        (with_flow({"volumeDevices": [{"devicePath": "/dev/x"}]}), "devices", "/dev/x"),
        (with_pod({"hostPID": True}), "host_namespaces", "pid"),
        (with_pod({"hostIPC": True}), "host_namespaces", "ipc"),
        (with_pod({"hostNetwork": True}), "host_namespaces", "network"),
        (with_flow({"ports": [{"containerPort": 1, "hostPort": 22}]}), "networks", "port/22"),
        (with_flow({"livenessProbe": {"httpGet": {"host": "10.0.0.1", "port": 80}}}), "networks", "probe/10.0.0.1"),
        (with_flow({"lifecycle": {"preStop": {"tcpSocket": {"host": "h"}}}}), "networks", "probe/h"),
        ({"metadata": {"namespace": "kube-system"}}, "namespaces", "kube-system"),
        (with_pod({"serviceAccountName": "other"}), "service_accounts", "other"),
        (with_pod({"serviceAccount": "other"}), "service_accounts", "other"),
        (with_pod({"serviceAccountName": "prefect-agent"}), "agent_account", "prefect-agent"),
        ({"metadata": {"ownerReferences": [{"kind": "Node", "name": "n"}]}}, "owner_references", "Node/n"),
        ({"metadata": {"finalizers": ["a/b"]}}, "finalizers", "a/b"),
        ({"spec": {"template": {"metadata": {"finalizers": ["a/b"]}}}}, "finalizers", "a/b"),
        (with_pod({"nodeName": "control-plane"}), "nodes", "control-plane"),
        (with_pod({"tolerations": [{"operator": "Exists"}]}), "pod_fields", "tolerations"),
        (with_pod({"priorityClassName": "system-node-critical"}), "pod_fields", "priorityClassName"),
        (with_pod({"fieldOfTomorrow": 1}), "pod_fields", "fieldOfTomorrow"),
        (with_flow({"fieldOfTomorrow": 1}), "pod_fields", "containers.fieldOfTomorrow"),
        ({"spec": {"managedBy": "a/b"}}, "pod_fields", "job.managedBy"),
    ],
)  # fmt: skip
def test_what_reaches_out_of_the_pod_is_seen_and_refused(template: dict[str, Any], attribute: str, value: str) -> None:
    """Wherever in the template it stands, and by the preset restricted."""
    found = seen(template)
    assert value in getattr(found, attribute)
    said = judge(RESTRICTED, found)
    assert said is not None
    assert f"rule {attribute}" in said


@pytest.mark.parametrize(
    "template",
    [
        {},
        with_flow({"resources": {"limits": {"cpu": 1, "memory": "1Gi", "hugepages-2Mi": "2Mi"}}, "workingDir": "/a"}),
        with_pod({"nodeSelector": {"a": "b"}, "initContainers": [{"image": "a/b:1"}]}),
        volume(emptyDir={}),
        volume(projected={"sources": [{"serviceAccountToken": {}}, {"configMap": {"name": "c"}}]}),
        volume(persistentVolumeClaim={"claimName": "data"}),
        with_flow({"envFrom": [{"configMapRef": {"name": "c"}}]}),
        {"metadata": {"labels": {"a": "b"}}, "spec": {"backoffLimit": 0, "activeDeadlineSeconds": 60}},
        with_pod({"volumes": None, "hostPID": False}),
    ],
)
def test_what_stays_inside_is_allowed(template: dict[str, Any]) -> None:
    """By the preset restricted."""
    assert judge(RESTRICTED, seen(template)) is None


def test_images_of_all_containers_are_seen() -> None:
    """All but those of the operator's own template."""
    pod = {"initContainers": [{"image": "evil/init"}], "containers": [{"image": "ignored"}, {"image": "team/side:1"}]}
    own = with_pod({"containers": [{"name": "flow"}, {"name": "side", "image": "team/side:1"}]})
    assert seen(with_pod(pod), own=own).images == {
        "docker.io/evil/init:latest",
        "docker.io/library/image:latest",
    }
    assert seen(volume(image={"reference": "evil/files"})).images >= {"docker.io/evil/files:latest"}
    assert seen(config=KubernetesRun(image_pull_policy="Never")).image_sources == {"local"}


def test_fields_of_the_run_config_are_seen() -> None:
    """Without any template of its own."""
    found = seen(config=KubernetesRun(service_account_name="other", image_pull_secrets=("login",)))
    assert (found.service_accounts, found.secrets) == (frozenset({"other"}), frozenset({"login"}))
    found = seen(config=KubernetesRun(service_account_name="flows"), service_account_name="flows")
    assert found.service_accounts == frozenset()


def test_what_the_operator_gives_is_not_judged() -> None:
    """All of the agent's own template and options, however much that is."""
    own = with_pod({"hostPID": True, "serviceAccountName": "prefect-agent", "priorityClassName": "high",
                    "volumes": [{"name": "v", "hostPath": {"path": "/"}}]})  # fmt: skip
    assert judge(RESTRICTED, seen(own=own)) is None
    assert judge(RESTRICTED, seen(config=KubernetesRun(cpu_limit="1"), own=own)) is None


@pytest.mark.parametrize(
    ("own", "template", "lost"),
    [
        ({"runtimeClassName": "gvisor"}, {}, {"without/runtimeClassName"}),
        ({"nodeSelector": {"pool": "flows"}}, {"nodeSelector": {"pool": "other"}}, {"without/nodeSelector"}),
        ({"automountServiceAccountToken": False}, {}, {"without/automountServiceAccountToken"}),
        ({"serviceAccountName": "flows"}, {}, {"without/serviceAccountName"}),
        ({"securityContext": {"runAsUser": 2000}}, {}, {"without/securityContext"}),
        (
            {"containers": [{"name": "flow", "securityContext": {"readOnlyRootFilesystem": True}}]},
            {},
            {"without/containers.securityContext"},
        ),
        ({"runtimeClassName": "gvisor"}, {"runtimeClassName": "gvisor"}, set()),
        ({}, {"securityContext": {"fsGroup": 5}}, set()),
    ],
)
def test_a_template_of_the_runs_own_keeps_the_guards(
    own: dict[str, Any], template: dict[str, Any], lost: set[str]
) -> None:
    """What confines pods in the agent's template is not left out by writing another template."""
    found = {name for name in seen(with_pod(template), own=with_pod(own)).pod_fields if name.startswith("without/")}
    assert found == lost


WORDS = [
    "name", "hostPath", "path", "secret", "secretName", "projected", "sources",
    "csi", "driver", "image", "securityContext", "runAsUser", "procMount", "capabilities",
    "add", "seccompProfile", "type", "resources", "limits", "ports", "hostPort",
    "env", "envFrom", "valueFrom", "secretKeyRef", "finalizers", "ownerReferences", "annotations",
    "sysctls",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 1) | st.sampled_from(["/", "x", ""]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(WORDS), below, max_size=4),
    max_leaves=15,
)


@given(
    st.dictionaries(
        st.sampled_from(["containers", "initContainers", "volumes", "securityContext", "hostPID", "nodeName"]), JSON
    ),
    JSON,
)
def test_nothing_that_json_can_say_breaks_it(pod: dict[str, Any], metadata: object) -> None:
    """The API server refuses what is of the wrong kind; reading it must not fail."""
    job = {"metadata": metadata, "spec": {"template": {"metadata": metadata, "spec": pod}}}
    assert judge(RESTRICTED, asked_of_the_cluster(Demands(), job, {}, {}, account="")) != ""


HELPER: dict[str, Any] = {
    "name": "helper",
    "image": "operator/helper:1",
    "securityContext": {"privileged": True, "runAsUser": 0, "capabilities": {"add": ["NET_ADMIN"]}},
    "volumeMounts": [{"name": "logs", "mountPath": "/logs"}],
    "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "helper", "key": "password"}}}],
    "ports": [{"containerPort": 1, "hostPort": 9000}],
}
"""A container of the operator's template that has more rights than flows."""

FLOW: dict[str, Any] = {
    "name": "flow",
    "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": True, "subPath": "public"}],
    "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "shared", "key": "one"}}}],
}
VOLUMES: list[dict[str, Any]] = [
    {"name": "logs", "hostPath": {"path": "/var/log"}},
    {"name": "data", "hostPath": {"path": "/srv/data"}},
]


def of_the_operator(*containers: dict[str, Any], flow: dict[str, Any] = FLOW) -> dict[str, Any]:
    """A pod of the operator's with its volumes, a flow and a helper, and *containers* besides."""
    return with_pod({"initContainers": [HELPER], "containers": [flow, *containers], "volumes": VOLUMES})


def test_what_the_operator_wrote_may_be_repeated() -> None:
    """A template of the run's own that is the agent's, with a harmless container more."""
    more = {"name": "mine", "image": "a/b:1", "volumeMounts": FLOW["volumeMounts"], "env": FLOW["env"]}
    assert judge(RESTRICTED, seen(of_the_operator(more), own=of_the_operator())) is None
    assert judge(RESTRICTED, seen(None, KubernetesRun(image="a/b:2"), own=of_the_operator())) is None


@pytest.mark.parametrize(
    ("changes", "attribute", "value"),
    [
        ({"securityContext": {"privileged": True}}, "privileges", "privileged"),
        ({"securityContext": {"runAsUser": 0}}, "privileges", "root"),
        ({"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}, "capabilities", "NET_ADMIN"),
        ({"volumeMounts": [{"name": "logs", "mountPath": "/x"}]}, "host_paths", "/var/log"),
        ({"volumeMounts": [{"name": "data", "mountPath": "/x", "subPath": "public"}]}, "host_paths", "/srv/data"),
        ({"volumeMounts": [{"name": "data", "mountPath": "/x", "readOnly": True}]}, "host_paths", "/srv/data"),
        ({"env": HELPER["env"]}, "secrets", "helper"),
        ({"env": [{"name": "B", "valueFrom": {"secretKeyRef": {"name": "shared", "key": "2"}}}]}, "secrets", "shared"),
        ({"envFrom": [{"secretRef": {"name": "shared"}}]}, "secrets", "shared"),
        ({"ports": HELPER["ports"]}, "networks", "port/9000"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["flow", "container", "helper"])
def test_what_a_helper_of_the_operator_has_is_not_the_authors(
    place: str, changes: dict[str, Any], attribute: str, value: str
) -> None:
    """Neither in the flow's container, nor in one more, nor in one with the helper's name."""
    own = of_the_operator()
    if place == "flow":
        template = of_the_operator(flow={**FLOW, **changes})
    else:
        name = "mine" if place == "container" else "helper"
        template = of_the_operator({"name": name, "image": "a/b:1", **changes})
        if place == "helper":
            del template["spec"]["template"]["spec"]["initContainers"]

    found = seen(template, own=own)

    assert value in getattr(found, attribute)
    assert judge(RESTRICTED, found) is not None


def test_another_volume_of_the_same_path_is_the_authors() -> None:
    """It is not mounted as the operator's is: neither read only nor in part."""
    own = of_the_operator()
    template = of_the_operator({"name": "mine", "image": "a/b:1", "volumeMounts": [{"name": "x", "mountPath": "/x"}]})
    pod = template["spec"]["template"]["spec"]
    pod["volumes"] = [*VOLUMES, {"name": "x", "hostPath": {"path": "/srv/data"}}]
    assert seen(template, own=own).host_paths == {"/srv/data"}


def test_a_container_more_has_the_guard_of_the_operators() -> None:
    """Where the agent's template confines the flow's container, one beside it without that is a way around."""
    guard = {"runAsNonRoot": True, "readOnlyRootFilesystem": True}
    own = with_flow({"name": "flow", "securityContext": guard})
    more = {"name": "mine", "image": "a/b:1"}
    for context, is_refused in ((guard, False), ({}, True)):
        flow = {"name": "flow", "securityContext": guard}
        template = with_pod({"containers": [{**more, "securityContext": context}, flow]})
        assert ("without/containers.securityContext" in seen(template, own=own).pod_fields) is is_refused
