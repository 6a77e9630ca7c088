"""Addresses of a Prefect API and tenant ids as people write them: refused before anything is sent if they cannot be."""

import re
import uuid
from typing import Final
from urllib.parse import SplitResult, urlsplit

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.secrets import without_password

EXAMPLE: Final = "https://api.prefect.io"

_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)
_LONGEST_NAME: Final = 253
_SHOWN: Final = 200


def check_address(text: str, source: str) -> str:
    """Return *text*, the address of a Prefect API, without the slash at its end.

    Args:
        source: The option or setting that gives the address, for the message.

    Raises:
        ConfigurationError: *text* is not an address. The message does not show a password in it.
    """
    if _is_address(text):
        return text.rstrip("/")
    hint, shown = f"write it like {EXAMPLE}", without_password(text)[:_SHOWN]
    if ":/" not in text and _is_address(f"http://{text}"):
        hint = f"write http://{shown} or https://{shown}"
    raise ConfigurationError(f"{source} is {shown!r}, which is not the address of a Prefect API; {hint}")


def check_tenant(text: str, source: str = "") -> str:
    """Return *text*, a tenant id, as UUIDs are written.

    Args:
        source: The option or setting that gives the id, for the message; empty for none.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        return str(uuid.UUID(text))
    except ValueError:
        named = f"the tenant id {text!r}" + (f" ({source})" if source else "")
        raise ConfigurationError(
            f"{named} is not a UUID; correct it, or leave it out to use the tenant of the API key"
        ) from None


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # impossible brackets or port
        return False
    is_plain = text.isprintable() and not set(text) & set(" \\")
    return is_plain and parts.scheme in {"http", "https"} and (port is None or port > 0) and _is_host(parts)


def _is_host(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if not host or parts.path.startswith("//"):  # the latter: the scheme was written twice
        return False
    if ":" in host:  # an IPv6 address in brackets, which urlsplit has checked
        return True
    try:
        plain = (host if host.isascii() else host.encode("idna").decode()).removesuffix(".")
    except UnicodeError:
        return False
    return len(plain) <= _LONGEST_NAME and all(map(_LABEL.fullmatch, plain.split(".")))
