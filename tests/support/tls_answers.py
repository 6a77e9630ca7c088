"""What tests of trust share: a server with one answer, and a Python that is strict about certificates."""

import json
import shutil
import ssl
from collections.abc import Callable
from email.message import Message
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

import pytest
from urllib3.util.ssl_ import create_urllib3_context

needs_openssl: Final = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs the program openssl: install openssl"
)

strict: Final = partial(create_urllib3_context, verify_flags=ssl.VERIFY_X509_STRICT)
"""Makes contexts as every Python does from 3.13 on."""


def answering(answer: Callable[["Message[str, str]"], Any]) -> type[BaseHTTPRequestHandler]:
    """A handler of requests that answers each with JSON, and then closes the connection.

    Args:
        answer: What to answer a request with these headers.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.dumps(answer(self.headers)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    return Handler
