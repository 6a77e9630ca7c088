"""What the agent must be allowed to do, by the feature that needs it: the Role of ``install`` and the check at start.

One table for both, so that neither can ask for more or less than the other. Pure; imports nothing of the SDK.
"""

from collections.abc import Collection
from typing import Final

import attrs

OWN_NAMESPACE: Final = "{namespace}"
"""Stands for the namespace of the Jobs among :attr:`Rule.names`."""


@attrs.frozen(kw_only=True)
class Rule:
    """One rule of a Role (Kubernetes API, ``rbac.authorization.k8s.io/v1`` PolicyRule).

    Attributes:
        resource: With its subresource, if any: ``pods/log``.
        group: API group; empty for the core group.
        names: Only objects of these names; empty for all.
        why: What the agent does with it, for the person who grants it.
        feature: Name of the feature that needs it; see :data:`FEATURES`.
        optional: Whether the agent goes on without it, with one warning.
    """

    resource: str
    verbs: tuple[str, ...]
    why: str
    feature: str
    group: str = ""
    names: tuple[str, ...] = ()
    optional: bool = False

    def names_in(self, namespace: str) -> tuple[str, ...]:
        """The names that it is about where the Jobs' namespace is *namespace*."""
        return tuple(name.replace(OWN_NAMESPACE, namespace) for name in self.names)


RUN: Final = "run"
CLEAN_UP: Final = "clean-up"
CANCEL: Final = "cancel"
LOGS: Final = "logs"
EVENTS: Final = "events"
SECRET: Final = "secret"  # noqa: S105 - the name of a feature

FEATURES: Final = {
    RUN: "start flow runs as Jobs and see how they end",
    CLEAN_UP: "remove finished Jobs",
    CANCEL: "end the Jobs of cancelled flow runs, and those that can never start",
    LOGS: "put the last output of a failed Job into the flow run's log",
    EVENTS: "say in the flow run's log what Kubernetes reported of a failed Job",
    SECRET: "hand the API key to flow runs by a Secret of the Job's own",
}
"""What can be switched on and off; ``run`` is always on."""

TABLE: Final = (
    Rule(
        resource="namespaces",
        verbs=("get",),
        names=(OWN_NAMESPACE,),
        feature=RUN,
        why="tells this namespace from another of the same name, so that no agent takes over foreign claims",
    ),
    Rule(
        group="batch",
        resource="jobs",
        verbs=("create", "get", "list", "watch"),
        feature=RUN,
        why="one Job for each flow run; one list and one watch for all of them",
    ),
    Rule(
        resource="pods",
        verbs=("list", "watch"),
        feature=RUN,
        why="why a pod does not start, and how it ended: exit code, OOMKilled, Evicted, image errors",
    ),
    Rule(group="batch", resource="jobs", verbs=("delete",), feature=CLEAN_UP, why="removes finished Jobs of its own"),
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
        why="the last lines of a failed pod, for the flow run's log",
    ),
    Rule(
        resource="events",
        verbs=("list",),
        feature=EVENTS,
        optional=True,
        why="what Kubernetes reported of a failed Job and its pods",
    ),
    Rule(
        resource="secrets",
        verbs=("create",),
        feature=SECRET,
        why="the API key for a Job, owned by the Job and removed with it; it is never read",
    ),
)


def rules(features: Collection[str]) -> tuple[Rule, ...]:
    """The rules that *features* need, ``run`` always among them; in the table's order."""
    return tuple(rule for rule in TABLE if rule.feature == RUN or rule.feature in features)
