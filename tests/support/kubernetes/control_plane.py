"""A Kubernetes control plane on loopback: etcd, API server, controller manager, scheduler. It has no node."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import requests

from support.kubernetes.api import Api, ApiRefused
from support.kubernetes.guard import Guard
from support.pki import LOOPBACK, Certificate, Pki
from support.waiting import wait_until

START_SECONDS: Final = 120
POLITE_SECONDS: Final = 3
"""After a SIGTERM; an API server with clients takes a minute."""
TAIL: Final = 3000
COLLECT_LESS: Final = {"GOGC": "300"}
"""Memory for speed: a thousand Jobs take two thirds of the time."""
SERVICES: Final = "10.96.0.0/16"
CLIENTS: Final = ("kube-controller-manager", "kube-scheduler")
NAMED_PORTS: Final = range(20_000, 30_000)
"""Nobody gets one of these without naming it; those above, the kernel gives to whoever connects or listens."""


class ControlPlaneBroken(Exception):
    """A part of the control plane ended when it should not; says what it logged last."""


class ControlPlane:
    """A control plane that keeps everything in one folder and belongs to this process: start it, and close it.

    Attributes:
        server: URL of the API server; the same after each restart.
        api: What an administrator may do there.
        kubeconfig: File of the administrator.
        pki: Its certificates.
        ca: File of the authority that signed the API server's certificate.
        guard: Ends the processes of this session should it be killed.
    """

    def __init__(self, assets: Path, folder: Path) -> None:
        """Prepare; *assets* has the programs, *folder* may exist and must be empty."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.pki = Pki(folder / "pki")
        self.ca = self.pki.authority.certificate
        self._assets = assets
        # Held for as long as this exists, else an API server that is down might find its port taken.
        self._held = _held_port()
        self._port: int = self._held.getsockname()[1]
        self.server = f"https://127.0.0.1:{self._port}"
        self._etcd, self._peer = (f"http://127.0.0.1:{port}" for port in _free_ports(2))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._admin = self.pki.client("admin", "/O=system:masters/CN=test-admin")
        self._serving = self.pki.server("kube-apiserver", names=f"{LOOPBACK},DNS:kubernetes.default.svc,IP:10.96.0.1")
        self.kubeconfig = self._kubeconfig_for("admin", self._admin)
        self.api = Api(self.server, self.ca, certificate=(self._admin.certificate, self._admin.key))
        self.guard = Guard()

    def start(self) -> None:
        """Start all of it, and return once pods can be made.

        Raises:
            ControlPlaneBroken: A part ended instead; with the tail of its log.
        """
        self._spawn("etcd", self._etcd_options())
        self._wait_for("etcd", lambda: requests.get(f"{self._etcd}/health", timeout=5).ok)
        self.start_api_server()
        self._spawn_client("kube-controller-manager", self._controller_options())
        self._spawn_client("kube-scheduler", {"kube-api-qps": 1000, "kube-api-burst": 1000})
        self._wait_for("kube-controller-manager", lambda: self._exists("namespaces/default/serviceaccounts/default"))

    def close(self) -> None:
        """End every process. May be repeated, and called after a failed start."""
        for name in reversed(list(self._running)):
            self._end(name, signal.SIGKILL)
        self.guard.close()
        self.api.close()
        self._held.close()

    # --- the API server's bad days ---

    def restart_api_server(self, *, kill: bool = True) -> None:
        """End the API server, with SIGKILL or politely, and return once it is ready again on the same port."""
        self.stop_api_server(kill=kill)
        self.start_api_server()

    def stop_api_server(self, *, kill: bool = True) -> None:
        """End the API server; everybody finds the connection refused.

        The other parts stand still until it is back: else they would ask ever less often, after seconds once a minute.
        """
        self._tell_clients(signal.SIGSTOP)
        self._end("kube-apiserver", signal.SIGKILL if kill else signal.SIGTERM)

    def start_api_server(self) -> None:
        """Start the API server and return once it is ready."""
        self._spawn("kube-apiserver", self._api_server_options())
        self._wait_for("kube-apiserver", lambda: self.api.text("/readyz") == "ok")
        self._tell_clients(signal.SIGCONT)

    # --- ways in ---

    def kubeconfig_for_token(
        self, token: str, namespace: str, *, server: str | None = None, ca: Path | None = None
    ) -> Path:
        """A new kubeconfig file of whoever has *token*, for this API server or what stands before it."""
        number = sum(1 for _ in self.folder.glob("token-*.kubeconfig"))
        return self._write(f"token-{number}", {"token": token}, namespace, server or self.server, ca or self.ca)

    def _kubeconfig_for(self, name: str, user: Certificate) -> Path:
        files = {"client-certificate": str(user.certificate), "client-key": str(user.key)}
        return self._write(name, files, "default", self.server, self.ca)

    def _write(self, name: str, user: Mapping[str, str], namespace: str, server: str, ca: Path) -> Path:
        path = self.folder / f"{name}.kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": str(ca)}}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name, "namespace": namespace}}],
            "current-context": "test",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return path

    # --- processes ---

    def _spawn(self, name: str, options: Mapping[str, object]) -> None:
        words = [str(self._assets / name), *(f"--{option}={value}" for option, value in options.items())]
        with self._log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                words,
                env={**os.environ, **COLLECT_LESS},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.guard.add(self._running[name].pid)

    def _spawn_client(self, name: str, options: Mapping[str, object]) -> None:
        kubeconfig = self._kubeconfig_for(name, self.pki.client(name, f"/CN=system:{name}"))
        common = {"kubeconfig": kubeconfig, "leader-elect": "false", "secure-port": 0, "v": 1}
        self._spawn(name, {**common, **options})

    def _tell_clients(self, what: signal.Signals) -> None:
        for name in CLIENTS:
            if name in self._running:
                self._running[name].send_signal(what)

    def _end(self, name: str, how: signal.Signals) -> None:
        process = self._running.pop(name, None)
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(POLITE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)
        self.guard.remove(process.pid)

    def _wait_for(self, name: str, condition: Callable[[], object]) -> None:
        def look() -> bool:
            if self._running[name].poll() is not None:
                tail = self._log(name).read_text(errors="replace")[-TAIL:]
                raise ControlPlaneBroken(f"{name} ended with {self._running[name].returncode}:\n{tail}")
            with contextlib.suppress(requests.RequestException, ApiRefused):
                return bool(condition())
            return False

        wait_until(look, START_SECONDS, f"{name} is ready; see {self._log(name)}")

    def _exists(self, path: str) -> bool:
        return bool(self.api.get(f"/api/v1/{path}"))

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    # --- options ---

    def _etcd_options(self) -> Mapping[str, object]:
        return {
            "name": "test",
            "data-dir": self.folder / "etcd",
            "unsafe-no-fsync": "true",
            "listen-client-urls": self._etcd,
            "advertise-client-urls": self._etcd,
            "listen-peer-urls": self._peer,
            "initial-advertise-peer-urls": self._peer,
            "initial-cluster": f"test={self._peer}",
            "logger": "zap",
            "log-outputs": "stderr",
        }

    def _api_server_options(self) -> Mapping[str, object]:
        return {
            "etcd-servers": self._etcd,
            "bind-address": "127.0.0.1",
            "secure-port": self._port,
            "permit-port-sharing": "true",
            "advertise-address": "10.96.0.1",
            "endpoint-reconciler-type": "none",
            "service-cluster-ip-range": SERVICES,
            "tls-cert-file": self._serving.certificate,
            "tls-private-key-file": self._serving.key,
            "client-ca-file": self.ca,
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": self.pki.account_key.certificate,
            "service-account-signing-key-file": self.pki.account_key.key,
            "kubelet-client-certificate": self._admin.certificate,
            "kubelet-client-key": self._admin.key,
            "kubelet-certificate-authority": self.ca,
            "kubelet-preferred-address-types": "InternalIP",
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "profiling": "false",
            "v": 1,
        }

    def _controller_options(self) -> Mapping[str, object]:
        return {
            "service-account-private-key-file": self.pki.account_key.key,
            "root-ca-file": self.ca,
            "use-service-account-credentials": "true",
            "kube-api-qps": 1000,
            "kube-api-burst": 1000,
            "concurrent-job-syncs": 20,
        }


def _held_port() -> socket.socket:
    """A socket that keeps a port from everybody but programs that share it; it does not listen."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    return held


def _free_ports(number: int) -> list[int]:
    """Ports that nobody has, and that nobody comes by until they are used."""
    found: list[int] = []
    for port in random.sample(NAMED_PORTS, len(NAMED_PORTS)):
        with socket.socket() as asked, contextlib.suppress(OSError):
            asked.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == number:
            break
    return found
