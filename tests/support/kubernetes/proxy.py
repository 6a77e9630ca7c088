"""A proxy before the API server that fails as networks, load balancers and busy API servers do."""

import contextlib
import http.client
import json
import select
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.faults import Fault, Request
from support.kubernetes.proxy_handler import ProxyHandler, Stream
from support.pki import Certificate
from support.tls_server import TlsServer, break_off

SECONDS: Final = 60


class FaultProxy:
    """Serves as the API server does, to clients with tokens, with the faults that a test wants.

    Faults are taken in the order in which they were made. Each method that makes one takes: *method*, *path* (a regular
    expression that is searched for), *query* (parameters it must have), *watch* (only watches, or none), *times*.

    Attributes:
        url: Where it serves.
        ca: File of the authority of its certificate.
        requests: All requests so far, in order of their arrival.
    """

    def __init__(self, control_plane: ControlPlane) -> None:
        self.requests: list[Request] = []
        self.ca = control_plane.ca
        self._plane = control_plane
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._streams: set[Stream] = set()
        self._changed = threading.Condition(self._lock)
        self._is_frozen = self._is_closed = False
        self._context = ssl.create_default_context(cafile=str(control_plane.ca))
        handler = type("Handler", (ProxyHandler,), {"proxy": self})
        self._server = ProxyServer(handler, control_plane.pki.server("proxy"), self.look_after_streams)
        self.url = f"https://127.0.0.1:{self._server.server_port}"

    def kubeconfig(self, token: str, namespace: str) -> Path:
        """A new kubeconfig file that leads here."""
        return self._plane.kubeconfig_for_token(token, namespace, server=self.url)

    def count(self, method: str = "", kind: str = "", *, watch: bool | None = None) -> int:
        """How many requests there were of this method and about this kind of object (``jobs``, ``pods/log``)."""
        return sum(
            method in {"", each.method} and kind in {"", each.kind} and watch in {None, each.is_watch}
            for each in list(self.requests)
        )

    def close(self) -> None:
        """Break everything off, and watches that are about to open too."""
        self.clear()
        with self._lock:
            self._is_closed = True
        self.cut_streams()
        self._server.close()

    # --- faults of requests ---

    def answer(
        self,
        status: int,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        forwards: bool = False,
        **which: Any,
    ) -> Fault:
        """Answer *status*; with *forwards*, what was asked for is done before.

        Args:
            body: Text, or an object to be written as JSON; None is a fitting ``Status``.
        """
        if body is None:
            name = http.client.responses.get(status, "").replace(" ", "")
            body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": name, "code": status}
        is_text = isinstance(body, str)
        kind = {"Content-Type": "text/plain" if is_text else "application/json"}
        text = body if isinstance(body, str) else json.dumps(body)
        return self._add(
            status=status, body=text.encode(), headers={**kind, **(headers or {})}, forwards=forwards, **which
        )

    def cut(self, *, forwards: bool = False, **which: Any) -> Fault:
        """Break the connection off without an answer; with *forwards*, what was asked for is done before."""
        return self._add(forwards=forwards, **which)

    def hold(self, **which: Any) -> Fault:
        """Hold requests until they are released; see :class:`Fault`."""
        return self._add(hold=True, **which)

    def clear(self) -> None:
        """No faults any more; what is held or frozen goes on."""
        with self._lock:
            for fault in self._faults:
                fault.release()
            self._faults.clear()
        self.thaw_streams()

    def _add(
        self,
        *,
        method: str = "",
        path: str = "",
        query: Mapping[str, str] | None = None,
        watch: bool | None = None,
        times: int | None = 1,
        **what: Any,
    ) -> Fault:
        fault = Fault(method=method, path=path, query=query or {}, watch=watch, times=times, **what)
        with self._lock:
            self._faults.append(fault)
        return fault

    # --- faults of watches ---

    @property
    def streams(self) -> int:
        """How many watches are open."""
        return len(self._streams)

    def cut_streams(self, *, clean: bool = False) -> None:
        """End all watches that are open: broken off, or *clean* as the API server ends them now and then."""
        with self._lock:
            for stream in self._streams:
                _cut(stream, clean=clean)
            self._changed.notify_all()

    def freeze_streams(self) -> None:
        """Keep watches open, new ones too, but let nothing through until :meth:`thaw_streams`."""
        self._freeze(is_frozen=True)

    def thaw_streams(self) -> None:
        """Let watches flow again, beginning with what came meanwhile."""
        self._freeze(is_frozen=False)

    def _freeze(self, *, is_frozen: bool) -> None:
        with self._lock:
            self._is_frozen = is_frozen
            self._changed.notify_all()

    # --- for its handlers ---

    def meet(self, request: Request) -> Fault | None:
        """Note the request; the fault that it meets."""
        with self._lock:
            self.requests.append(request)
            fault = next((each for each in self._faults if each.times != 0 and each.fits(request)), None)
            if fault is not None and fault.times is not None:
                fault.times -= 1
        if fault is not None:
            fault.reached.set()
        return fault

    @contextlib.contextmanager
    def streaming(self, stream: Stream) -> Iterator[None]:
        """A watch is open for the time of the block."""
        with self._lock:
            self._streams.add(stream)
            if self._is_closed:
                _cut(stream)
        try:
            yield
        finally:
            with self._lock:
                self._streams.discard(stream)

    def flows(self, stream: Stream) -> bool:
        """Whether the stream goes on, once it is not frozen."""
        with self._lock:
            self._changed.wait_for(lambda: stream.is_cut or not self._is_frozen)
            return not stream.is_cut

    def look_after_streams(self) -> None:
        """End the watches whose client went away: clients say nothing else while they watch."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            clients = {stream.client: stream for stream in self._streams}
            for client in select.select(clients, [], [], 0)[0]:
                _cut(clients[client])
            self._changed.notify_all()

    def connect(self) -> http.client.HTTPSConnection:
        """A new connection to the API server."""
        where = urlsplit(self._plane.server)
        assert where.hostname is not None
        return http.client.HTTPSConnection(where.hostname, where.port, context=self._context, timeout=SECONDS)


def _cut(stream: Stream, *, clean: bool = False) -> None:
    stream.is_cut, stream.is_clean = True, clean
    break_off(stream.upstream)


class ProxyServer(TlsServer):
    """Looks after something now and then."""

    def __init__(
        self, handler: type[BaseHTTPRequestHandler], certificate: Certificate, look: Callable[[], None]
    ) -> None:
        self._look = look
        super().__init__(handler, certificate)

    def service_actions(self) -> None:
        """Look."""
        self._look()
