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
"""Most connections that stay open; further ones are closed after use."""


class DockerEngine:
    """A connection to a Docker engine, opened at the first request. Safe to use from several threads.

    Args:
        base_url: The address, as in DOCKER_HOST; None for DOCKER_HOST, else the default socket.
        timeout: Seconds that a whole answer may take, even one that arrives byte by byte.

    Attributes:
        clock: Measures the skew of the engine's clock.

    Raises:
        ConfigurationError: *base_url*, or one of Docker's environment variables, is invalid.
    """

    def __init__(self, base_url: str | None, *, timeout: int) -> None:
        self.timeout = timeout
        self.clock = SkewMeter()
        try:
            self._options: dict[str, Any] = {"base_url": base_url} if base_url else dict(kwargs_from_env())
            parse_host(self._options.get("base_url"), os.name == "nt", bool(self._options.get("tls")))
        except (DockerException, ValueError) as problem:
            raise ConfigurationError(f"the address of the Docker engine is not valid: {problem}") from problem
        default = "npipe:////./pipe/docker_engine" if os.name == "nt" else "unix:///var/run/docker.sock"
        _check_address(self._options.get("base_url") or "")
        self.address: str = self._options.get("base_url") or default
        self._guard = threading.Lock()
        self._client: APIClient | None = None

    @property
    def exposures(self) -> list[str]:
        """A sentence about a connection to another machine without TLS; empty if the connection is protected."""
        parts = urlsplit(self.address)
        if parts.scheme not in {"tcp", "http"} or self._options.get("tls") or is_loopback(parts.hostname or ""):
            return []
        risk = "so others in the network can read the flow runs' API key and control the engine"
        return [f"The connection to the Docker engine at {self.address} has no TLS, {risk}. Set DOCKER_TLS_VERIFY"]

    @contextlib.contextmanager
    def asked(self, doing: str, *, into: Callable[..., AgentError] = translate) -> Generator[APIClient, None, None]:
        """Yield the SDK's client; errors that it raises in the block become errors of the port.

        Args:
            doing: What the engine is asked to do, for messages: the words after "to".
            into: Translates the errors.
        """
        try:
            yield self._connected()
        except AgentError:
            raise
        except RecursionError as problem:  # the SDK itself reads Docker's config.json at first
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
        """Send a request and yield its answer, a stream of lines. Raises the SDK's errors, ``RAISED``.

        Unlike the SDK's own method, it does not hang if the engine becomes silent or sends very slowly.

        Args:
            silence: Seconds to wait for the next piece of the answer.
            deadline: Seconds for the whole answer.
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
        """Close idle connections. May be repeated; the engine may be used again afterwards."""
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
    """Raise ConfigurationError if *address* can never be the address of an engine."""
    parts = urlsplit(address)
    if parts.scheme == "ssh" and find_spec("paramiko") is None:
        raise ConfigurationError(f"{address} needs another package: run pip install 'docker[ssh]'")
    if parts.scheme == "npipe" and os.name != "nt":
        raise ConfigurationError(
            f"{address} is a Docker engine of Windows; write an address like unix:///var/run/docker.sock"
        )
    try:
        (parts.hostname or "").encode("idna")
    except UnicodeError:
        raise ConfigurationError(f"{address} has an impossible host name: check DOCKER_HOST") from None


class _Client(APIClient):
    """The SDK's client, with deadlines and limits for answers. Its creation asks the engine for its version.

    The timeout limits a whole answer if it is read at once, and only its head if it is a stream.
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
        """Replace the configuration that the SDK read, which may have any form, by that of :mod:`.credentials`."""
        self._known = credentials.general()

    def send(self, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        """Send a request, and measure the engine's clock by its answer."""
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
        """Return the content of an answer; the SDK calls this for all answers that are not streams."""
        if json and response.ok:
            return _decoded(response.content)
        sdk: Any = super()
        return sdk._result(response, json, binary)  # noqa: SLF001 - the method that this one overrides

    def mount(self, prefix: str | bytes, adapter: BaseAdapter) -> None:
        """Set the adapter for addresses with *prefix*; replace the SDK's for Unix sockets by one with deadlines."""
        if type(adapter) is UnixHTTPAdapter:
            adapter = _UnixAdapter(adapter.socket_path, adapter.timeout, max_pool_size=adapter.max_pool_size)
        super().mount(prefix, adapter)

    def get_adapter(self, url: str) -> BaseAdapter:
        """Return the adapter that sends a request to *url*."""
        scheme = url.partition(":")[0]
        if scheme == "https":
            return self._tls
        return self._plain if scheme == "http" else super().get_adapter(url)

    def merge_environment_settings(
        self, url: str | bytes | None, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """Return the settings of a request; Docker's own certificate authority wins over ``REQUESTS_CA_BUNDLE``."""
        own = self.verify if verify is None else verify
        return super().merge_environment_settings(url, proxies, stream, own, cert)

    @cached_property
    def _tls(self) -> BaseAdapter:
        return _TimedTlsAdapter(pool_maxsize=CONNECTIONS)

    @cached_property
    def _plain(self) -> BaseAdapter:
        return TimedAdapter(pool_maxsize=CONNECTIONS)


class _TimedTlsAdapter(TimedAdapter, TlsAdapter):
    """Opens connections with TLS whose answers keep deadlines."""


class _UnixConnection(UnixHTTPConnection):
    response_class = TimedResponse


class _UnixPool(UnixHTTPConnectionPool):
    def _new_conn(self) -> Any:
        timeout: Any = self.timeout
        return _UnixConnection(self.base_url, self.socket_path, timeout)


class _UnixAdapter(UnixHTTPAdapter):
    """Opens connections to a Unix socket whose answers keep deadlines."""

    def get_connection(self, url: Any, proxies: Any = None) -> UnixHTTPConnectionPool:  # noqa: ARG002
        with self.pools.lock:
            pool: UnixHTTPConnectionPool | None = self.pools.get(url)
            if pool is None:
                pool = _UnixPool(url, self.socket_path, self.timeout, maxsize=self.max_pool_size)
                self.pools[url] = pool
        return pool


class JsonLines:
    """A streamed answer of the engine: one JSON object per line."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from map(_decoded, bounded_json.lines(self._response.iter_content(512)))

    def cut(self) -> None:
        """Close the stream from another thread; the reading thread then gets the end or an error."""
        hang_up(CancellableStream(iter(()), self._response))


def hang_up(stream: "CancellableStream[Any]") -> None:
    """Close a stream of the SDK in any of its states."""
    # The SDK looks for the stream's socket, which is gone if the stream has just ended.
    with contextlib.suppress(AttributeError, OSError, DockerException):
        stream.close()


def _fill(response: requests.Response) -> None:
    """Read a whole answer into the response, as requests does; raise BeyondBounds if it exceeds the limits."""
    try:
        content = bounded_json.gathered(response.iter_content(bounded_json.PIECE))
    except bounded_json.BeyondBounds:
        response.close()
        raise
    response._content = content  # noqa: SLF001 - requests has no other way to bound what it reads


def _decoded(content: bytes) -> Any:
    """Return the value of JSON; raise InvalidJSONError or BeyondBounds."""
    try:
        return bounded_json.loads(content)
    except ValueError as problem:
        raise requests.exceptions.InvalidJSONError(f"not JSON: {content!r:.80}") from problem
