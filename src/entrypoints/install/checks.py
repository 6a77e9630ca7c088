"""What people type into ``install``, checked before it is printed: a wrong name is one sentence here, no 422 later."""

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
    """A name of a namespace (DNS label of RFC 1123)."""
    if not _DNS_LABEL.fullmatch(text) or len(text) > 63:
        raise ConfigurationError(
            f"{text!r} is no name of a namespace: at most 63 lower-case letters, digits and '-', and no '-' at an end"
        )
    return text


def object_name(text: str) -> str:
    """A name of a Secret or a ServiceAccount (DNS subdomain of RFC 1123)."""
    if not _DNS_NAME.fullmatch(text) or len(text) > 253:
        raise ConfigurationError(f"{text!r} is no name in Kubernetes: lower-case letters, digits, '-' and '.' only")
    return text


def object_names(text: str) -> tuple[str, ...]:
    """Names with commas between them, as of ``--image-pull-secrets``."""
    return tuple(object_name(name.strip()) for name in text.split(",") if name.strip())


def secret_key(text: str, default: str) -> tuple[str, str]:
    """``NAME`` or ``NAME/KEY`` of a Secret that is there already."""
    name, slash, key = text.partition("/")
    if slash and not _SECRET_KEY.fullmatch(key):
        raise ConfigurationError(
            f"{text!r} is no NAME/KEY of a Secret: the key has letters, digits, '-', '_' and '.' only"
        )
    return object_name(name), key or default


def quantity(text: str) -> str:
    """An amount of memory or CPU, such as ``512Mi`` or ``250m``."""
    if not _QUANTITY.fullmatch(text):
        raise ConfigurationError(f"{text!r} is no amount in Kubernetes; it looks like 512Mi, 2Gi, 250m or 1.5")
    return text


def image(text: str) -> str:
    """A reference to an image. Whether it exists, only a registry knows."""
    if not re.fullmatch(r"[^\s\x00-\x1f]+", text) or not text.isascii():
        raise ConfigurationError(f"{text!r} is no name of an image; it looks like registry.example.com/prefect-agent:1")
    return text


def address(text: str) -> str:
    """The address of a Prefect API."""
    return check_address(text, "--api")


def check_no_login(api: str | None) -> None:
    """Refuse an address with a name or password: what is printed is no place for it.

    Raises:
        ConfigurationError: It has one.
    """
    if api and "@" in urlsplit(api).netloc:
        raise ConfigurationError(
            f"--api {without_password(api)} is given with a name or password, which all who see the configuration "
            "could read: give it without, and set PREFECT__CLOUD__API in the Deployment from a Secret"
        )


def port_of(api: str) -> int:
    """The TCP port of a checked address."""
    parts = urlsplit(api)
    return parts.port or (443 if parts.scheme == "https" else 80)


def is_loopback(api: str) -> bool:
    """Whether only the machine itself can be meant, which in a pod or container is another one."""
    return is_loopback_host(urlsplit(api).hostname or "")


def tenant(text: str) -> str:
    """A tenant id."""
    return check_tenant(text)


def labels(values: Iterable[str]) -> tuple[str, ...]:
    """Labels, sorted, each once."""
    return as_labels(tuple(printable(value) for value in values))


def variables(pairs: Iterable[str]) -> dict[str, str]:
    """What ``--env KEY=VALUE`` gave."""
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
    """An API key or token, ``-`` to read it from the standard input. It is not repeated in the message."""
    try:
        return read_key("-", "--token") if text == "-" else read_secret(text, "--token")
    except ConfigurationError as problem:
        raise ConfigurationError(f"that is no API key: {problem}") from None


def read_key(path: str, source: str = "--token-file") -> str:
    """The API key in a file; ``-`` is the standard input."""
    return read_file(path, source)


def absolute(text: str) -> str:
    """An absolute path, as a unit of systemd needs it."""
    if not text.startswith("/") or ":" in text:
        raise ConfigurationError(
            f"{text!r} is no absolute path without a colon; it looks like /etc/prefect-agent/api-key"
        )
    return printable(text)


def printable(text: str) -> str:
    """One line of text that any file can hold."""
    if not _unicode(text).isprintable():
        raise ConfigurationError(f"{text!r} has characters that cannot be printed")
    return text


def _unicode(text: str) -> str:
    """Text that was not UTF-8 on the command line cannot be written into a file either."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"{text!r} is not UTF-8") from None
    return text
