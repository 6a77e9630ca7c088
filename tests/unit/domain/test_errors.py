"""Errors by what the caller can do about them."""

import pytest

from prefect.agent.domain.errors import (
    AgentError,
    CloudError,
    CloudMisconfigured,
    CloudUnavailable,
    ConfigurationError,
    CreateBlocked,
    OutcomeUnknown,
    PlatformError,
    PlatformUnavailable,
    Unauthorised,
    Unavailable,
    asked_to_wait,
    wait_kind_of,
)
from prefect.agent.domain.wait_kinds import WaitKind


@pytest.mark.parametrize(
    ("problem", "seconds"),
    [
        (CloudUnavailable("HTTP 429", retry_after=7), 7.0),
        (PlatformUnavailable("HTTP 503", retry_after=2.5), 2.5),
        (CreateBlocked("quota", retry_after=5), 5.0),
        (CloudMisconfigured("no such file", retry_after=1), 1.0),
        (CloudUnavailable("HTTP 500"), 0.0),
        (Unauthorised("no key"), 0.0),
        (OutcomeUnknown("lost"), 0.0),
        (ValueError("a bug"), 0.0),
    ],
)
def test_what_is_unavailable_says_how_long_to_wait(problem: Exception, seconds: float) -> None:
    """Cloud and platform alike; other errors ask for nothing."""
    assert asked_to_wait(problem) == seconds


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (PlatformUnavailable("no image", wait_kind=WaitKind.IMAGE), WaitKind.IMAGE),
        (CreateBlocked("no room", wait_kind=WaitKind.QUOTA), WaitKind.QUOTA),
        (PlatformUnavailable("HTTP 503"), WaitKind.UNKNOWN),
        (CloudUnavailable("HTTP 503"), WaitKind.UNKNOWN),
        (ValueError("a bug"), WaitKind.UNKNOWN),
    ],
)
def test_what_keeps_a_unit_from_being_created_may_have_a_kind(problem: Exception, kind: WaitKind) -> None:
    """If the adapter says it."""
    assert wait_kind_of(problem) is kind


@pytest.mark.parametrize(("kind", "side"), [(CloudUnavailable, CloudError), (PlatformUnavailable, PlatformError)])
def test_both_unavailable_errors_share_one_base(kind: type[Unavailable], side: type[AgentError]) -> None:
    """Callers that only wait catch the base; callers of one port catch that port's error."""
    problem = kind("away", retry_after=3)

    assert isinstance(problem, side)
    assert (str(problem), problem.retry_after) == ("away", 3)


def test_a_misconfigured_cloud_is_both() -> None:
    """At start it ends the agent; later it is waited for."""
    assert issubclass(CloudMisconfigured, ConfigurationError)
    assert issubclass(CloudMisconfigured, Unavailable)
