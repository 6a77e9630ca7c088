"""Asks the API server which permissions the agent lacks, before the first flow run."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

import attrs

from prefect.agent.adapters.kubernetes.api_server import Cluster, path_of
from prefect.agent.adapters.kubernetes.errors import StatusError, missing_rule
from prefect.agent.adapters.kubernetes.permissions import Rule, rules

AUTHORIZATION: Final = path_of("apis/authorization.k8s.io/v1")


@attrs.frozen
class Lack:
    """A verb of a rule for which the agent has no permission."""

    rule: Rule
    verb: str
    namespace: str

    @property
    def line(self) -> str:
        """The rule that a Role lacks, as a line of YAML."""
        return missing_rule(self.rule.group, self.rule.resource, self.verb, self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the only objects that the rule allows; empty for all."""
        return self.rule.names_in(self.namespace)

    def __str__(self) -> str:
        what = f"{self.rule.resource}.{self.rule.group}" if self.rule.group else self.rule.resource
        return f"{self.verb} {what} in the namespace {self.namespace!r} ({self.rule.why})"


def missing_permissions(
    cluster: Cluster, namespace: str, features: Collection[str], *, everywhere: bool = False
) -> list[Lack]:
    """Return the permissions that the agent lacks; also empty if the server does not allow the question.

    Args:
        everywhere: Whether the permissions are needed in all namespaces.

    Raises:
        StatusError and what else asking raises.
    """
    try:
        return stated_lacks(cluster, namespace, features, everywhere=everywhere)
    except StatusError as failure:
        if failure.code in {403, 404} and not failure.is_unknown_account:
            return []
        raise


def stated_lacks(
    cluster: Cluster, namespace: str, features: Collection[str], *, everywhere: bool = False
) -> list[Lack]:
    """As :func:`missing_permissions`; raises StatusError too if the server does not let the agent ask."""
    needed = [Lack(rule, verb, namespace) for rule in rules(features) for verb in rule.verbs]
    granted = [] if everywhere else _granted(cluster, namespace)
    return [lack for lack in needed if not _is_covered(lack, granted) and not _may(cluster, lack, everywhere)]


def own_account(cluster: Cluster, namespace: str) -> str | None:
    """Return the agent's service account in *namespace*; empty if it is not one of these, None if it is not known.

    Raises:
        StatusError and what else asking raises.
    """
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        answer = cluster.send("POST", path_of("apis/authentication.k8s.io/v1", "selfsubjectreviews"), body=body)
    except StatusError as failure:
        if failure.code in {403, 404, 405}:  # a server older than 1.28
            return None
        raise
    user = (answer.get("status") or {}).get("userInfo") or {}
    name, prefix = str(user.get("username")), f"system:serviceaccount:{namespace}:"
    return name.removeprefix(prefix) if name.startswith(prefix) else ""


class OwnAccount:
    """The agent's service account, which is requested once.

    Args:
        warn: Called with a sentence if the account cannot be found out.
    """

    def __init__(self, cluster: Cluster, namespace: str, *, warn: Callable[[str], None]) -> None:
        self._cluster, self._namespace, self._warn = cluster, namespace, warn
        self._name: str | None = None

    @property
    def name(self) -> str:
        """The account's name if it is in the Jobs' namespace; empty if not, or if it is not known."""
        if self._name is None:
            with self._cluster.asked("say who the agent is"):
                found = own_account(self._cluster, self._namespace)
            if found is None:
                self._warn(
                    "The API server does not say which service account the agent has: the policy's rule agent_account "
                    "sees nothing. List accounts one by one under service_accounts"
                )
            self._name = found or ""
        return self._name


def _granted(cluster: Cluster, namespace: str) -> list[Mapping[str, Any]]:
    """Return the agent's rules in *namespace* by one request; an authorizer other than RBAC may omit some."""
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}}
    answer = cluster.send("POST", f"{AUTHORIZATION}/selfsubjectrulesreviews", body=body)
    found = (answer.get("status") or {}).get("resourceRules") or []
    return [rule for rule in found if isinstance(rule, Mapping)]


def _is_covered(lack: Lack, granted: Iterable[Mapping[str, Any]]) -> bool:
    def has(rule: Mapping[str, Any], field: str, *wanted: str) -> bool:
        return bool({"*", *wanted} & set(rule.get(field) or ()))

    names = set(lack.names)
    return any(
        has(rule, "verbs", lack.verb)
        and has(rule, "apiGroups", lack.rule.group)
        and has(rule, "resources", lack.rule.resource)
        and (not rule.get("resourceNames") or (bool(names) and names <= set(rule["resourceNames"])))
        for rule in granted
    )


def _may(cluster: Cluster, lack: Lack, everywhere: bool) -> bool:  # noqa: FBT001
    resource, _, subresource = lack.rule.resource.partition("/")
    attributes = {
        "verb": lack.verb,
        "group": lack.rule.group,
        "resource": resource,
        "subresource": subresource,
        "namespace": "" if everywhere and not lack.rule.names else lack.namespace,
        "name": next(iter(lack.names), ""),
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = cluster.send("POST", f"{AUTHORIZATION}/selfsubjectaccessreviews", body=body)
    return bool((answer.get("status") or {}).get("allowed"))
