"""Rules about addresses of hosts as people write them. Pure."""

import ipaddress
import re
from typing import Final

THIS_MACHINE: Final = frozenset({"127.0.0.1", "localhost", "::1"})
"""The plain ways to write this machine as a host. An API key that belongs here is sent to these only."""


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_loopback(host: str) -> bool:
    """Return whether *host* names the machine itself, in every spelling that a resolver takes.

    These are names of ``/etc/hosts``, all of 127.0.0.0/8, also as one number, and the addresses of no particular
    interface (``0.0.0.0``, ``::``), which lead to the machine, too. Inside a unit they may lead to another machine;
    see ``address_variables``.
    """
    name = host.lower().removesuffix(".")
    if name in _OWN_NAMES or name.endswith(".localhost"):
        return True
    try:
        found = ipaddress.ip_address(_as_number(name) if _NUMERIC.fullmatch(name) else name.partition("%")[0])
    except ValueError:
        return False
    return _is_loopback(found) or _plain(found).is_unspecified


def is_loopback_address(text: str) -> bool:
    """Return whether *text* is an IP address of the loopback; False for every name.

    A zone is left out, and an IPv4 address inside of an IPv6 one counts. ``0.0.0.0`` and ``::`` are none.
    """
    try:
        return _is_loopback(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return False


def _is_loopback(address: _Address) -> bool:
    return _plain(address).is_loopback


def _plain(address: _Address) -> _Address:
    """Return the IPv4 address inside an IPv6 one, else the address itself."""
    return getattr(address, "ipv4_mapped", None) or address


_OWN_NAMES: Final = frozenset(
    {
        "localhost", "localhost.localdomain", "localhost4", "localhost4.localdomain4", "localhost6",
        "localhost6.localdomain6", "ip6-localhost", "ip6-loopback",
    }
)  # fmt: skip

_NUMERIC: Final = re.compile(r"[0-9a-fx]+(\.[0-9a-fx]+){0,3}")
"""An IPv4 address as the C library reads it: ``127.1`` and ``0x7f000001`` are ``127.0.0.1``."""


def _as_number(name: str) -> int:
    """Return the number of an IPv4 address in parts; the last part fills the rest. Raises ValueError."""
    *head, last = (int(part, 16 if part[:2] == "0x" else 8 if part[0] == "0" else 10) for part in name.split("."))
    if any(part > 255 for part in head) or last >= 256 ** (4 - len(head)):
        raise ValueError(name)
    return sum(part << 8 * (3 - at) for at, part in enumerate(head)) + last
