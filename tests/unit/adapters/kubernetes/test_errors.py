"""Answers of API servers, and of what stands before them, in the words of the port."""

import ssl
from typing import Any, Final

import pytest
import urllib3
from kubernetes.config import ConfigException

from prefect.agent.adapters.kubernetes.errors import StatusError, missing_rule, translate, translate_submission
from prefect.agent.domain.errors import (
    CreateBlocked,
    PlatformError,
    PlatformForbidden,
    PlatformUnavailable,
    SubmissionRefused,
    wait_kind_of,
)
from prefect.agent.domain.wait_kinds import WaitKind

MISSING: Final = (
    'jobs.batch is forbidden: User "system:serviceaccount:m:agent" cannot create resource "jobs" in API group "batch" '
    'in the namespace "metrics"'
)
RULE: Final = '{apiGroups: ["batch"], resources: [jobs], verbs: [create]}'


def answer(code: int, message: str = "no", **more: Any) -> StatusError:
    """A failure that the API server itself tells of."""
    return StatusError(code, {"kind": "Status", "message": message, **more})


def asked(problem: Exception) -> PlatformError:
    """In the words for most requests."""
    return translate(problem, server="https://k", doing="do this")


def created(problem: Exception) -> PlatformError:
    """In the words for creating a Job."""
    return translate_submission(problem, server="https://k", doing="create the Job x")


@pytest.mark.parametrize(
    ("problem", "kind", "words"),
    [
        (answer(401, "Unauthorized"), PlatformForbidden, "does not accept the agent's credentials to do this"),
        (answer(403, MISSING), PlatformForbidden, f"Add to its Role in the namespace 'metrics': {RULE}"),
        (answer(403, MISSING), PlatformForbidden, "the agent may not create jobs, so it cannot do this"),
        (
            answer(403, 'cannot list resource "pods" in API group "" at the cluster scope'),
            PlatformForbidden,
            'Add to its ClusterRole: {apiGroups: [""], resources: [pods], verbs: [list]}',
        ),
        (answer(403, "for another reason"), PlatformForbidden, "forbids the agent to do this: for another reason"),
        (
            answer(404, "namespaces not found", details={"kind": "namespaces", "name": "m"}),
            PlatformUnavailable,
            "cannot do this: the namespace 'm' does not exist. Create it (kubectl create namespace m)",
        ),
        (answer(404), PlatformUnavailable, "could not do this: no (HTTP 404)"),
        (answer(500, "etcd\n  is slow"), PlatformUnavailable, "could not do this: etcd is slow (HTTP 500)"),
        (StatusError(502, {}), PlatformUnavailable, "could not do this: HTTP 502 (HTTP 502)"),
        (
            ConnectionRefusedError(111, "Connection refused"),
            PlatformUnavailable,
            "at https://k (Connection refused)",
        ),
        (TimeoutError(), PlatformUnavailable, "at https://k did not answer in time to do this"),
        (urllib3.exceptions.ReadTimeoutError(None, "/", "late"), PlatformUnavailable, "did not answer in time"),  # type: ignore[arg-type]
        (
            urllib3.exceptions.SSLError(ssl.SSLError(1, "[SSL: W_V_N] wrong version number (_ssl.c:1)")),
            PlatformUnavailable,
            "what answers at https://k does not speak TLS",
        ),
        (
            urllib3.exceptions.SSLError(ssl.SSLError("bad")),
            PlatformUnavailable,
            "Name its certificate authority in the",
        ),
        (urllib3.exceptions.HTTPError("not a JSON object"), PlatformUnavailable, "(not a JSON object)"),
        (ConfigException("Token file exists but empty."), PlatformUnavailable, "at https://k: Token file exists but"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_requests(problem: Exception, kind: type[Exception], words: str) -> None:
    """Whose turn it is, and the words that help."""
    translated = asked(problem)
    assert type(translated) is kind
    assert words in str(translated)


@pytest.mark.parametrize(
    ("problem", "kind", "words"),
    [
        (answer(422, "spec.x: Invalid value"), SubmissionRefused, "refuses to create the Job x: spec.x: Invalid value"),
        (answer(400, 'unknown field "spec.x"'), SubmissionRefused, 'unknown field "spec.x"'),
        (answer(403, "admission webhook denied the request: no"), SubmissionRefused, "denied the request: no"),
        (answer(403, MISSING), PlatformForbidden, RULE),
        (answer(403, "exceeded quota: q"), CreateBlocked, "the namespace's quota has no room"),
        (answer(403, "because it is being terminated"), PlatformUnavailable, "cannot create the Job x"),
        (answer(409, "conflict on resourcequotas"), PlatformUnavailable, "(HTTP 409)"),
        (answer(500, "failed calling webhook"), CreateBlocked, "failed calling webhook"),
        (answer(401), PlatformForbidden, "credentials"),
        (StatusError(403, {}), PlatformForbidden, "HTTP 403"),
        (StatusError(400, {}), PlatformUnavailable, "HTTP 400"),
        (StatusError(413, {}), SubmissionRefused, "HTTP 413"),
        (ConnectionResetError("cut"), PlatformUnavailable, "cut"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_creating(problem: Exception, kind: type[Exception], words: str) -> None:
    """Only who judges the Job itself refuses the flow run."""
    translated = created(problem)
    assert type(translated) is kind
    assert words in str(translated)


def test_fields_are_named() -> None:
    """Once each, unless the sentence names them."""
    causes = [{"field": "spec.a"}, {"field": "spec.b"}, {"field": "spec.b"}, {"message": "x"}, "nonsense"]
    refused = created(answer(422, "spec.a: Invalid", details={"causes": causes}))
    assert str(refused).endswith("spec.a: Invalid (fields: spec.b)")
    assert "fields" not in str(created(answer(422, "spec.a: Invalid", details={"causes": causes[:1]})))


@pytest.mark.parametrize("details", [None, "x", [], {"causes": None}, {"causes": 0}])
def test_strange_details(details: Any) -> None:
    """Are left out."""
    assert str(created(answer(422, "no", details=details))).endswith(": no")


def test_how_long_to_wait() -> None:
    """As the server says; a full quota is asked again soon."""
    waits = [asked(StatusError(429, {}, retry_after=7)), created(answer(403, "exceeded quota: q")), asked(answer(500))]
    assert [getattr(each, "retry_after", "") for each in waits] == [7, 5, None]


def test_what_a_job_that_is_not_created_waits_for() -> None:
    """Room in a quota; what else keeps it has no kind."""
    kept = [
        created(answer(403, "exceeded quota: q")),
        created(answer(500, "failed calling webhook")),
        asked(answer(500)),
    ]
    assert [wait_kind_of(each) for each in kept] == [WaitKind.QUOTA, WaitKind.UNKNOWN, WaitKind.UNKNOWN]


def test_a_rule_to_paste() -> None:
    """One line of YAML, as a Role takes it."""
    assert missing_rule("", "namespaces", "get", ("m",)) == (
        '{apiGroups: [""], resources: [namespaces], resourceNames: [m], verbs: [get]}'
    )


@pytest.mark.parametrize(
    ("problem", "is_expired"), [(answer(410), True), (answer(500, reason="Expired"), True), (answer(500), False)]
)
def test_expiry(problem: StatusError, is_expired: bool) -> None:
    """By code or by reason."""
    assert problem.is_expired is is_expired
