"""One warning if the clocks differ."""

import pytest

from prefect.agent.entrypoints.runtime.skew import SkewWarning
from prefect.agent.ports import events
from support.builders import Heard


@pytest.mark.parametrize("skew", [0.0, 5.0, -5.0])
def test_small_differences_are_not_reported(skew: float) -> None:
    """Networks make some; nobody could mend them."""
    heard = Heard()

    SkewWarning(heard)(skew, skew)

    assert heard.events == []


@pytest.mark.parametrize(("skew", "words"), [(45.2, "45 s ahead of"), (-45.2, "45 s behind")])
def test_a_difference_is_reported_once_with_its_size_and_direction(skew: float, words: str) -> None:
    """And with what to do."""
    heard = Heard()
    warn = SkewWarning(heard)

    for drift in range(60):
        warn(skew + drift, 0.0)

    [event] = heard.events
    assert (event.name, event.level) == (events.CLOCK_SKEW, "WARNING")
    assert words in event.message
    assert "NTP" in event.message
    assert event.fields == {"place": "the Cloud", "skew_s": skew}


def test_a_difference_that_changes_much_is_reported_again() -> None:
    """By more than a minute, in either direction."""
    heard = Heard()
    warn = SkewWarning(heard)

    for skew in (10.0, 70.0, 70.1, 100.0, 0.0, 9.0):
        warn(skew, 0.0)

    assert [event.fields["skew_s"] for event in heard.events] == [10.0, 70.1, 9.0]


def test_cloud_and_platform_have_clocks_of_their_own() -> None:
    """Each is named."""
    heard = Heard()

    SkewWarning(heard)(10.0, -10.0)

    assert [event.fields["place"] for event in heard.events] == ["the Cloud", "the platform"]
