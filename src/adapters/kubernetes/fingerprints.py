"""Computes a digest of the agent's options that shape Jobs."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import attrs

from prefect.agent.adapters.kubernetes.jobs import Scope
from prefect.agent.adapters.kubernetes.pods import JobDefaults, SecretReference


def fingerprint(
    scope: Scope, defaults: JobDefaults, template: Mapping[str, Any], api_key_secret: SecretReference | None
) -> str:
    """Return a short text that changes with the options, and does not show them: a template may hold secrets.

    Args:
        template: The agent's own Job template, as it was read.
        api_key_secret: The Secret with the API key; the key itself is not read.
    """
    settings = {
        "namespace": scope.namespace,
        "cluster_wide": scope.cluster_wide,
        "defaults": attrs.asdict(defaults),
        "template": template,
        "api_key_secret": None if api_key_secret is None else attrs.asdict(api_key_secret),
    }
    text = json.dumps(settings, sort_keys=True, default=_plain)
    return f"kubernetes:{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:16]}"


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)
