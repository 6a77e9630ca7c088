"""Sentences that say why there was no answer: the innermost reason, never the objects of libraries. Pure."""

import errno
import http.client
import os
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from urllib3.exceptions import ConnectTimeoutError, IncompleteRead, NewConnectionError, ReadTimeoutError

_OBJECTS: Final = re.compile(r"<[^<>]*>(: )?|\w*Connection(Pool)?\([^()]*\)(: )?")


def why(problem: BaseException) -> str:
    """Return one reason."""
    # urllib3 calls every failure to connect a time-out: what is behind one says more.
    found = [inner for inner in _inside(problem) if not isinstance(inner, NewConnectionError)] or [problem]
    for kind, words in _KINDS:
        for inner in found:
            if isinstance(inner, kind):
                return words
    for inner in reversed(found):
        if isinstance(inner, ssl.SSLCertVerificationError):
            return f"certificate verify failed: {inner.verify_message}"
        if isinstance(inner, ssl.SSLError) and getattr(inner, "reason", None):
            return str(inner.reason).lower().replace("_", " ")
        if (
            isinstance(inner, OSError)
            and not isinstance(inner, ssl.SSLError)
            and inner.errno is not None
            and inner.errno in errno.errorcode
        ):
            return os.strerror(inner.errno)
    return _plain(str(found[-1])) or type(found[-1]).__name__


def _inside(problem: BaseException) -> Iterator[BaseException]:
    """Return the problem and its causes, outermost first."""
    left, seen = [problem], set[int]()
    while left:
        inner = left.pop(0)
        if id(inner) in seen or len(seen) > 50:
            continue
        seen.add(id(inner))
        yield inner
        causes = (*inner.args, getattr(inner, "reason", None), inner.__cause__, inner.__context__)
        left += [cause for cause in causes if isinstance(cause, BaseException)]


def _plain(words: str) -> str:
    return " ".join(_OBJECTS.sub("", words).split())[:300]


_KINDS: Final = (
    (socket.gaierror, "the name does not resolve"),
    ((ConnectTimeoutError, ReadTimeoutError, TimeoutError), "no complete answer in time"),
    ((http.client.IncompleteRead, IncompleteRead), "the answer broke off"),
    (http.client.RemoteDisconnected, "the connection was closed without an answer"),
)
