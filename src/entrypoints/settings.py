"""From options, environment and files to settings. One precedence, everywhere: option, environment, file, default.

Files and variables are those of the 1.x line (protocol section 11.3), so that an existing installation works unchanged:
``~/.prefect/config.toml``, ``~/.prefect/backend.toml``, ``~/.prefect/auth.toml`` and ``PREFECT__SECTION__KEY``.
"""

import ast
import json
import math
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit

import attrs

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.secrets import read_secret, without_password
from prefect.agent.entrypoints.local_keys import find_key
from prefect.agent.entrypoints.secret_sources import check_proxies, read_file, secrets_in

CLOUD_API: Final = "https://api.prefect.io"
SERVER_API: Final = "http://localhost:4200"

Backend = Literal["cloud", "server"]

MAX_LITERAL: Final = 1000
"""Longest value that is read as a Python literal; longer ones must be JSON. A parser of 3.11 that has once run out of
depth fails with SystemError ever after, so it must not be tried with text that can nest that deeply."""

FLOW_RUN_KEY: Final = "PREFECT_AGENT_FLOW_RUN_KEY"
"""Variable with the API key of flow runs; with ``_FILE`` at its end it names a file."""

KEY_SETTINGS: Final = ("cloud.api_key", "cloud.agent.auth_token", "cloud.auth_token")
"""Where an API key or token may be, the first one found wins."""


@attrs.frozen(kw_only=True)
class Connection:
    """Which Cloud, and as whom."""

    api: str
    backend: Backend
    key: str | None = attrs.field(default=None, repr=False)
    tenant_id: str | None = None
    flow_run_key: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Bound:
    """A setting that is a number.

    Attributes:
        name: Of the attribute of ``AgentSettings``.
        variable: Of the environment.
        least: The smallest value.
        is_whole: Whether it counts something; else it is seconds.
        is_open: Whether *least* itself is too small.
    """

    name: str
    variable: str
    least: float
    is_whole: bool = False
    is_open: bool = False

    def read(self, text: str, source: str) -> float:
        """Return the number in *text*; *source* is the name of the variable or argument it comes from.

        Raises:
            ConfigurationError: It is none, or too small.
        """
        try:
            value = int(text) if self.is_whole else float(text)
            is_possible = math.isfinite(value) and (value > self.least if self.is_open else value >= self.least)
        except (ValueError, OverflowError):
            is_possible = False
        if is_possible:
            return value
        wanted = "a whole number" if self.is_whole else "a number of seconds"
        border = f"more than {self.least:g}" if self.is_open else f"at least {self.least:g}"
        raise ConfigurationError(f"{source} is {text[:40]!r}; give {wanted}, {border}")


BOUNDS: Final = (
    Bound("limit", "PREFECT_AGENT_LIMIT", 1, is_whole=True),
    Bound("max_lateness", "PREFECT_AGENT_MAX_LATENESS", 0, is_open=True),
    Bound("start_patience", "PREFECT_AGENT_START_PATIENCE", 0),
    Bound("auth_patience", "PREFECT_AGENT_AUTH_PATIENCE", 0),
    Bound("stall_patience", "PREFECT_AGENT_STALL_PATIENCE", 0),
    Bound("stop_patience", "PREFECT_AGENT_STOP_PATIENCE", 0),
)
"""The numbers of an agent that a person may set by variable."""


@attrs.frozen
class Configuration:
    """Looks settings up by their dotted name in environment and files."""

    environ: Mapping[str, str]
    files: Mapping[str, Any]
    auth: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    paths: tuple[Path, ...] = ()
    """Where *files* and *auth* may have been read."""

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> "Configuration":
        """Read the files of the person who runs this process. Files that are not there are empty.

        Raises:
            ConfigurationError: A file is there but is not TOML.
        """
        home = Path(_expand(environ.get("PREFECT__HOME_DIR") or "~/.prefect", environ))
        user_file = environ.get("PREFECT__USER_CONFIG_PATH")
        backend_file = environ.get("PREFECT__BACKEND_CONFIG_PATH")
        config = Path(_expand(user_file, environ)) if user_file else home / "config.toml"
        backend = Path(_expand(backend_file, environ)) if backend_file else home / "backend.toml"
        auth = home / "auth.toml"
        files = {**_read_toml(config), **_read_toml(backend)}
        return cls(environ, files, _read_toml(auth), (config, backend, auth))

    def find(self, name: str) -> Any | None:
        """The value of a setting such as ``cloud.agent.labels``; None if nobody set it. Empty counts as not set."""
        text = self.environ.get(_variable(name))
        if text:
            return _value(text, self.environ)
        return self._filed(name)

    def _filed(self, name: str) -> Any | None:
        value: Any = self.files
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return _value(value, self.environ) if isinstance(value, str) else value

    def text(self, name: str) -> str | None:
        """Like :meth:`find`, as a string."""
        value = self.find(name)
        return None if value is None or value == "" else str(value)

    def secret(self, name: str) -> str | None:
        """The secret that a setting holds, or that is in the file which the setting ``NAME_file`` names.

        Raises:
            ConfigurationError: It has characters that no secret has, or the file cannot be read. It is not shown.
        """
        text = self.text(name)
        if text is not None:
            return read_secret(text, self._source(name))
        path = self.text(f"{name}_file")
        return None if path is None else read_file(path, self._source(f"{name}_file"))

    def secrets(self) -> set[str]:
        """Every secret that environment and files hold, for them to be masked; unchecked."""
        stored = [table.get("api_key") for table in self.auth.values() if isinstance(table, Mapping)]
        of_flows = self._filed("context.secrets")
        stored += of_flows.values() if isinstance(of_flows, Mapping) else ()
        found = [*(self._filed(name) for name in KEY_SETTINGS), *stored]
        return secrets_in(self.environ) | {each.strip() for each in found if isinstance(each, str)}

    def secret_files(self, *more: str | None) -> list[Path]:
        """Files that hold a secret: those that settings name, those of the 1.x client, and *more*."""
        named = [self.text(f"{name}_file") for name in KEY_SETTINGS]
        named += [self.environ.get(f"{FLOW_RUN_KEY}_FILE"), *more]
        found = [Path(path).expanduser() for path in named if path and path != "-"]
        has_key = any(self._filed(name) for name in (*KEY_SETTINGS, "context.secrets"))
        return [*found, *(self.paths[:1] if has_key else ()), *(self.paths[2:] if self.auth else ())]

    def _source(self, name: str) -> str:
        variable = _variable(name)
        section, _, last = name.rpartition(".")
        return variable if self.environ.get(variable) else f"{last} under [{section}] in config.toml"

    def stored_login(self, api: str) -> Mapping[str, Any]:
        """What ``auth.toml`` holds for the server at *api* (protocol section 1.6)."""
        table = self.auth.get(re.sub(r"[^-.a-z0-9]+", "-", urlsplit(api).netloc.lower()))
        return table if isinstance(table, Mapping) else {}


def connection(
    configuration: Configuration,
    *,
    api: str | None = None,
    key: str | None = None,
    tenant_id: str | None = None,
    key_file: str | None = None,
    flow_run_key: str | None = None,
    flow_run_key_file: str | None = None,
) -> Connection:
    """Decide which Cloud to talk to and as whom; the keywords are options and win.

    Raises:
        ConfigurationError: No key for Prefect Cloud, or a key, an address or a tenant id that cannot be one.
    """
    backend = configuration.text("backend")
    if backend not in {None, "cloud", "server"}:
        raise ConfigurationError(f"the backend is {backend!r}; it can only be 'cloud' or 'server'")
    address = api or configuration.text("cloud.api") or _endpoint(configuration, backend)
    if not _is_address(address):
        shown = without_password(address)
        raise ConfigurationError(f"{shown!r} is not the address of a Prefect API; it looks like {CLOUD_API}")
    check_proxies(configuration.environ)
    stored = configuration.stored_login(address)
    secret = _key(configuration, key, key_file, stored)
    secret = secret or find_key(address, Path(_expand("~", configuration.environ)))
    tenant = tenant_id or configuration.text("cloud.tenant_id") or (_text(stored.get("tenant_id")) if secret else None)
    if tenant is not None and not _is_uuid(tenant):
        raise ConfigurationError(
            f"the tenant id {tenant!r} is not a UUID; leave it out to have it found by the API key"
        )
    if backend is None:
        backend = "cloud" if secret or address.rstrip("/") == CLOUD_API else "server"
    if backend == "cloud" and not secret:
        raise ConfigurationError(
            "no API key for Prefect Cloud: give --token-file PATH, set PREFECT__CLOUD__API_KEY or "
            "PREFECT__CLOUD__API_KEY_FILE, or put api_key under [cloud] in ~/.prefect/config.toml. "
            "For a Prefect Server give --api URL or set PREFECT__BACKEND=server"
        )
    return Connection(
        api=address.rstrip("/"),
        backend=cast("Backend", backend),
        key=secret,
        tenant_id=tenant,
        flow_run_key=_flow_run_key(configuration.environ, flow_run_key, flow_run_key_file),
    )


def _key(
    configuration: Configuration, given: str | None, given_file: str | None, stored: Mapping[str, Any]
) -> str | None:
    """The API key: of the options, else the first one configured, else what the client of 1.x has stored."""
    if given or given_file:
        return _given_secret(given, given_file, "--token")
    found = (configuration.secret(name) for name in KEY_SETTINGS)
    login = _text(stored.get("api_key"))
    return next((value for value in found if value), None) or (login and read_secret(login, "api_key in auth.toml"))


def _flow_run_key(environ: Mapping[str, str], given: str | None, given_file: str | None) -> str | None:
    """The key of flow runs, if they have one of their own."""
    if given or given_file:
        return _given_secret(given, given_file, "--flow-run-key")
    if environ.get(FLOW_RUN_KEY):
        return read_secret(environ[FLOW_RUN_KEY], FLOW_RUN_KEY)
    path = environ.get(f"{FLOW_RUN_KEY}_FILE")
    return read_file(path, f"{FLOW_RUN_KEY}_FILE") if path else None


def _given_secret(given: str | None, path: str | None, option: str) -> str:
    if given and path:
        raise ConfigurationError(f"{option} and {option}-file exclude each other: give the file")
    return read_file(path, f"{option}-file") if path else read_secret(given or "", option)


def labels(configuration: Configuration, given: Iterable[str]) -> list[str]:
    """Labels of the options, else those configured."""
    chosen = list(given)
    if chosen:
        return chosen
    found = configuration.find("cloud.agent.labels")
    if isinstance(found, str):
        return [label for label in (part.strip() for part in found.split(",")) if label]
    return [str(label) for label in found] if isinstance(found, list | tuple | set) else []


def env_vars(configuration: Configuration, given: Iterable[str]) -> dict[str, str]:
    """Variables of ``--env KEY=VALUE`` over those configured.

    Raises:
        ConfigurationError: One of them is not KEY=VALUE.
    """
    found = configuration.find("cloud.agent.env_vars")
    result = {str(name): str(value) for name, value in found.items()} if isinstance(found, Mapping) else {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigurationError(f"--env takes KEY=VALUE, not {pair!r}")
        result[name] = value
    return result


def bounds(environ: Mapping[str, str], given: Mapping[str, float | None]) -> dict[str, Any]:
    """Return the bounds of an agent that are set, by attribute of ``AgentSettings``; *given* wins over variables.

    Raises:
        ConfigurationError: One of them is no number, or one that cannot be.
    """
    found: dict[str, Any] = {}
    for bound in BOUNDS:
        value = given.get(bound.name)
        text = environ.get(bound.variable, "").strip()
        if value is not None:
            found[bound.name] = bound.read(str(value), bound.name)
        elif text:
            found[bound.name] = bound.read(text, bound.variable)
    return found


def _endpoint(configuration: Configuration, backend: str | None) -> str:
    if backend != "server":
        return configuration.text("cloud.endpoint") or CLOUD_API
    host, port = configuration.text("server.host"), configuration.text("server.port")
    default = f"{host or 'http://localhost'}:{port or 4200}" if host or port else SERVER_API
    return configuration.text("server.endpoint") or default


def _variable(name: str) -> str:
    return "PREFECT__" + name.upper().replace(".", "__")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"cannot read {path}: {problem}") from problem
    try:
        return _toml_loads()(text)
    except ValueError as problem:
        raise ConfigurationError(f"{path} is not valid TOML: {problem}") from problem


def _toml_loads() -> Callable[[str], dict[str, Any]]:
    try:
        toml = import_module("tomllib")
    except ModuleNotFoundError:  # Python 3.10
        toml = import_module("tomli")
    loads: Callable[[str], dict[str, Any]] = toml.loads
    return loads


def _value(text: str, environ: Mapping[str, str]) -> Any:
    """A value as 1.x reads it: true/false, a Python or JSON literal, else text with $VAR and ~ expanded."""
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if text[:1] in "[{('\"":
        for read, limit in ((json.loads, len(text)), (ast.literal_eval, MAX_LITERAL)):
            try:
                if len(text) <= limit:
                    return read(text)
            except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                continue
    return _expand(text, environ)


def _expand(text: str, environ: Mapping[str, str]) -> str:
    if text.startswith("~"):
        text = (environ.get("HOME") or str(Path.home())) + text[1:]
    return re.sub(r"\$(\w+)|\$\{(\w+)\}", lambda m: environ.get(m[1] or m[2], m[0]), text)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # brackets or a port that make no sense
        return False


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
