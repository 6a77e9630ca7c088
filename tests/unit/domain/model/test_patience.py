"""How long refusals of the API key are borne: facts in, verdict out."""

from collections.abc import Callable

import pytest

from prefect.agent.domain.model.patience import (
    LONGEST_GAP,
    WARN_EVERY,
    KeyTrust,
    Verdict,
    key_accepted,
    key_refused,
    key_unanswered,
)

PATIENCE = 600.0
ACCEPTED = key_accepted(KeyTrust())


def refused(trust: KeyTrust, *moments: float) -> tuple[KeyTrust, list[Verdict]]:
    """The verdicts on refusals at these moments."""
    verdicts = []
    for now in moments:
        trust, verdict = key_refused(trust, now, patience=PATIENCE)
        verdicts.append(verdict)
    return trust, verdicts


def test_a_key_that_was_never_accepted_is_given_up_at_once() -> None:
    """Only a person can mend it, and is at hand when an agent starts."""
    assert refused(KeyTrust(), 1000.0)[1] == [Verdict.GIVE_UP]


def test_an_accepted_key_is_given_up_after_the_patience() -> None:
    """Not a moment earlier, however many refusals there are."""
    moments = [1000.0 + seconds for seconds in range(0, 600, 2)]
    trust, verdicts = refused(ACCEPTED, *moments)

    assert Verdict.GIVE_UP not in verdicts
    assert refused(trust, 1600.0)[1] == [Verdict.GIVE_UP]


def test_a_row_of_refusals_warns_at_once_and_then_every_few_minutes() -> None:
    """A line for each refusal would hide everything else in the log."""
    verdicts = refused(ACCEPTED, *(float(seconds) for seconds in range(0, 599, 10)))[1]

    warned = [10.0 * index for index, verdict in enumerate(verdicts) if verdict is Verdict.WARN]
    assert warned == [0.0, WARN_EVERY, 2 * WARN_EVERY, 3 * WARN_EVERY]


@pytest.mark.parametrize("interrupted", [key_accepted, key_unanswered])
def test_any_other_answer_ends_the_row(interrupted: Callable[[KeyTrust], KeyTrust]) -> None:
    """Nothing but refusals counts: a success, but an outage too, begins the time anew."""
    trust, _ = refused(ACCEPTED, *(float(seconds) for seconds in range(0, 590, 10)))
    trust, verdicts = refused(interrupted(trust), *(float(seconds) for seconds in range(590, 1180, 10)))

    assert not interrupted(trust).is_refused
    assert Verdict.GIVE_UP not in verdicts


def test_refusals_far_apart_are_no_row() -> None:
    """Nothing is known of the time between them."""
    verdicts = refused(ACCEPTED, *(index * (LONGEST_GAP + 1) for index in range(9)))[1]

    assert Verdict.GIVE_UP not in verdicts


def test_a_key_that_flaps_warns_every_few_minutes() -> None:
    """An acceptance between two refusals is no reason to warn more often."""
    trust, warnings = ACCEPTED, 0
    for now in range(0, 1800, 10):
        trust, verdict = key_refused(trust, float(now), patience=PATIENCE)
        warnings += verdict is Verdict.WARN
        trust = key_accepted(trust)

    assert warnings == 1800 / WARN_EVERY


def test_no_patience_gives_up_at_the_first_refusal() -> None:
    """Zero seconds are what the name says."""
    assert key_refused(ACCEPTED, 5.0, patience=0.0)[1] is Verdict.GIVE_UP
