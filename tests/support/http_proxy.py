"""A proxy on loopback that hands on what it is asked to, and remembers what that was."""

import contextlib
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

BUFFER: Final = 64 * 1024
SILENCE: Final = 30.0
"""Seconds after which a tunnel in which nothing is said is closed."""


class _Tunnel(BaseHTTPRequestHandler):
    """One connection: after ``CONNECT`` bytes go to and fro as they are."""

    server: "HttpProxy"

    def do_CONNECT(self) -> None:
        """Open the tunnel (RFC 9110 section 9.3.6)."""
        self.server.tunnels.append(self.path)
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=SILENCE) as target:
            self.send_response(200, "Connection established")
            self.end_headers()
            self._pump(target)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _pump(self, target: socket.socket) -> None:
        other = {self.connection: target, target: self.connection}
        with contextlib.suppress(OSError):
            while ready := select.select(list(other), [], [], SILENCE)[0]:
                for side in ready:
                    piece = side.recv(BUFFER)
                    if not piece:
                        return
                    self.server.seen += piece
                    other[side].sendall(piece)


class HttpProxy(ThreadingHTTPServer):
    """Serves until it is closed.

    Attributes:
        tunnels: ``host:port`` of each that was asked for.
        seen: All bytes that passed.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.tunnels: list[str] = []
        self.seen = b""
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="http-proxy")
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        """End it."""
        self.shutdown()
        self._thread.join()
        self.server_close()
