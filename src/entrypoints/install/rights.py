"""The agent's service account and its permissions: only those that the switched-on features need."""

from typing import Any, Final

from prefect.agent.adapters.kubernetes import permissions
from prefect.agent.entrypoints.install.plan import NAME, Install, metadata
from prefect.agent.entrypoints.install.yaml_text import document, dump

RBAC: Final = "rbac.authorization.k8s.io"


def service_account(install: Install) -> str:
    """Return the ServiceAccount as YAML."""
    value = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(install),
        "automountServiceAccountToken": False,
    }
    return document("The agent's identity in Kubernetes. Only the agent's own pod mounts its token.", value)


def rules(install: Install) -> list[tuple[str, dict[str, list[str]]]]:
    """Return the role's rules, each with its reason, as Kubernetes takes them."""
    return [(rule.why, _rule(install, rule)) for rule in permissions.rules(install.features)]


def role(install: Install) -> str:
    """Return the Role or ClusterRole as YAML, with the reason above each rule."""
    kind, about = _role_reference(install)
    head = {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": about}
    reach = "What the agent may do, in every namespace" if install.cluster_wide else "What the agent may do"
    left_out = f". Switched off: {', '.join(install.without)}" if install.without else ""
    texts = (f"# {why}\n{dump([rule])}" for why, rule in rules(install))
    return f"{document(f'{reach}{left_out}.', head)}rules:\n{''.join(texts)}"


def _rule(install: Install, rule: permissions.Rule) -> dict[str, list[str]]:
    value = {"apiGroups": [rule.group], "resources": [rule.resource], "verbs": list(rule.verbs)}
    if rule.names and install.cluster_wide:  # a Role ends with its namespace, whatever that is renamed to
        value["resourceNames"] = list(rule.names_in(install.namespace))
    return value


def _role_reference(install: Install) -> tuple[str, dict[str, Any]]:
    """Return kind and metadata of the role. A ClusterRole has no namespace: its name distinguishes installations."""
    if install.cluster_wide:
        return "ClusterRole", metadata(install, f"{NAME}-{install.namespace}", namespaced=False)
    return "Role", metadata(install)


def binding(install: Install) -> str:
    """Return the binding of role and service account as YAML."""
    kind, about = _role_reference(install)
    value = {
        "apiVersion": f"{RBAC}/v1",
        "kind": f"{kind}Binding",
        "metadata": about,
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": about["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": install.namespace}],
    }
    return document("Grants these permissions to the agent.", value)
