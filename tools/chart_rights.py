"""Print the permission table for the Helm chart: ``python tools/chart_rights.py >deploy/chart/permissions.yaml``."""

import sys

import yaml

from prefect.agent.adapters.kubernetes.permissions import TABLE, Rule

HEAD = "# Written by tools/chart_rights.py from src/adapters/kubernetes/permissions.py; a test compares.\n"


def text() -> str:
    """The file: a list with the reason, the feature and the rule of each row."""
    return HEAD + yaml.safe_dump([_row(rule) for rule in TABLE], sort_keys=False, default_flow_style=None, width=120)


def _row(rule: Rule) -> dict[str, object]:
    return {
        "why": rule.why,
        "feature": rule.feature,
        "apiGroups": [rule.group],
        "resources": [rule.resource],
        "verbs": list(rule.verbs),
        "ownNamespace": bool(rule.names),
    }


if __name__ == "__main__":
    sys.stdout.write(text())
