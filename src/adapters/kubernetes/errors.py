"""Translates errors of the API server and of the connection into those of the port; no other module does that."""

import re
from collections.abc import Mapping
from typing import Any, Final

import urllib3
from kubernetes.config import ConfigException

from prefect.agent.adapters.bounded_json import BeyondBounds
from prefect.agent.adapters.kubernetes.waits import NO_QUOTA
from prefect.agent.adapters.problems import why
from prefect.agent.domain.errors import (
    CreateBlocked,
    PlatformError,
    PlatformForbidden,
    PlatformUnavailable,
    SubmissionRefused,
)
from prefect.agent.domain.wait_kinds import WaitKind

_MISSING: Final = re.compile(
    r'cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]*)"| at the cluster scope)?'
)
"""The message of kube-apiserver's RBAC authorizer; only authorizers use this form."""

ANONYMOUS: Final = "system:anonymous"
"""The user of a request without credentials, for an API server."""

_FULL: Final = (NO_QUOTA, "exceeds quota")
_SILENT_WEBHOOK: Final = "failed calling webhook"
_ENDING: Final = "because it is being terminated"


class StatusError(Exception):
    """The API server answered with a failure (Kubernetes API, ``meta/v1`` Status).

    Attributes:
        code: HTTP status.
        reason: The reason code, such as ``AlreadyExists``; empty if there is none.
        message: The server's message.
        details: ``Status.details``.
        retry_after: Seconds that the server asks to wait, or None.
        is_its_own: Whether the answer is a Status of Kubernetes; else it may come from a gateway.
    """

    def __init__(self, code: int, status: Mapping[str, Any], *, retry_after: float | None = None) -> None:
        self.code = code
        self.reason = str(status.get("reason") or "")
        self.message = " ".join(str(status.get("message") or f"HTTP {code}").split())
        details = status.get("details")
        self.details: Mapping[str, Any] = details if isinstance(details, Mapping) else {}
        self.retry_after = retry_after
        self.is_its_own = status.get("kind") == "Status"
        super().__init__(self.message)

    @property
    def is_expired(self) -> bool:
        """Whether a list or watch must start again (HTTP 410)."""
        return self.code == 410 or self.reason in {"Expired", "Gone"}

    @property
    def is_unknown_account(self) -> bool:
        """Whether the server treats the agent as anonymous, so that a refusal says nothing about the agent's rights."""
        return self.code == 401 or (self.code == 403 and f'"{ANONYMOUS}"' in self.message)

    @property
    def is_absence(self) -> bool:
        """Whether the API server itself reports that the object does not exist; a gateway's 404 does not count."""
        return self.code == 404 and self.is_its_own


class NoCredentials(ConfigException):  # type: ignore[misc]
    """The kubeconfig names credentials that are not available at present; no request is sent without them.

    Attributes:
        server: Address of the API server, if it is known.
    """

    def __init__(self, message: str, *, server: str = "") -> None:
        super().__init__(message)
        self.server = server


class PluginFailed(NoCredentials):
    """The program that a kubeconfig names returned no credentials; the message has its name and its last output."""


RAISED: Final = (StatusError, urllib3.exceptions.HTTPError, OSError, ConfigException)
"""All errors that requests raise for reasons other than bugs."""


def translate(problem: Exception, *, server: str, doing: str) -> PlatformError:
    """Return the error of the port for one of ``RAISED``.

    Args:
        server: Address of the API server.
        doing: What the server was asked to do, the words after "to": ``list jobs``.
    """
    if isinstance(problem, StatusError):
        return _status(problem, server=server, doing=doing)
    if isinstance(problem, ConfigException):
        return PlatformUnavailable(f"there are no credentials for the Kubernetes API server at {server}: {problem}")
    if isinstance(problem, BeyondBounds):
        return PlatformUnavailable(f"the answer of the Kubernetes API server at {server} to {doing} {problem}")
    cause = why(problem)
    if isinstance(problem, urllib3.exceptions.SSLError):
        if "wrong version number" in cause:
            return PlatformUnavailable(
                f"what answers at {server} does not speak TLS, so it is no Kubernetes API server. Check the kubeconfig"
            )
        return PlatformUnavailable(
            f"the agent does not trust the Kubernetes API server at {server}: {cause}. "
            "Name its certificate authority in the kubeconfig"
        )
    refused = isinstance(problem, urllib3.exceptions.NewConnectionError)  # a subclass of TimeoutError, but not late
    if isinstance(problem, urllib3.exceptions.TimeoutError | TimeoutError) and not refused:
        return PlatformUnavailable(f"the Kubernetes API server at {server} did not answer in time to {doing}")
    return PlatformUnavailable(
        f"no Kubernetes API server answers at {server} ({cause}). Check the kubeconfig or the pod's service account"
    )


def translate_submission(problem: Exception, *, server: str, doing: str) -> PlatformError:
    """Translate as :func:`translate` does, for a request in which the run config itself may be wrong."""
    if isinstance(problem, StatusError) and problem.is_unknown_account:
        return translate(problem, server=server, doing=doing)
    if isinstance(problem, StatusError) and problem.is_its_own and _SILENT_WEBHOOK in problem.message:
        return CreateBlocked(f"a webhook does not answer, so Kubernetes cannot {doing}: {problem.message}")
    if not isinstance(problem, StatusError) or problem.code in {401, 404, 409, 410, 429} or problem.code >= 500:
        return translate(problem, server=server, doing=doing)
    if not problem.is_its_own and problem.code != 413:
        return translate(problem, server=server, doing=doing)
    said = problem.message
    if problem.code == 403:
        if _MISSING.search(said):
            return translate(problem, server=server, doing=doing)
        if any(word in said for word in _FULL):
            said = f"the namespace's quota has no room to {doing}: {said}"
            return CreateBlocked(said, needs_room=True, retry_after=5, wait_kind=WaitKind.QUOTA)
        if _ENDING in said:
            return PlatformUnavailable(f"cannot {doing}: {said}")
    return SubmissionRefused(f"Kubernetes refuses to {doing}: {said}{_causes(problem)}")


def missing_rule(group: str, resource: str, verb: str, names: tuple[str, ...] = ()) -> str:
    """Return the rule that a Role lacks, as a line of YAML."""
    only = f", resourceNames: [{', '.join(names)}]" if names else ""
    return f'{{apiGroups: ["{group}"], resources: [{resource}]{only}, verbs: [{verb}]}}'


def _status(problem: StatusError, *, server: str, doing: str) -> PlatformError:
    said = problem.message
    if problem.is_unknown_account:
        return PlatformForbidden(
            f"the Kubernetes API server at {server} does not accept the agent's credentials to {doing} ({said}). "
            "Renew the token or certificate of the kubeconfig or service account"
        )
    if problem.code == 403:
        return PlatformForbidden(_forbidden(said, doing))
    if problem.code == 404 and problem.details.get("kind") == "namespaces":
        name = problem.details.get("name")
        return PlatformUnavailable(
            f"cannot {doing}: the namespace {name!r} does not exist. Create it (kubectl create namespace {name}) "
            "or name another with --namespace"
        )
    return PlatformUnavailable(
        f"the Kubernetes API server could not {doing}: {said} (HTTP {problem.code})", retry_after=problem.retry_after
    )


def _forbidden(said: str, doing: str) -> str:
    found = _MISSING.search(said)
    if found is None:
        return f"the Kubernetes API server forbids the agent to {doing}: {said}"
    rule = missing_rule(found["group"], found["resource"], found["verb"])
    where = f"its Role in the namespace {found['namespace']!r}" if found["namespace"] else "its ClusterRole"
    return (
        f"the agent may not {found['verb']} {found['resource']}, so it cannot {doing}. Add to {where}: {rule} ({said})"
    )


def _causes(problem: StatusError) -> str:
    """Return the fields that the server names and its message does not."""
    causes = problem.details.get("causes")
    fields = [str(cause.get("field")) for cause in causes or () if isinstance(cause, Mapping) and cause.get("field")]
    new = [field for field in dict.fromkeys(fields) if field not in problem.message]
    return f" (fields: {', '.join(new)})" if new else ""
