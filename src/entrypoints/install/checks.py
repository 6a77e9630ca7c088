"""Checks of the values that people give to ``install``: a wrong one is refused before anything is printed."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from prefect.agent.domain.addresses import is_loopback as is_loopback_host
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.settings import as_labels
from prefect.agent.domain.secrets import read_secret, without_password
from prefect.agent.entrypoints.settings.addresses import check_address, check_tenant
from prefect.agent.entrypoints.settings.secret_sources import read_file

_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_LABEL: Final = re.compile(_LABEL)
_DNS_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_VARIABLE: Final = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_SECRET_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_QUANTITY: Final = re.compile(r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?")


def namespace(text: str) -> str:
    """Return *text*, a valid name of a namespace (DNS label of RFC 1123); raise ConfigurationError if it is not."""
    if not _DNS_LABEL.fullmatch(text) or len(text) > 63:
        raise ConfigurationError(
            f"{text!r} is not a namespace: use at most 63 lower-case letters, digits and '-', and no '-' at either end"
        )
    return text


def object_name(text: str) -> str:
    """Return *text*, a valid name of a Secret or a ServiceAccount (DNS subdomain of RFC 1123)."""
    if not _DNS_NAME.fullmatch(text) or len(text) > 253:
        raise ConfigurationError(f"{text!r} is not a name in Kubernetes: use lower-case letters, digits, '-' and '.'")
    return text


def object_names(text: str) -> tuple[str, ...]:
    """Return the names in a list with commas, such as ``--image-pull-secrets`` takes."""
    return tuple(object_name(name.strip()) for name in text.split(",") if name.strip())


def secret_key(text: str, default: str) -> tuple[str, str]:
    """Return name and key of an existing Secret, given as ``NAME`` or ``NAME/KEY``; *default* is the default key."""
    name, slash, key = text.partition("/")
    if slash and not _SECRET_KEY.fullmatch(key):
        raise ConfigurationError(
            f"{text!r} is not NAME/KEY of a Secret: use letters, digits, '-', '_' and '.' in the key"
        )
    return object_name(name), key or default


def quantity(text: str) -> str:
    """Return *text*, a valid amount of memory or CPU, such as ``512Mi`` or ``250m``."""
    if not _QUANTITY.fullmatch(text):
        raise ConfigurationError(f"{text!r} is not an amount in Kubernetes; write it like 512Mi, 2Gi, 250m or 1.5")
    return text


def image(text: str) -> str:
    """Return *text*, a possible reference to an image. Whether the image exists is not checked."""
    if not re.fullmatch(r"[^\s\x00-\x1f]+", text) or not text.isascii():
        raise ConfigurationError(f"{text!r} is not an image; write it like registry.example.com/prefect-agent:1")
    return text


def address(text: str) -> str:
    """Return *text*, a valid address of a Prefect API."""
    return check_address(text, "--api")


def check_no_login(api: str | None) -> None:
    """Refuse an address with a name or password, since the printed configuration would show them.

    Raises:
        ConfigurationError: The address has a name or a password.
    """
    if api and "@" in urlsplit(api).netloc:
        raise ConfigurationError(
            f"--api {without_password(api)} has a name or password, which everyone who sees the configuration could "
            "read: give the address without it, and set PREFECT__CLOUD__API in the Deployment from a Secret"
        )


def port_of(api: str) -> int:
    """Return the TCP port of a checked address."""
    parts = urlsplit(api)
    return parts.port or (443 if parts.scheme == "https" else 80)


def is_loopback(api: str) -> bool:
    """Whether the address means the machine itself; inside a pod or container it then means that one."""
    return is_loopback_host(urlsplit(api).hostname or "")


def tenant(text: str) -> str:
    """A tenant id."""
    return check_tenant(text)


def labels(values: Iterable[str]) -> tuple[str, ...]:
    """Return the labels, sorted, each once."""
    return as_labels(tuple(printable(value) for value in values))


def variables(pairs: Iterable[str]) -> dict[str, str]:
    """Return the variables that ``--env KEY=VALUE`` options give."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not _VARIABLE.fullmatch(name):
            raise ConfigurationError(
                f"--env takes KEY=VALUE with a KEY of letters, digits, '_', '-' and '.', not {pair!r}"
            )
        found[name] = _unicode(value)
    return found


def key(text: str) -> str:
    """Return the API key or token *text*; ``-`` reads it from the standard input. No message shows it."""
    try:
        return read_key("-", "--token") if text == "-" else read_secret(text, "--token")
    except ConfigurationError as problem:
        raise ConfigurationError(f"the API key is not valid: {problem}") from None


def read_key(path: str, source: str = "--token-file") -> str:
    """Return the API key in the file *path*; ``-`` is the standard input."""
    return read_file(path, source)


def absolute(text: str) -> str:
    """Return *text*, an absolute path without a colon, as a systemd unit needs it."""
    if not text.startswith("/") or ":" in text:
        raise ConfigurationError(
            f"{text!r} is not an absolute path without a colon; write it like /etc/prefect-agent/api-key"
        )
    return printable(text)


def printable(text: str) -> str:
    """Return *text*, one line of printable characters that any file can hold."""
    if not _unicode(text).isprintable():
        raise ConfigurationError(f"{text!r} has characters that cannot be printed: remove them")
    return text


def _unicode(text: str) -> str:
    """Return *text*; refuse one that was not UTF-8 on the command line, since no file could hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"{text!r} is not UTF-8: write it in UTF-8") from None
    return text
