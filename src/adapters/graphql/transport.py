"""The transport speaks HTTP and GraphQL and raises the errors of the port."""

import json
import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from http.cookiejar import DefaultCookiePolicy
from importlib import metadata
from typing import Any, Final

import requests

from prefect.agent.adapters import bounded_json
from prefect.agent.adapters.graphql.answers import Answer, describe, is_rejection, is_unauthenticated, read_errors
from prefect.agent.adapters.graphql.connections import Call, CallAdapter, calling
from prefect.agent.adapters.graphql.logins import ApiLogin, without_login
from prefect.agent.adapters.graphql.misconfigurations import is_alert, misconfiguration, wants_tls
from prefect.agent.adapters.graphql.records import DIALECT
from prefect.agent.adapters.problems import why
from prefect.agent.adapters.skew import SkewMeter, read_date
from prefect.agent.domain.errors import (
    CloudError,
    CloudMisconfigured,
    CloudUnavailable,
    OutcomeUnknown,
    RequestRejected,
    Unauthorised,
)
from prefect.agent.domain.secrets import without_password
from prefect.agent.ports.clock import Clock

CONNECT_TIMEOUT: Final = 5.0
"""Seconds to connect."""

READ_TIMEOUT: Final = 15.0
"""Seconds without a byte."""

CALL_TIMEOUT: Final = 30.0
"""Seconds for the whole of a call, from connecting to the last byte of the answer."""

MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of an answer."""

MAX_VALUES: Final = 1_000_000
"""JSON values in an answer."""

MAX_FAILURE: Final = 256 * 1024
"""Bytes of a failure's body that are looked at for a code."""

MAX_TARGET: Final = 200
"""Characters of the address in a redirect that are shown."""

MAX_RETRY_AFTER: Final = 60.0
"""Longest wait that an answer may ask for, in seconds."""

CONNECTIONS: Final = 8
"""Connections that are kept open; more threads open others."""

COMPARES: Final = "compare-and-set"

_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")

_FIELD: Final = re.compile(r"\{\s*(?:\w+\s*:\s*)?(\w+)")

Lost = type[CloudUnavailable | OutcomeUnknown]

Observer = Callable[[str, str, float], None]


def operation(document: str) -> str:
    """Return what a document asks for: the name of its first field."""
    found = _FIELD.search(document)
    return found[1] if found else "unknown"


class AnswerTooLarge(CloudUnavailable):
    """The answer to a read is too large: ask for less."""


class _NoRedirectSession(requests.Session):
    """This session follows no redirects and does not parse their targets: an invalid one would be a ValueError."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return no target."""


class Transport:
    """A transport keeps connections to one address alive. Safe to use from several threads.

    Proxies and private certificate authorities come from the environment (``HTTPS_PROXY``, ``REQUESTS_CA_BUNDLE``).

    Args:
        url: Address of the API. A name and password in it are sent only if there is no key.
        key: API key or token.
        clock: This machine's; without it no skew is measured.
        observe: Takes what each request asked for, what came of it (``ok``, or the error's name), and its seconds.

    Attributes:
        waits: Whether the backend does what ``Prefer: wait`` asks for (RFC 7240 section 4.3), by its last answer.
        compares: Whether the backend says that claims are compared and set, by its last answer.
    """

    def __init__(
        self, url: str, key: str | None, *, clock: Clock | None = None, observe: Observer = lambda *_: None
    ) -> None:
        self._observe = observe
        self.waits = False
        self.compares = False
        self._clock, self._skew = clock, SkewMeter()
        self.url = url.rstrip("/")
        self.shown = without_login(self.url)
        self._session = _NoRedirectSession()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))  # they would add up for ever
        self._session.auth = self._login = ApiLogin(url, key)
        for prefix in ("http://", "https://"):
            self._session.mount(prefix, CallAdapter(pool_connections=1, pool_maxsize=CONNECTIONS))
        self._session.headers.update(
            {
                "Content-Type": "application/json",
                "User-Agent": f"prefect-agent/{metadata.version('prefect-agent')}",
                "X-PREFECT-CORE-VERSION": DIALECT,
            }
        )

    @property
    def skew(self) -> float:
        """Return the seconds that the backend's clock is ahead of this machine's; 0.0 below what can be measured."""
        return self._skew.skew

    def now(self) -> datetime:
        """Return the time of day at the backend (aware, UTC), as far as it is known."""
        here = self._clock.now() if self._clock else datetime.now(timezone.utc)
        return here + timedelta(seconds=self.skew)

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
        lost: Lost = OutcomeUnknown if changes else CloudUnavailable
        began, outcome = time.monotonic(), "ok"
        try:
            return self._call(body.encode(), lost, wait)
        except CloudError as problem:
            outcome = type(problem).__name__
            raise
        finally:
            self._observe(operation(document), outcome, time.monotonic() - began)

    def ask(
        self,
        document: str,
        variables: Mapping[str, Any] | None = None,
        *,
        changes: bool = False,
        wait: float | None = None,
    ) -> Mapping[str, Any]:
        """Send a document of which any error spoils the answer, and return the data.

        Raises:
            CloudError: As the port says.
        """
        answer = self.send(document, variables, changes=changes, wait=wait)
        if answer.errors:
            if is_rejection(answer.errors):
                raise RequestRejected(describe(answer.errors))
            error = OutcomeUnknown if changes else CloudUnavailable
            raise error(f"{self.shown} failed: {describe(answer.errors)}")
        return answer.data

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    # --- inside ---

    def _call(self, body: bytes, lost: Lost, wait: float | None) -> Answer:
        patience = wait or 0.0
        with calling(CALL_TIMEOUT + patience, READ_TIMEOUT + patience) as call:
            try:
                return self._post(body, lost, wait)
            except (OSError, ValueError) as problem:  # requests raises OSErrors, and lets ValueErrors pass
                raise self._unanswered(problem, call, lost) from problem

    def _post(self, body: bytes, lost: Lost, wait: float | None) -> Answer:
        began = time.monotonic()
        with self._session.post(
            self.url,
            data=body,
            headers=None if wait is None else {"Prefer": f"wait={math.ceil(wait)}"},
            timeout=(CONNECT_TIMEOUT, READ_TIMEOUT + (wait or 0.0)),
            allow_redirects=False,
            stream=True,
        ) as response:
            took, came = time.monotonic() - began, self._clock and self._clock.now()
            answer = self._understand(response, lost)
            self._learn(response, wait=wait)
            if came:
                self._skew.answered(response.headers.get("Date"), took, came)
            return answer

    def _learn(self, response: requests.Response, *, wait: float | None) -> None:
        """Take note of what the answer says about the backend."""
        self.compares = response.headers.get("Prefect-Claims", "").strip().lower() == COMPARES
        if wait is not None:
            self.waits = "wait" in response.headers.get("Preference-Applied", "")

    def _unanswered(self, problem: Exception, call: Call, lost: Lost) -> CloudError:
        """Return the error of a missing answer: a request that was not sent cannot have changed anything."""
        if is_alert(problem):
            return self._wants_tls()
        if call.sent:
            return lost(f"no answer from {self.shown}: {why(problem)}")
        cure = misconfiguration(problem)
        if cure:
            return CloudMisconfigured(f"cannot reach {self.shown}: {cure}")
        if isinstance(problem, requests.exceptions.SSLError):
            return CloudUnavailable(f"no trusted TLS connection to {self.shown}: {why(problem)}")
        return CloudUnavailable(f"cannot reach {self.shown}: {why(problem)}")

    def _wants_tls(self) -> CloudMisconfigured:
        return CloudMisconfigured(f"{self.shown} answers by https only: give its https:// address as --api")

    def _understand(self, response: requests.Response, lost: Lost) -> Answer:
        if response.status_code >= 300:
            raise self._failure(response, lost)
        body = self._object(self._read(response, lost), lost)
        errors = read_errors(body.get("errors"))
        if is_unauthenticated(errors):
            raise Unauthorised(f"{self.shown} {self._login.refused}: {describe(errors)}")
        data = body.get("data")
        if not isinstance(data, Mapping):
            if not errors:
                raise lost(f"{self.shown} answered without data")
            data = {}
        return Answer(data, errors)

    def _failure(self, response: requests.Response, lost: Lost) -> CloudError:
        """Return the error of a failed answer: by the codes of its errors, else by its status."""
        status, body = response.status_code, _body_of_failure(response)
        errors = _errors_of_failure(body)
        if status == 401 or is_unauthenticated(errors):
            return Unauthorised(f"{self.shown} {self._login.refused} (HTTP {status})")
        if is_rejection(errors):
            return RequestRejected(f"{self.shown} refuses the request (HTTP {status}): {describe(errors)}")
        if status < 400:
            target = without_password(response.headers.get("Location", "elsewhere"))[:MAX_TARGET]
            kind = CloudMisconfigured if status in {301, 308} else CloudUnavailable
            return kind(f"{self.shown} redirects to {target}: use that address as --api")
        if self.url.lower().startswith("http:") and wants_tls(status, body):
            return self._wants_tls()
        if status in {403, 407}:
            words = "a proxy or a firewall on the way to it may not let it pass"
            return CloudUnavailable(f"{self.shown} forbids the request (HTTP {status}): {words}")
        if status in {404, 405}:
            return CloudUnavailable(f"{self.shown} does not answer like a Prefect API (HTTP {status}): check --api")
        if status == 413:
            return RequestRejected(f"{self.shown} calls the request too large (HTTP 413)")
        if status in {408, 425, 429, 503}:
            wait = _retry_after(response.headers.get("Retry-After"), self.now())
            return CloudUnavailable(f"{self.shown} asks to try again later (HTTP {status})", retry_after=wait)
        words = f": {describe(errors)}" if errors else ""
        return lost(f"{self.shown} failed (HTTP {status}){words}")

    def _read(self, response: requests.Response, lost: Lost) -> bytes:
        try:
            body = bounded_json.gathered(response.iter_content(bounded_json.PIECE), most=MAX_ANSWER)
            bounded_json.check(body, most=MAX_VALUES)
        except bounded_json.BeyondBounds as problem:
            too_large = AnswerTooLarge if lost is CloudUnavailable else lost
            raise too_large(f"the answer of {self.shown} {problem}") from problem
        return body

    def _object(self, body: bytes, lost: Lost) -> Mapping[str, Any]:
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as problem:
            raise lost(f"{self.shown} does not answer like a Prefect API (no JSON): check --api") from problem
        if not isinstance(found, Mapping):
            raise lost(f"{self.shown} does not answer like a Prefect API (no JSON object): check --api")
        return found


def _body_of_failure(response: requests.Response) -> bytes:
    """Return the body of a failure; empty if it is incomplete or too large."""
    body = b""
    try:
        for chunk in response.iter_content(16384):
            body += chunk
            if len(body) > MAX_FAILURE:
                return b""
    except requests.RequestException:
        return b""
    return body


def _errors_of_failure(body: bytes) -> tuple[Mapping[str, Any], ...]:
    """Return the errors in the body of a failure; none if it has none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    return read_errors(found.get("errors")) if isinstance(found, Mapping) else ()


def _retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds to wait, a minute at most; None if the backend named no valid time."""
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), MAX_RETRY_AFTER)
    until = read_date(text)
    if until is None or until <= now:
        return None
    return min((until - now).total_seconds(), MAX_RETRY_AFTER)
