"""What a Cloud remembers of claims."""

from datetime import timedelta

import pytest

from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.domain.cloud.strictness import LOOSE, STRICT, Claims
from support.builders import NOW

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("seconds", [0, 1, 29.999])
def test_a_second_claim_within_30_seconds_is_refused(seconds: float) -> None:
    """In words that clients look for, counted from the last claim that was accepted."""
    claims = Claims()
    claims.take("a", LOOSE, NOW)

    for _ in range(2):
        with pytest.raises(CloudRefusal, match=r"State update failed.*already been submitted"):
            claims.take("a", LOOSE, NOW + seconds * SECOND)
    claims.take("b", LOOSE, NOW + seconds * SECOND)
    claims.take("a", LOOSE, NOW + 30 * SECOND)
    with pytest.raises(CloudRefusal):
        claims.take("a", LOOSE, NOW + 59 * SECOND)


def test_a_clock_that_is_set_back_locks_nothing() -> None:
    """A claim from the future says nothing about now."""
    claims = Claims()
    claims.take("a", LOOSE, NOW)

    claims.take("a", LOOSE, NOW - SECOND)

    assert claims.remembered == {"a": NOW - SECOND}


def test_a_strict_cloud_remembers_no_claim() -> None:
    """Versions are its fence."""
    claims = Claims()
    for _ in range(2):
        claims.take("a", STRICT, NOW)

    assert claims.remembered == {}


def test_old_claims_are_forgotten() -> None:
    """The memory holds half a minute of claims, however long the process lives."""
    claims = Claims()
    for number in range(1000):
        claims.take(f"run-{number}", LOOSE, NOW + number * SECOND)

    assert list(claims.remembered) == [f"run-{number}" for number in range(970, 1000)]
