"""How TLS certificates are checked, whatever is talked to: whom to trust, and not how that is written down.

From version 3.13 on Python refuses certificates without key identifiers or key usage (``VERIFY_X509_STRICT``). The
authorities of many clusters, Docker engines and companies have none (kubernetes-client#2394); kubectl, docker and flow
runs, whose Python is older, take them. All that protects stays: chain, name, dates, signatures.
"""

import ssl
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPSConnection
from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs


class _Connection(HTTPSConnection):
    """Brings a context of its own: urllib3 changes it while it connects, which threads must not do to a shared one."""

    def connect(self) -> None:
        """Connect."""
        context = create_urllib3_context(cert_reqs=resolve_cert_reqs(self.cert_reqs))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not (self.ca_certs or self.ca_cert_dir or self.ca_cert_data):
            context.load_default_certs()  # urllib3 leaves that to whoever brings a context
        self.ssl_context = context
        super().connect()


class _Pool(HTTPSConnectionPool):
    ConnectionCls: Any = _Connection  # Any: urllib3's own classes do not fit the protocol that it declares


def trusting(manager: PoolManager) -> PoolManager:
    """The same *manager*, whose connections check whom to trust, and no more; one for SOCKS is left as it is."""
    if manager.pool_classes_by_scheme["https"] is HTTPSConnectionPool:
        manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "https": _Pool}
    return manager


class TlsAdapter(HTTPAdapter):
    """The same for a session of requests."""

    def init_poolmanager(self, *args: Any, **details: Any) -> None:
        """For connections without a proxy."""
        super().init_poolmanager(*args, **details)
        trusting(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **details: Any) -> Any:
        """For those through one."""
        return trusting(super().proxy_manager_for(*args, **details))
