"""Kinds of waits: each says what is waited for and what to do, in words of no platform."""

import re
from typing import Any, Final

import pytest

from prefect.agent.domain.wait_kinds import WaitKind

KNOWN: Final = [kind for kind in WaitKind if kind is not WaitKind.UNKNOWN]
WORDS_OF_PLATFORMS: Final = re.compile(
    r"kubectl|kubernetes|docker|configmap|secret|namespace|\bpods?\b|\bjobs?\b|container|tolerat|persistentvolume",
    re.IGNORECASE,
)


@pytest.mark.parametrize("kind", KNOWN)
def test_each_kind_says_what_is_waited_for_and_what_to_do(kind: WaitKind) -> None:
    """Whatever the platform."""
    assert kind.waits() == f"waits for {kind.what}"
    assert kind.what
    assert kind.remedies
    assert not WORDS_OF_PLATFORMS.search(" ".join([kind.what, *kind.remedies]))


def test_an_unknown_kind_says_nothing_that_nobody_knows() -> None:
    """No advice is made up."""
    kind = WaitKind.UNKNOWN

    assert (kind.what, kind.remedies) == ("", ())
    assert (kind.waits(), kind.waits("to be created")) == ("waits to start", "waits to be created")


@pytest.mark.parametrize("value", [None, "", "weather", 7, [], {}])
def test_a_kind_of_another_version_is_unknown(value: Any) -> None:
    """Agents of other versions say other kinds, or none."""
    assert WaitKind(value) is WaitKind.UNKNOWN


def test_a_kind_is_read_from_its_value() -> None:
    """As documents have it."""
    assert [WaitKind(kind.value) for kind in WaitKind] == list(WaitKind)
