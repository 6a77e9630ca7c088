"""Reads the policy of an agent from an option, a variable or a file; warns of an open policy."""

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.policy import OWN, PRESETS, Policy
from prefect.agent.domain.model.submissions import PlatformTraits
from prefect.agent.domain.model.template_paths import FILES, split_path
from prefect.agent.entrypoints.settings.values import at_home, own, own_list

VARIABLE: Final = "PREFECT_AGENT_POLICY"
TEMPLATE_PATHS: Final = "PREFECT_AGENT_TEMPLATE_PATHS"
"""Variable with folders, files and addresses of job templates, separated by commas."""

MOST_BYTES: Final = 1024 * 1024
"""Most bytes of a policy file."""


def policy_of(given: Policy | str | None, environ: Mapping[str, str]) -> Policy:
    """Return the policy that is *given*, else that of the environment, else the preset ``open``.

    Args:
        given: A policy, the name of a preset, or the path of a policy file.

    Raises:
        ConfigurationError: The file cannot be read, or does not hold a policy; the message says why.
    """
    if isinstance(given, Policy):
        return given
    chosen = given or own(environ, VARIABLE) or "open"
    source = "--policy" if given else VARIABLE
    return Policy(preset=chosen) if chosen in PRESETS else _of_file(at_home(chosen, source))


def with_template_paths(policy: Policy, given: Iterable[str] | None, environ: Mapping[str, str]) -> Policy:
    """Return *policy* with more places for the job templates of run configs: those *given*, else the environment's.

    Raises:
        ConfigurationError: A place is not a folder, file or address.
    """
    named = own_list(environ, TEMPLATE_PATHS) if given is None else given
    places = [_absolute(place.strip()) for place in named if place.strip()]
    return policy.replacing("template_paths", [OWN, *places]) if places else policy


def warning(policy: Policy, traits: PlatformTraits) -> str:
    """Return the warning about an open policy on such a platform; empty if the policy is not open."""
    if not traits.has_units or not policy.is_open:
        return ""
    rights = f": {traits.rights}" if traits.rights else ""
    return (
        f"The policy is open: flow runs have all rights of this agent's platform{rights}. "
        "Start with --policy restricted to refuse what flows do not need"
    )


def _absolute(place: str) -> str:
    scheme, rest = split_path(place)
    return str(at_home(rest, "a place of job templates").absolute()) if scheme in FILES and place != "public" else place


def _of_file(path: Path) -> Policy:
    try:
        return Policy.read(_document(path))
    except ConfigurationError as problem:
        raise ConfigurationError(f"the policy {path}: {problem}") from problem


def _document(path: Path) -> object:
    import yaml  # noqa: PLC0415 - slow to import, and only needed for a file

    try:
        return yaml.load(_text(path), Loader=_strict_loader())  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as problem:
        mark = getattr(problem, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ConfigurationError(f"it is not one document of plain YAML or JSON{where}") from problem


def _text(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise ConfigurationError("it is not a regular file")
        if mode & stat.S_IWOTH:
            raise ConfigurationError("every user of this machine can write it; run chmod o-w on it")
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except FileNotFoundError as problem:
        raise ConfigurationError(f"there is no such file; name a file, or a preset: {', '.join(PRESETS)}") from problem
    except (OSError, ValueError) as problem:
        raise ConfigurationError(f"it cannot be read: {getattr(problem, 'strerror', problem)}") from problem
    if len(text) > MOST_BYTES:
        raise ConfigurationError(f"it is larger than {MOST_BYTES // 1024} KiB")
    return text


def _strict_loader() -> Any:
    """Return a loader of plain YAML that refuses a key that occurs twice, since a person may overlook one of them."""
    import yaml  # noqa: PLC0415

    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ConfigurationError(f"the key {twice!r:.60} occurs twice; remove one")
            return super().construct_mapping(node, deep)

    return Strict
