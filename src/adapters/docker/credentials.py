"""Reads Docker's own configuration: logins of registries (``docker login``, credential helpers), and proxies.

No other module reads it. The file may have any form: parts that cannot be read are skipped and named, but never shown.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
from docker.auth import INDEX_NAME, INDEX_URL, AuthConfig, encode_header, resolve_index_name
from docker.credentials import Store
from docker.credentials.constants import PROGRAM_PREFIX
from docker.credentials.errors import CredentialsNotFound, process_store_error
from docker.credentials.utils import create_environment_dict
from docker.errors import DockerException
from docker.utils.config import find_config_file, home_dir

from prefect.agent.adapters import programs
from prefect.agent.domain.errors import PlatformUnavailable

HELPER_DEADLINE: Final = 30.0
"""Seconds that a credential helper may take; then it is killed with its process group, and the pull fails."""

_SECRETS: Final = ("password", "Password", "identitytoken", "IdentityToken", "registrytoken", "RegistryToken")
_PROXIES: Final = {name.lower(): name for name in ("httpProxy", "httpsProxy", "ftpProxy", "noProxy")}
_TEXTS: Final = ("auth", "username", "password", "identitytoken", "registrytoken")


@attrs.frozen
class RegistryLogin:
    """The credentials that a registry gets.

    Attributes:
        header: The value of ``X-Registry-Auth``; None for a pull without credentials.
        problem: Why there are no credentials although the configuration seems to have some; else empty. No secrets.
    """

    header: bytes | None = attrs.field(repr=False)
    problem: str = ""


def login(registry: str, learn: Callable[[str], object] = str) -> RegistryLogin:
    """Find the credentials for *registry*. Reads the file each time, and ignores errors about other registries.

    Args:
        learn: Called with each secret of the credentials.

    Raises:
        PlatformUnavailable: The credential helper does not answer, fails, or answers something other than a login.
    """
    file = read()
    problems = [file.problem] if file.problem else []
    config = file.about(registry, problems)
    helper = config.get_credential_store(registry)
    if helper and not _is_installed(helper):
        problems.append(f"the credential helper {PROGRAM_PREFIX}{helper} that {file.path} names is not installed")
        config = _Config({"auths": config.auths})
    found: Mapping[str, Any] = config.resolve_authconfig(registry) or {}
    for name in _SECRETS:
        if isinstance(found.get(name), str):
            learn(found[name])
    return RegistryLogin(encode_header(found)) if found else RegistryLogin(None, "; ".join(problems))


def general() -> dict[str, Any]:
    """Return the part of the configuration for the SDK: the containers' proxies, and headers for the engine.

    It is never empty, since the SDK would then read the file itself.
    """
    content = read().content
    proxies = {
        where: {_PROXIES.get(name.lower(), name): value for name, value in _texts(names).items()}
        for where, names in _map(content.get("proxies")).items()
        if _map(names)
    }
    headers = {name: value for name, value in _texts(content.get("httpheaders")).items() if _is_header(name, value)}
    return {"auths": {}, "proxies": proxies, **({"HttpHeaders": headers} if headers else {})}


@attrs.frozen
class ConfigFile:
    """Docker's configuration file.

    Attributes:
        path: Its path; empty if there is no file.
        content: Its fields by name in lower case, since Docker ignores the case of names.
        problem: Why the file could not be read; else empty.
    """

    path: str = ""
    content: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    problem: str = ""

    def about(self, registry: str, problems: list[str]) -> "_Config":
        """Return the configuration for *registry*; add to *problems* what cannot be read of it."""
        store, helpers = self.content.get("credsstore"), self.content.get("credhelpers")
        own = _map(helpers).get(INDEX_URL if registry == INDEX_NAME else registry)
        for name, value, kind in (("credsStore", store, str), ("credHelpers", helpers, dict), (registry, own, str)):
            if value and not isinstance(value, kind):
                what = "an object" if kind is dict else "the name of a credential helper"
                problems.append(f"{name} in {self.path} is not {what}")
        logins = {}
        for key, entry in self._entries(problems).items():
            if resolve_index_name(key) == registry:
                try:
                    logins[key] = _read_entry(key, entry)
                except _OddEntry as odd:
                    problems.append(f"the entry {key!r} of auths in {self.path} {odd}")
        good = {key: value for key, value in logins.items() if value}
        programs_of = {name: value for name, value in _map(helpers).items() if isinstance(value, str)}
        named = store if store and isinstance(store, str) else None
        return _Config({"auths": good, "credsStore": named, "credHelpers": programs_of})

    def _entries(self, problems: list[str]) -> Mapping[str, Any]:
        """Return the entries of ``auths``; the oldest form of the file consists of them only."""
        if not {"auths", "credsstore", "credhelpers"} & self.content.keys():
            return self.content
        auths = self.content.get("auths")
        if auths and not isinstance(auths, Mapping):
            problems.append(f"auths in {self.path} is not an object")
        return _map(auths)


def read() -> ConfigFile:
    """Find and read the file: in DOCKER_CONFIG, in ``~/.docker``, or as ``~/.dockercfg``. Never raises."""
    path = place()
    mistaken = _mistaken_folder()
    if not path:
        return ConfigFile(problem=mistaken)
    try:
        written = Path(path).read_bytes()
        content = json.loads(written) if written.strip() else {}
    except OSError as problem:
        return ConfigFile(path, problem=f"{path} cannot be read: {problem.strerror}")
    except (ValueError, RecursionError):
        auths = _oldest(path)
        return ConfigFile(path, {"auths": auths}, "" if auths else f"{path} is not JSON")
    if not isinstance(content, Mapping):
        return ConfigFile(path, problem=f"{path} is not a JSON object" if content is not None else mistaken)
    return ConfigFile(path, {str(name).lower(): value for name, value in content.items()}, mistaken)


def _mistaken_folder() -> str:
    """Return why the file that the person seems to mean is not read; empty if there is no such file."""
    folder = os.environ.get("DOCKER_CONFIG", "")
    try:
        if folder and Path(folder).is_file():
            return f"DOCKER_CONFIG is the file {folder}; set it to the folder that holds config.json"
        (Path(folder or f"{home_dir()}/.docker") / "config.json").stat()
    except PermissionError as problem:
        return f"{problem.filename} cannot be read: {problem.strerror}"
    except OSError:
        pass
    return ""


def place() -> str:
    """Return the path of the file; empty if there is none."""
    return str(find_config_file() or "")


class _OddEntry(Exception):
    """An entry of ``auths`` is invalid; the message completes a sentence that begins with the entry's name."""


def _read_entry(key: str, entry: object) -> Mapping[str, Any]:
    """Return the credentials of one entry of ``auths``; empty if it has none. Raises _OddEntry."""
    if not isinstance(entry, Mapping | None):
        raise _OddEntry("is not an object")
    fields = {str(name).lower(): value for name, value in (entry or {}).items() if value not in (None, "")}
    for name in _TEXTS:
        if not isinstance(fields.get(name, ""), str):
            raise _OddEntry(f"has a field {name} that is not a text")
    for name, sent in (("identitytoken", "IdentityToken"), ("registrytoken", "RegistryToken")):
        if name in fields:
            return {sent: fields[name]}
    if "auth" not in fields:
        if not {"username", "password"} <= fields.keys():
            return {}
        return {"username": fields["username"], "password": fields["password"], "serveraddress": key}
    try:
        found: Mapping[str, Any] = AuthConfig.parse_auth({key: {"auth": fields["auth"]}}, raise_on_error=True)[key]
    except (ValueError, DockerException):
        raise _OddEntry("is not the base64 form of user:password") from None
    return found


def _oldest(path: str) -> Mapping[str, Any]:
    """Return the logins of a file in the form before JSON; empty if it has another form."""
    try:
        found: Mapping[str, Any] = AuthConfig.load_config(path, None).auths
    except (DockerException, ValueError, RecursionError):
        return {}
    return found


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> dict[str, str]:
    """Return the fields of an object whose value is one printable line of text."""
    return {name: text for name, text in _map(value).items() if isinstance(text, str) and text and text.isprintable()}


def _is_header(name: str, value: str) -> bool:
    """Return whether HTTP can carry the header."""
    return name.isascii() and value.isascii() and re.fullmatch("[!-9;-~]+", name) is not None and value == value.strip()


def _is_installed(helper: str) -> bool:
    try:
        return shutil.which(PROGRAM_PREFIX + helper) is not None
    except ValueError:  # a NUL byte
        return False


class _Config(AuthConfig):
    """The SDK's configuration of logins, with a deadline for credential helpers."""

    def _get_store_instance(self, name: str) -> Store:
        return _Helper(name)


class _Helper(Store):
    def get(self, server: str | bytes) -> Any:
        """Return the helper's login for *server*."""
        found: Any = None
        try:
            found = super().get(server)  # type: ignore[no-untyped-call]
            texts = all(isinstance(found[name], str) for name in ("Username", "Secret"))
        except (ValueError, LookupError, TypeError):
            texts = False
        if not texts:  # raised here, so that the answer is in no traceback
            raise self._broken("its answer is not a login")
        return found

    def _execute(self, subcmd: str, data_input: bytes | None) -> Any:
        if self.exe is None:
            raise self._broken("it is no longer installed")
        env: Any = create_environment_dict(self.environment)
        try:
            done = programs.run([self.exe, subcmd], given=data_input or b"", env=env, seconds=HELPER_DEADLINE)
        except programs.ProgramOverdue as late:
            raise self._broken(f"{late}{programs.shown(late.errors)}") from late
        except OSError as problem:
            raise self._broken(f"it cannot be started: {problem.strerror}") from problem
        if done.code:
            raise self._failed(done)
        return done.output

    def _failed(self, done: programs.Finished) -> Exception:
        output = done.output.decode(errors="replace").encode()
        said = subprocess.CalledProcessError(done.code, self.program, output=output or done.errors)
        meant = process_store_error(said, self.program)
        if isinstance(meant, CredentialsNotFound):
            return meant
        shown = done.errors if b"secret" in output.lower() else output or done.errors
        return self._broken(f"it failed with exit code {done.code}{programs.shown(shown)}")

    def _broken(self, why: str) -> PlatformUnavailable:
        return PlatformUnavailable(
            f"Docker's credential helper {self.program} does not work: {why}. "
            f"Run it by hand on the agent's machine, or remove it from {place() or 'Docker configuration'}"
        )
