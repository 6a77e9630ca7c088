"""The Kubernetes API for tests: a back door that shares nothing with our adapter."""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import attrs
import requests
from requests.adapters import HTTPAdapter

from support.waiting import wait_until

Object = dict[str, Any]
Rules = Sequence[Mapping[str, Sequence[str]]]

JSON: Final = "application/json"
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
RBAC: Final = "rbac.authorization.k8s.io"
CHUNK: Final = 65536
SECONDS: Final = 30
"""How long an answer may take."""


class ApiRefused(Exception):
    """The API server said no.

    Attributes:
        status: Of HTTP.
        reason: In one word, as Kubernetes has it.
    """

    def __init__(self, asked: str, answer: requests.Response) -> None:
        try:
            about = answer.json()
        except ValueError:
            about = {}
        self.status = answer.status_code
        self.reason = str(about.get("reason", ""))
        super().__init__(f"{asked}: {self.status} {self.reason}: {about.get('message') or answer.text}")


class Api:
    """The API server, as whoever has a client certificate or a token. Threads may share it."""

    def __init__(self, server: str, ca: Path, *, certificate: tuple[Path, Path] | None = None, token: str = "") -> None:
        self._server = server
        self._ca, self._certificate = ca, certificate
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(ca)
        self._session.mount("https://", HTTPAdapter(pool_maxsize=64))
        if certificate:
            self._session.cert = (str(certificate[0]), str(certificate[1]))
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **query: object) -> Object:
        """Read one object, or a list with its metadata."""
        found: Object = self._ask("GET", path, query).json()
        return found

    def list(self, path: str, **query: object) -> list[Object]:
        """Read the objects of a list."""
        return list(self.get(path, **query)["items"])

    def text(self, path: str, **query: object) -> str:
        """Read what is no object: a log, for example."""
        return self._ask("GET", path, query).text

    def post(self, path: str, body: object, **query: object) -> Object:
        """Create an object."""
        made: Object = self._ask("POST", path, query, body).json()
        return made

    def put(self, path: str, body: object) -> Object:
        """Replace an object."""
        made: Object = self._ask("PUT", path, {}, body).json()
        return made

    def patch(self, path: str, body: object, *, kind: str = MERGE) -> Object:
        """Change an object."""
        made: Object = self._ask("PATCH", path, {}, body, kind).json()
        return made

    def delete(self, path: str, **options: object) -> Object:
        """Delete an object or a collection; *options* are those of ``DeleteOptions``."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options}
        answer: Object = self._ask("DELETE", path, {}, body).json()
        return answer

    def exists(self, path: str) -> bool:
        """Whether there is such an object."""
        try:
            self.get(path)
        except ApiRefused as refused:
            if refused.status == http.client.NOT_FOUND:
                return False
            raise
        return True

    def watch(self, path: str, **query: object) -> "Watch":
        """Follow a list; give ``resourceVersion`` to go on from there, and close what you get."""
        context = ssl.create_default_context(cafile=str(self._ca))
        if self._certificate:
            context.load_cert_chain(*self._certificate)
        headers = {name: str(value) for name, value in self._session.headers.items() if name == "Authorization"}
        return Watch(self._server, f"{path}?{urlencode({'watch': 'true', **query})}", context, headers)

    def close(self) -> None:
        """Let go of connections."""
        self._session.close()

    def _ask(
        self, method: str, path: str, query: Mapping[str, object], body: object = None, kind: str = JSON
    ) -> requests.Response:
        answer = self._session.request(
            method,
            self._server + path,
            params={name: str(value) for name, value in query.items()},
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": kind},
            timeout=SECONDS,
        )
        if not answer.ok:
            raise ApiRefused(f"{method} {path}", answer)
        return answer

    # --- what most tests need ---

    def new_namespace(self, prefix: str = "test-") -> str:
        """Make a namespace in which pods can be made; return its name."""
        name = str(self.post("/api/v1/namespaces", {"metadata": {"generateName": prefix}})["metadata"]["name"])
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        wait_until(lambda: self.exists(account), 60, f"{name} has a default ServiceAccount")
        return name

    def clear(self, namespace: str) -> None:
        """Delete what is executed in a namespace, which itself stays until the control plane ends.

        To delete it, Kubernetes looks for objects of each kind that there is: a fifth of a second of a core.
        """
        for kind in ("apis/batch/v1/{}/jobs", "apis/apps/v1/{}/deployments", "api/v1/{}/pods"):
            self.delete(f"/{kind.format(f'namespaces/{namespace}')}", propagationPolicy="Background")

    def new_account(self, namespace: str, rules: Rules) -> "Account":
        """Make a ServiceAccount that may do what the rules of a Role say, and nothing else; they hold from now on."""
        body = {"metadata": {"generateName": "account-"}}
        name = str(self.post(f"/api/v1/namespaces/{namespace}/serviceaccounts", body)["metadata"]["name"])
        account = Account(self, namespace, name)
        base, named = f"/apis/{RBAC}/v1/namespaces/{namespace}", {"metadata": {"name": name}}
        self.post(f"{base}/roles", {**named, "rules": rules})
        role = {"apiGroup": RBAC, "kind": "Role", "name": name}
        subjects = [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]
        self.post(f"{base}/rolebindings", {**named, "roleRef": role, "subjects": subjects})
        if rules:
            wait_until(lambda: self.may(namespace, name, _first(rules[0], namespace)), 60, f"the rules of {name} hold")
        return account

    def may(self, namespace: str, account: str, attributes: Mapping[str, str]) -> bool:
        """Whether a ServiceAccount may do something by now: the API server hears of Roles a moment late.

        Args:
            attributes: ``verb``, ``resource`` and so on (authorization/v1 ResourceAttributes).
        """
        who = {
            "user": f"system:serviceaccount:{namespace}:{account}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
        }
        review = {"spec": {**who, "resourceAttributes": attributes}}
        return bool(self.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"])


def _first(rule: Mapping[str, Sequence[str]], namespace: str) -> dict[str, str]:
    """The first thing that a rule of a Role allows, as attributes of a review."""
    resource, _, subresource = rule["resources"][0].partition("/")
    return {
        "namespace": namespace,
        "group": rule["apiGroups"][0],
        "resource": resource,
        "subresource": subresource,
        "verb": rule["verbs"][0],
        "name": next(iter(rule.get("resourceNames", ())), ""),
    }


@attrs.frozen
class Account:
    """A ServiceAccount with a Role of its own."""

    _api: Api
    namespace: str
    name: str

    def token(self, seconds: int = 3600) -> str:
        """A new token; Kubernetes wants at least 600 seconds."""
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{self.name}/token"
        return str(self._api.post(path, {"spec": {"expirationSeconds": seconds}})["status"]["token"])

    def allow(self, rules: Rules) -> None:
        """Replace the rules; they hold within moments."""
        self._api.patch(f"/apis/{RBAC}/v1/namespaces/{self.namespace}/roles/{self.name}", {"rules": rules})


class Watch:
    """An open watch: iterate over its events; it ends when the API server says so, breaks, or is closed."""

    def __init__(self, server: str, path: str, context: ssl.SSLContext, headers: Mapping[str, str]) -> None:
        where = urlsplit(server)
        assert where.hostname is not None
        self._connection = http.client.HTTPSConnection(where.hostname, where.port, context=context, timeout=SECONDS)
        try:
            self._connection.request("GET", path, headers=dict(headers))
            self._answer = self._connection.getresponse()
            if self._answer.status != http.client.OK:
                raise ConnectionError(f"watching is answered {self._answer.status}: {self._answer.read()!r}")
        except BaseException:
            self._connection.close()
            raise
        self._socket = self._connection.sock
        self._socket.settimeout(None)

    def __iter__(self) -> Iterator[Object]:
        rest = b""
        while part := self._answer.read1(CHUNK):  # to iterate over the answer itself would hide that it broke off
            *lines, rest = (rest + part).split(b"\n")
            yield from map(json.loads, lines)

    def close(self) -> None:
        """Let go of the connection."""
        self._answer.close()
        self._connection.close()

    def interrupt(self) -> None:
        """End it from another thread: who iterates finds it over, or broken."""
        try:
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            return
