"""A mutating admission webhook for tests: it puts a container of its own before those of each new pod."""

import base64
import json
import uuid
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Final

from support.kubernetes.api import Object
from support.kubernetes.control_plane import ControlPlane
from support.tls_server import TlsServer

CONFIGURATIONS: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


def registration(name: str, namespace: str, resource: str, url: str, ca: bytes) -> Object:
    """The configuration of a webhook for new objects of one kind in one namespace; without its answer none is made."""
    group = "batch" if resource == "jobs" else ""
    return {
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": "containers.lab.test",
                "clientConfig": {"url": url, "caBundle": base64.b64encode(ca).decode()},
                "rules": [
                    {"operations": ["CREATE"], "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource]}
                ],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "failurePolicy": "Fail",
                "timeoutSeconds": 5,
            }
        ],
    }


class Webhook:
    """A registered webhook; leave the block and it is gone.

    Args:
        resource: ``pods`` or ``jobs``: what it is asked about.
        url: Where it is; nothing has to be there.
    """

    def __init__(self, plane: ControlPlane, namespace: str, *, resource: str, url: str) -> None:
        self._api, self._name = plane.api, f"lab-{uuid.uuid4().hex[:8]}"
        self._body = registration(self._name, namespace, resource, url, plane.ca.read_bytes())

    def __enter__(self) -> None:
        self._api.post(CONFIGURATIONS, self._body)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._api.delete(f"{CONFIGURATIONS}/{self._name}")


class PodWebhook(Webhook):
    """One that answers, on loopback: *container* goes before all others of a pod."""

    def __init__(self, plane: ControlPlane, namespace: str, *, container: Object) -> None:
        patch = base64.b64encode(json.dumps([{"op": "add", "path": "/spec/containers/0", "value": container}]).encode())

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = {"uid": review["request"]["uid"], "allowed": True}
                answer |= {"patchType": "JSONPatch", "patch": patch.decode()}
                body = json.dumps({**review, "request": None, "response": answer}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = TlsServer(Handler, plane.pki.server(f"webhook-{uuid.uuid4().hex[:8]}"))
        url = f"https://127.0.0.1:{self._server.server_port}/"
        super().__init__(plane, namespace, resource="pods", url=url)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._server.close()
