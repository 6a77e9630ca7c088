"""Every error this package raises on purpose, sorted by what the caller can do about it.

Adapters translate their vendor's exceptions into these, always ``from`` the original. A name says whose turn it is:
*Unavailable* - the same call may work later; *Refused* or *Rejected* - repeating it cannot help; *Forbidden* - a person
must grant something; *OutcomeUnknown* - look before repeating.
"""


class AgentError(Exception):
    """Base of every error of this package. Never raised itself."""


class ConfigurationError(AgentError):
    """Something a person typed or configured cannot work; the message says what to do instead."""


class Unavailable(AgentError):
    """What was asked did not answer usefully, and nothing was changed. The same call may work later.

    Attributes:
        retry_after: Seconds it asked us to wait, or None if it did not say.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def asked_to_wait(problem: BaseException) -> float:
    """Return the seconds that whatever raised *problem* asked us to wait; 0.0 if it did not."""
    return (problem.retry_after or 0.0) if isinstance(problem, Unavailable) else 0.0


# --- the Cloud API ---


class CloudError(AgentError):
    """Base of what a Cloud API port raises. Never raised itself."""


class CloudUnavailable(CloudError, Unavailable):
    """The Cloud API did not answer usefully, and nothing was changed. The same call may work later."""


class CloudMisconfigured(CloudUnavailable, ConfigurationError):
    """The Cloud API cannot be asked at all with what is configured: a file that is not there, a wrong kind of address.

    At start it ends the agent, since waiting cannot help; later it is waited for like any other unavailability.
    """


class OutcomeUnknown(CloudError):
    """A request that changes something was sent, its answer was lost: it may be committed. Read back, then decide."""


class Unauthorised(CloudError):
    """The Cloud API does not accept the key. Only a person can mend that."""


class RequestRejected(CloudError):
    """The Cloud API understood the request and refused it: a bug, or a bad flow run. Repeating it cannot help."""


class ForeignAttempt(CloudError):
    """A run was given with an attempt that was not read together with it: nothing may be changed by that attempt.

    It never leaves an adapter: the claim is ``Refused``.
    """


# --- the platform ---


class PlatformError(AgentError):
    """Base of what an execution platform raises. Never raised itself."""


class PlatformUnavailable(PlatformError, Unavailable):
    """The platform did not answer, or is out of something that comes back. The same call may work later."""


class CreateBlocked(PlatformUnavailable):
    """The platform answers, but creates no units for want of something that comes back; nothing was created.

    Attributes:
        patience: Seconds that a flow run may wait for it; None for no limit.
        needs_room: Whether units that have ended take the room.
    """

    def __init__(
        self,
        message: str,
        *,
        patience: float | None = None,
        needs_room: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.patience, self.needs_room = patience, needs_room


class PlatformForbidden(PlatformError):
    """The platform says no to the agent itself. The message names the permission that is missing."""


class SubmissionRefused(PlatformError):
    """This flow run cannot be started here, and trying again cannot help. The message is for its maker."""


class UnitNameTaken(SubmissionRefused):
    """Something that is not ours already has the unit's name on the platform."""

    def __init__(self, name: str, owner: str) -> None:
        super().__init__(f"the name {name!r} is taken by {owner}, which this agent did not start")
        self.name, self.owner = name, owner
