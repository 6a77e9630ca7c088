"""A proxy in front of an HTTP service, on TCP or a unix socket, that makes chosen operations fail in a chosen way.

A GraphQL request is known by its root fields (``set_flow_run_states``), any other by method and path without its
version (``POST /containers/create``). One connection carries one request; upgrades are not supported.
"""

import contextlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Generator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import attrs

BUFFER: Final = 64 * 1024
SILENCE: Final = 60.0
"""Seconds after which a connection in which nothing is said is closed."""

HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>"

Address = tuple[str, int] | str
"""Host and port, or the path of a unix socket."""


@attrs.frozen(kw_only=True)
class Fault:
    """What happens to a request.

    Attributes:
        name: For people.
        reaches: Whether the service gets the request, and so has its effect.
        status, content, kind: The answer in place of the service's; no status: none of its own.
        cut: Share of the answer's body that gets through before the connection ends (0: not even its head); None: all.
        drip: Seconds between two bytes of the answer.
        reset: Whether the connection ends with a reset and not in an orderly way.
        hold: Whether nothing is answered until the fault is lifted.
        latency: Seconds before anything else.
        change: Makes another answer of the service's own.
    """

    name: str
    reaches: bool = False
    status: int | None = None
    content: bytes = b""
    kind: str = "application/json"
    headers: Mapping[str, str] = attrs.field(factory=dict)
    cut: float | None = None
    drip: float = 0.0
    reset: bool = False
    hold: bool = False
    latency: float = 0.0
    change: Callable[[bytes], bytes] | None = None


def dated(date: str) -> Fault:
    """The service answers by a clock of its own."""

    def change(answer: bytes) -> bytes:
        return re.sub(rb"(?i)\r\ndate: [^\r]*", b"\r\nDate: " + date.encode(), answer, count=1)

    return Fault(name=f"it is {date}", reaches=True, change=change)


def status(code: int, body: object = None, *, reaches: bool = False, **headers: str) -> Fault:
    """Any status, with a JSON body or without one."""
    content = b"" if body is None else json.dumps(body).encode()
    name = f"{code} {'with' if content else 'without'} body{' after the effect' if reaches else ''}"
    return Fault(name=name, status=code, content=content, headers=headers, reaches=reaches)


def graphql_error(
    code: str, message: str = "planted", path: str | None = None, *, reaches: bool = False, http: int = 200
) -> Fault:
    """A GraphQL error with a code, and a path if it is of one field."""
    error: dict[str, Any] = {"message": message, "extensions": {"code": code} if code else {}}
    if path:
        error["path"] = [path]
    body = {"errors": [error], "data": {path: None} if path else None}
    name = f"GraphQL error {code or 'without code'}{' after the effect' if reaches else ''}"
    return Fault(name=name, status=http, content=json.dumps(body).encode(), reaches=reaches)


RESET_BEFORE: Final = Fault(name="reset before the effect", reset=True)
RESET_AFTER: Final = Fault(name="reset after the effect", reaches=True, cut=0.0, reset=True)
CLOSED_BEFORE: Final = Fault(name="closed before the effect", cut=0.0)
LOST: Final = Fault(name="lost answer", reaches=True, hold=True)
TRUNCATED: Final = Fault(name="truncated answer", reaches=True, cut=0.6)
BAD_GATEWAY: Final = Fault(name="HTML", status=502, content=HTML, kind="text/html")
HTML_PAGE: Final = Fault(name="HTML with status 200", status=200, content=HTML, kind="text/html")
HTML_AFTER: Final = Fault(name="HTML after the effect", status=504, content=HTML, kind="text/html", reaches=True)


def drip(seconds: float = 1.0) -> Fault:
    """The answer comes a byte at a time."""
    return Fault(name="drip", reaches=True, drip=seconds)


def latency(seconds: float) -> Fault:
    """The request is late, and works."""
    return Fault(name=f"{seconds:g} s late", reaches=True, latency=seconds)


@attrs.frozen
class Request:
    """One request, as it came."""

    method: str
    path: str
    head: bytes
    body: bytes

    @property
    def operations(self) -> list[str]:
        """Root fields of a GraphQL document, or method and path."""
        path = re.sub(r"^/v1\.[0-9]+", "", self.path.split("?")[0])
        return _root_fields(self.body) or [f"{self.method} {path}"]


@attrs.define(eq=False)
class _Rule:
    pattern: str
    fault: Fault
    left: int | None
    holding: bytes = b""
    over: threading.Event = attrs.field(factory=threading.Event)


class FaultProxy:
    """Serves until it is closed.

    Args:
        target: Where the service listens.
        listen: The path of a unix socket to listen at; None: a free port on loopback.

    Attributes:
        seen: Operations in the order they came.
        hits: By name of a fault: how often it happened.
    """

    def __init__(self, target: Address, listen: Path | None = None) -> None:
        self._target = target
        self.seen: list[str] = []
        self.hits: dict[str, int] = {}
        self._rules: list[_Rule] = []
        self._guard = threading.Lock()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._socket = _listening(listen)
        self._serving = threading.Thread(target=self._serve, name="fault-proxy", daemon=True)
        self._serving.start()

    @property
    def url(self) -> str:
        """Its address, if it listens on TCP."""
        host, port = self._socket.getsockname()
        return f"http://{host}:{port}"

    def fail(self, operation: str, fault: Fault, times: int | None = None, *, holding: str = "") -> None:
        """Let requests of *operation* (a pattern) meet *fault*, the next *times* of them or all.

        Args:
            holding: Only those whose body has this text.
        """
        with self._guard:
            self._rules.append(_Rule(operation, fault, times, holding.encode()))

    def lift(self) -> None:
        """No more faults; what was held or dripped ends."""
        with self._guard:
            rules, self._rules = self._rules, []
        for rule in rules:
            rule.over.set()

    def close(self) -> None:
        """End it, and every connection."""
        self.lift()
        self._closing.set()
        self._socket.close()
        self._serving.join(SILENCE)
        for thread in self._threads:
            thread.join(SILENCE)

    # --- inside ---

    def _serve(self) -> None:
        self._socket.settimeout(0.05)
        while not self._closing.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            thread = threading.Thread(target=self._one, args=(connection,), name="fault-proxy-one", daemon=True)
            self._threads = [each for each in self._threads if each.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _one(self, connection: socket.socket) -> None:
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.settimeout(SILENCE)
            request = _read(connection)
            if request is not None:
                self._answer(connection, request)

    def _answer(self, connection: socket.socket, request: Request) -> None:
        rule = self._rule(request)
        if rule is None:
            self._pass(connection, request)
            return
        fault = rule.fault
        if fault.latency:
            rule.over.wait(fault.latency)
        if fault.status is not None:
            if fault.reaches:
                self._ask(request)
            connection.sendall(_answer(fault))
        elif fault.change is not None:
            connection.sendall(fault.change(self._ask(request)))
        elif fault.reaches and not fault.drip and not fault.hold and fault.cut is None:
            self._pass(connection, request)
        elif fault.reaches:
            self._send_badly(connection, self._ask(request), fault, rule)
        if fault.reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _send_badly(self, connection: socket.socket, answer: bytes, fault: Fault, rule: _Rule) -> None:
        if fault.hold:
            rule.over.wait(SILENCE)
            return
        if fault.cut is not None:
            head, between, body = answer.partition(b"\r\n\r\n")
            connection.sendall(head + between + body[: int(len(body) * fault.cut)] if fault.cut else b"")
            return
        for byte in answer:
            if rule.over.wait(fault.drip) or self._closing.is_set():
                return  # a drip that is lifted breaks off
            connection.sendall(bytes([byte]))

    def _rule(self, request: Request) -> _Rule | None:
        with self._guard:
            self.seen += request.operations
            for rule in self._rules:
                if rule.left == 0 or rule.holding not in request.body:
                    continue
                if any(fnmatch(name, rule.pattern) for name in request.operations):
                    rule.left = None if rule.left is None else rule.left - 1
                    self.hits[rule.fault.name] = self.hits.get(rule.fault.name, 0) + 1
                    return rule
        return None

    def _pass(self, connection: socket.socket, request: Request) -> None:
        for piece in self._pieces(request):
            connection.sendall(piece)

    def _ask(self, request: Request) -> bytes:
        return b"".join(self._pieces(request))

    def _pieces(self, request: Request) -> Generator[bytes]:
        with contextlib.closing(_connected(self._target)) as upstream:
            upstream.sendall(request.head + request.body)
            upstream.settimeout(0.2)
            while not self._closing.is_set():
                try:
                    piece = upstream.recv(BUFFER)
                except TimeoutError:
                    continue
                if not piece:
                    return
                yield piece


def _listening(path: Path | None) -> socket.socket:
    if path is None:
        return socket.create_server(("127.0.0.1", 0), backlog=128)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen(128)
    return server


def _connected(target: Address) -> socket.socket:
    if isinstance(target, str):
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        unix.connect(target)
        return unix
    return socket.create_connection(target, timeout=SILENCE)


def _read(connection: socket.socket) -> Request | None:
    """One whole request, made to be the only one of its connection; None if the client says nothing."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(BUFFER)
        if not piece:
            return None
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(_header(line) for line in lines[1:])
    body = _body(connection, body, headers)
    kept = [line for line in lines[1:] if _header(line)[0] not in {"connection", "transfer-encoding", "content-length"}]
    kept += ["Connection: close", *([f"Content-Length: {len(body)}"] if body or "content-length" in headers else [])]
    method, path, _ = lines[0].split(" ", 2)
    return Request(method, path, "\r\n".join([lines[0], *kept, "", ""]).encode("latin-1"), body)


def _body(connection: socket.socket, begun: bytes, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _chunks(connection, begun)
    while len(begun) < int(headers.get("content-length", "0")):
        piece = connection.recv(BUFFER)
        if not piece:
            raise ConnectionError("the client went away in the middle of its request")
        begun += piece
    return begun


def _chunks(connection: socket.socket, begun: bytes) -> bytes:
    while not begun.endswith(b"0\r\n\r\n"):
        begun += connection.recv(BUFFER)
    body = b""
    while begun:
        size, _, begun = begun.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        body, begun = body + begun[:length], begun[length + 2 :]
    return body


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


def _answer(fault: Fault) -> bytes:
    lines = [f"HTTP/1.1 {fault.status} Planted", f"Content-Type: {fault.kind}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fault.headers.items()]
    lines += [f"Content-Length: {len(fault.content)}", "", ""]
    return "\r\n".join(lines).encode() + fault.content


def _root_fields(body: bytes) -> list[str]:
    """Names of the fields at the top of a GraphQL document; of several documents in one request all of them."""
    try:
        sent = json.loads(body)
    except ValueError:
        return []
    requests = sent if isinstance(sent, list) else [sent]
    documents = [each.get("query") for each in requests if isinstance(each, dict)]
    return [name for document in documents if isinstance(document, str) for name in _top(document)]


def _top(document: str) -> list[str]:
    names, depth, brackets = [], 0, 0
    words = re.findall(r'"(?:[^"\\]|\\.)*"|#[^\n]*|[{}()\[\]]|[A-Za-z_]\w*\s*:?', document)
    for word in words:
        depth += {"{": 1, "}": -1}.get(word, 0) if not brackets else 0
        brackets += {"(": 1, ")": -1}.get(word, 0)
        if depth == 1 and not brackets and word[0] not in '{}()[]"#' and not word.endswith(":"):
            names.append(word.strip())
    return names
