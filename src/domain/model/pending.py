"""What a unit that has not started waits for, and what to do about it. Pure; the words are those of the platforms."""

import re
from typing import Final

import attrs

from prefect.agent.domain.model.units import Evidence


@attrs.frozen
class Wait:
    """One kind of wait.

    Attributes:
        what: What is waited for, after "waits for".
        remedies: What to do; one of them is enough.
    """

    what: str
    remedies: tuple[str, ...]
    _pattern: str

    def is_meant_by(self, text: str) -> bool:
        """Whether evidence in these words is of this kind."""
        return re.search(self._pattern, text, re.IGNORECASE) is not None


_WAITS: Final = (
    Wait(
        "room in a quota",
        ("end other runs, or raise the quota of the namespace",),
        r"exceeded quota|quota",
    ),
    Wait(
        "a volume",
        ("look at the volumes of the run config and of the agent's template: name, claim, and secret have to exist",),
        r"FailedMount|FailedAttachVolume|volume|persistentvolumeclaim",
    ),
    Wait(
        "its image",
        ("correct or push the image", "give the agent a login for the registry (image pull secrets)"),
        r"\bErrImage|ImagePull|InvalidImageName|RegistryUnavailable|ImageInspectError|pull",
    ),
    Wait(
        "a node",
        ("ask for less CPU or memory in the run config", "add nodes, or correct the node selector and tolerations"),
        r"Unschedulable|FailedScheduling|nodes? (are|is) available|Insufficient",
    ),
    Wait(
        "a person",
        ('resume its Job: kubectl patch job NAME --patch \'{"spec": {"suspend": false}}\'',),
        r"^Suspended\b",
    ),
    Wait(
        "its settings",
        ("make the Secret or ConfigMap that is missing, or take it out of the run config",),
        r"CreateContainerConfigError|CreateContainerError|RunContainerError",
    ),
)
"""In order: the first one that fits is meant. A volume that is not there keeps a pod from its node, too."""


def wait_of(evidence: Evidence) -> Wait | None:
    """The kind of wait that *evidence* is of; None if it is none that is known."""
    text = f"{evidence.reason} {evidence.message}"
    return next((wait for wait in _WAITS if wait.is_meant_by(text)), None)
