"""The connection to a Docker engine."""

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import datetime, timezone
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from docker.api.client import APIClient
from docker.errors import DockerException, create_api_error_from_http_exception
from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection, UnixHTTPConnectionPool
from docker.types import CancellableStream
from docker.utils import kwargs_from_env, parse_host
from requests.adapters import BaseAdapter

from prefect.agent.adapters import bounded_json
from prefect.agent.adapters.answers import TimedAdapter, TimedResponse, within
from prefect.agent.adapters.docker import credentials
from prefect.agent.adapters.docker.errors import RAISED, translate
from prefect.agent.adapters.skew import SkewMeter
from prefect.agent.adapters.trust import TlsAdapter
from prefect.agent.domain.addresses import is_loopback
from prefect.agent.domain.errors import AgentError, ConfigurationError, PlatformUnavailable

CONNECTIONS: Final = 32
"""Kept open at most; more are made when needed and closed afterwards."""


class Engine:
    """A Docker engine that is first asked when something is needed of it. Safe to use from several threads.

    Args:
        base_url: As in DOCKER_HOST; None for DOCKER_HOST, or else the default socket.
        timeout: Seconds that an answer may take, all of it: one that comes byte by byte has no more.

    Attributes:
        clock: The engine's, as far as its answers tell.

    Raises:
        ConfigurationError: *base_url*, or one of Docker's environment variables, makes no sense.
    """

    def __init__(self, base_url: str | None, *, timeout: int) -> None:
        self.timeout = timeout
        self.clock = SkewMeter()
        try:
            self._options: dict[str, Any] = {"base_url": base_url} if base_url else dict(kwargs_from_env())
            parse_host(self._options.get("base_url"), os.name == "nt", bool(self._options.get("tls")))
        except (DockerException, ValueError) as problem:
            raise ConfigurationError(f"cannot tell where the Docker engine is: {problem}") from problem
        default = "npipe:////./pipe/docker_engine" if os.name == "nt" else "unix:///var/run/docker.sock"
        _check_address(self._options.get("base_url") or "")
        self.address: str = self._options.get("base_url") or default
        self._guard = threading.Lock()
        self._client: APIClient | None = None

    @property
    def exposures(self) -> list[str]:
        """What the connection leaves unprotected, in a sentence: everything, if others can read it on the way."""
        parts = urlsplit(self.address)
        if parts.scheme not in {"tcp", "http"} or self._options.get("tls") or is_loopback(parts.hostname or ""):
            return []
        risk = "others on the way can read the flow runs' API key, and order the engine about"
        return [f"The Docker engine at {self.address} is asked without TLS: {risk}. Set DOCKER_TLS_VERIFY"]

    @contextlib.contextmanager
    def asked(self, doing: str, *, into: Callable[..., AgentError] = translate) -> Generator[APIClient, None, None]:
        """The SDK's client, to *doing*; what it raises inside comes out in the port's words.

        Args:
            doing: What is asked of the engine, after "to".
            into: Finds the words.
        """
        try:
            yield self._connected()
        except AgentError:
            raise
        except RecursionError as problem:  # the SDK reads Docker's config.json before it can be kept from it
            raise PlatformUnavailable(
                f"cannot {doing}: an answer, or Docker's config.json, is nested too deeply"
            ) from problem
        except RAISED as problem:
            raise into(problem, address=self.address, doing=doing) from problem

    @contextlib.contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str],
        silence: float,
        deadline: float,
        headers: Mapping[str, str | bytes] | None = None,
    ) -> Generator["JsonLines", None, None]:
        """Ask something that is answered line by line. Raises what the SDK raises: ``RAISED``.

        Unlike the SDK's own way this one is never stuck with an engine that went silent, or that drips.

        Args:
            silence: Seconds to wait for the next piece of the answer.
            deadline: Seconds for the whole of it.
        """
        client = self._connected()
        url = f"{client.base_url}/v{client.api_version}{path}"
        with within(head=silence, whole=deadline):
            response = client.request(method, url, params=params, headers=headers, stream=True, timeout=silence)
        try:
            try:
                response.raise_for_status()
            except requests.HTTPError as problem:
                _fill(response)
                create_api_error_from_http_exception(problem)
            yield JsonLines(response)
        finally:
            response.close()

    def close(self) -> None:
        """Let go of idle connections; may be repeated, and the engine may be used again."""
        with self._guard:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> APIClient:
        with self._guard:
            if self._client is None:
                self._client = _Client(
                    self.clock, version="auto", timeout=self.timeout, max_pool_size=CONNECTIONS, **self._options
                )
            return self._client


def _check_address(address: str) -> None:
    """Raise ConfigurationError if no engine can be asked at *address*, however long one waits."""
    parts = urlsplit(address)
    if parts.scheme == "ssh" and find_spec("paramiko") is None:
        raise ConfigurationError(f"{address} needs a package more: pip install 'docker[ssh]'")
    if parts.scheme == "npipe" and os.name != "nt":
        raise ConfigurationError(
            f"{address} is a Docker engine of Windows; here it looks like unix:///var/run/docker.sock"
        )
    try:
        (parts.hostname or "").encode("idna")
    except UnicodeError:
        raise ConfigurationError(f"{address} has a name that no host has: check DOCKER_HOST") from None


class _Client(APIClient):
    """The SDK's client, which asks an engine far away for its version while it is made.

    An answer that is read at once has its timeout for the whole of it; of one that is read piece by piece the head.
    """

    def __init__(self, clock: SkewMeter, **options: Any) -> None:
        self._clock = clock
        try:
            super().__init__(**options)
        except RecursionError as problem:
            raise ConfigurationError(f"{credentials.place()} is nested too deeply to be read") from problem

    @property
    def _general_configs(self) -> dict[str, Any]:
        return self._known

    @_general_configs.setter
    def _general_configs(self, _read_by_sdk: object) -> None:
        """The SDK takes any JSON for an object of objects, so it gets what the one reader makes of the file."""
        self._known = credentials.general()

    def send(self, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        """Send a request; learn the engine's time from its answer."""
        seconds = how.get("timeout")
        asked_at = datetime.now(timezone.utc)
        is_stream = bool(how.get("stream"))
        with within(head=seconds, whole=None if is_stream else seconds):
            response = super().send(request, **{**how, "stream": True})
        if not is_stream:
            _fill(response)
        took = response.elapsed
        self._clock.answered(response.headers.get("Date"), took.total_seconds(), asked_at + took)
        return response

    def _result(self, response: requests.Response, json: bool = False, binary: bool = False) -> Any:  # noqa: FBT001, FBT002
        """What an answer says; the SDK calls this for all that are no streams."""
        if json and response.ok:
            return _decoded(response.content)
        sdk: Any = super()
        return sdk._result(response, json, binary)  # noqa: SLF001 - the method that this one overrides

    def mount(self, prefix: str | bytes, adapter: BaseAdapter) -> None:
        """Choose what sends requests to addresses with *prefix*."""
        if type(adapter) is UnixHTTPAdapter:
            adapter = _UnixAdapter(adapter.socket_path, adapter.timeout, max_pool_size=adapter.max_pool_size)
        super().mount(prefix, adapter)

    def get_adapter(self, url: str) -> BaseAdapter:
        """What sends a request."""
        scheme = url.partition(":")[0]
        if scheme == "https":
            return self._tls
        return self._plain if scheme == "http" else super().get_adapter(url)

    def merge_environment_settings(
        self, url: str | bytes | None, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """What a request is sent with: ``REQUESTS_CA_BUNDLE`` is for others if Docker has an authority of its own."""
        own = self.verify if verify is None else verify
        return super().merge_environment_settings(url, proxies, stream, own, cert)

    @cached_property
    def _tls(self) -> BaseAdapter:
        return _TimedTlsAdapter(pool_maxsize=CONNECTIONS)

    @cached_property
    def _plain(self) -> BaseAdapter:
        return TimedAdapter(pool_maxsize=CONNECTIONS)


class _TimedTlsAdapter(TimedAdapter, TlsAdapter):
    """Connections with TLS whose answers keep deadlines."""


class _UnixConnection(UnixHTTPConnection):
    response_class = TimedResponse


class _UnixPool(UnixHTTPConnectionPool):
    def _new_conn(self) -> Any:
        timeout: Any = self.timeout
        return _UnixConnection(self.base_url, self.socket_path, timeout)


class _UnixAdapter(UnixHTTPAdapter):
    """The same through a socket of this machine."""

    def get_connection(self, url: Any, proxies: Any = None) -> UnixHTTPConnectionPool:  # noqa: ARG002
        with self.pools.lock:
            pool: UnixHTTPConnectionPool | None = self.pools.get(url)
            if pool is None:
                pool = _UnixPool(url, self.socket_path, self.timeout, maxsize=self.max_pool_size)
                self.pools[url] = pool
        return pool


class JsonLines:
    """An answer of the engine, one JSON object after another."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from map(_decoded, bounded_json.lines(self._response.iter_content(512)))

    def cut(self) -> None:
        """End the answer; for another thread. Whoever reads gets the end or an error."""
        hang_up(CancellableStream(iter(()), self._response))


def hang_up(stream: "CancellableStream[Any]") -> None:
    """Close a stream of the SDK, whatever state it is in."""
    # It looks for the socket where a stream that has just ended has none.
    with contextlib.suppress(AttributeError, OSError, DockerException):
        stream.close()


def _fill(response: requests.Response) -> None:
    """Read all of an answer, as requests itself would; more than can be taken raises BeyondBounds."""
    try:
        content = bounded_json.gathered(response.iter_content(bounded_json.PIECE))
    except bounded_json.BeyondBounds:
        response.close()
        raise
    response._content = content  # noqa: SLF001 - requests has no other way to bound what it reads


def _decoded(content: bytes) -> Any:
    """Raises InvalidJSONError, BeyondBounds."""
    try:
        return bounded_json.loads(content)
    except ValueError as problem:
        raise requests.exceptions.InvalidJSONError(f"not JSON: {content!r:.80}") from problem
