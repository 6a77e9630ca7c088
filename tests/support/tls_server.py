"""An HTTPS server on loopback, with a thread for each connection, that can be ended at any moment."""

import contextlib
import socket
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.pki import Certificate


class TlsServer(ThreadingHTTPServer):
    """Serves until it is closed; clients that break off are no news."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(
        self, handler: type[BaseHTTPRequestHandler], certificate: Certificate, *, clients_of: Path | None = None
    ) -> None:
        """Serve with *certificate*; only to clients with a certificate signed by *clients_of*, if it is given."""
        super().__init__(("127.0.0.1", 0), handler)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=clients_of and str(clients_of))
        self._context.load_cert_chain(certificate.certificate, certificate.key)
        if clients_of:
            self._context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # a server in Go is not strict about form either
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="tls-server")
        self._thread.start()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Leave the handshake to the connection's own thread."""
        plain, address = super().get_request()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wrapped = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.add(wrapped)
        return wrapped, address

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection."""
        with self._lock:
            self._open.discard(request)
        with contextlib.suppress(OSError):
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what is not about a connection."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        """Break all connections off and end all threads."""
        self.shutdown()
        self._thread.join()
        with self._lock:
            for each in self._open:
                break_off(each)
        self.server_close()


def break_off(connection: socket.socket) -> None:
    """End a connection from another thread, without a word of TLS."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
