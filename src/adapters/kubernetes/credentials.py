"""Finds the cluster's address and the agent's credentials for it by the SDK, as kubectl does."""

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import attrs
import urllib3
import yaml
from kubernetes.client.configuration import Configuration
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import ConfigException, list_kube_config_contexts, load_incluster_config

from prefect.agent.adapters.answers import timed
from prefect.agent.adapters.kubernetes.errors import NoCredentials
from prefect.agent.adapters.kubernetes.plugins import Headers, check_size, load_kubeconfig
from prefect.agent.adapters.trust import trusting
from prefect.agent.domain.addresses import is_loopback
from prefect.agent.domain.errors import ConfigurationError

CONNECTIONS: Final = 32
"""Most connections that stay open; further ones are closed after use."""

NOT_AGAIN: Final = 2.0
"""Seconds for which missing credentials are not requested again, since a login program may take long to fail."""

Answer = TypeVar("Answer")

OWN_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

_INVALID: Final = (
    ConfigException,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RuntimeError,
    ModuleNotFoundError,
    yaml.YAMLError,
)
"""Errors that the SDK raises for an invalid kubeconfig."""


def _why(problem: Exception) -> str:
    """Return what is wrong with the configuration. It shows only names of the file, since the rest may be secret."""
    if isinstance(problem, yaml.YAMLError):
        return "the kubeconfig is not YAML"
    if isinstance(problem, ConfigException):
        return str(problem).partition("/{")[0].rstrip(".")  # the rest shows the entry itself
    if isinstance(problem, ModuleNotFoundError):
        return "its SOCKS proxy needs another package: run pip install 'urllib3[socks]'"
    if isinstance(problem, OSError) and problem.strerror:
        return f"cannot read {problem.filename}: {problem.strerror}"
    if isinstance(problem, RuntimeError) and not isinstance(problem, RecursionError):
        return "the kubeconfig is in a home directory that does not exist"
    return "the kubeconfig holds a value of the wrong kind"


def _check_address(server: str) -> None:
    """Raise ConfigException if *server* can never be the address of an API server."""
    try:
        parts = urlsplit(server)
        is_address = parts.scheme in {"http", "https"} and bool((parts.hostname or "").encode("idna"))
        is_address = is_address and parts.port != 0
    except ValueError:  # impossible host name, brackets or port
        is_address = False
    if not is_address:
        raise ConfigException("the server of the kubeconfig is not an address; write it like https://10.0.0.1:6443")


@attrs.frozen(eq=False)
class ClusterLogin:
    """Credentials as they were read at one time, and the connections that use them.

    Attributes:
        server: Address of the API server.
    """

    server: str
    pool: urllib3.PoolManager
    _configuration: Any
    _acts_as: Headers = ()

    @classmethod
    def find(cls, kubeconfig: str | None, context: str | None) -> "ClusterLogin":
        """Read the credentials.

        Raises:
            ConfigurationError: No cluster is configured, or the configuration is invalid.
            NoCredentials: The credentials that it names are not available at present.
        """
        acts_as: Headers = ()
        configuration: Any = Configuration()
        try:
            if _is_in_cluster(kubeconfig, context):
                load_incluster_config(client_configuration=configuration)
            else:
                acts_as = load_kubeconfig(kubeconfig, context, configuration)
            _check_address(configuration.host)
            configuration.connection_pool_maxsize = CONNECTIONS
            configuration.socket_options = _socket_options()
            pool = timed(trusting(RESTClientObject(configuration).pool_manager))
            return cls(configuration.host.rstrip("/"), pool, configuration, acts_as)
        except NoCredentials:
            raise
        except _INVALID as problem:
            why = f"cannot find the Kubernetes cluster: {_why(problem)}"
            # Without its cause: the SDK's messages show entries of the file with their tokens.
            raise ConfigurationError(
                f"{why}. Name the file with --kubeconfig or KUBECONFIG, or run the agent in a pod"
            ) from None

    @property
    def secrets(self) -> frozenset[str]:
        """Token and password, as they were read last."""
        found = [*(self._configuration.api_key or {}).values(), self._configuration.password]
        return frozenset(str(each).split()[-1] for each in found if each and str(each).split())

    @property
    def exposures(self) -> list[str]:
        """A sentence about a connection that is not protected; empty if it is."""
        parts = urlsplit(self.server)
        if is_loopback(parts.hostname or ""):
            return []
        if parts.scheme == "http":
            why = "is used without TLS"
        elif not self._configuration.verify_ssl:
            why = "is used without a check of its certificate (insecure-skip-tls-verify)"
        else:
            return []
        risk = "so others in the network can read the agent's token and the flow runs' API key"
        return [
            f"The Kubernetes API server at {self.server} {why}, {risk}. Add a certificate-authority to the kubeconfig"
        ]

    def credentials(self) -> list[tuple[str, str]]:
        """Return the headers with credentials and impersonation; the SDK renews a token before it expires.

        Raises:
            NoCredentials: No credentials are available at present.
        """
        found = {
            auth["key"]: str(auth["value"]).strip()  # a token file may end with a line end
            for auth in self._configuration.auth_settings().values()
            if auth["value"]
        }
        if not all(value.isascii() and value.isprintable() for value in found.values()):
            raise ConfigException("the token has characters that no token can have")
        return [*found.items(), *self._acts_as]


class Door:
    """Lets one thread at a time request credentials, and repeats a failure for a moment instead of a new request.

    Args:
        clock: The monotonic time in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._guard, self._clock = threading.RLock(), clock
        self._failed: tuple[float, NoCredentials] | None = None

    def ask(self, ask: Callable[[], Answer]) -> Answer:
        """Return what *ask* returns, and raise what it raises."""
        with self._guard:
            if self._failed is not None and self._clock() - self._failed[0] < NOT_AGAIN:
                raise NoCredentials(str(self._failed[1]), server=self._failed[1].server)
            try:
                answer = ask()
            except NoCredentials as failed:
                self._failed = (self._clock(), failed)
                raise
            self._failed = None
            return answer


def home_namespace(kubeconfig: str | None, context: str | None) -> str:
    """Return the namespace of the agent's pod, or of the kubeconfig's context; else ``default``."""
    if _is_in_cluster(kubeconfig, context):
        return OWN_NAMESPACE.read_text(encoding="utf-8").strip() or "default"
    check_size(kubeconfig)
    found: Any = list_kube_config_contexts(kubeconfig)
    contexts, active = found
    chosen = active if context is None else next((each for each in contexts if each["name"] == context), {})
    return str(chosen.get("context", {}).get("namespace") or "default")


def _is_in_cluster(kubeconfig: str | None, context: str | None) -> bool:
    """Return whether to use the pod's own configuration, which only an explicit kubeconfig precedes (protocol 7.1)."""
    asked_elsewhere = kubeconfig or context
    return not asked_elsewhere and bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and OWN_NAMESPACE.exists()


def _socket_options() -> list[tuple[int, int, int]]:
    """Return options that detect a lost connection within two minutes, behind any balancer (kubernetes-client#1402)."""
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options
