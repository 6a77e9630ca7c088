"""The part of a kubelet that the API server asks for logs."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler
from typing import Final, Protocol
from urllib.parse import parse_qs, urlsplit

from support.pki import Pki
from support.tls_server import TlsServer


class HasLog(Protocol):
    """A pod that may have put something out."""

    def output(self, container: str) -> Iterable[bytes]:
        """Its lines, oldest first.

        Raises:
            LookupError: There is no log, for the reason that it names.
        """
        ...


Find = Callable[[str, str], HasLog | None]


class ContainerLogs:
    """Serves ``/containerLogs/NAMESPACE/POD/CONTAINER`` to the API server.

    Attributes:
        port: Where.
    """

    def __init__(self, find: Find, pki: Pki, name: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, body = answer(find, self.path)
                self.send_response(status)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = TlsServer(Handler, pki.server(name), clients_of=pki.authority.certificate)
        self.port: Final = self._server.server_port

    def close(self) -> None:
        """Stop serving."""
        self._server.close()


def answer(find: Find, path: str) -> tuple[int, bytes]:
    """Status and body for a request."""
    asked = urlsplit(path)
    parts = asked.path.strip("/").split("/")
    if len(parts) != 4 or parts[0] != "containerLogs":
        return 404, b"this kubelet serves logs only"
    pod = find(parts[1], parts[2])
    if pod is None:
        return 404, f'pods "{parts[2]}" not found'.encode()
    limits = {name: int(values[-1]) for name, values in parse_qs(asked.query).items() if values[-1].isdecimal()}
    try:
        return 200, tail(pod.output(parts[3]), limits.get("tailLines"), limits.get("limitBytes"))
    except LookupError as missing:
        return 400, str(missing.args[0]).encode()


def tail(lines: Iterable[bytes], number: int | None, size: int | None) -> bytes:
    """The last lines, and of those the first bytes, as a kubelet has it."""
    kept = lines if number is None else deque(lines, maxlen=number)
    return b"".join(kept if size is None else itertools.islice(kept, size + 1))[:size]
