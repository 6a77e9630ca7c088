"""Reads secrets from options, variables and files, and finds those that this process knows."""

import sys
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Final
from urllib.parse import urlsplit

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.secrets import passwords_of, read_secret
from prefect.agent.entrypoints.settings.values import at_home

LONGEST: Final = 64 * 1024
"""Most bytes of a file with one secret; a larger file is certainly the wrong one."""

PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
"""Variables with the addresses of proxies, which may have a password."""

_SECRET_VARIABLES: Final = ("API_KEY", "AUTH_TOKEN", "FLOW_RUN_KEY")
_SECRETS_OF_FLOWS: Final = "PREFECT__CONTEXT__SECRETS__"
"""Secrets that flows of the 1.x line read from the environment."""


def read_file(path: str, source: str) -> str:
    """Return the secret in a file; ``-`` is the standard input.

    Args:
        source: The option or variable that names the file, for the message.

    Raises:
        ConfigurationError: The file cannot be read, or holds no secret.
    """
    try:
        if path == "-":
            content = sys.stdin.buffer.read(LONGEST + 1)
        else:
            with at_home(path, source).open("rb") as file:
                content = file.read(LONGEST + 1)
    except OSError as problem:
        raise ConfigurationError(f"cannot read {path}, which {source} names: {problem.strerror}") from None
    shown = "the standard input" if path == "-" else path
    if len(content) > LONGEST:
        raise ConfigurationError(f"{shown}, which {source} names, is too large for a secret: name the right file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{shown}, which {source} names, is not a text file") from None
    return read_secret(text, shown)


def strip_proxies(environ: MutableMapping[str, str]) -> None:
    """Remove white space around the addresses of proxies in *environ*, from which libraries read them."""
    for name in PROXIES:
        if name in environ and environ[name] != environ[name].strip():
            environ[name] = environ[name].strip()


def check_proxies(environ: Mapping[str, str]) -> None:
    """Raise ConfigurationError if the address of a proxy is impossible; the message never shows the address."""
    for name in PROXIES:
        text = environ.get(name, "")
        if not (text.isascii() and text.isprintable()) or " " in text:
            raise ConfigurationError(
                f"{name} has characters that no address has (spaces, line ends, or letters outside ASCII): correct "
                "it, and percent-encode such characters of a password"
            )
        try:
            _ = urlsplit(text if "://" in text else f"http://{text}").port
        except ValueError:
            raise ConfigurationError(
                f"{name} is not the address of a proxy; write it like http://proxy.example:3128"
            ) from None


def secrets_in(environ: Mapping[str, str]) -> set[str]:
    """Return every secret in *environ* whose variable's name shows it: keys, tokens, passwords of proxies."""
    return {secret.strip() for name, value in environ.items() for secret in _secrets_of(name, value)}


def _secrets_of(name: str, value: str) -> Iterable[str]:
    upper = name.upper()
    if upper in PROXIES or upper.startswith("PREFECT__") or upper == "DOCKER_HOST":
        yield from passwords_of(value)
    if upper.startswith(_SECRETS_OF_FLOWS):
        yield value
    elif upper.startswith("PREFECT"):
        yield from _if_key(upper, value)


def _if_key(name: str, value: str) -> Iterator[str]:
    if name.endswith(_SECRET_VARIABLES):
        yield value
