"""Every setting with its value, where that comes from, and which values it shadows. Secrets are never shown. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.secrets import without_password
from prefect.agent.entrypoints.settings.bounds import BOUNDS
from prefect.agent.entrypoints.settings.configuration import Configuration, connection, pairs
from prefect.agent.entrypoints.settings.names import ALTERNATIVES, KEY_SETTINGS, SETTINGS, Kind, Setting, variable_of
from prefect.agent.entrypoints.settings.own_table import as_number
from prefect.agent.entrypoints.settings.values import as_flag, as_level, as_list, as_text, as_variables, typed

_Reader = Callable[[Any, str], Any]

MASKED: Final = "****"
"""What is shown of a secret."""

_BOUND: Final = {name: bound for bound in BOUNDS for name in (bound.variable, bound.earlier) if name}
"""By variable of a number: what it may be."""

DEFAULT: Final = "default"
"""Origin of a value that nothing sets."""


@attrs.frozen
class Place:
    """A place that says a value: an option, a variable, a key of a file, or the default."""

    origin: str
    value: Any


@attrs.frozen
class SettingRow:
    """One setting.

    Attributes:
        name: Its dotted name in a file; the variable or option of a setting that no file can set.
        places: All places that say a value; the first one wins. Empty if none does.
    """

    name: str
    places: tuple[Place, ...]

    @property
    def value(self) -> Any:
        """The value; None if there is none."""
        return self.places[0].value if self.places else None

    @property
    def origin(self) -> str:
        """Where the value comes from; empty if there is none."""
        return self.places[0].origin if self.places else ""

    @property
    def shadows(self) -> tuple[Place, ...]:
        """Places whose values have no effect; the default is not one of them."""
        return tuple(place for place in self.places[1:] if place.origin != DEFAULT)


def overview(found: Configuration, options: Mapping[str, Any], known_options: Iterable[str] = ()) -> list[SettingRow]:
    """Return a row for each setting, then one for each option that no variable or file can set.

    Args:
        options: Values of the command line, by long option.
        known_options: All long options that there are.

    Raises:
        ConfigurationError: A value has a wrong type; the message names the setting and the place.
    """
    groups: dict[str, list[Setting]] = {}
    for setting in SETTINGS:
        groups.setdefault(ALTERNATIVES.get(setting.name, setting.name), []).append(setting)
    defaults = _defaults(found, options)
    rows = [row for group in groups.values() for row in _rows(found, group, options, defaults)]
    settable = {setting.option for setting in SETTINGS}
    alone = [option for option in dict.fromkeys((*known_options, *options)) if option not in settable]
    return [*rows, *(SettingRow(name, (Place(name, options[name]),) if name in options else ()) for name in alone)]


def check_values(found: Configuration) -> None:
    """Check every value in environment and files.

    Raises:
        ConfigurationError: A value has a wrong type; the message names the setting and the place.
    """
    for setting in SETTINGS:
        for place, raw in found.places(setting):
            _read(found, setting, place, raw)


def _rows(
    found: Configuration, group: list[Setting], options: Mapping[str, Any], defaults: Mapping[str, Place]
) -> Iterator[SettingRow]:
    first = group[0]
    if first.kind == "variables":
        yield from _variables(found, first, options.get(first.option, ()))
        return
    given = dict.fromkeys(setting.option for setting in group if setting.option in options)
    kinds: dict[str, Kind] = {setting.option: setting.kind for setting in reversed(group)}
    places = [Place(option, _shown(kinds[option], options[option])) for option in given]
    for setting in group:
        places += [Place(place, _read(found, setting, place, raw)) for place, raw in found.places(setting)]
    default = defaults.get(first.name)
    yield SettingRow(
        first.key if first.in_file else first.variable, (*places, *(() if default is None else (default,)))
    )


def _variables(found: Configuration, setting: Setting, given: Iterable[str]) -> Iterator[SettingRow]:
    """A row for each variable of flow runs: each is decided alone."""
    prefix = f"{variable_of(setting.name)}__"
    alone = {name: name[len(prefix) :] for name in found.environ if name.upper().startswith(prefix)}
    says = [(setting.option, pairs(given)), *((variable, {name: ""}) for variable, name in alone.items() if name)]
    says += [(place, _read(found, setting, place, raw)) for place, raw in found.places(setting)]
    for name in sorted({name for _, variables in says for name in variables}):
        yield SettingRow(f"{setting.key}.{name}", tuple(Place(place, MASKED) for place, each in says if name in each))
    if not any(variables for _, variables in says):
        yield SettingRow(setting.key, ())


def _read(found: Configuration, setting: Setting, place: str, raw: Any) -> Any:
    """Return what is shown of a value that stands at *place*."""
    source = f"the setting {setting.key} ({place})"
    value = raw if setting.name.isupper() else found.replaced(raw, source)
    read: _Reader = READERS.get(setting.kind, as_text)
    shown = _shown(setting.kind, read(value, source))
    if setting.name in _BOUND and shown is not None:
        _BOUND[setting.name].read(str(shown), source)
    return shown


def _shown(kind: Kind, value: Any) -> Any:
    if kind == "secret":
        return MASKED
    if kind == "variables":
        return dict.fromkeys(value, MASKED)
    return without_password(value) if kind == "address" and isinstance(value, str) else value


def _list(value: Any, source: str) -> list[str]:
    return as_list(typed(value) if isinstance(value, str) else value, source)


def _dict(value: Any, source: str) -> dict[str, str]:
    return as_variables(typed(value) if isinstance(value, str) else value, source)


def _number(value: Any, source: str) -> float | None:
    text = as_number(value, source)
    number = None if text is None else float(text)
    return int(number) if number is not None and number.is_integer() else number


READERS: Final[Mapping[Kind, _Reader]] = {
    "list": _list,
    "variables": _dict,
    "flag": as_flag,
    "level": as_level,
    "number": _number,
}
"""By kind of a setting: reads its value. All others are texts."""


def _defaults(found: Configuration, options: Mapping[str, Any]) -> dict[str, Place]:
    """Return what holds for settings that nothing sets."""
    plain = AgentSettings()
    values: dict[str, Any] = {bound.variable: getattr(plain, bound.name) for bound in BOUNDS}
    values |= {setting.name: setting.default for setting in SETTINGS if setting.default and "$" not in setting.default}
    values |= {"cloud.send_flow_run_logs": True, "PREFECT_AGENT_STRICT": False, "PREFECT_AGENT_POLICY": "open"}
    places = {name: Place(DEFAULT, value) for name, value in values.items() if value is not None and name != "backend"}
    return {**places, **_of_the_cloud(found, options)}


def _of_the_cloud(found: Configuration, options: Mapping[str, Any]) -> dict[str, Place]:
    """Return what follows from other settings: address and kind of the Cloud, and a key that is stored elsewhere."""
    key = options.get("--token") or ("of a file" if "--token-file" in options else None)
    try:
        login = connection(found, key=key, api=options.get("--api"), tenant_id=options.get("--tenant-id"))
    except ConfigurationError:
        return {}
    stored = found.stored_login(login.api)
    elsewhere = str(found.paths[-1]) if stored.get("api_key") else "the key file of the Cloud on this machine"
    api = Place(DEFAULT, without_password(login.api))
    places = {"backend": Place(DEFAULT, login.backend), "cloud.api": api}
    if login.key and not key and not any(found.secret(name) for name in KEY_SETTINGS):
        places["cloud.api_key"] = Place(elsewhere, MASKED)
    return places
