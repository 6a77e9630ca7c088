"""Loads a kubeconfig with its credentials, login programs ("client-go credential plugins") and impersonation.

The SDK has no deadline for such a program, continues without credentials if it fails, and has no impersonation.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

from kubernetes.config import ConfigException
from kubernetes.config.dateutil import parse_rfc3339
from kubernetes.config.exec_provider import ExecProvider
from kubernetes.config.kube_config import (
    KUBE_CONFIG_DEFAULT_LOCATION,
    FileOrData,
    KubeConfigLoader,
    KubeConfigMerger,
)

from prefect.agent.adapters import bounded_json, plain_yaml, programs
from prefect.agent.adapters.kubernetes.errors import NoCredentials, PluginFailed

DEADLINE: Final = 30.0
"""Seconds that the program may take; then it is killed with its process group."""

WITH_A_PERSON: Final = 300.0
"""Seconds that the program may take on a terminal, where it may ask a person."""

BUDGET: Final = plain_yaml.Budget(bytes=8 * 1024 * 1024, values=200_000, depth=50, text=8 * 1024 * 1024)
"""Limits for parsing one file of a kubeconfig: a thousand clusters with their certificates fit."""

_EXTENSION: Final = "client.authentication.k8s.io/exec"


_NAMED: Final = ("exec", "token", "tokenFile", "client-certificate", "client-certificate-data", "username")
"""Fields of a kubeconfig's user that name credentials, besides ``auth-provider``."""

Headers = tuple[tuple[str, str], ...]


def load_kubeconfig(path: str | None, context: str | None, configuration: Any) -> Headers:
    """Fill the SDK's *configuration* from a kubeconfig; return the headers for impersonation, if it asks for that.

    Args:
        path: Path of the file; None for KUBECONFIG, or ``~/.kube/config``.
        context: Kubeconfig context to use; None for the current one.

    Raises:
        NoCredentials: The credentials that it names are not available at present.
        ConfigException: The file is invalid; the SDK raises other errors, too.
    """
    check_size(path)
    place = path or KUBE_CONFIG_DEFAULT_LOCATION
    found = KubeConfigMerger(place)
    if found.config is None:
        raise ConfigException(f"there is no kubeconfig at {place}, or nothing in it")
    each_file: Any = None  # paths count from the folder of the file that names them; the SDK says that it wants a str
    loader = _Loader(
        config_dict=found.config,
        config_base_path=each_file,
        active_context=context,
        config_persister=found.save_changes,
    )
    try:
        loader.load_and_set(configuration)
        return loader.checked()
    except NoCredentials as failed:
        failed.server = loader.server
        raise


def check_size(path: str | None) -> None:
    """Check the size of a kubeconfig's files before the SDK parses them, since its parser has no limits.

    Raises:
        ConfigException: A file exceeds the limits (only regular files are checked).
    """
    for name in (path or KUBE_CONFIG_DEFAULT_LOCATION).split(os.pathsep):
        file = Path(os.path.expanduser(name))  # noqa: PTH111 - as the SDK does; pathlib raises without such a home
        if not name or not file.is_file():
            continue
        with file.open("rb") as opened:
            content = opened.read(BUDGET.bytes + 1)
        try:
            plain_yaml.measure(content, BUDGET)
        except plain_yaml.NotPlainYaml as problem:
            raise ConfigException(f"the kubeconfig {name} {problem}") from problem


class _Loader(KubeConfigLoader):  # type: ignore[misc]
    """The SDK's loader, with a deadline for login programs and an error if they fail."""

    _cluster: Any
    _current_context: Any
    _user: Any

    @property
    def server(self) -> str:
        """Address of the API server."""
        return str(self._cluster.safe_get("server") or "").rstrip("/")

    def checked(self) -> Headers:
        """Check the credentials, and return the headers for impersonation.

        Raises:
            NoCredentials: The user names credentials, but none were found.
            ConfigException: The kubeconfig is invalid.
        """
        name = self._current_context["context"].safe_get("user")
        if name and self._user is None:
            raise ConfigException(f"the kubeconfig's context names the user {name!r}, and there is none of that name")
        user = dict(self._user.value) if self._user else {}
        if not getattr(self, "token", None) and not getattr(self, "cert_file", None):
            provider = user.get("auth-provider")
            named = [name for name in _NAMED if name in user] or ["auth-provider"] * bool(provider)
            if named:
                which = f" {provider.get('name')!r}" if isinstance(provider, dict) else ""
                raise NoCredentials(
                    f"the kubeconfig's user names credentials ({', '.join(named)}{which}), but has none"
                )
        return impersonation(user)

    def _load_from_exec_plugin(self) -> Literal[True] | None:
        if "exec" not in self._user:
            return None
        folder = self._get_base_path(self._cluster.path)
        plugin = _Plugin(self._user["exec"], folder, self._cluster)
        given = plugin.run()
        if given.get("token"):
            self.token = f"Bearer {given['token']}"
        elif given.get("clientCertificateData") and given.get("clientKeyData"):
            self.cert_file = self._file(given, "clientCertificateData", folder)
            self.key_file = self._file(given, "clientKeyData", folder)
        else:
            raise plugin.failed("its answer has neither a token nor a certificate with its key")
        if given.get("expirationTimestamp"):
            self.expiry = parse_rfc3339(given["expirationTimestamp"])
        return True

    def _file(self, given: dict[str, Any], key: str, folder: str) -> Any:
        return FileOrData(
            given,
            None,
            data_key_name=key,
            file_base_path=folder,
            base64_file_content=False,
            temp_file_path=self._temp_file_path,
        ).as_file()


def impersonation(user: Mapping[str, Any]) -> Headers:
    """Return the headers for ``as``, ``as-uid``, ``as-groups`` and ``as-user-extra`` of a kubeconfig's user.

    Raises:
        ConfigException: These fields are invalid.
    """
    name, uid = user.get("as"), user.get("as-uid")
    groups, extra = user.get("as-groups") or [], user.get("as-user-extra") or {}
    if not name and (uid or groups or extra):
        raise ConfigException("the kubeconfig has as-uid, as-groups or as-user-extra, but no user to act as (as)")
    if not isinstance(groups, list) or not isinstance(extra, Mapping):
        raise ConfigException("the kubeconfig's as-groups is no list, or its as-user-extra no mapping")
    more = [(key, each) for key, values in extra.items() for each in (values if isinstance(values, list) else [values])]
    headers = (
        *((("Impersonate-User", name),) if name else ()),
        *((("Impersonate-Uid", uid),) if uid else ()),
        *(("Impersonate-Group", group) for group in groups),
        *((f"Impersonate-Extra-{quote(str(key), safe='')}", value) for key, value in more),
    )
    if not all(isinstance(value, str) and value.isascii() and value.isprintable() for _, value in headers):
        raise ConfigException("the kubeconfig's user to act as (as, as-groups ...) is not plain text")
    return headers


class _Plugin(ExecProvider):  # type: ignore[misc]
    """A login program of a kubeconfig."""

    def run(self, previous_response: Any = None) -> dict[str, Any]:  # noqa: ARG002 - of the SDK's
        """Run the program and return the status in its answer. Raises PluginFailed."""
        on_terminal = sys.stdout is not None and sys.stdout.isatty()
        words = [shutil.which(self.args[0], path=self.env.get("PATH")) or self.args[0], *self.args[1:]]
        env = {**self.env, "KUBERNETES_EXEC_INFO": json.dumps(self._info(interactive=on_terminal))}
        seconds = WITH_A_PERSON if on_terminal else DEADLINE
        try:
            done = programs.run(words, seconds=seconds, env=env, folder=self.cwd, on_terminal=on_terminal)
        except programs.ProgramOverdue as late:
            raise self.failed(f"{late}{programs.shown(late.errors)}") from late
        except OSError as problem:
            raise self.failed(f"it cannot be started: {problem.strerror}") from problem
        if done.code:
            raise self.failed(f"it ended with exit code {done.code}{programs.shown(done.errors)}")
        return self._status(done)

    def failed(self, why: str) -> PluginFailed:
        """Return the error to raise, without the program's output, which may be a token."""
        return PluginFailed(f"the kubeconfig's program {self.args[0]!r} gives no credentials: {why}")

    def _status(self, done: programs.Finished) -> dict[str, Any]:
        try:
            answer = bounded_json.loads(done.output)
        except (ValueError, bounded_json.BeyondBounds):
            answer = None
        if not isinstance(answer, dict) or not isinstance(answer.get("status"), dict):
            raise self.failed(f"its answer is no ExecCredential{programs.shown(done.errors)}")
        if answer.get("apiVersion") != self.api_version:
            raise self.failed(f"it speaks {answer.get('apiVersion')!r:.60}, the kubeconfig {self.api_version!r}")
        status: dict[str, Any] = answer["status"]
        return status

    def _info(self, *, interactive: bool) -> dict[str, Any]:
        spec: dict[str, Any] = {"interactive": interactive}
        if self.cluster:
            spec["cluster"] = dict(self.cluster.value)
            for extension in self.cluster.value.get("extensions") or ():
                if extension["name"] == _EXTENSION:
                    spec["cluster"]["config"] = extension["extension"]
        return {"apiVersion": self.api_version, "kind": "ExecCredential", "spec": spec}
