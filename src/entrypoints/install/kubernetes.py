"""The Kubernetes documents that install the agent, in the order in which ``kubectl`` applies them."""

from prefect.agent.entrypoints.install.checks import port_of
from prefect.agent.entrypoints.install.deployment import deployment
from prefect.agent.entrypoints.install.plan import HEALTH_PORT, PLACEHOLDER, SECRET_KEY, SELECTOR, Install, metadata
from prefect.agent.entrypoints.install.rights import binding, role, service_account
from prefect.agent.entrypoints.install.yaml_text import document


def manifest(install: Install) -> str:
    """Return all documents as one text for ``kubectl apply -f -``."""
    texts = [_namespace(install)] if install.create_namespace else []
    texts.append(service_account(install))
    if install.secret is not None and install.existing_secret is None:
        texts.append(_secret(install))
    texts += [role(install), binding(install), deployment(install)]
    if install.network_policy:
        texts.append(_network_policy(install))
    if install.pod_disruption_budget:
        texts.append(_disruption_budget(install))
    return "".join(texts)


def _namespace(install: Install) -> str:
    about = metadata(install, install.namespace, namespaced=False)
    return document(
        "The namespace of the agent and of its Jobs.", {"apiVersion": "v1", "kind": "Namespace", "metadata": about}
    )


def _secret(install: Install) -> str:
    value = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(install),
        "type": "Opaque",
        "stringData": {SECRET_KEY: install.key or PLACEHOLDER},
    }
    return document("The API key, to which the agent and its Jobs refer by name.", value)


def _network_policy(install: Install) -> str:
    ports = sorted({443, 6443, port_of(install.api)})
    egress = [
        {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
        {"ports": [{"protocol": "TCP", "port": port} for port in ports]},
    ]
    value = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(install),
        "spec": {
            "podSelector": {"matchLabels": dict(SELECTOR)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": HEALTH_PORT}]}],
            "egress": egress,
        },
    }
    remarks = {
        "ingress:": "For the kubelet's probes, which some networks would block. No other port listens.",
        "egress:": "DNS (53), the Kubernetes API (443 or 6443) and the Prefect API. Add your proxy's port, if any.",
    }
    return document("The agent's pod uses these ports only. This does not limit the Jobs' pods.", value, remarks)


def _disruption_budget(install: Install) -> str:
    value = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(install),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": dict(SELECTOR)}},
    }
    remarks = {
        "maxUnavailable:": "A node can always be drained: another agent takes over this one's work.\n"
        "Of several replicas, one is evicted at a time."
    }
    return document("How many agents Kubernetes may evict at a time.", value, remarks)
