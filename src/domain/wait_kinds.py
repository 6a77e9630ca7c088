"""Kinds of waits: what keeps a unit from starting, and what to do about each, in words of no platform. Pure.

Platforms name their waits differently. The adapter that reads one says which kind it is; no rule of the agent ever
looks at the platform's reason or message.
"""

import enum
from collections.abc import Mapping
from typing import Final


class WaitKind(enum.Enum):
    """The kind says what a unit that has not started waits for, on any platform.

    A value that this version does not know, as an agent of a later version may send it, is ``UNKNOWN``.
    """

    IMAGE = "image"
    """Its image cannot be had: it does not exist, the registry refuses it, or does not answer."""

    NODE = "node"
    """No machine of the platform has room for it, or is one that it may execute on."""

    QUOTA = "quota"
    """A quota has no room for it."""

    VOLUME = "volume"
    """A volume is not there, or cannot be attached."""

    SETTINGS = "settings"
    """The platform lacks something that its settings name, or cannot start it as they say."""

    RESUME = "resume"
    """It was suspended: a person resumes it."""

    UNKNOWN = "unknown"
    """None of these, or the adapter does not say. People read the platform's own words."""

    @classmethod
    def _missing_(cls, value: object) -> "WaitKind":  # noqa: ARG003 - whatever it is
        return cls.UNKNOWN

    @property
    def what(self) -> str:
        """What is waited for; empty if that is not known."""
        return _WHAT.get(self, "")

    @property
    def remedies(self) -> tuple[str, ...]:
        """What to do; one of them is enough. Empty if nothing is known to help."""
        return _REMEDIES.get(self, ())

    def waits(self, otherwise: str = "to start") -> str:
        """Return the predicate of a sentence: "waits for its image", or "waits" and *otherwise* if it is not known."""
        return f"waits for {self.what}" if self.what else f"waits {otherwise}"


_WHAT: Final[Mapping[WaitKind, str]] = {
    WaitKind.IMAGE: "its image",
    WaitKind.NODE: "a node",
    WaitKind.QUOTA: "room in a quota",
    WaitKind.VOLUME: "a volume",
    WaitKind.SETTINGS: "its settings",
    WaitKind.RESUME: "a person",
}
_REMEDIES: Final[Mapping[WaitKind, tuple[str, ...]]] = {
    WaitKind.IMAGE: ("correct or push the image", "give the agent a login for the registry"),
    WaitKind.NODE: (
        "ask for less CPU or memory in the run config",
        "add nodes, or correct what the run config says about the node",
    ),
    WaitKind.QUOTA: ("end other runs, or raise the quota",),
    WaitKind.VOLUME: ("look at the volumes of the run config and of the agent's settings: each has to exist",),
    WaitKind.SETTINGS: ("make what its settings name and the platform lacks, or take it out of the run config",),
    WaitKind.RESUME: ("resume it on the platform",),
}
