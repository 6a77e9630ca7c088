"""How TLS certificates are checked, whatever is talked to: whom to trust, and not how that is written down.

From version 3.13 on Python refuses certificates without key identifiers or key usage (``VERIFY_X509_STRICT``). The
authorities of many clusters, Docker engines and companies have none (kubernetes-client#2394); kubectl, docker and flow
runs, whose Python is older, take them. All that protects stays: chain, name, dates, signatures.
"""

import ssl
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.util.ssl_ import create_urllib3_context


def tls_context(*, verify: bool = True) -> ssl.SSLContext:
    """A context as urllib3 would make it; whom to trust is to be loaded into it."""
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class TlsAdapter(HTTPAdapter):
    """For a session of requests."""

    def init_poolmanager(self, *args: Any, **details: Any) -> None:
        """For connections without a proxy."""
        super().init_poolmanager(*args, ssl_context=tls_context(), **details)

    def proxy_manager_for(self, *args: Any, **details: Any) -> Any:
        """For those through one."""
        return super().proxy_manager_for(*args, ssl_context=tls_context(), **details)
