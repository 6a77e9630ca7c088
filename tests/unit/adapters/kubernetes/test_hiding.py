"""Errors about a template that was read from where a flow author said, without its text."""

import traceback
from typing import Any

import pytest

from prefect.agent.adapters.kubernetes.errors import StatusError
from prefect.agent.adapters.kubernetes.fields import BadTemplate
from prefect.agent.adapters.kubernetes.hiding import safe_fields, without_text
from prefect.agent.domain.errors import (
    PlatformError,
    PlatformForbidden,
    PlatformUnavailable,
    SubmissionRefused,
    UnitNameTaken,
)

SECRET = "root:x:0:0"


def status(code: int = 400, **details: Any) -> StatusError:
    """A failure that repeats a line."""
    return StatusError(code, {"kind": "Status", "message": f"unknown field {SECRET}", "details": details})


def raised(problem: PlatformError, cause: Exception | None, *, hides: bool = True) -> PlatformError:
    """What comes out of a block that raises *problem*."""
    with pytest.raises(PlatformError) as caught, without_text(hides=hides):
        raise problem from cause
    return caught.value


@pytest.mark.parametrize("kind", [SubmissionRefused, PlatformUnavailable, PlatformForbidden])
def test_the_servers_words_are_replaced(kind: type[PlatformError]) -> None:
    """The type stays, so that the caller does the same; not even a traceback has the text."""
    problem = raised(kind(f"said {SECRET}"), status())
    assert type(problem) is kind
    assert SECRET not in "".join(traceback.format_exception(problem))
    assert "HTTP 400" in str(problem)
    assert str(raised(kind(f"said {SECRET}"), status(), hides=False)) == f"said {SECRET}"


def test_a_pause_that_the_server_asks_for_is_kept() -> None:
    """It is no text."""
    problem = raised(PlatformUnavailable("x", retry_after=5), status(429))
    assert isinstance(problem, PlatformUnavailable)
    assert problem.retry_after == 5


def test_refusals_of_our_own_are_hidden_if_they_quote() -> None:
    """A namespace or an owner of the template; not fields that the agent itself looks for, or a unit's name."""
    assert SECRET not in str(raised(SubmissionRefused(f"the namespace {SECRET}"), None))
    assert "spec.x" in str(raised(SubmissionRefused("spec.x is a list"), BadTemplate("spec.x is a list")))
    assert isinstance(raised(UnitNameTaken("unit", "another"), None), UnitNameTaken)
    assert str(raised(PlatformUnavailable("no server answers"), OSError())) == "no server answers"


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        ("spec.template.spec.containers[0].image", "spec.template.spec.containers[0].image"),
        ("metadata.labels", "metadata.labels"),
        (f"metadata.labels.{SECRET}", "metadata.labels"),
        (f"spec.template.spec.nodeSelector[{SECRET}]", "spec.template.spec.nodeSelector"),
        ("spec.containers[0].resources.limits.secretword", "spec.containers[0].resources.limits"),
        (SECRET, None),
        (f"spec.{SECRET}", None),
        (f"spec.x[{SECRET}]", None),
        ("spec.a b", None),
    ],
)  # fmt: skip
def test_names_of_fields_are_shown_if_they_are_kubernetes_own(field: str, shown: str | None) -> None:
    """Of an object that could be decoded only."""
    causes = [{"field": field}]
    assert safe_fields(status(422, causes=causes)) == ([shown] if shown else [])
    assert safe_fields(status(400, causes=causes)) == []


@pytest.mark.parametrize("causes", [None, "x", [1], [{}], {"field": "spec"}])
def test_nonsense_names_no_fields(causes: object) -> None:
    """It may come from a gateway."""
    assert safe_fields(status(422, causes=causes)) == []
