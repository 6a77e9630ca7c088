"""The permissions that each feature needs, for the Role that ``install`` prints and for the check at the start.

Both use this one table, so that they always agree. Pure; imports nothing of the SDK.
"""

from collections.abc import Collection
from typing import Final

import attrs

OWN_NAMESPACE: Final = "{namespace}"
"""Placeholder for the Jobs' namespace in :attr:`Rule.names`."""


@attrs.frozen(kw_only=True)
class Rule:
    """One rule of a Role (Kubernetes API, ``rbac.authorization.k8s.io/v1`` PolicyRule).

    Attributes:
        resource: The resource with its subresource, if any: ``pods/log``.
        group: API group; empty for the core group.
        names: Names of the only objects that it allows; empty for all.
        why: Why the agent needs the permission, for the person who grants it.
        feature: Name of the feature that needs it; see :data:`FEATURES`.
        optional: Whether the agent works without it, after one warning.
    """

    resource: str
    verbs: tuple[str, ...]
    why: str
    feature: str
    group: str = ""
    names: tuple[str, ...] = ()
    optional: bool = False

    def names_in(self, namespace: str) -> tuple[str, ...]:
        """Return the names of the objects if the Jobs' namespace is *namespace*."""
        return tuple(name.replace(OWN_NAMESPACE, namespace) for name in self.names)


RUN: Final = "run"
CLEAN_UP: Final = "clean-up"
CANCEL: Final = "cancel"
LOGS: Final = "logs"
EVENTS: Final = "events"
SECRET: Final = "secret"  # noqa: S105 - the name of a feature

FEATURES: Final = {
    RUN: "start flow runs as Jobs and observe how they end",
    CLEAN_UP: "delete finished Jobs",
    CANCEL: "end the Jobs of cancelled flow runs, and those that can never start",
    LOGS: "copy the last output of a failed Job to the flow run's log",
    EVENTS: "report in the flow run's log the events of a failed Job",
    SECRET: "give flow runs the API key in a Secret for each Job",
}
"""Features that can be switched on and off, with their descriptions; ``run`` is always on."""

TABLE: Final = (
    Rule(
        resource="namespaces",
        verbs=("get",),
        names=(OWN_NAMESPACE,),
        feature=RUN,
        why="distinguishes this namespace from another of the same name, so that no agent takes over foreign claims",
    ),
    Rule(
        group="batch",
        resource="jobs",
        verbs=("create", "get", "list", "watch"),
        feature=RUN,
        why="creates one Job for each flow run; observes all of them by one list and one watch",
    ),
    Rule(
        resource="pods",
        verbs=("list", "watch"),
        feature=RUN,
        why="finds out why a pod does not start, and how it ended: exit code, OOMKilled, Evicted, image errors",
    ),
    Rule(group="batch", resource="jobs", verbs=("delete",), feature=CLEAN_UP, why="deletes its own finished Jobs"),
    Rule(
        group="batch",
        resource="jobs",
        verbs=("patch",),
        feature=CANCEL,
        why="ends the Job of a cancelled flow run, or of one that can never start",
    ),
    Rule(resource="pods", verbs=("delete",), feature=CANCEL, why="ends the pods of such a Job within the grace period"),
    Rule(
        resource="pods/log",
        verbs=("get",),
        feature=LOGS,
        optional=True,
        why="reads the last lines of a failed pod for the flow run's log",
    ),
    Rule(
        resource="events",
        verbs=("list",),
        feature=EVENTS,
        optional=True,
        why="reads the events of a failed Job and its pods",
    ),
    Rule(
        resource="secrets",
        verbs=("create",),
        feature=SECRET,
        why="stores the API key for a Job; the Secret is deleted with the Job, and never read",
    ),
)


def rules(features: Collection[str]) -> tuple[Rule, ...]:
    """Return the rules that ``run`` and *features* need, in the table's order."""
    return tuple(rule for rule in TABLE if rule.feature == RUN or rule.feature in features)
