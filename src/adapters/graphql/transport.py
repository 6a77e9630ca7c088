"""HTTP and GraphQL down to the errors of the port (protocol section 1)."""

import json
import math
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from prefect.agent.adapters.graphql.answers import (
    Answer,
    describe,
    is_rejection,
    is_unauthenticated,
    read_errors,
)
from prefect.agent.adapters.graphql.records import DIALECT
from prefect.agent.adapters.trust import TlsAdapter
from prefect.agent.domain.errors import CloudUnavailable, OutcomeUnknown, RequestRejected, Unauthorised
from prefect.agent.ports.clock import Clock

CONNECT_TIMEOUT: Final = 5.0
READ_TIMEOUT: Final = 15.0
"""Seconds without a byte (protocol section 1.5: ``cloud.request_timeout``)."""

MAX_ANSWER: Final = 64 * 1024 * 1024
CONNECTIONS: Final = 8

_REFUSED_KEY: Final = ("UNAUTHENTICATED", "Malformed Authorization header")
"""What tells a key that is not accepted, wherever it stands in the errors (protocol section 1.4)."""


class AnswerTooLarge(CloudUnavailable):
    """The answer to a read is larger than can be taken: ask for less."""


class _Auth(AuthBase):
    """Sets the key, or nothing: without an auth of its own, requests would take one from ``.netrc``."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class Transport:
    """One kept-alive conversation with one address. Safe to use from several threads.

    Proxies and private certificate authorities come from the environment (``HTTPS_PROXY``, ``REQUESTS_CA_BUNDLE``).

    Args:
        url: Address of the API. A name and password in it are not sent: the key is the only authorisation.
        key: API key or token.

    Attributes:
        waits: Whether the backend does what ``Prefer: wait`` asks for (RFC 7240 section 4.3), by its last answer.
    """

    def __init__(self, url: str, key: str | None, *, clock: Clock | None = None) -> None:
        self._clock = clock
        self.waits = False
        self.skew = 0.0
        self.compares = False
        self.url = url.rstrip("/")
        self.shown = _without_password(self.url)
        self._session = requests.Session()
        self._session.auth = _Auth(key)
        for prefix in ("http://", "https://"):
            self._session.mount(prefix, TlsAdapter(pool_connections=1, pool_maxsize=CONNECTIONS))
        self._session.headers.update(
            {
                "Content-Type": "application/json",
                "User-Agent": f"prefect-agent/{metadata.version('prefect-agent')}",
                "X-PREFECT-CORE-VERSION": DIALECT,
            }
        )

    def set_header(self, name: str, value: str) -> None:
        """Send a header with every request from now on."""
        self._session.headers[name] = value

    def send(
        self,
        document: str,
        variables: Mapping[str, Any] | None = None,
        *,
        changes: bool = False,
        wait: float | None = None,
    ) -> Answer:
        """Send one document and return its answer, errors of single fields included.

        Args:
            changes: Whether an answer that is lost may hide a change that matters.
            wait: Seconds that the backend may wait for something to answer with; None to ask for nothing of the kind.

        Raises:
            CloudError: As the port says.
        """
        body = json.dumps({"query": document, "variables": json.dumps(variables) if variables else "null"})
        lost = OutcomeUnknown if changes else CloudUnavailable
        try:
            with self._session.post(
                self.url,
                data=body.encode(),
                headers=None if wait is None else {"Prefer": f"wait={math.ceil(wait)}"},
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT + (wait or 0.0)),
                allow_redirects=False,
                stream=True,
            ) as response:
                answer = self._understand(response, lost)
                if wait is not None:
                    self.waits = "wait" in response.headers.get("Preference-Applied", "")
                return answer
        except requests.exceptions.SSLError as problem:
            raise CloudUnavailable(f"no trusted TLS connection to {self.shown}: {_short(problem)}") from problem
        except (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError) as problem:
            raise CloudUnavailable(f"cannot reach {self.shown}: {_short(problem)}") from problem
        except requests.ConnectionError as problem:
            # Only what failed before a connection existed is known not to have been sent.
            unsent = "NewConnectionError" in repr(problem) or "NameResolutionError" in repr(problem)
            error = CloudUnavailable if unsent else lost
            raise error(f"cannot reach {self.shown}: {_short(problem)}") from problem
        except requests.RequestException as problem:
            raise lost(f"no answer from {self.shown}: {_short(problem)}") from problem

    def ask(
        self,
        document: str,
        variables: Mapping[str, Any] | None = None,
        *,
        changes: bool = False,
        wait: float | None = None,
    ) -> Mapping[str, Any]:
        """Like :meth:`send`, for documents where any error spoils the answer; return the data.

        Raises:
            CloudError: As the port says.
        """
        answer = self.send(document, variables, changes=changes, wait=wait)
        if answer.errors:
            if is_rejection(answer.errors):
                raise RequestRejected(describe(answer.errors))
            error = OutcomeUnknown if changes else CloudUnavailable
            raise error(f"{self.shown} is in trouble: {describe(answer.errors)}")
        return answer.data

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def _understand(self, response: requests.Response, lost: type[CloudUnavailable | OutcomeUnknown]) -> Answer:
        self._check_status(response, lost)
        body = self._read(response, lost)
        errors = read_errors(body.get("errors"))
        if is_unauthenticated(errors):
            raise Unauthorised(f"{self.shown} does not accept the API key: {describe(errors)}")
        if response.status_code >= 400:
            raise RequestRejected(f"{self.shown} refuses the request (HTTP {response.status_code}): {describe(errors)}")
        data = body.get("data")
        if not isinstance(data, Mapping):
            if not errors:
                raise lost(f"{self.shown} answered without data")
            data = {}
        return Answer(data, errors)

    def _check_status(self, response: requests.Response, lost: type[CloudUnavailable | OutcomeUnknown]) -> None:
        """Raise what the HTTP status alone decides."""
        status = response.status_code
        if status in {401, 403}:
            raise Unauthorised(f"{self.shown} does not accept the API key (HTTP {status})")
        if status in {429, 503}:
            wait = _retry_after(response.headers.get("Retry-After"))
            raise CloudUnavailable(f"{self.shown} asks for patience (HTTP {status})", retry_after=wait)
        if status >= 500:
            raise lost(f"{self.shown} is in trouble (HTTP {status})")
        if 300 <= status < 400:
            target = response.headers.get("Location", "elsewhere")
            raise CloudUnavailable(f"{self.shown} redirects to {target}: use that address as --api")
        if status in {404, 405}:
            raise CloudUnavailable(f"{self.shown} does not answer like a Prefect API (HTTP {status}): check --api")

    def _read(self, response: requests.Response, lost: type[CloudUnavailable | OutcomeUnknown]) -> Mapping[str, Any]:
        chunks, size = [], 0
        for chunk in response.iter_content(65536):
            size += len(chunk)
            if size > MAX_ANSWER:
                raise lost(f"the answer of {self.shown} is larger than {MAX_ANSWER} bytes")
            chunks.append(chunk)
        try:
            body = json.loads(b"".join(chunks))
        except (ValueError, RecursionError) as problem:
            raise lost(f"{self.shown} does not answer like a Prefect API (no JSON): check --api") from problem
        if not isinstance(body, Mapping):
            raise lost(f"{self.shown} does not answer like a Prefect API (no JSON object): check --api")
        return body


def _retry_after(value: str | None) -> float | None:
    try:
        return max(0.0, min(float(value), 3600.0)) if value else None
    except ValueError:
        return None  # a date: our own back-off is as good


def _short(problem: Exception) -> str:
    """The innermost reason, without the addresses of objects that urllib3 puts in."""
    reason: Any = problem.args[0] if problem.args else problem
    reason = getattr(reason, "reason", None) or reason
    text = str(reason)
    return text.rpartition(": ")[2] if "object at 0x" in text or text.startswith("<") else text


def _without_password(url: str) -> str:
    """*url* as it may be shown."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
