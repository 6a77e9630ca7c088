"""All platforms of this installation: one table of the built-in ones, and those of other distributions."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module, metadata
from typing import Any, Final

import attrs

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.ports.platform_options import PlatformOption

ENTRY_POINTS: Final = "prefect.agent.platforms"
"""Entry point group through which other distributions add platforms: a name, and a callable that takes options."""

_KINDS: Final = "prefect.agent.entrypoints.library.kinds"


@attrs.frozen
class BuiltIn:
    """A platform that is part of this distribution.

    Attributes:
        name: As a person names it.
        factory: ``module:callable`` that makes the platform from options.
        options: ``module:OPTIONS``, the options as data, in a module that imports nothing of the platform.
        units: What flow runs are started as, for help.
        agent: ``module:Class`` of the agent that starts flow runs on it; empty for one made from the options.
        agent_1x: ``module:Class`` for the spelling ``prefect agent NAME start``; empty for the same agent.
        spellings: Other names of an agent on this platform, and their classes.
    """

    name: str
    factory: str
    options: str
    units: str
    agent: str = ""
    agent_1x: str = ""
    spellings: Mapping[str, str] = attrs.field(factory=dict)


def _built_in(name: str, units: str, **agents: Any) -> BuiltIn:
    """Return the row of a platform whose folder among the adapters has its name."""
    folder = f"prefect.agent.adapters.{name}"
    return BuiltIn(name, f"{folder}:factory", f"{folder}.declared:OPTIONS", units, **agents)


BUILT_IN: Final = (
    _built_in(
        "docker",
        "containers of a Docker engine",
        agent=f"{_KINDS}:DockerAgent",
        agent_1x="prefect.agent.docker:DockerAgent",
        spellings={"local": f"{_KINDS}:LocalAgent"},  # the container agent of 0.x
    ),
    _built_in("process", "processes of this machine", agent=f"{_KINDS}:ProcessAgent"),
    _built_in(
        "kubernetes",
        "Kubernetes Jobs",
        agent=f"{_KINDS}:KubernetesAgent",
        agent_1x="prefect.agent.kubernetes:KubernetesAgent",
    ),
)
"""The built-in platforms, in the order of the help. One more needs a row here and its own folder, nothing else."""

_BY_NAME: Final = {platform.name: platform for platform in BUILT_IN}
_SPELLINGS: Final = {spelling: platform for platform in BUILT_IN for spelling in platform.spellings}


def kind_of(agent: str) -> str:
    """Return the name of the platform of *agent*, which is a platform's name or another spelling of one."""
    return _SPELLINGS[agent].name if agent in _SPELLINGS else agent


def class_of(agent: str) -> str:
    """Return ``module:Class`` of a built-in *agent*; the name as it is for a platform of another distribution."""
    if agent in _SPELLINGS:
        return _SPELLINGS[agent].spellings[agent]
    return _BY_NAME[agent].agent or agent if agent in _BY_NAME else agent


def agent_names() -> list[str]:
    """Return the built-in names that ``prefect agent start`` takes, other spellings first."""
    return [*_SPELLINGS, *_BY_NAME]


def others() -> dict[str, metadata.EntryPoint]:
    """Return the platforms of other distributions, by name; a built-in name cannot be taken."""
    found = metadata.entry_points(group=ENTRY_POINTS)
    return {entry.name: entry for entry in found if entry.name not in _BY_NAME and entry.name not in _SPELLINGS}


def platform_names() -> set[str]:
    """Return the names of all platforms that this installation has."""
    return {*_BY_NAME, *others()}


def platform_factory(name: str) -> Callable[..., Any]:
    """Return the factory of the platform called *name*.

    Raises:
        ConfigurationError: There is none; the message lists those there are.
    """
    if name in _BY_NAME:
        factory: Callable[..., Any] = _found(_BY_NAME[name].factory)
        return factory
    found = others()
    if name not in found:
        names = ", ".join(sorted(platform_names()))
        raise ConfigurationError(f"there is no platform {name!r}; this installation has: {names}")
    loaded: Callable[..., Any] = found[name].load()
    return loaded


def options_of(name: str) -> tuple[PlatformOption, ...]:
    """Return the options that a platform declares; empty if it declares none.

    Those of another distribution's platform are the attribute ``OPTIONS`` of its factory, else of the factory's module.

    Raises:
        ConfigurationError: ``OPTIONS`` holds something else, or two options with one name or flag.
    """
    declared = _declared(name)
    if not isinstance(declared, Sequence):
        raise ConfigurationError(f"OPTIONS of the platform {name!r} must be a sequence of PlatformOption")
    found = tuple(declared)
    if not all(isinstance(option, PlatformOption) for option in found):
        raise ConfigurationError(f"OPTIONS of the platform {name!r} must be a sequence of PlatformOption")
    for taken in ([option.name for option in found], [flag for option in found for flag in option.flags]):
        twice = next((each for each in taken if taken.count(each) > 1), None)
        if twice is not None:
            raise ConfigurationError(f"the platform {name!r} declares {twice!r} twice in OPTIONS")
    return found


def _declared(name: str) -> Any:
    if name in _BY_NAME:
        return _found(_BY_NAME[name].options)
    entry = others().get(name)
    if entry is None:
        return ()
    factory = entry.load()
    return getattr(factory, "OPTIONS", getattr(import_module(entry.module), "OPTIONS", ()))


def _found(place: str) -> Any:
    """What is at ``module:name``."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
