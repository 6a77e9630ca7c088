"""Translates the errors of the Docker SDK into those of the port; no other module does that."""

from collections.abc import Iterator
from typing import Final

import requests
from docker.errors import APIError, DockerException

from prefect.agent.adapters.bounded_json import BeyondBounds
from prefect.agent.adapters.problems import why
from prefect.agent.domain.errors import PlatformError, PlatformForbidden, PlatformUnavailable, SubmissionRefused
from prefect.agent.domain.wait_kinds import WaitKind

RAISED: Final = (DockerException, requests.RequestException, OSError)
"""All errors that the SDK raises for reasons other than bugs."""

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
"""Texts of the engine for conditions that pass by themselves, or that its administrator resolves.

Each holds a blank or a colon, so that the name of an image cannot look like one."""

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
"""Texts in the answer to a pull that a retry cannot help."""


MALFORMED: Final = ("json: cannot unmarshal", "invalid volume specification", "invalid mount config")
"""Texts of the engine for values of a run config that no engine accepts, even if it answers 500."""


def words(problem: BaseException) -> str:
    """Return the engine's message without the HTTP details; else the SDK's message."""
    said = problem.explanation if isinstance(problem, APIError) else None
    return " ".join(str(said or problem).split())


def says(text: str, phrases: tuple[str, ...]) -> bool:
    """Return whether *text* contains one of *phrases*, in any case."""
    return any(phrase in text.lower() for phrase in phrases)


def translate(problem: Exception, *, address: str, doing: str) -> PlatformError:
    """Return the error of the port for one of ``RAISED``.

    Args:
        problem: The error of the SDK.
        address: Address of the engine.
        doing: What the engine was asked to do, the words after "to": ``list containers``.
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
            f"no Docker engine answers at {address} ({why(problem)}). "
            "Start it, or set its address with --base-url or DOCKER_HOST"
        )
    return PlatformUnavailable(f"cannot use the Docker engine at {address} to {doing}: {words(problem)}")


def translate_submission(problem: Exception, *, address: str, doing: str) -> PlatformError:
    """Translate as :func:`translate` does, for a request in which the run config itself may be wrong."""
    return _blamed(problem, {400, 404, 405, 406, 409, 413, 422}, address=address, doing=doing)


def translate_start(problem: Exception, *, address: str, doing: str) -> PlatformError:
    """Translate as :func:`translate_submission` does, for the start of a container.

    There the engine answers 500 to many mistakes of the run config: a device that does not exist, a port in use. In
    answers to other requests, 500 means that the engine itself fails.
    """
    # 403: the container's network mode does not allow it to join the agent's networks.
    return _blamed(problem, {400, 403, 404, 409, 500}, address=address, doing=doing)


def _blamed(problem: Exception, statuses: set[int], *, address: str, doing: str) -> PlatformError:
    said = words(problem)
    if not isinstance(problem, APIError) or says(said, PASSING) or "no such container" in said.lower():
        return translate(problem, address=address, doing=doing)
    if problem.status_code in statuses or says(said, MALFORMED):
        return SubmissionRefused(f"Docker refuses to {doing}: {said}")
    return translate(problem, address=address, doing=doing)


def pull_problem(image: str, said: str, *, status: int = 500, doubt: str = "") -> PlatformError:
    """Return the error for an image that was not pulled.

    Args:
        said: The engine's message, from the answer or from a line of its stream.
        status: Status of the HTTP answer; 500 for a line of a stream.
        doubt: Why the registry was sent no credentials, if that may be a mistake.
    """
    full = f"{said} (the registry was sent no credentials: {doubt})" if doubt else said
    if not says(said, PASSING) and (status in {400, 404} or says(f"{said}:", NO_SUCH_IMAGE)):
        return SubmissionRefused(
            f"the image {image!r} cannot be pulled: {full}. "
            "Check its name, and that the agent's Docker engine has access to it (docker login)"
        )
    return PlatformUnavailable(f"cannot pull the image {image!r} now: {full}", wait_kind=WaitKind.IMAGE)


def _causes(problem: BaseException) -> Iterator[BaseException]:
    """Yield *problem* and all errors that caused it or that it holds, outermost first."""
    seen: list[BaseException] = [problem]
    for one in seen:
        yield one
        inner = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        seen.extend(i for i in inner if isinstance(i, BaseException) and not any(i is s for s in seen))


def _caused_by(problem: BaseException, kind: type[BaseException]) -> bool:
    return any(isinstance(cause, kind) for cause in _causes(problem))
