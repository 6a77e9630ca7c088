"""Requests to an embedded Cloud byte by byte, as no well-behaved client sends them."""

import json
import socket
from urllib.parse import urlsplit

import attrs

SECONDS = 30.0


@attrs.frozen
class Raw:
    """What came back: status, lower-case headers, body."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def code(self) -> str:
        """The code of the first error."""
        return str(json.loads(self.body)["errors"][0]["extensions"]["code"])


def connect(url: str) -> socket.socket:
    """A connection to the server at *url*."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    return socket.create_connection((parts.hostname, parts.port or 80), SECONDS)


def authority(url: str) -> str:
    """Host and port of *url*."""
    return urlsplit(url).netloc


def head_of(url: str, method: str = "POST", path: str = "/graphql", **headers: str) -> bytes:
    """The head of a request; ``content_type`` is the header Content-Type. None of the usual headers but Host."""
    given = {"host": authority(url), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items()), "", ""]
    return "\r\n".join(lines).encode()


def read(connection: socket.socket) -> Raw:
    """The one answer, up to its end; nothing but the close of the connection is status 0."""
    found = b""
    while b"\r\n\r\n" not in found:
        more = connection.recv(65536)
        if not more:
            return Raw(0, {}, "")
        found += more
    head, _, body = found.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "1000000000"))
    while len(body) < length:
        more = connection.recv(65536)
        if not more:
            break
        body += more
    return Raw(int(first.split()[1]), headers, body.decode())


def ask(url: str, query: str = "{ hello }", path: str = "/graphql", **headers: str) -> Raw:
    """Post a query with exactly these headers."""
    body = json.dumps({"query": query}).encode()
    with connect(url) as connection:
        connection.sendall(head_of(url, path=path, content_length=str(len(body)), **headers) + body)
        return read(connection)


def get(url: str, path: str = "/", **headers: str) -> Raw:
    """Get a page with exactly these headers."""
    with connect(url) as connection:
        connection.sendall(head_of(url, "GET", path, **headers))
        return read(connection)
