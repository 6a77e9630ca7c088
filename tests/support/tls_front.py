"""What stands before a Cloud in production: it ends TLS, and may be slow or have a clock of its own."""

import http.client
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from support.pki import Certificate
from support.tls_server import TlsServer


@contextmanager
def tls_front(url: str, certificate: Certificate, *, seconds: float = 0.0) -> Generator[str]:
    """Serve what is at *url* with TLS; yield the address.

    Args:
        seconds: How long each answer takes in addition.
    """
    where = urlsplit(url)

    class Front(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(seconds)
            with closing(http.client.HTTPConnection(str(where.hostname), where.port, timeout=30)) as behind:
                behind.request("POST", self.path, body, {**dict(self.headers.items()), "Host": where.netloc})
                answer = behind.getresponse()
                content = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "content-length", "connection"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with closing(TlsServer(Front, certificate)) as server:
        yield f"https://127.0.0.1:{server.server_port}"
