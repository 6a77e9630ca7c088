"""Who the agent is to a registry, from Docker's own configuration: ``docker login``, or a credential helper."""

import subprocess
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

from docker.auth import INDEX_NAME, INDEX_URL, TOKEN_USERNAME, AuthConfig, encode_header, resolve_index_name
from docker.credentials import Store
from docker.credentials.errors import CredentialsNotFound, StoreError, process_store_error
from docker.credentials.utils import create_environment_dict
from docker.errors import DockerException

from prefect.agent.adapters import programs
from prefect.agent.adapters.docker import config_file
from prefect.agent.adapters.docker.config_file import DockerConfig
from prefect.agent.domain.errors import PlatformUnavailable

HELPER_DEADLINE: Final = 30.0
"""Seconds that a credential helper has; then it is killed with all that it started, and the pull fails."""

_SECRETS: Final = frozenset({"password", "Password", "IdentityToken"})

_SENSELESS: Final = (DockerException, ValueError, TypeError, AttributeError, LookupError)
"""What the SDK raises for an entry that makes no sense. Its text may hold the secret."""


def header(registry: str, learn: Callable[[str], object] = str) -> bytes | None:
    """The value of ``X-Registry-Auth`` for *registry*; None if there are no credentials. Reads everything anew.

    Entries of other registries do not matter, whatever they are.

    Args:
        learn: Takes each secret of the credentials.

    Raises:
        PlatformUnavailable: The entry of this registry, or its credential helper, is broken. The message names the file
            and the entry.
    """
    config = config_file.load()
    helper = config.helpers.get(INDEX_URL if registry == INDEX_NAME else registry) or config.helper
    found = _of_helper(config, helper, registry) if helper else None
    found = found or _of_file(config, registry)
    for name in _SECRETS & found.keys():
        learn(str(found[name]))
    return encode_header(found) if found else None


def _of_file(config: DockerConfig, registry: str) -> dict[str, Any]:
    """The credentials that are written in the file itself; empty if there are none."""
    name = _entry(config.auths, registry)
    if name is None:
        old = _entry(config.decoded, registry)
        return dict(config.decoded[old]) if old is not None else {}
    entry = config.auths[name]
    if entry is None:
        return {}
    try:
        return _decoded(name, entry)
    except _SENSELESS:
        raise PlatformUnavailable(  # without its cause, which shows the secret
            f"the entry {name!r} of auths in Docker's {config.path} makes no sense. "
            f"Run 'docker login {registry}' as the agent's user, or take the entry out"
        ) from None


def _entry(entries: Mapping[str, Any], registry: str) -> str | None:
    """The name of the entry of *registry*: its own name, or an address of that host."""
    if registry in entries:
        return registry
    return next((name for name in entries if resolve_index_name(name) == registry), None)


def _decoded(name: str, entry: Any) -> dict[str, Any]:
    given = {key: value for key, value in entry.items() if value not in (None, "")}
    user, password = given.get("username"), given.get("password")
    if not {"auth", "identitytoken"} & given.keys() and isinstance(user, str) and isinstance(password, str):
        return {"username": user, "password": password, "serveraddress": name}
    if not isinstance(given.get("identitytoken", ""), str):
        raise TypeError("no text")
    return dict(AuthConfig.parse_auth({name: given}, raise_on_error=True)[name])


def _of_helper(config: DockerConfig, helper: str, registry: str) -> dict[str, str] | None:
    """The credentials that a helper knows; None if it knows none."""
    address = INDEX_URL if registry == INDEX_NAME else registry
    try:
        answer = _Helper(helper).get(address)  # type: ignore[no-untyped-call]
        user, secret = answer["Username"], answer["Secret"]
        if not isinstance(user, str) or not isinstance(secret, str):
            raise TypeError("no text")
    except CredentialsNotFound:
        return None
    except StoreError as problem:
        raise PlatformUnavailable(_broken(config, helper, registry, " ".join(str(problem).split()))) from problem
    except _SENSELESS:
        words = "its answer is not the JSON object of a credential helper"
        raise PlatformUnavailable(_broken(config, helper, registry, words)) from None
    if user == TOKEN_USERNAME:
        return {"ServerAddress": address, "IdentityToken": secret}
    return {"ServerAddress": address, "Username": user, "Password": secret}


def _broken(config: DockerConfig, helper: str, registry: str, why: str) -> str:
    return (
        f"Docker's credential helper docker-credential-{helper} of {config.path} gives no credentials for {registry}: "
        f"{why}. Run it by hand on the agent's machine, or take it out of that file"
    )


class _Helper(Store):
    """The SDK's, with a deadline."""

    def __init__(self, program: str) -> None:
        with warnings.catch_warnings():  # that it is not installed is an error of the pull, below
            warnings.simplefilter("ignore")
            super().__init__(program)

    def _execute(self, subcmd: str, data_input: bytes | None) -> Any:
        if self.exe is None:
            raise StoreError(f"{self.program} is not installed, or not in PATH")
        env: Any = create_environment_dict(self.environment)  # type: ignore[no-untyped-call]
        try:
            done = programs.run([self.exe, subcmd], given=data_input or b"", env=env, seconds=HELPER_DEADLINE)
        except programs.ProgramOverdue as late:
            raise StoreError(f"{late}{programs.shown(late.errors)}") from late
        except (OSError, ValueError) as problem:
            raise StoreError(f"{self.program} cannot be started: {problem}") from problem
        if done.code:
            failed = subprocess.CalledProcessError(done.code, self.program, output=done.output or done.errors)
            raise process_store_error(failed, self.program)
        return done.output
