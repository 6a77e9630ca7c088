"""What `prefect agent install` prints, given to a real API server: taken to the letter, and no right too many."""

from typing import Any, Final

import attrs
import pytest

from prefect.agent.adapters.kubernetes import permissions
from prefect.agent.adapters.kubernetes.api_server import Cluster
from prefect.agent.adapters.kubernetes.self_check import Lack, missing_permissions
from prefect.agent.adapters.kubernetes.throttle import Throttle
from prefect.agent.domain.model.settings import as_labels
from prefect.agent.entrypoints.install.kubernetes import manifest
from prefect.agent.entrypoints.install.plan import OPTIONAL
from prefect.agent.entrypoints.library.kinds import kubernetes_options
from prefect.agent.entrypoints.settings.configuration import Configuration, labels
from support.kubernetes.api import ApiRefused
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.installing import OFFICIAL, PATHS, PLAIN, apply, deployment, env, kubectl, post
from support.waiting import wait_until

pytestmark = pytest.mark.kubernetes


HARD: Final = ("yes", "y", "1e3", "0x1F", "a: b", "$(NAMESPACE)", "$$", "- é", 'q"uote', "#x", "{}", "~", "null")


def may(plane: ControlPlane, namespace: str, verb: str, rule: dict[str, str]) -> bool:
    """Whether the agent's account may do something."""
    return plane.api.may(namespace, "prefect-agent", {"namespace": namespace, "verb": verb, **rule})


def remove_cluster_role(plane: ControlPlane, namespace: str) -> None:
    """What a namespace does not take with it."""
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        plane.api.delete(f"{PATHS[kind]}/prefect-agent-{namespace}")


def attributes(rule: permissions.Rule, namespace: str) -> dict[str, str]:
    """A rule of the table, as a review has it."""
    resource, _, part = rule.resource.partition("/")
    name = {"name": namespace} if rule.names else {}
    return {"group": rule.group, "resource": resource, **({"subresource": part} if part else {}), **name}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"key": None},
        {"key": None, "existing_secret": ("s", "k")},
        {"key": None, "backend": "server", "api": "http://10.0.0.1:4200"},
        {"without": OPTIONAL},
        {"network_policy": True, "pod_disruption_budget": True},
        {"cluster_wide": True},
        {"labels": HARD, "env": dict.fromkeys(("A", "B"), "x\ny"), "name": "yes", "key": "1e3"},
        {"jobs": {"JOB_CPU_LIMIT": "1", "IMAGE_PULL_POLICY": "Never"}, "pull_secrets": ("a", "b")},
        {"agent_config_id": "0x12", "tenant_id": "0a0a0a0a-0000-4000-8000-000000000000", "drain": 1},
    ],
    ids=lambda changes: "-".join(changes) or "plain",
)
def test_the_api_server_takes_every_document_to_the_letter(
    control_plane: ControlPlane, namespace: str, changes: dict[str, Any]
) -> None:
    """No unknown field, no wrong type, whatever the options."""
    post(control_plane, manifest(attrs.evolve(PLAIN, namespace=namespace, **changes)), dryRun="All")


def test_a_namespace_can_be_made_with_it(control_plane: ControlPlane, namespace: str) -> None:
    """It comes first, so that one `kubectl apply` is enough."""
    name = f"{namespace}-new"
    try:
        apply(control_plane, manifest(attrs.evolve(PLAIN, namespace=name, create_namespace=True)))
        assert deployment(control_plane, name)["metadata"]["name"] == "prefect-agent"
    finally:
        control_plane.api.clear(name)


def test_the_agents_pod_is_admitted_where_pods_are_restricted(control_plane: ControlPlane, namespace: str) -> None:
    """The Pod Security Standard `restricted`, enforced: the Deployment gets its pod."""
    enforce = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}
    control_plane.api.patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": enforce}})
    pods = f"/api/v1/namespaces/{namespace}/pods"

    apply(control_plane, manifest(attrs.evolve(PLAIN, namespace=namespace)))

    wait_until(lambda: bool(control_plane.api.list(pods, labelSelector="app=prefect-agent")), 30, "the agent's pod")
    pod, *_ = control_plane.api.list(pods, labelSelector="app=prefect-agent")  # more if a node has it fail already
    assert pod["spec"]["serviceAccountName"] == "prefect-agent"
    assert any("projected" in volume for volume in pod["spec"]["volumes"])  # its token


@pytest.mark.parametrize("without", [(), ("logs",), ("cancel", "clean-up"), OPTIONAL], ids="-".join)
def test_the_account_may_do_what_its_features_need_and_nothing_else(
    control_plane: ControlPlane, namespace: str, without: tuple[str, ...]
) -> None:
    """Asked of the API server's own authoriser, in this namespace and in another."""
    apply(control_plane, manifest(attrs.evolve(PLAIN, namespace=namespace, without=without)))
    granted = permissions.rules({*OPTIONAL} - {*without})
    asked = {(rule, verb) for rule in permissions.TABLE for verb in rule.verbs}
    rule, verb = granted[-1], granted[-1].verbs[0]
    wait_until(lambda: may(control_plane, namespace, verb, attributes(rule, namespace)), 30, "the Role to hold")

    for rule, verb in asked:
        expected = rule in granted
        assert may(control_plane, namespace, verb, attributes(rule, namespace)) == expected, (rule, verb)
        if not rule.names:
            elsewhere = {**attributes(rule, namespace), "namespace": "default"}
            assert not may(control_plane, namespace, verb, elsewhere), (rule, verb)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"without": ("logs", "events")},
        {"without": OPTIONAL},
        {"cluster_wide": True},
        {"key": None, "existing_secret": ("s", "k")},
        {"key": None, "backend": "server", "api": "http://10.0.0.1:4200"},
        {"key": None, "backend": "server", "api": "http://10.0.0.1:4200", "cluster_wide": True},
    ],
    ids=lambda changes: "-".join(changes) or "plain",
)
def test_the_agent_misses_nothing(control_plane: ControlPlane, namespace: str, changes: dict[str, Any]) -> None:
    """Told what the Deployment tells it, and as its account, it finds every permission that it then needs."""
    install = attrs.evolve(PLAIN, namespace=namespace, **changes)
    try:
        apply(control_plane, manifest(install))
        account = f"/api/v1/namespaces/{namespace}/serviceaccounts/prefect-agent/token"
        token = control_plane.api.post(account, {"spec": {"expirationSeconds": 3600}})["status"]["token"]
        kubeconfig = control_plane.kubeconfig_for_token(token, namespace)
        told = kubernetes_options({name: value for name, value in env(control_plane, namespace).items() if value})
        features = {*permissions.FEATURES} - {*told.get("without", ())}
        features -= {permissions.SECRET} if "api_key_secret" in told else set()
        cluster = Cluster(kubeconfig=str(kubeconfig), context=None, throttle=Throttle(100, 100))
        everywhere = bool(told.get("cluster_wide"))

        def missing() -> list[Lack]:
            return missing_permissions(cluster, namespace, features, everywhere=everywhere)

        wait_until(lambda: not missing(), 30, f"nothing is missing of {sorted(features)}")
        cluster.close()
    finally:
        if install.cluster_wide:
            remove_cluster_role(control_plane, namespace)


@pytest.mark.parametrize(
    ("verb", "resource"), [("get", "secrets"), ("list", "secrets"), ("create", "pods"), ("list", "nodes")]
)
def test_rights_that_an_attacker_would_like(
    control_plane: ControlPlane, namespace: str, verb: str, resource: str
) -> None:
    """Reading Secrets, starting pods that are no Jobs, looking around: not granted even with everything on."""
    apply(control_plane, manifest(attrs.evolve(PLAIN, namespace=namespace)))
    jobs = {"group": "batch", "resource": "jobs"}
    wait_until(lambda: may(control_plane, namespace, "create", jobs), 30, "the Role to hold")

    assert not may(control_plane, namespace, verb, {"group": "", "resource": resource})


def test_the_whole_cluster_only_if_asked(control_plane: ControlPlane, namespace: str) -> None:
    """A ClusterRole gives the same rights in another namespace."""
    jobs = {"group": "batch", "resource": "jobs", "namespace": "default"}
    text = manifest(attrs.evolve(PLAIN, namespace=namespace, cluster_wide=True))
    try:
        apply(control_plane, text)
        wait_until(lambda: may(control_plane, namespace, "create", jobs), 30, "the ClusterRole to hold")
    finally:
        remove_cluster_role(control_plane, namespace)


def test_values_are_the_same_on_the_other_side(control_plane: ControlPlane, namespace: str) -> None:
    """The YAML reader of kubectl is another one than ours; Kubernetes turns ``$$`` into one dollar later."""
    install = attrs.evolve(PLAIN, namespace=namespace, labels=HARD, key="1e3", name="y", jobs={"JOB_CPU_LIMIT": "1"})
    apply(control_plane, manifest(install))
    found = env(control_plane, namespace)
    value = found["PREFECT__CLOUD__AGENT__LABELS"].replace("$$", "$")

    assert labels(Configuration({"PREFECT__CLOUD__AGENT__LABELS": value}, {}), ()) == list(HARD)
    assert (found["PREFECT__CLOUD__AGENT__NAME"], found["JOB_CPU_LIMIT"]) == ("y", "1")
    secret = control_plane.api.get(f"/api/v1/namespaces/{namespace}/secrets/prefect-agent")
    assert secret["data"] == {"api-key": "MWUz"}
    assert as_labels(HARD)  # all of them are labels that `install` takes


def test_it_replaces_the_official_agent(control_plane: ControlPlane, namespace: str) -> None:
    """Same Deployment, same selector: nothing of the old one stays, its key in plain text least of all."""
    if kubectl() is None:
        pytest.skip("kubernetes: there is no kubectl, whose way of merging this is about")
    apply(control_plane, OFFICIAL, "--namespace", namespace)

    apply(control_plane, manifest(attrs.evolve(PLAIN, namespace=namespace)))

    [container] = deployment(control_plane, namespace)["spec"]["template"]["spec"]["containers"]
    assert "command" not in container
    assert "pcu_old" not in str(container)
    assert container["args"] == ["agent", "start", "kubernetes"]


def test_it_can_be_applied_again(control_plane: ControlPlane, namespace: str) -> None:
    """With other options too: no field that may not change is made of them."""
    apply(control_plane, manifest(attrs.evolve(PLAIN, namespace=namespace)))
    if kubectl() is None:
        with pytest.raises(ApiRefused, match="AlreadyExists"):
            apply(control_plane, manifest(attrs.evolve(PLAIN, namespace=namespace)))
        return

    apply(control_plane, manifest(attrs.evolve(PLAIN, namespace=namespace, without=OPTIONAL, labels=("a",), drain=9)))

    assert env(control_plane, namespace)["PREFECT__CLOUD__AGENT__LABELS"] == '["a"]'
