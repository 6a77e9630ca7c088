"""Addresses of hosts as people write them. Pure."""

import ipaddress
import re
from typing import Final


def is_loopback(host: str) -> bool:
    """Whether *host* means the machine itself, which inside a unit may be another one; see ``address_variables``.

    In every spelling that a resolver takes: names of ``/etc/hosts``, all of 127.0.0.0/8, also as one number, and the
    addresses of no particular interface (``0.0.0.0``, ``::``), which lead to the machine itself, too.
    """
    name = host.lower().removesuffix(".")
    if name in _OWN_NAMES or name.endswith(".localhost"):
        return True
    try:
        found = ipaddress.ip_address(_as_number(name) if _NUMERIC.fullmatch(name) else name.partition("%")[0])
    except ValueError:
        return False
    address = getattr(found, "ipv4_mapped", None) or found
    return bool(address.is_loopback or address.is_unspecified)


_OWN_NAMES: Final = frozenset(
    {
        "localhost", "localhost.localdomain", "localhost4", "localhost4.localdomain4", "localhost6",
        "localhost6.localdomain6", "ip6-localhost", "ip6-loopback",
    }
)  # fmt: skip

_NUMERIC: Final = re.compile(r"[0-9a-fx]+(\.[0-9a-fx]+){0,3}")
"""An IPv4 address as the C library reads it: ``127.1`` and ``0x7f000001`` are ``127.0.0.1``."""


def _as_number(name: str) -> int:
    """The number of an IPv4 address in parts, of which the last one fills the rest. Raises ValueError."""
    *head, last = (int(part, 16 if part[:2] == "0x" else 8 if part[0] == "0" else 10) for part in name.split("."))
    if any(part > 255 for part in head) or last >= 256 ** (4 - len(head)):
        raise ValueError(name)
    return sum(part << 8 * (3 - at) for at, part in enumerate(head)) + last
