"""The Deployment of the agent: one pod without rights on its node, with the agent's settings as variables."""

import json
from typing import Any, Final

from prefect.agent.entrypoints.install.plan import HEALTH_PORT, LABELS, NAME, SELECTOR, USER, Install, metadata
from prefect.agent.entrypoints.install.yaml_text import document

_REMARKS: Final = {
    "strategy:": "The new agent starts before the old one ends. Both may work at the same time: only one can claim a\n"
    "flow run, and the claim names the Job, so there are never two Jobs.",
    "minReadySeconds:": "If the new agent's key is not accepted, that shows within this time, and the old agent stays.",
    "terminationGracePeriodSeconds:": "The agent finishes creating Jobs and sends its last reports, usually in a\n"
    "second. Flow runs continue; the next agent completes what this one could not.",
    "automountServiceAccountToken:": "The agent needs a token for the Kubernetes API. Jobs do not get this token.",
    "readinessProbe:": "Ready if polls succeed. After a minute without a successful poll it answers 503.",
    "livenessProbe:": "Restarts the agent after ten more minutes of that. A restart does not help if Prefect is down,\n"
    "but it helps a process that hangs, and loses nothing.",
    "command:": "Empty, like some values below, to remove the value of the official agent's Deployment.",
    "- name: PREFECT_AGENT_API_KEY_SECRET": "Jobs refer to this Secret (NAME/KEY); no Job contains the key.",
    "- name: NAMESPACE": "Jobs are created in the agent's own namespace, even if kustomize changes it.",
    "- name: POD_NAMESPACE": "Identifies this agent: the next one takes over its claims as soon as this pod is gone.",
    "- name: PREFECT_AGENT_WITHOUT": "Features that are switched off; the Role above does not allow them either.",
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
    """Return the Deployment as YAML."""
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
    """Return the variables of the official manifest, in its order (protocol section 7.5), then additional ones."""
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
    # An official Deployment not made by `kubectl apply` keeps its values unless these replace them.
    keys: list[dict[str, Any]] = [
        {"name": "PREFECT__CLOUD__AGENT__AUTH_TOKEN", "value": ""},
        {"name": "PREFECT__CLOUD__API_KEY", "value": "", "valueFrom": reference},
    ]
    return [*keys, *(of_jobs if install.secret_of_jobs else ())]


def _setting(text: str) -> str:
    """Quote *text* so that the agent reads it back unchanged (it expands ``$`` and ``~``: protocol section 11.3)."""
    is_word = text.lower() in {"true", "false"} or text == "None"
    reads_otherwise = text[:1] in "~[{('\"" or "$" in text or text != text.strip() or is_word
    return _without_references(text) if reads_otherwise else text


def _without_references(value: object) -> str:
    """Return *value* as JSON with each dollar escaped, so that the agent finds no references in it."""
    return json.dumps(value, ensure_ascii=False).replace("$", "\\u0024")


def _literal(text: str) -> str:
    """Escape a value that Kubernetes would change: it replaces ``$(NAME)``, and reads ``$$`` as one dollar."""
    return text.replace("$", "$$") if "$(" in text or "$$" in text else text
