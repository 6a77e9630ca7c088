"""Reads the kind of a wait from the reasons and messages of Kubernetes. Pure."""

import shlex
from collections.abc import Mapping
from typing import Final

from prefect.agent.adapters.kubernetes.facts import JobFacts
from prefect.agent.domain.model.units import Evidence
from prefect.agent.domain.wait_kinds import WaitKind

HOPELESS_IMAGES: Final = frozenset({"InvalidImageName", "ErrImageNeverPull"})
"""Reasons of a waiting container that do not pass by waiting."""

IMAGE_ERRORS: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"}
)
NO_QUOTA: Final = "exceeded quota"

_NOT_CREATED: Final = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")

_KINDS: Final[Mapping[str, WaitKind]] = {
    **dict.fromkeys(HOPELESS_IMAGES | IMAGE_ERRORS | {"InspectFailed"}, WaitKind.IMAGE),
    **dict.fromkeys(("Unschedulable", "FailedScheduling"), WaitKind.NODE),
    **dict.fromkeys(("FailedMount", "FailedAttachVolume", "FailedMapVolume"), WaitKind.VOLUME),
    **dict.fromkeys(_NOT_CREATED, WaitKind.SETTINGS),
}
"""By the reason of a waiting container, of a pod's condition, or of an event."""

_FINER: Final[tuple[tuple[frozenset[str], tuple[str, ...], WaitKind], ...]] = (
    (frozenset({"FailedCreate"}), ("quota",), WaitKind.QUOTA),
    # The scheduler and the runtime find out about a volume that is not there, too.
    (
        frozenset({"Unschedulable", "FailedScheduling", *_NOT_CREATED}),
        ("persistentvolumeclaim", "volume"),
        WaitKind.VOLUME,
    ),
    (frozenset({"Failed", "BackOff"}), ("pull", "errimage"), WaitKind.IMAGE),
)
"""Reasons that stand for several kinds, and what a message has to contain, in lower case, to be of that kind."""

_REMEDIES: Final[Mapping[WaitKind, tuple[str, ...]]] = {
    WaitKind.IMAGE: ("correct or push the image", "give the agent a login for the registry (image pull secrets)"),
    WaitKind.NODE: (
        "ask for less CPU or memory in the run config",
        "add nodes, or correct the node selector and tolerations",
    ),
    WaitKind.QUOTA: ("end other runs, or raise the quota of the namespace",),
    WaitKind.VOLUME: (
        "look at the volumes of the run config and of the agent's template: name, claim, and secret have to exist",
    ),
    WaitKind.SETTINGS: ("make the Secret or ConfigMap that is missing, or take it out of the run config",),
}


def kind_of(reason: str, message: str) -> WaitKind:
    """Return the kind of a wait with these words of Kubernetes; ``UNKNOWN`` for any others."""
    said = message.lower()
    finer = (kind for reasons, words, kind in _FINER if reason in reasons and any(word in said for word in words))
    return next(finer, _KINDS.get(reason, WaitKind.UNKNOWN))


def waits(reason: str, message: str) -> Evidence:
    """Return the evidence of a unit that waits to start, with its kind and what to do."""
    kind = kind_of(reason, message)
    return Evidence(reason=reason, message=message, wait_kind=kind, remedies=_REMEDIES.get(kind, ()))


def suspended(job: JobFacts) -> Evidence:
    """Return the evidence of a suspended Job, with the command that resumes it."""
    about = f"--namespace {shlex.quote(job.namespace)} patch job {shlex.quote(job.name)}"
    resume = f"""resume its Job: kubectl {about} --patch '{{"spec": {{"suspend": false}}}}'"""
    said = "its Job was suspended externally"
    return Evidence(reason="Suspended", message=said, wait_kind=WaitKind.RESUME, remedies=(resume,))
