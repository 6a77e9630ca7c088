"""Checks TLS certificates for trust, but not for the strict form that Python 3.13 requires.

From version 3.13 on, Python refuses certificates without key identifiers or key usage (``VERIFY_X509_STRICT``). The
authorities of many clusters, Docker engines and companies have none (kubernetes-client#2394); kubectl, docker and flow
runs, whose Python is older, accept them. All checks that protect stay: chain, name, dates, signatures.
"""

import ssl
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPSConnection
from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs


class _TrustingConnection(HTTPSConnection):
    """Uses a TLS context of its own, since urllib3 changes it while it connects, which threads must not share."""

    def connect(self) -> None:
        """Connect with a new TLS context."""
        context = create_urllib3_context(cert_reqs=resolve_cert_reqs(self.cert_reqs))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not (self.ca_certs or self.ca_cert_dir or self.ca_cert_data):
            context.load_default_certs()  # urllib3 does not do this for a given context
        self.ssl_context = context
        super().connect()


class _Pool(HTTPSConnectionPool):
    ConnectionCls: Any = _TrustingConnection  # Any: urllib3's own classes do not fit the protocol that it declares


def trusting(manager: PoolManager) -> PoolManager:
    """Let the connections of *manager* check trust only, and return it; a manager for SOCKS is not changed."""
    if manager.pool_classes_by_scheme["https"] is HTTPSConnectionPool:
        manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "https": _Pool}
    return manager


class TlsAdapter(HTTPAdapter):
    """Lets the connections of a session of requests check trust only."""

    def init_poolmanager(self, *args: Any, **details: Any) -> None:
        """Create the pools for connections without a proxy."""
        super().init_poolmanager(*args, **details)
        trusting(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **details: Any) -> Any:
        """Return the pools for connections through a proxy."""
        return trusting(super().proxy_manager_for(*args, **details))
