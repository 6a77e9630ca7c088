"""A registry with one image that Docker engines can pull, on loopback, that fails when told to."""

import base64
import contextlib
import hashlib
import io
import json
import tarfile
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

KIND: Final = "application/vnd.docker"


class ImageRegistry:
    """What is in the registry and how it behaves.

    Attributes:
        address: Host and port: the first part of an image's name. Every name and tag is the same tiny image.
        answer: Status and error code to answer instead of the image, for example ``(404, "MANIFEST_UNKNOWN")``.
        hold: Images are given out while this is set.
        login: If any: ``user:password`` of those who may pull.
        tags_asked: How many requests there were for what a tag means; one pull makes one or two.
    """

    def __init__(self) -> None:
        layer = _layer()
        config = {"architecture": "amd64", "os": "linux", "config": {}}
        config_blob = json.dumps({**config, "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]}}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{KIND}.distribution.manifest.v2+json",
            "config": _part(f"{KIND}.container.image.v1+json", config_blob),
            "layers": [_part(f"{KIND}.image.rootfs.diff.tar", layer)],
        }
        self.address = ""
        self.answer: tuple[int, str] | None = None
        self.login = ""
        self.hold = threading.Event()
        self.hold.set()
        self.tags_asked = 0
        self._manifest = json.dumps(manifest).encode()
        self._blobs = {_digest(blob): blob for blob in (layer, config_blob)}

    def reply(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body for a request."""
        last = path.rpartition("/")[2]
        if "/manifests/" not in path:
            blob = self._blobs.get(last)
            return (200, "application/json", b"{}") if blob is None else (200, "application/octet-stream", blob)
        self.tags_asked += ":" not in last
        self.hold.wait(20)
        if self.answer:
            status, code = self.answer
            return status, "application/json", json.dumps({"errors": [{"code": code, "message": code}]}).encode()
        return 200, f"{KIND}.distribution.manifest.v2+json", self._manifest


@contextlib.contextmanager
def image_registry() -> Iterator[ImageRegistry]:
    """A registry that answers until the end of the block."""
    registry = ImageRegistry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = registry.reply(self.path)
            expected = f"Basic {base64.b64encode(registry.login.encode()).decode()}"
            if registry.login and self.headers.get("Authorization") != expected:
                status, kind, body = 401, "application/json", b'{"errors": [{"code": "UNAUTHORIZED"}]}'
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="lab"')
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Docker-Content-Digest", _digest(body))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - a name of the standard library

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield registry
        finally:
            registry.hold.set()
            server.shutdown()
            thread.join()


def _layer() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(f"file-{uuid.uuid4().hex}"))
    return packed.getvalue()


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _part(kind: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "size": len(blob), "digest": _digest(blob)}
