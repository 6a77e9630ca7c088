"""What the Docker SDK raises, in the words of the port. The only door: see :func:`translate`."""

from collections.abc import Iterator
from typing import Final

import requests
from docker.errors import APIError, DockerException

from prefect.agent.adapters.bounded_json import BeyondBounds
from prefect.agent.domain.errors import PlatformError, PlatformForbidden, PlatformUnavailable, SubmissionRefused

RAISED: Final = (DockerException, requests.RequestException, OSError)
"""Everything the SDK raises for reasons that are not bugs."""

PASSING: Final = (
    "no space left",
    "cannot allocate memory",
    "resource temporarily unavailable",
    "too many open files",
    "deadline exceeded",
    "i/o timeout",
    "handshake timeout",
    "awaiting headers",
    "no such host",
    "server misbehaving",
    "connection refused",
    "connection reset",
    "network is unreachable",
    "no route to host",
    "unexpected eof",
    "toomanyrequests:",
    "too many requests",
    "service unavailable",
    "bad gateway",
    "gateway timeout",
    "shutting down",
    "ttrpc: closed",
    "transport is closing",
    "all predefined address pools have been fully subnetted",
)
"""In the engine's words: what goes away by itself, or with the help of whoever runs the engine.

All hold a blank or a colon, so that no name of an image can look like one of them."""

NO_SUCH_IMAGE: Final = (
    "manifest unknown",
    "not found",
    "does not exist",
    "access denied",
    "denied:",
    "unauthorized:",
    "authentication required",
    "no basic auth credentials",
    "incorrect username or password",
    "invalid reference",
    "no matching manifest",
)
"""In the answer to a pull: what repeating it cannot help."""


MALFORMED: Final = ("json: cannot unmarshal", "invalid volume specification", "invalid mount config")
"""In the engine's words: what the run config wrote in a way that no engine takes. Some engines answer 500 to it."""


def words(problem: BaseException) -> str:
    """What the engine said, without the HTTP around it; else what the SDK said."""
    said = problem.explanation if isinstance(problem, APIError) else None
    return " ".join(str(said or problem).split())


def says(text: str, phrases: tuple[str, ...]) -> bool:
    """Whether one of *phrases* is in *text*, whatever the case."""
    return any(phrase in text.lower() for phrase in phrases)


def translate(problem: Exception, *, address: str, doing: str) -> PlatformError:
    """One of ``RAISED`` as the error to raise from it.

    Args:
        problem: What was raised.
        address: Where the engine should be.
        doing: What was asked of it, after "to": ``list containers``.
    """
    if _caused_by(problem, PermissionError):
        return PlatformForbidden(
            f"the agent may not use the Docker engine at {address}: permission denied. "
            "Add its user to the group that owns the socket (mostly 'docker') and start it anew, or run it as root"
        )
    if isinstance(problem, APIError):
        if problem.status_code in {401, 403}:
            return PlatformForbidden(f"the Docker engine at {address} forbids the agent to {doing}: {words(problem)}")
        return PlatformUnavailable(f"the Docker engine could not {doing}: {words(problem)}")
    if _caused_by(problem, requests.Timeout) or _caused_by(problem, TimeoutError):
        return PlatformUnavailable(f"the Docker engine at {address} did not answer in time to {doing}")
    if isinstance(problem, BeyondBounds):
        return PlatformUnavailable(f"the answer of the Docker engine at {address} to {doing} {problem}")
    if isinstance(problem, requests.RequestException | OSError) or _caused_by(problem, requests.ConnectionError):
        return PlatformUnavailable(
            f"no Docker engine answers at {address} ({_root(problem)}). "
            "Start it, or say where it is with the base URL option or DOCKER_HOST"
        )
    return PlatformUnavailable(f"cannot use the Docker engine at {address} to {doing}: {words(problem)}")


def translate_submission(problem: Exception, *, address: str, doing: str) -> PlatformError:
    """As :func:`translate`, where the run itself may be to blame."""
    return _blamed(problem, {400, 404, 405, 406, 409, 413, 422}, address=address, doing=doing)


def translate_start(problem: Exception, *, address: str, doing: str) -> PlatformError:
    """As :func:`translate_submission`, at the start of a container.

    There the engine answers 500 to many a mistake of the run: a device that does not exist, a port in use. Elsewhere
    that is trouble of its own.
    """
    # 403 is for a container of a network mode that cannot join the agent's networks.
    return _blamed(problem, {400, 403, 404, 409, 500}, address=address, doing=doing)


def _blamed(problem: Exception, statuses: set[int], *, address: str, doing: str) -> PlatformError:
    said = words(problem)
    if not isinstance(problem, APIError) or says(said, PASSING) or "no such container" in said.lower():
        return translate(problem, address=address, doing=doing)
    if problem.status_code in statuses or says(said, MALFORMED):
        return SubmissionRefused(f"Docker refuses to {doing}: {said}")
    return translate(problem, address=address, doing=doing)


def pull_problem(image: str, said: str, *, status: int = 500, doubt: str = "") -> PlatformError:
    """Why *image* was not pulled.

    Args:
        said: The engine's words, from the answer or from a line of its stream.
        status: Of the HTTP answer; 500 for a line of a stream.
        doubt: Why the registry was sent no credentials, if that may be a mistake.
    """
    full = f"{said} (the registry was sent no credentials: {doubt})" if doubt else said
    if not says(said, PASSING) and (status in {400, 404} or says(f"{said}:", NO_SUCH_IMAGE)):
        return SubmissionRefused(
            f"the image {image!r} cannot be pulled: {full}. "
            "Check its name, and that the agent's Docker may read it (docker login)"
        )
    return PlatformUnavailable(f"cannot pull the image {image!r} now: {full}")


def _causes(problem: BaseException) -> Iterator[BaseException]:
    """*problem* and everything it was raised from or carries along, outermost first."""
    seen: list[BaseException] = [problem]
    for one in seen:
        yield one
        inner = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        seen.extend(i for i in inner if isinstance(i, BaseException) and not any(i is s for s in seen))


def _caused_by(problem: BaseException, kind: type[BaseException]) -> bool:
    return any(isinstance(cause, kind) for cause in _causes(problem))


def _root(problem: BaseException) -> str:
    """The plainest cause: what the operating system said, if it did."""
    for cause in _causes(problem):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return words(problem)
