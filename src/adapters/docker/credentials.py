"""Who the agent is to a registry, from Docker's own configuration: ``docker login``, or a credential helper."""

import subprocess
from collections.abc import Callable
from typing import Any, Final

from docker.auth import AuthConfig, encode_header
from docker.credentials import Store
from docker.credentials.errors import StoreError, process_store_error
from docker.credentials.utils import create_environment_dict

from prefect.agent.adapters import programs
from prefect.agent.domain.errors import PlatformUnavailable

HELPER_DEADLINE: Final = 30.0
"""Seconds that a credential helper has; then it is killed with all that it started, and the pull fails."""


def header(registry: str, learn: Callable[[str], object] = str) -> bytes | None:
    """The value of ``X-Registry-Auth`` for *registry*; None if there are no credentials. Reads everything anew.

    Args:
        learn: Takes each secret of the credentials.

    Raises:
        PlatformUnavailable: The credential helper does not answer.
        DockerException: The configuration or the credential helper is broken.
    """
    found = _Config.load_config(None, None).resolve_authconfig(registry)
    for name in _SECRETS:
        if found and isinstance(found.get(name), str):
            learn(found[name])
    return encode_header(found) if found else None


_SECRETS: Final = ("password", "Password", "identitytoken", "IdentityToken", "registrytoken", "RegistryToken")


class _Config(AuthConfig):
    """The SDK's, with helpers that have a deadline."""

    def _get_store_instance(self, name: str) -> Store:
        return _Helper(name)


class _Helper(Store):
    def _execute(self, subcmd: str, data_input: bytes | None) -> Any:
        if self.exe is None:
            raise StoreError(f"{self.program} is not installed, or not in PATH")
        env: Any = create_environment_dict(self.environment)  # type: ignore[no-untyped-call]
        try:
            done = programs.run([self.exe, subcmd], given=data_input or b"", env=env, seconds=HELPER_DEADLINE)
        except programs.ProgramOverdue as late:
            raise PlatformUnavailable(
                f"Docker's credential helper {self.program} is broken: {late}{programs.shown(late.errors)}. "
                "Run it by hand on the agent's machine, or take it out of Docker's config.json"
            ) from late
        except OSError as problem:
            raise StoreError(f"{self.program} cannot be started: {problem.strerror}") from problem
        if done.code:
            failed = subprocess.CalledProcessError(done.code, self.program, output=done.output or done.errors)
            raise process_store_error(failed, self.program)
        return done.output
