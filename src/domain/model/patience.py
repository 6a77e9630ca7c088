"""Rules for how long the agent tolerates refusals of its API key: facts in, verdict out.

Seconds of a clock that only grows.
"""

import enum
from typing import Final

import attrs

WARN_EVERY: Final = 180.0
"""Seconds between two warnings about a key that is still refused."""

LONGEST_GAP: Final = 180.0
"""Refusals further apart than this many seconds do not belong to one row: nothing is known of the time between."""


class Verdict(enum.Enum):
    """The reaction that a refusal of the key requires."""

    WAIT = "wait"
    WARN = "warn"
    GIVE_UP = "give up"


@attrs.frozen(kw_only=True)
class KeyTrust:
    """The agent's knowledge about its API key.

    Attributes:
        accepted: Whether the Cloud has ever accepted the key in this process.
        refused_since: When the present series of refusals began; None if the last answer was no refusal.
        last_refused: When the last refusal of that row came.
        warned_at: When a person was last warned about refusals.
    """

    accepted: bool = False
    refused_since: float | None = None
    last_refused: float | None = None
    warned_at: float | None = None

    @property
    def is_refused(self) -> bool:
        """Return whether the last answer about the key was a refusal."""
        return self.refused_since is not None


def key_accepted(trust: KeyTrust) -> KeyTrust:
    """Return what is known after the Cloud has accepted the key: earlier refusals do not count any more."""
    return KeyTrust(accepted=True, warned_at=trust.warned_at)


def key_unanswered(trust: KeyTrust) -> KeyTrust:
    """Return what is known after the Cloud gave no answer about the key: a row of refusals ends there."""
    return KeyTrust(accepted=trust.accepted, warned_at=trust.warned_at)


def key_refused(trust: KeyTrust, now: float, *, patience: float) -> tuple[KeyTrust, Verdict]:
    """Judge one refusal of the key.

    A key that the Cloud never accepted is given up at once. One that it has accepted is given up after *patience*
    seconds of nothing but refusals; until then a person is warned at once, and then every few minutes.

    Args:
        trust: What was known before.
        now: When the refusal came.
        patience: How long a row of refusals may last.
    """
    follows = trust.last_refused is not None and now - trust.last_refused <= LONGEST_GAP
    since = trust.refused_since if follows and trust.refused_since is not None else now
    warned_at = trust.warned_at
    if not trust.accepted or now - since >= patience:
        verdict = Verdict.GIVE_UP
    elif warned_at is None or now - warned_at >= WARN_EVERY:
        verdict, warned_at = Verdict.WARN, now
    else:
        verdict = Verdict.WAIT
    known = KeyTrust(accepted=trust.accepted, refused_since=since, last_refused=now, warned_at=warned_at)
    return known, verdict
