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
        agent: ``module:Class`` of the agent that starts flow runs on it.
        units: What flow runs are started as, for help.
        spellings: Other names of an agent on this platform, and their classes.
    """

    name: str
    factory: str
    agent: str
    units: str
    spellings: Mapping[str, str] = attrs.field(factory=dict)


BUILT_IN: Final = (
    BuiltIn(
        "docker",
        "prefect.agent.adapters.docker:factory",
        f"{_KINDS}:DockerAgent",
        "containers of a Docker engine",
        spellings={"local": f"{_KINDS}:LocalAgent"},  # the container agent of 0.x
    ),
    BuiltIn("process", "prefect.agent.adapters.process:factory", f"{_KINDS}:ProcessAgent", "processes of this machine"),
    BuiltIn("kubernetes", "prefect.agent.adapters.kubernetes:factory", f"{_KINDS}:KubernetesAgent", "Kubernetes Jobs"),
)
"""The built-in platforms, in the order of the help."""

_BY_NAME: Final = {platform.name: platform for platform in BUILT_IN}
_SPELLINGS: Final = {spelling: platform for platform in BUILT_IN for spelling in platform.spellings}


def kind_of(agent: str) -> str:
    """Return the name of the platform of *agent*, which is a platform's name or another spelling of one."""
    return _SPELLINGS[agent].name if agent in _SPELLINGS else agent


def class_of(agent: str) -> str:
    """Return ``module:Class`` of a built-in *agent*; the name as it is for a platform of another distribution."""
    if agent in _SPELLINGS:
        return _SPELLINGS[agent].spellings[agent]
    return _BY_NAME[agent].agent if agent in _BY_NAME else agent


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
        module, _, attribute = _BY_NAME[name].factory.partition(":")
        factory: Callable[..., Any] = getattr(import_module(module), attribute)
        return factory
    found = others()
    if name not in found:
        names = ", ".join(sorted(platform_names()))
        raise ConfigurationError(f"there is no platform {name!r}; this installation has: {names}")
    loaded: Callable[..., Any] = found[name].load()
    return loaded


def options_of(name: str) -> tuple[PlatformOption, ...]:
    """Return the options that a platform of another distribution declares; empty if it declares none.

    They are the attribute ``OPTIONS`` of its factory, else of the factory's module.

    Raises:
        ConfigurationError: ``OPTIONS`` holds something else, or two options with one name or flag.
    """
    entry = None if name in _BY_NAME else others().get(name)
    if entry is None:
        return ()
    factory = entry.load()
    beside: Any = getattr(import_module(entry.module), "OPTIONS", ())
    declared: Any = getattr(factory, "OPTIONS", beside)
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
