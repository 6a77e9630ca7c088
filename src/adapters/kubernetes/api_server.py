"""The connection to a Kubernetes API server: credentials, requests, deadlines.

The SDK finds the cluster (kubeconfig, exec plugins, service account, proxies, TLS) and makes the connection pool. Its
generated methods stay unused: importing them costs 0.4 s of CPU and 24 MB, and they hide status, headers and streams.
"""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final
from urllib.parse import quote, urlencode

import urllib3

from prefect.agent.adapters import bounded_json
from prefect.agent.adapters.answers import within
from prefect.agent.adapters.kubernetes.credentials import ClusterLogin, Door, home_namespace
from prefect.agent.adapters.kubernetes.errors import RAISED, NoCredentials, StatusError, translate
from prefect.agent.adapters.kubernetes.throttle import Throttle
from prefect.agent.adapters.skew import SkewMeter
from prefect.agent.domain.errors import AgentError, ConfigurationError

TIMEOUT: Final = 20.0
"""Seconds to wait for the next piece of an answer; the server itself ends a write after 34 and a list after 60."""

DEADLINE: Final = 60.0
"""Seconds for a whole answer."""

CONNECT: Final = 10.0
"""Seconds to connect to the server."""

MERGE_PATCH: Final = "application/merge-patch+json"


class Cluster:
    """One API server, used with one account. Safe to use from several threads.

    Args:
        kubeconfig: Path of a kubeconfig; None for the service account of the agent's pod, else KUBECONFIG, else
            ``~/.kube/config``.
        context: Kubeconfig context; None for the current one.
        throttle: Limits the rate of requests.

    Raises:
        ConfigurationError: No cluster is configured, or the configuration is invalid.
    """

    def __init__(self, *, kubeconfig: str | None = None, context: str | None = None, throttle: Throttle) -> None:
        self._kubeconfig, self._context, self._throttle = kubeconfig, context, throttle
        self._door = Door()
        self._warned: set[str] = set()
        self._skew = SkewMeter()
        self._login: ClusterLogin | None = None
        self._server = ""
        with contextlib.suppress(NoCredentials):  # they may be available when they are needed
            self._logged_in()

    @property
    def server(self) -> str:
        """Address of the API server, for messages."""
        return self._server if self._login is None else self._login.server

    @property
    def secrets(self) -> frozenset[str]:
        """The agent's token or password, as it was read last."""
        return frozenset() if self._login is None else self._login.secrets

    @property
    def exposures(self) -> list[str]:
        """A sentence about a connection that is not protected; empty if it is."""
        return [] if self._login is None else self._login.exposures

    @property
    def skew(self) -> float:
        """Seconds by which the API server's clock is ahead of this machine's, measured by its answers."""
        return self._skew.skew

    def now(self) -> datetime:
        """Return the current time of the API server."""
        return datetime.now(timezone.utc) + timedelta(seconds=self.skew)

    def home_namespace(self) -> str:
        """Return the namespace of the agent's pod, or of the kubeconfig's context; else ``default``."""
        return home_namespace(self._kubeconfig, self._context)

    @contextlib.contextmanager
    def asked(self, doing: str, *, into: Callable[..., AgentError] = translate) -> Generator[None]:
        """Turn errors of requests in the block into errors of the port.

        Args:
            doing: What the API server is asked to do, for messages: the words after "to".
            into: Translates the errors.
        """
        try:
            yield
        except AgentError:
            raise
        except RAISED as problem:
            raise into(problem, server=self.server, doing=doing) from problem

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        content_type: str = "application/json",
        timeout: float = TIMEOUT,
        deadline: float = DEADLINE,
        heard_warning: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Send a request and return the JSON object of the answer. Raises the errors of ``RAISED``.

        Only a request whose credentials were refused is repeated: once, with credentials that were read again.

        Args:
            timeout: Seconds to wait for the beginning of the answer, and for each next piece.
            deadline: Seconds for the whole answer.
            heard_warning: Called with each different warning of the server (RFC 7234 section 5.5) once.
        """
        with self._answer(method, path, query, body, content_type, timeout, deadline) as response:
            self._hear_warnings(response, heard_warning)
            return _json(response)

    def find(self, path: str) -> dict[str, Any] | None:
        """Return the object at *path*; None if the API server itself reports that it does not exist."""
        try:
            found = self.send("GET", path)
        except StatusError as failure:
            if failure.is_absence:
                return None
            raise
        if not isinstance(found.get("metadata"), dict):
            raise urllib3.exceptions.HTTPError(f"not an object of Kubernetes: {str(found)[:80]}")
        return found

    @contextlib.contextmanager
    def stream(
        self, path: str, *, query: Mapping[str, object], silence: float, deadline: float
    ) -> Generator["WatchStream"]:
        """Send a request and yield its answer as a stream. Raises as :meth:`send`.

        Args:
            silence: Seconds to wait for the next piece.
            deadline: Seconds for the whole answer.
        """
        with self._answer("GET", path, query, None, "application/json", silence, deadline) as response:
            yield WatchStream(response)

    def close(self) -> None:
        """Close idle connections. May be repeated; the cluster may be used again afterwards."""
        if self._login is not None:
            self._login.pool.clear()

    @contextlib.contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None,
        body: object,
        content_type: str,
        timeout: float,
        deadline: float,
    ) -> Generator[urllib3.BaseHTTPResponse]:
        """Yield the answer if it is a success, and release its connection afterwards."""
        words = f"{path}?{urlencode(query)}" if query else path
        content = None if body is None else json.dumps(body).encode()
        login = self._logged_in()
        response = self._request(login, method, words, content, content_type, timeout, deadline)
        failure = self._failure(response)
        if failure is not None and failure.is_unknown_account and self._login_again(login):
            _let_go(response)
            response = self._request(self._logged_in(), method, words, content, content_type, timeout, deadline)
            failure = self._failure(response)
        try:
            if failure is not None:
                raise failure
            yield response
        finally:
            _let_go(response)

    def _request(
        self,
        login: ClusterLogin,
        method: str,
        words: str,
        content: bytes | None,
        content_type: str,
        timeout: float,
        deadline: float,
    ) -> urllib3.BaseHTTPResponse:
        self._throttle.take()
        headers = urllib3.HTTPHeaderDict({"Accept": "application/json", "User-Agent": "prefect-agent"})
        for name, value in self._door.ask(login.credentials):
            headers.add(name, value)
        if content is not None:
            headers["Content-Type"] = content_type
        asked_at = time.monotonic()
        with within(head=CONNECT + timeout, whole=deadline):
            response = login.pool.request(
                method,
                f"{login.server}{words}",
                body=content,
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT, read=timeout),
                retries=False,
                preload_content=False,
            )
        took = time.monotonic() - asked_at
        self._skew.answered(response.headers.get("Date"), took, datetime.now(timezone.utc))
        return response

    def _failure(self, response: urllib3.BaseHTTPResponse) -> StatusError | None:
        """Return the failure in an answer; None if the answer is a success, which is not read."""
        if response.status < 400:
            return None
        retry_after = _seconds(response.headers.get("Retry-After"))
        try:
            status = _json(response)
        except (urllib3.exceptions.HTTPError, bounded_json.BeyondBounds):
            status = {}
        if retry_after is not None and response.status in {429, 503}:
            self._throttle.hold(retry_after)
        return StatusError(response.status, status, retry_after=retry_after)

    def _hear_warnings(self, response: urllib3.BaseHTTPResponse, heard: Callable[[str], None] | None) -> None:
        if heard is None:
            return
        for header in response.headers.getlist("Warning"):
            text = header.partition('"')[2].rpartition('"')[0].replace('\\"', '"')
            if text and text not in self._warned and len(self._warned) < 100:
                self._warned.add(text)
                heard(text)

    def _login_again(self, refused: ClusterLogin) -> bool:
        """Read the credentials again, unless another thread did so meanwhile; return whether a retry makes sense.

        Raises:
            NoCredentials: No credentials are available at present.
        """

        def again() -> bool:
            if self._login is refused:
                try:
                    self._login = ClusterLogin.find(self._kubeconfig, self._context)
                except ConfigurationError:
                    return False
                refused.pool.clear()
            return True

        return self._door.ask(again)

    def _logged_in(self) -> ClusterLogin:
        """Return the login, and read it if that has not been done yet.

        Raises:
            NoCredentials: No credentials are available at present.
            ConfigurationError: No cluster is configured.
        """

        def find() -> ClusterLogin:
            if self._login is None:
                self._login = ClusterLogin.find(self._kubeconfig, self._context)
            return self._login

        if self._login is not None:
            return self._login
        try:
            return self._door.ask(find)
        except NoCredentials as missing:
            self._server = missing.server
            raise


class WatchStream:
    """A streamed answer of the API server."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces as they arrive, until the server ends the answer."""
        return self._response.stream(bounded_json.PIECE)

    def lines(self) -> Iterator[bytes]:
        """Yield complete lines; drop an incomplete last one. Raises BeyondBounds for a line that is too long."""
        return bounded_json.lines(self)

    def cut(self) -> None:
        """Close the stream from another thread; the reading thread then gets the end or an error."""
        connection = getattr(self._response, "_connection", None)
        sock: socket.socket | None = getattr(connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not sock.shutdown: after that, the reader of a TLS socket would get cipher text as the answer.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


def path_of(*words: str) -> str:
    """Return a path of the API, with each of its parts quoted."""
    return "/" + "/".join(quote(part, safe="") for word in words for part in word.split("/"))


def items_of(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of a list, or of a page of it; raise HTTPError if *answer* is not a list."""
    found = answer.get("items")
    if found is None and str(answer.get("kind")).endswith("List"):
        return []
    if not isinstance(found, list):
        raise urllib3.exceptions.HTTPError(f"not a list of objects: {str(answer)[:80]}")
    return [each for each in found if isinstance(each, dict)]


def _let_go(response: urllib3.BaseHTTPResponse) -> None:
    if not response.closed:  # the unread rest would disturb the connection's next answer
        response.close()
    response.release_conn()


def _json(response: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    """Return the JSON object of an answer; raise HTTPError if it is not one, BeyondBounds if it is too large."""
    data = bounded_json.gathered(response.stream(bounded_json.PIECE))
    try:
        answer = bounded_json.loads(data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise urllib3.exceptions.HTTPError(f"not a JSON object: {data[:80]!r}")
    return answer


def _seconds(header: str | None) -> float | None:
    try:
        return None if header is None else max(0.0, float(header))
    except ValueError:  # a date, which API servers do not send
        return None
