"""Reads settings from options, environment and files; which of them wins is said in :mod:`.precedence`.

Files and variables are those of the 1.x line (protocol section 11.3), so that existing installations work unchanged:
``~/.prefect/config.toml``, ``~/.prefect/backend.toml``, ``~/.prefect/auth.toml`` and ``PREFECT__SECTION__KEY``. A file
that a person names takes the place of the first two.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit

import attrs

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.secrets import passwords_of, read_secret, without_password
from prefect.agent.entrypoints.settings.addresses import check_address, check_tenant
from prefect.agent.entrypoints.settings.files import USUAL, read_files
from prefect.agent.entrypoints.settings.local_keys import find_key
from prefect.agent.entrypoints.settings.names import (
    ADDRESSES,
    DEFAULTS,
    FLOW_RUN_KEY,
    KEY_SETTINGS,
    OWN,
    OWN_TABLE,
    PREFIX,
    Setting,
    variable_of,
)
from prefect.agent.entrypoints.settings.own_table import own_settings
from prefect.agent.entrypoints.settings.secret_sources import check_proxies, read_file, secrets_in
from prefect.agent.entrypoints.settings.values import (
    as_flag,
    as_level,
    as_list,
    as_text,
    as_variables,
    at_home,
    bare,
    home_of,
    resolved,
    sound,
    typed,
)

CLOUD_API: Final = "https://api.prefect.io"
SERVER_API: Final = "http://localhost:4200"

Backend = Literal["cloud", "server"]

LABELS: Final = "cloud.agent.labels"
ENV_VARS: Final = "cloud.agent.env_vars"


@attrs.frozen(kw_only=True)
class CloudLogin:
    """The address of the Cloud and the login for it."""

    api: str = attrs.field(repr=without_password)
    backend: Backend
    key: str | None = attrs.field(default=None, repr=False)
    tenant_id: str | None = None
    flow_run_key: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Configuration:
    """Finds settings by their dotted name in the environment and in files."""

    environ: Mapping[str, str]
    files: Mapping[str, Any]
    auth: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    paths: tuple[Path, ...] = ()
    """The files from which *files* and *auth* were read, whether they exist or not."""

    place: str = USUAL
    """What messages call the files."""
    filed: frozenset[str] = frozenset()
    """Variables in *environ* that the environment does not set: the table ``[agent]`` of a file does."""
    homes: Mapping[str, Path] = attrs.field(factory=dict)
    """By table or key at the top of a file: the file that it is from."""

    @classmethod
    def load(cls, environ: Mapping[str, str], config: str | None = None) -> "Configuration":
        """Read the configuration files of this process's user. A missing file of the 1.x line counts as empty.

        Args:
            config: The path of a file to read in place of those that hold settings.

        Raises:
            ConfigurationError: A file cannot be read as TOML, or a file that was named does not exist.
        """
        files = read_files(environ, config)
        of_table = own_settings(files.settings, files.shown)
        filed = {name: text for name, text in of_table.items() if not environ.get(name, "").strip()}
        merged = {**environ, **filed} if filed else environ
        return cls(merged, files.settings, files.auth, files.paths, files.shown, frozenset(filed), files.homes)

    def find(self, name: str) -> Any | None:
        """Return the value of a setting such as ``cloud.agent.labels``; None if it is empty or not set.

        Raises:
            ConfigurationError: The value refers to a variable or setting that does not exist.
        """
        return self._typed(self._resolved(self._raw(name), self.source(name)))

    def text(self, name: str) -> str | None:
        """Return the value of a setting as one text, as :meth:`find` does; a number stays as it was written."""
        source = self.source(name)
        return as_text(self._resolved(self._raw(name), source), source)

    def variable(self, name: str) -> str | None:
        """Return the text of an environment variable that is not a setting of 1.x, read as :meth:`text` does."""
        source = self.own_source(name)
        return as_text(self._resolved(self.environ.get(name, "").strip(), source), source)

    def level(self, name: str) -> str | None:
        """Return a setting that is a level of Python's logging, in capitals; None if it is not set."""
        return as_level(self.text(name), self.source(name))

    def flag(self, name: str) -> bool | None:
        """Return a setting that is on or off; None if it is not set."""
        return as_flag(self.text(name), self.source(name))

    def variables(self, name: str) -> dict[str, str]:
        """Return a setting that is a table of variables, set as a whole, or by one environment variable per entry."""
        prefix = f"{variable_of(name)}__"
        found = as_variables(self.find(name), self.source(name))
        alike = (each for each in self.environ if each.startswith(PREFIX) and each.upper().startswith(prefix))
        one_by_one = {each[len(prefix) :]: self._resolved(self.environ[each], each) for each in alike}
        return {**found, **{each: text for each, text in one_by_one.items() if each}}

    def source(self, name: str) -> str:
        """Return the name of a setting and the place of its value, for messages."""
        variable = variable_of(name)
        place = variable if self._said(name) else f"in {self.place}"
        return f"the setting {name} ({place})"

    def own_source(self, variable: str) -> str:
        """Return the name of a variable that only this product has, or of the key of a file that stands for it."""
        key = f"{OWN_TABLE}.{variable.removeprefix(OWN).lower()}"
        return f"the setting {key} (in {self.place})" if variable in self.filed else variable

    def places(self, setting: Setting) -> Iterator[tuple[str, Any]]:
        """Yield each place that sets *setting*, in the order of precedence, with the value that is written there."""
        said = "" if setting.name in self.filed else self._said(setting.name)
        if said:
            yield setting.variable, said
        filed = self._filed(setting.key) if setting.in_file else None
        if filed is not None and filed != "":
            yield f"{setting.key} in {self.homes.get(setting.key.partition('.')[0], self.place)}", filed

    def replaced(self, value: Any, source: str) -> Any:
        """Return *value* with the references in all its texts replaced.

        Raises:
            ConfigurationError: A reference names nothing that exists.
        """
        return self._resolved(value, source)

    def _raw(self, name: str) -> Any:
        """Return a value as it was written in the environment, else in the files."""
        return self._said(name) or self._filed(name)

    def _said(self, name: str) -> str:
        """Return a value as it was written in the environment; after the prefix case is ignored, as in 1.x."""
        variable = variable_of(name)
        alike = (each for each in self.environ if each.startswith(PREFIX) and each.upper() == variable)
        texts = (self.environ.get(each, "").strip() for each in (variable, *alike))
        return next(filter(None, texts), "")

    def _filed(self, name: str) -> Any:
        """Return a value as it was written in the files; None if they do not set it."""
        value: Any = self.files
        for part in name.split("."):
            if value is not None and not isinstance(value, Mapping):
                raise ConfigurationError(f"{name.rpartition('.')[0]} in {self._config} must be a table")
            value = None if value is None else value.get(part)
        return value

    def _resolved(self, value: Any, source: str) -> Any:
        """Return *value* with the references in all its texts replaced."""
        if isinstance(value, str):
            return resolved(value, self.environ, self._referred, source)
        if isinstance(value, Mapping):
            return {key: self._resolved(each, source) for key, each in value.items()}
        return [self._resolved(each, source) for each in value] if isinstance(value, list) else value

    def _referred(self, name: str) -> str | None:
        value = self._raw(name)
        value = DEFAULTS.get(name) if value is None or value == "" else value
        return None if value is None else str(value)

    @staticmethod
    def _typed(value: Any) -> Any:
        return (typed(value) if value.strip() else None) if isinstance(value, str) else value

    def secret(self, name: str) -> str | None:
        """Return the secret that a setting holds, or the content of the file that the setting ``NAME_file`` names.

        Raises:
            ConfigurationError: It has impossible characters, or the file cannot be read. The secret is not shown.
        """
        text = self.text(name)
        if text is not None:
            return read_secret(text, self._source(name))
        path = self.text(f"{name}_file")
        return None if path is None else read_file(path, self._source(f"{name}_file"))

    def secrets(self) -> set[str]:
        """Return every secret in environment and files, unchecked, so that they can be masked."""
        stored = [table.get("api_key") for table in self.auth.values() if isinstance(table, Mapping)]
        of_flows = self._filed("context.secrets")
        stored += of_flows.values() if isinstance(of_flows, Mapping) else ()
        found = [*(self._filed(name) for name in KEY_SETTINGS), *stored]
        addresses = filter(lambda each: isinstance(each, str), map(self._filed, ADDRESSES))
        passwords = {password for address in addresses for password in passwords_of(address)}
        return secrets_in(self.environ) | passwords | {each.strip() for each in found if isinstance(each, str)}

    def secret_files(self, *more: str | None) -> list[Path]:
        """Return the files that hold secrets: those that settings name, those of the 1.x client, and *more*."""
        named = [self.text(f"{name}_file") for name in KEY_SETTINGS]
        named += [self.variable(f"{FLOW_RUN_KEY}_FILE"), *more]
        found = [at_home(path, "the file of a secret") for path in named if path and path != "-"]
        has_key = FLOW_RUN_KEY in self.filed or any(map(self._filed, (*KEY_SETTINGS, "context.secrets")))
        return [*found, *(self.paths[:1] if has_key else ()), *(self.paths[-1:] if self.auth else ())]

    def _source(self, name: str) -> str:
        variable = variable_of(name)
        section, _, last = name.rpartition(".")
        return variable if self._said(name) else f"{last} under [{section}] in {self._config}"

    @property
    def _config(self) -> str:
        return "config.toml" if self.place == USUAL else self.place

    def stored_login(self, api: str) -> Mapping[str, Any]:
        """Return the login that ``auth.toml`` holds for the server at *api* (protocol section 1.6); empty if none."""
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
) -> CloudLogin:
    """Return the Cloud's address and the login; the keywords are options, which win over other sources.

    Raises:
        ConfigurationError: There is no key for Prefect Cloud, or a key, address or tenant id is not valid.
    """
    backend = (configuration.text("backend") or "").lower() or None
    if backend not in {None, "cloud", "server"}:
        raise ConfigurationError(f"the backend is {backend!r}; set it to 'cloud' or 'server'")
    address = check_address(*_address(configuration, bare(api or ""), backend))
    check_proxies(configuration.environ)
    stored = configuration.stored_login(address)
    secret = _key(configuration, key, key_file, stored)
    home = home_of(configuration.environ)
    secret = secret or (None if home is None else find_key(address, home))
    tenant = _tenant(configuration, tenant_id, stored if secret else {})
    if backend is None:
        backend = "cloud" if secret or address == CLOUD_API else "server"
    if backend == "cloud" and not secret:
        raise ConfigurationError(
            "there is no API key for Prefect Cloud: give --token-file PATH, set PREFECT__CLOUD__API_KEY or "
            "PREFECT__CLOUD__API_KEY_FILE, or put api_key under [cloud] in ~/.prefect/config.toml. "
            "For a Prefect Server give --api URL or set PREFECT__BACKEND=server"
        )
    return CloudLogin(
        api=address,
        backend=cast("Backend", backend),
        key=secret,
        tenant_id=tenant,
        flow_run_key=_flow_run_key(configuration, flow_run_key, flow_run_key_file),
    )


def _tenant(configuration: Configuration, given: str | None, stored: Mapping[str, Any]) -> str | None:
    """Return the id of the tenant that an option, a setting or the 1.x client names; None for the key's."""
    option = (given or "").strip()
    configured = None if option else configuration.text("cloud.tenant_id")
    tenant = option or configured or _text(stored.get("tenant_id"))
    source = "--tenant-id" if option else configuration.source("cloud.tenant_id") if configured else "auth.toml"
    return None if tenant is None else check_tenant(tenant, source)


def _key(
    configuration: Configuration, given: str | None, given_file: str | None, stored: Mapping[str, Any]
) -> str | None:
    """Return the API key of the options, else the first configured one, else the one that the 1.x client stored."""
    if given or given_file:
        return _given_secret(given, given_file, "--token")
    found = (configuration.secret(name) for name in KEY_SETTINGS)
    login = _text(stored.get("api_key"))
    return next((value for value in found if value), None) or (login and read_secret(login, "api_key in auth.toml"))


def _flow_run_key(configuration: Configuration, given: str | None, given_file: str | None) -> str | None:
    """Return the API key of flow runs; None if they use the agent's."""
    if given or given_file:
        return _given_secret(given, given_file, "--flow-run-key")
    if configuration.environ.get(FLOW_RUN_KEY):
        return read_secret(configuration.variable(FLOW_RUN_KEY) or "", FLOW_RUN_KEY)
    path = configuration.variable(f"{FLOW_RUN_KEY}_FILE")
    return read_file(path, f"{FLOW_RUN_KEY}_FILE") if path else None


def _given_secret(given: str | None, path: str | None, option: str) -> str:
    if given and path:
        raise ConfigurationError(f"{option} and {option}-file exclude each other: give the file")
    return read_file(path, f"{option}-file") if path else read_secret(given or "", option)


def labels(configuration: Configuration, given: Iterable[str]) -> list[str]:
    """Return the labels of the options, else the configured ones.

    Raises:
        ConfigurationError: The configured labels are not a list.
    """
    chosen = [sound(each, "--label") for each in given]
    if chosen:
        return chosen
    return as_list(configuration.find(LABELS), configuration.source(LABELS))


def env_vars(configuration: Configuration, given: Iterable[str]) -> dict[str, str]:
    """Return the configured variables of flow runs, overridden by those of ``--env KEY=VALUE``.

    Raises:
        ConfigurationError: An option is not KEY=VALUE, a variable is impossible, the configured value is not a table of
            variables, or a level of logging does not exist.
    """
    return checked_variables({**configuration.variables(ENV_VARS), **pairs(given)})


def pairs(given: Iterable[str]) -> dict[str, str]:
    """Variables of ``--env KEY=VALUE``.

    Raises:
        ConfigurationError: One of them is not KEY=VALUE.
    """
    split = [(pair, *pair.partition("=")) for pair in given]
    for pair, name, equals, _ in split:
        if not equals or not name:
            raise ConfigurationError(f"--env takes KEY=VALUE, not {pair!r}")
    return {name: value for _, name, _, value in split}


def checked_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Variables for flow runs, levels of logging in capitals.

    Raises:
        ConfigurationError: One of them cannot be a variable, or is a level of logging that does not exist.
    """
    result = dict(variables)
    for name in {"PREFECT__LOGGING__LEVEL", "PREFECT__CLOUD__AGENT__LEVEL"} & result.keys():
        result[name] = as_level(result[name], f"{name} among the variables of flow runs") or ""
    for name, value in result.items():
        _check_variable(name, value)
    return result


def _check_variable(name: str, value: str) -> None:
    """Raise ConfigurationError, without the value, if no flow run could get the variable."""
    if not name or "=" in name:
        raise ConfigurationError(f"the variable {name!r} of {ENV_VARS} or --env has no name, or '=' in its name")
    sound(name + value, f"the variable {name!a} of {ENV_VARS} or --env")


def _address(configuration: Configuration, given: str, backend: str | None) -> tuple[str, str]:
    """Return the address of the API, unchecked, and the name of its source."""
    if given:
        return given, "--api"
    for name in ("cloud.api", "server.endpoint" if backend == "server" else "cloud.endpoint"):
        found = configuration.text(name)
        if found:
            return found, configuration.source(name)
    if backend != "server":
        return CLOUD_API, "the address"
    host, port = configuration.text("server.host"), configuration.text("server.port")
    default = f"{(host or 'http://localhost').rstrip('/')}:{port or 4200}" if host or port else SERVER_API
    return default, "the address of the settings server.host and server.port"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
