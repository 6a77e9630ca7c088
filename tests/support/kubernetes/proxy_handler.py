"""Connections to the fault proxy."""

import contextlib
import http.client
import select
import socket
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler
from typing import Final, Protocol
from urllib.parse import parse_qs, urlsplit

import attrs

from support.kubernetes.faults import Fault, Request

HOP_BY_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length", "host"}
CHUNK: Final = 65536


@attrs.define(eq=False)
class Stream:
    """An open watch."""

    client: socket.socket
    upstream: socket.socket
    is_cut: bool = False
    is_clean: bool = False


class Faults(Protocol):
    """What a handler needs to know."""

    def meet(self, request: Request) -> Fault | None:
        """Note the request; the fault that it meets."""
        ...

    def connect(self) -> http.client.HTTPSConnection:
        """A new connection to the API server."""
        ...

    def streaming(self, stream: Stream) -> contextlib.AbstractContextManager[None]:
        """A watch is open for the time of the block."""
        ...

    def flows(self, stream: Stream) -> bool:
        """Whether the stream goes on, once it is not frozen."""
        ...


class ProxyHandler(BaseHTTPRequestHandler):
    """A connection to the proxy, and one to the API server for as long as that keeps it."""

    protocol_version = "HTTP/1.1"
    proxy: Faults
    upstream: http.client.HTTPSConnection | None = None

    def serve(self) -> None:
        """Forward the request unless it meets a fault."""
        asked = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(asked.query, keep_blank_values=True).items()}
        request = Request(self.command, asked.path, query, self.headers.get("Authorization", ""))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.proxy.meet(request)
        if fault is not None and fault.hold:
            fault.wait()
            fault = None
        try:
            if fault is None or fault.forwards:
                answer = self._forward(body)
                if fault is None:
                    self._pass_on(request, answer)
                    return
                self._drop_upstream()
        except (OSError, http.client.HTTPException):
            self._drop_upstream()
            fault = None
        if fault is None or not fault.status:
            self.close_connection = True
        else:
            self._begin(fault.status, fault.headers.items())
            self._whole(fault.body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve  # noqa: N815 - names of the standard library

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Let go of the API server too."""
        self._drop_upstream()
        super().finish()

    def _forward(self, body: bytes) -> http.client.HTTPResponse:
        if self.upstream is not None and select.select([self.upstream.sock], [], [], 0)[0]:
            self._drop_upstream()  # the API server has nothing to say now but good-bye
        self.upstream = self.upstream or self.proxy.connect()
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        self.upstream.request(self.command, self.path, body or None, headers)
        return self.upstream.getresponse()

    def _pass_on(self, request: Request, answer: http.client.HTTPResponse) -> None:
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
        if not request.is_watch or answer.status != http.client.OK:
            body = answer.read()
            self._begin(answer.status, headers)
            self._whole(body)
            return
        self._begin(answer.status, [*headers, ("Transfer-Encoding", "chunked")])
        self.end_headers()
        assert self.upstream is not None
        self.upstream.sock.settimeout(None)
        stream = Stream(self.connection, self.upstream.sock)
        with self.proxy.streaming(stream):
            self.close_connection = not self._stream(answer, stream)
        self._drop_upstream()

    def _stream(self, answer: http.client.HTTPResponse, stream: Stream) -> bool:
        """Pass a watch on; whether it came to a clean end."""
        try:
            while (part := answer.read1(CHUNK)) and self.proxy.flows(stream):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        except (OSError, http.client.HTTPException):
            if not stream.is_clean:
                return False
        if stream.is_cut and not stream.is_clean:
            return False
        self.wfile.write(b"0\r\n\r\n")
        return True

    def _begin(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)

    def _whole(self, body: bytes) -> None:
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drop_upstream(self) -> None:
        if self.upstream is not None:
            self.upstream.close()
            self.upstream = None
