"""The Deployment of the agent: one pod, without rights on its node, that is told how the Jobs are to be."""

import json
from typing import Any, Final

from prefect.agent.entrypoints.install.plan import HEALTH_PORT, LABELS, NAME, SELECTOR, USER, Install, metadata
from prefect.agent.entrypoints.install.yaml_text import document

_REMARKS: Final = {
    "strategy:": "The new agent starts before the old one ends. Both can work: a flow run is claimed once, and its\n"
    "Job is named after the claim, so that there are never two.",
    "minReadySeconds:": "A key that is not accepted shows within this time, and the old agent stays.",
    "terminationGracePeriodSeconds:": "Creates in hand are finished and the last reports sent; mostly that takes a\n"
    "second. Flow runs go on; what is cut off here, the next agent finds and finishes.",
    "automountServiceAccountToken:": "The agent calls the Kubernetes API. Jobs get no token by this.",
    "readinessProbe:": "Ready means: polls go well. After a minute without a good one it answers 503.",
    "livenessProbe:": "Restarted after ten more minutes of that: no cure for an outage of Prefect, but one for a\n"
    "process that hangs, and nothing is lost by it.",
    "command:": "Empty, as are some values below: what the official agent had there goes, whatever tool put it there.",
    "- name: PREFECT_AGENT_API_KEY_SECRET": "Jobs refer to this Secret (NAME/KEY): the key is in no Job.",
    "- name: NAMESPACE": "Jobs go where the agent is, whatever kustomize makes of it.",
    "- name: POD_NAMESPACE": "Who this agent is: the next one takes its claims over as soon as its pod is gone.",
    "- name: PREFECT_AGENT_WITHOUT": "What the Role above does not allow either.",
}

_CONTAINER: Final = "agent"


_NAMESPACE: Final[dict[str, Any]] = {
    "name": "NAMESPACE",
    "value": "",
    "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}},
}

_POD: Final[tuple[dict[str, Any], ...]] = (
    *(
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.{field}"}}}
        for name, field in (("POD_NAMESPACE", "namespace"), ("POD_NAME", "name"), ("POD_UID", "uid"))
    ),
    {"name": "POD_CONTAINER", "value": _CONTAINER},
)


def deployment(install: Install) -> str:
    """The document."""
    value = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(install),
        "spec": {
            "replicas": 1,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "minReadySeconds": 10,
            "selector": {"matchLabels": dict(SELECTOR)},
            "template": {"metadata": {"labels": dict(LABELS)}, "spec": _pod(install)},
        },
    }
    return document("The agent.", value, _REMARKS)


def _pod(install: Install) -> dict[str, Any]:
    pull_secrets = [{"name": name} for name in install.pull_secrets]
    return {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": True,
        **({"imagePullSecrets": pull_secrets} if pull_secrets else {}),
        "terminationGracePeriodSeconds": install.drain,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(install)],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }


def _container(install: Install) -> dict[str, Any]:
    config = ["--agent-config-id", install.agent_config_id] if install.agent_config_id else []
    words = ("agent", "start", "kubernetes", *config, *install.agent_options)
    return {
        "name": _CONTAINER,
        "image": install.image,
        "command": [],
        "args": [_literal(word) for word in words],
        "env": _env(install),
        "ports": [{"name": "health", "containerPort": HEALTH_PORT}],
        "resources": {"requests": {"cpu": "100m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": _probe(period=10, failures=3),
        "livenessProbe": _probe(period=30, failures=20),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - a volume of the pod's own
    }


def _probe(*, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": "/api/health", "port": HEALTH_PORT},
        "initialDelaySeconds": 5,
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _env(install: Install) -> list[dict[str, Any]]:
    """Names and order of the official manifest (protocol section 7.5), then ours."""
    values = {
        "PREFECT__BACKEND": install.backend,
        "PREFECT__CLOUD__API": _setting(install.api),
        "PREFECT__CLOUD__TENANT_ID": install.tenant_id,
        "PREFECT__CLOUD__AGENT__NAME": _setting(install.name) if install.name else None,
        "PREFECT__CLOUD__AGENT__LABELS": _without_references(install.labels),
        "PREFECT__CLOUD__AGENT__ENV_VARS": _without_references(dict(install.env)) if install.env else None,
        "PREFECT__CLOUD__AGENT__AGENT_ADDRESS": f"http://:{HEALTH_PORT}",
        "IMAGE_PULL_SECRETS": ",".join(install.pull_secrets) or None,
        **install.jobs,
        "PREFECT_AGENT_CLUSTER_WIDE": "true" if install.cluster_wide else None,
        "PREFECT_AGENT_WITHOUT": ",".join(install.switched_off) or None,
        "HOME": "/tmp",  # noqa: S108
    }
    plain = [{"name": name, "value": _literal(value)} for name, value in values.items() if value is not None]
    return [*_key(install), *plain, _NAMESPACE, *_POD]


def _key(install: Install) -> list[dict[str, Any]]:
    if install.secret is None:
        return []
    name, key = install.secret
    reference = {"secretKeyRef": {"name": name, "key": key}}
    of_jobs = [{"name": "PREFECT_AGENT_API_KEY_SECRET", "value": "/".join(install.secret_of_jobs or ())}]
    # If not `kubectl apply` made the official Deployment, its values stay unless others are given.
    keys: list[dict[str, Any]] = [
        {"name": "PREFECT__CLOUD__AGENT__AUTH_TOKEN", "value": ""},
        {"name": "PREFECT__CLOUD__API_KEY", "value": "", "valueFrom": reference},
    ]
    return [*keys, *(of_jobs if install.secret_of_jobs else ())]


def _setting(text: str) -> str:
    """A value that the agent reads back as this very text (protocol section 11.3: it expands ``$`` and ``~``)."""
    is_word = text.lower() in {"true", "false"} or text == "None"
    reads_otherwise = text[:1] in "~[{('\"" or "$" in text or text != text.strip() or is_word
    return _without_references(text) if reads_otherwise else text


def _without_references(value: object) -> str:
    """JSON in which the agent finds no references, since they begin with a dollar; it is written by its number."""
    return json.dumps(value, ensure_ascii=False).replace("$", "\\u0024")


def _literal(text: str) -> str:
    """A value or argument that Kubernetes hands on unchanged: it makes ``$(NAME)`` a variable and ``$$`` one dollar."""
    return text.replace("$", "$$") if "$(" in text or "$$" in text else text
