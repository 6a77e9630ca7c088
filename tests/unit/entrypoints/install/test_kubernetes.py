"""The Kubernetes documents of ``prefect agent install``: what is in them, and that no value changes on its way."""

import re
from typing import Any

import attrs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.adapters.kubernetes import permissions
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.install.kubernetes import manifest
from prefect.agent.entrypoints.install.plan import OPTIONAL, PLACEHOLDER, Install
from prefect.agent.entrypoints.runtime.loops import LAST_REPORTS
from prefect.agent.entrypoints.settings.configuration import Configuration, env_vars, labels

KEY = "pcu_a-key-that-is-in-one-place"
PLAIN = Install(image="prefect-agent:1", key=KEY, namespace="metrics")
EVERYTHING = attrs.evolve(PLAIN, create_namespace=True, network_policy=True, pod_disruption_budget=True)

Documents = dict[str, dict[str, Any]]


def documents(install: Install) -> Documents:
    """By kind."""
    return {document["kind"]: document for document in yaml.safe_load_all(manifest(install))}


def pod_of(install: Install) -> dict[str, Any]:
    """The agent's pod."""
    found: dict[str, Any] = documents(install)["Deployment"]["spec"]["template"]["spec"]
    return found


def container(install: Install) -> dict[str, Any]:
    """The agent's."""
    found: list[dict[str, Any]] = pod_of(install)["containers"]
    assert len(found) == 1
    return found[0]


def env(install: Install) -> dict[str, Any]:
    """The agent's variables: value, or where it comes from."""
    return {entry["name"]: entry.get("valueFrom") or entry["value"] for entry in container(install)["env"]}


def expanded(text: str) -> str:
    """What Kubernetes makes of a value when no variable of it is set (third_party/forked/golang/expansion)."""
    return re.sub(r"\$\$|\$\(([^)]*)\)", lambda found: "$" if found[0] == "$$" else found[0], text)


# --- which documents ---


def test_documents_are_in_the_order_in_which_they_can_be_applied() -> None:
    """A namespace before what is in it, an account before what it is bound to."""
    kinds = [document["kind"] for document in yaml.safe_load_all(manifest(EVERYTHING))]

    assert kinds == [
        "Namespace", "ServiceAccount", "Secret", "Role", "RoleBinding", "Deployment", "NetworkPolicy",
        "PodDisruptionBudget",
    ]  # fmt: skip


def test_nothing_is_printed_that_was_not_asked_for() -> None:
    """Options add documents; without them there are the five that every agent needs."""
    assert list(documents(PLAIN)) == ["ServiceAccount", "Secret", "Role", "RoleBinding", "Deployment"]


def test_every_document_says_what_it_is() -> None:
    """In a comment under its separator."""
    parts = manifest(EVERYTHING).split("---\n")

    assert parts[0] == ""
    assert all(re.match(r"# [A-Z].*\.\n[a-z]", part) for part in parts[1:])


def test_every_document_has_its_namespace_and_labels() -> None:
    """So that `kubectl delete` by label or namespace finds all of them."""
    for kind, document in documents(EVERYTHING).items():
        about = document["metadata"]
        assert about["labels"]["app"] == "prefect-agent"
        assert about["labels"]["app.kubernetes.io/name"] == "prefect-agent"
        assert kind == "Namespace" or about["namespace"] == "metrics"


def test_the_selector_is_that_of_the_official_manifest() -> None:
    """A selector cannot be changed: with the same one, applying this replaces an official Deployment."""
    spec = documents(PLAIN)["Deployment"]["spec"]

    assert spec["selector"]["matchLabels"] == {"app": "prefect-agent"}
    assert spec["template"]["metadata"]["labels"]["app"] == "prefect-agent"


# --- the key ---


def test_the_key_is_in_the_secret_and_nowhere_else() -> None:
    """The Deployment refers to it, and so do the Jobs (P5)."""
    text = manifest(PLAIN)

    assert text.count(KEY) == 1
    assert documents(PLAIN)["Secret"]["stringData"] == {"api-key": KEY}
    assert env(PLAIN)["PREFECT__CLOUD__API_KEY"] == {"secretKeyRef": {"name": "prefect-agent", "key": "api-key"}}
    assert env(PLAIN)["PREFECT_AGENT_API_KEY_SECRET"] == "prefect-agent/api-key"


def test_the_key_is_not_in_the_repr() -> None:
    """Neither in a traceback."""
    assert KEY not in repr(PLAIN)


def test_without_a_key_there_is_a_placeholder() -> None:
    """The Secret is complete but for its value, so that everything else can be applied."""
    install = attrs.evolve(PLAIN, key=None)

    assert install.needs_key
    assert documents(install)["Secret"]["stringData"] == {"api-key": PLACEHOLDER}


def test_a_secret_that_exists_is_referred_to() -> None:
    """And none is printed that would overwrite it."""
    install = attrs.evolve(PLAIN, key=None, existing_secret=("keys", "prod"))

    assert "Secret" not in documents(install)
    assert not install.needs_key
    assert env(install)["PREFECT__CLOUD__API_KEY"] == {"secretKeyRef": {"name": "keys", "key": "prod"}}
    assert env(install)["PREFECT_AGENT_API_KEY_SECRET"] == "keys/prod"


def test_a_server_without_keys_needs_no_secret() -> None:
    """No placeholder that would be sent as a key."""
    install = attrs.evolve(PLAIN, key=None, backend="server", api="http://server:4200")

    assert "Secret" not in documents(install)
    assert not env(install).keys() & {"PREFECT__CLOUD__API_KEY", "PREFECT_AGENT_API_KEY_SECRET"}
    assert env(install)["PREFECT_AGENT_WITHOUT"] == "secret"


# --- rights ---


@pytest.mark.parametrize("without", [(), ("logs",), ("events", "clean-up"), OPTIONAL])
def test_the_role_has_the_rules_of_the_features_that_are_on(without: tuple[str, ...]) -> None:
    """Neither more nor less, from the one table; what is left out is off in the agent too."""
    install = attrs.evolve(PLAIN, without=without)
    expected = permissions.rules({*OPTIONAL} - {*without})
    found = documents(install)["Role"]["rules"]

    assert [(rule["apiGroups"], rule["resources"], rule["verbs"]) for rule in found] == [
        ([rule.group], [rule.resource], list(rule.verbs)) for rule in expected
    ]
    assert env(install).get("PREFECT_AGENT_WITHOUT", "") == ",".join(without)


def test_every_rule_says_why() -> None:
    """Above it, for the person who grants it."""
    lines = manifest(PLAIN).splitlines()
    why = [lines[number - 1] for number, line in enumerate(lines) if line.startswith("- apiGroups:")]

    assert why == [f"# {rule.why}" for rule in permissions.rules(OPTIONAL)]


@pytest.mark.parametrize(("kind", "names"), [("Role", None), ("ClusterRole", ["metrics"])])
def test_the_namespace_rule_is_for_this_namespace(kind: str, names: list[str] | None) -> None:
    """A Role ends with its namespace, so it names none, which may be renamed; a ClusterRole does not."""
    found = documents(attrs.evolve(PLAIN, cluster_wide=kind == "ClusterRole"))[kind]["rules"]
    [rule] = [rule for rule in found if rule["resources"] == ["namespaces"]]

    assert rule.get("resourceNames") == names


def test_the_namespace_of_the_jobs_is_the_pods_own() -> None:
    """Also after a tool has put the documents into another namespace."""
    assert env(PLAIN)["NAMESPACE"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}


def test_no_rule_can_read_a_secret() -> None:
    """Jobs refer to the one that is there; the agent need not even make others."""
    resources = [rule["resources"] for rule in documents(PLAIN)["Role"]["rules"]]

    assert ["secrets"] not in resources


def test_rights_for_the_whole_cluster_only_if_asked() -> None:
    """A ClusterRole whose name tells installations apart."""
    found = documents(attrs.evolve(PLAIN, cluster_wide=True))

    assert not found.keys() & {"Role", "RoleBinding"}
    assert found["ClusterRole"]["metadata"]["name"] == "prefect-agent-metrics"
    assert found["ClusterRoleBinding"]["roleRef"]["name"] == "prefect-agent-metrics"
    assert found["ClusterRole"]["rules"][-1] == {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}


def test_an_agent_for_the_whole_cluster_makes_secrets_for_its_jobs() -> None:
    """A Job can only refer to a Secret of its own namespace, and the one there is is in another."""
    found = env(attrs.evolve(PLAIN, cluster_wide=True))

    assert found["PREFECT_AGENT_CLUSTER_WIDE"] == "true"
    assert "PREFECT_AGENT_API_KEY_SECRET" not in found
    assert "PREFECT_AGENT_CLUSTER_WIDE" not in env(PLAIN)


def test_the_binding_names_the_account_with_its_namespace() -> None:
    """Without it the API server refuses the subject."""
    found = documents(PLAIN)

    assert found["RoleBinding"]["subjects"] == [
        {"kind": "ServiceAccount", "name": "prefect-agent", "namespace": "metrics"}
    ]
    assert found["ServiceAccount"]["automountServiceAccountToken"] is False


# --- the agent's pod ---


def test_the_pod_has_no_rights_on_its_node() -> None:
    """The restricted Pod Security Standard, and a file system that cannot be written."""
    pod = pod_of(PLAIN)
    security = container(PLAIN)["securityContext"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert env(PLAIN)["HOME"] == "/tmp"
    assert container(PLAIN)["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]


def test_an_outage_of_a_few_minutes_is_no_reason_for_a_restart() -> None:
    """Health says 503 a minute after the last good poll; the kubelet waits ten more. Not ready is said at once."""
    live, ready = container(PLAIN)["livenessProbe"], container(PLAIN)["readinessProbe"]

    assert live["httpGet"] == ready["httpGet"] == {"path": "/api/health", "port": 8080}
    assert live["periodSeconds"] * live["failureThreshold"] == 600
    assert ready["periodSeconds"] * ready["failureThreshold"] == 30
    assert env(PLAIN)["PREFECT__CLOUD__AGENT__AGENT_ADDRESS"] == "http://:8080"


def test_a_stopping_agent_gets_the_time_it_may_need() -> None:
    """Creates that meet trouble, and the last reports after them."""
    assert pod_of(PLAIN)["terminationGracePeriodSeconds"] > AgentSettings().create_deadline + LAST_REPORTS
    assert pod_of(attrs.evolve(PLAIN, drain=30))["terminationGracePeriodSeconds"] == 30


def test_the_image_decides_how_prefect_is_started() -> None:
    """Its entry point reaps; only what comes after ``prefect`` is said here."""
    assert container(PLAIN)["command"] == []
    assert container(PLAIN)["args"] == ["agent", "start", "kubernetes"]
    config = attrs.evolve(PLAIN, agent_config_id="$(x)")
    assert container(config)["args"][3:] == ["--agent-config-id", "$$(x)"]


def test_the_agent_knows_its_pod() -> None:
    """By the downward API, and its container by name: the next agent sees by these that this one is gone."""
    found, field = env(PLAIN), "fieldRef"
    names = {"POD_NAMESPACE": "metadata.namespace", "POD_NAME": "metadata.name", "POD_UID": "metadata.uid"}
    assert {name: found[name][field]["fieldPath"] for name in names} == names
    assert found["POD_CONTAINER"] == container(PLAIN)["name"]


def test_defaults_for_jobs_are_only_those_given() -> None:
    """Empty variables would be read as values."""
    jobs = {"JOB_MEM_REQUEST": "1Gi", "SERVICE_ACCOUNT_NAME": "jobs"}
    install = attrs.evolve(PLAIN, jobs=jobs, pull_secrets=("a", "b"))

    assert {name: env(install)[name] for name in jobs} == jobs
    assert env(install)["IMAGE_PULL_SECRETS"] == "a,b"
    assert "JOB_MEM_LIMIT" not in env(install)
    pod = pod_of(install)
    assert pod["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]
    assert pod["serviceAccountName"] == "prefect-agent"


@pytest.mark.parametrize(
    ("api", "ports"), [("https://api.prefect.io", [443, 6443]), ("http://server:4200/x", [443, 4200, 6443])]
)
def test_the_network_policy_lets_the_agent_out_to_its_two_apis(api: str, ports: list[int]) -> None:
    """Names, the Kubernetes API, the Prefect API; in comes only who asks for health."""
    spec = documents(attrs.evolve(EVERYTHING, api=api))["NetworkPolicy"]["spec"]

    assert [[port["port"] for port in rule["ports"]] for rule in spec["egress"]] == [[53, 53], ports]
    assert spec["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8080}]}]
    assert spec["policyTypes"] == ["Ingress", "Egress"]


def test_the_disruption_budget_lets_a_node_be_drained() -> None:
    """With one replica, `minAvailable: 1` would block every drain for ever."""
    assert documents(EVERYTHING)["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


# --- values ---

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
WORDS = st.sampled_from(["yes", "y", "N", "on", "null", "~", "1e3", "0x1F", "1_000", "01", ".inf", "a: b", "- a", "#a"])
DOLLARS = st.text(st.sampled_from("$()Aa~{"), max_size=8)


@given(st.lists(st.one_of(TEXT, WORDS, DOLLARS).filter(lambda text: text == text.strip() != ""), max_size=4))
def test_labels_arrive_as_they_were_given(given_labels: list[str]) -> None:
    """Through YAML, the variables of Kubernetes and the agent's own reading of settings."""
    install = attrs.evolve(PLAIN, labels=tuple(given_labels))
    environ = {"PREFECT__CLOUD__AGENT__LABELS": expanded(env(install)["PREFECT__CLOUD__AGENT__LABELS"])}

    assert labels(Configuration(environ, {}), ()) == given_labels


@given(st.dictionaries(st.sampled_from("ABC"), st.one_of(TEXT, WORDS, DOLLARS), min_size=1))
def test_variables_arrive_as_they_were_given(variables: dict[str, str]) -> None:
    """The same for ``--env``."""
    install = attrs.evolve(PLAIN, env=variables)
    environ = {"PREFECT__CLOUD__AGENT__ENV_VARS": expanded(env(install)["PREFECT__CLOUD__AGENT__ENV_VARS"])}

    assert env_vars(Configuration({**environ, **OTHERS}, {}), ()) == variables


OTHERS = {"A": "another", "a": "another", "HOME": "/home/u"}
"""Variables to which a text may seem to refer."""


@given(
    st.one_of(TEXT, WORDS, DOLLARS, st.sampled_from(["true", "~/x", "'a'", "${A}", "$A", " a ", "None"])).filter(bool)
)
def test_a_name_arrives_as_it_was_given(name: str) -> None:
    """The agent expands ``$HOME`` and reads ``true`` as something else; not so in quotes, with dollars by number."""
    value = expanded(env(attrs.evolve(PLAIN, name=name))["PREFECT__CLOUD__AGENT__NAME"])

    assert Configuration({"PREFECT__CLOUD__AGENT__NAME": value, **OTHERS}, {}).text("cloud.agent.name") == name


@given(WORDS)
def test_no_text_looks_like_something_else_to_kubectl(text: str) -> None:
    """Its YAML reader takes ``y`` for true and ``1e3`` for a number where PyYAML takes text."""
    assert f'value: "{text}"' in manifest(attrs.evolve(PLAIN, jobs={"JOB_X": text}))
