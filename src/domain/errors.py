"""All errors that this package raises on purpose, sorted by what the caller can do about them.

Adapters translate their vendor's exceptions into these, always ``from`` the original. A name says whose turn it is:
*Unavailable* - the same call may work later; *Refused* or *Rejected* - repeating it cannot help; *Forbidden* - a person
must grant something; *OutcomeUnknown* - look before repeating.
"""

from prefect.agent.domain.wait_kinds import WaitKind


class AgentError(Exception):
    """Every error of this package derives from this one, which is never raised itself."""


class ConfigurationError(AgentError):
    """A setting or an argument cannot work; the message says what to do instead."""


class Unavailable(AgentError):
    """A remote service did not answer usefully, and nothing was changed; this base is never raised itself.

    Attributes:
        retry_after: Seconds that the service asked us to wait, or None if it named none.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def asked_to_wait(problem: BaseException) -> float:
    """Return the seconds that the service which caused *problem* asked us to wait; 0.0 if it did not."""
    return (problem.retry_after or 0.0) if isinstance(problem, Unavailable) else 0.0


# --- the Cloud API ---


class CloudError(AgentError):
    """Every error of a Cloud API port derives from this one, which is never raised itself."""


class CloudUnavailable(CloudError, Unavailable):
    """The Cloud API did not answer usefully, and nothing was changed. The same call may work later."""


class CloudMisconfigured(CloudUnavailable, ConfigurationError):
    """The Cloud API cannot be called as configured: a file is missing, or an address is of the wrong kind.

    At start this error ends the agent, since waiting cannot help; later the agent retries as for any unavailability.
    """


class OutcomeUnknown(CloudError):
    """A request that changes something was sent, and its answer was lost: it may be committed.

    Read back, then decide.
    """


class Unauthorised(CloudError):
    """The Cloud API does not accept the key. Only a person can correct that."""


class RequestRejected(CloudError):
    """The Cloud API refused a request that it understood: a bug, or an invalid flow run. Repeating it cannot help."""


class ForeignAttempt(CloudError):
    """A run came with an attempt that was not read together with it, so nothing may be changed by that attempt.

    It never leaves an adapter: the claim is ``Refused``.
    """


# --- the platform ---


class PlatformError(AgentError):
    """Every error of an execution platform derives from this one, which is never raised itself."""


class PlatformUnavailable(PlatformError, Unavailable):
    """The platform did not answer, or lacks something that comes back. The same call may work later.

    Attributes:
        wait_kind: What a new unit waits for because of it, as far as the adapter knows.
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, wait_kind: WaitKind = WaitKind.UNKNOWN
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.wait_kind = wait_kind


def wait_kind_of(problem: BaseException) -> WaitKind:
    """Return what a new unit waits for because of *problem*; ``UNKNOWN`` if the error does not say."""
    return problem.wait_kind if isinstance(problem, PlatformUnavailable) else WaitKind.UNKNOWN


class CreateBlocked(PlatformUnavailable):
    """The platform answers but lacks what a new unit needs, for a time; nothing was created.

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
        wait_kind: WaitKind = WaitKind.UNKNOWN,
    ) -> None:
        super().__init__(message, retry_after=retry_after, wait_kind=wait_kind)
        self.patience, self.needs_room = patience, needs_room


class PlatformForbidden(PlatformError):
    """The platform denies the agent a permission. The message names it."""


class SubmissionRefused(PlatformError):
    """This flow run cannot be started here, and retrying cannot help. The message is for its author."""


class UnitNameTaken(SubmissionRefused):
    """An object that is not ours already has the unit's name on the platform."""

    def __init__(self, name: str, owner: str) -> None:
        super().__init__(f"the name {name!r} is taken by {owner}, which this agent did not start")
        self.name, self.owner = name, owner
