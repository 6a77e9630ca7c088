"""Where the cluster is and who we are there, from files that make sense and others."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import urllib3

from prefect.agent.adapters.kubernetes.api_server import Cluster, WatchStream, path_of
from prefect.agent.adapters.kubernetes.credentials import NOT_AGAIN, ClusterLogin, Door
from prefect.agent.adapters.kubernetes.errors import NoCredentials
from prefect.agent.adapters.kubernetes.plugins import impersonation
from prefect.agent.adapters.kubernetes.throttle import Throttle
from prefect.agent.domain.errors import ConfigurationError, PlatformUnavailable


def kubeconfig(folder: Path, **changes: Any) -> str:
    """Path of a new one."""
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1/"}}],
        "users": [{"name": "u", "user": {"token": "t0ken"}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "metrics"}},
            {"name": "two", "context": {"cluster": "c", "user": "u"}},
        ],
        "current-context": "one",
        **changes,
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return str(path)


def cluster(path: str, context: str | None = None) -> Cluster:
    """As one is made of it."""
    return Cluster(kubeconfig=path, context=context, throttle=Throttle(10, 10))


@pytest.mark.parametrize(("context", "namespace"), [(None, "metrics"), ("one", "metrics"), ("two", "default")])
def test_the_namespace_of_the_context(tmp_path: Path, context: str | None, namespace: str) -> None:
    """Is ours, if it names one."""
    found = cluster(kubeconfig(tmp_path), context)
    assert (found.server, found.home_namespace()) == ("https://127.0.0.1:1", namespace)


@pytest.mark.parametrize(
    "changes",
    [
        {"contexts": []},
        {"contexts": "x"},
        {"contexts": None},
        {"clusters": [1]},
        {"clusters": [{"name": "c", "cluster": {"server": 5}}]},
        {"clusters": [{"name": "c", "cluster": {"server": "https://x", "certificate-authority": "/no/such"}}]},
        {"users": [{"name": "u", "user": {"tokenFile": "/no/such"}}]},
        {"current-context": 7},
        {"users": []},
        {"users": [{"name": "u", "user": {"token": "t", "as-groups": ["x"]}}]},
        {"users": [{"name": "u", "user": {"token": "t", "as": "x", "as-groups": "y"}}]},
        {"users": [{"name": "u", "user": {"token": "t", "as": "x", "as-user-extra": ["y"]}}]},
        {"users": [{"name": "u", "user": {"token": "t", "as": "x\r\ny"}}]},
    ],
)
def test_kubeconfigs_that_make_no_sense(tmp_path: Path, changes: Mapping[str, Any]) -> None:
    """One error, which says what to do."""
    with pytest.raises(ConfigurationError, match=r"cannot find the Kubernetes cluster.*--kubeconfig or KUBECONFIG"):
        cluster(kubeconfig(tmp_path, **changes))


def test_a_kubeconfig_under_a_home_that_does_not_exist() -> None:
    """It is not there, as any other file that is not."""
    with pytest.raises(ConfigurationError, match="no kubeconfig"):
        cluster("~nosuchuser/config")


@pytest.mark.parametrize("text", ["", "null", "[1]", "text", "\t- x", "a: [", "token: s3cret\n\t: ["])
def test_files_that_are_no_kubeconfig(tmp_path: Path, text: str) -> None:
    """Nothing of what is in them is shown."""
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="cannot find the Kubernetes cluster") as raised:
        cluster(str(path))
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "user",
    [
        {"tokenFile": os.devnull},
        {"token": ""},
        {"auth-provider": {"name": "azure", "config": {}}},
        {"username": "x"},
    ],
)
def test_a_user_that_names_credentials_and_has_none(tmp_path: Path, user: Mapping[str, Any]) -> None:
    """Nothing is asked without them: the API server would take the agent for nobody."""
    found = cluster(kubeconfig(tmp_path, users=[{"name": "u", "user": user}]))
    assert found.server == "https://127.0.0.1:1"
    with pytest.raises(PlatformUnavailable, match=r"no credentials for .*names credentials"), found.asked("look"):
        found.send("GET", "/version")


def test_as_whom_it_acts() -> None:
    """All that a kubeconfig can say of it, as client-go sends it."""
    user = {"as": "robot", "as-uid": "7", "as-groups": ["a", "b"], "as-user-extra": {"x/Y": ["1", "2"]}}
    assert impersonation(user) == (
        ("Impersonate-User", "robot"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-x%2FY", "1"),
        ("Impersonate-Extra-x%2FY", "2"),
    )


def test_credentials_that_are_not_there_are_not_asked_for_at_once_again() -> None:
    """A program may take half a minute to fail, and many threads wait for it."""
    now, asked = [0.0], []

    def ask() -> str:
        asked.append(now[0])
        if len(asked) < 2:
            raise NoCredentials("no", server="s")
        return "yes"

    door = Door(clock=lambda: now[0])
    for _ in range(3):
        with pytest.raises(NoCredentials, match="no"):
            door.ask(ask)
    now[0] = NOT_AGAIN
    assert door.ask(ask) == "yes"
    assert asked == [0.0, NOT_AGAIN]


def test_no_such_context(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(ConfigurationError, match="three"):
        cluster(kubeconfig(tmp_path), "three")


def test_paths() -> None:
    """Whatever is in a word stays in it."""
    assert path_of("api/v1", "namespaces", "a b?c") == "/api/v1/namespaces/a%20b%3Fc"


def test_lines_of_a_stream() -> None:
    """Come whole, however they are cut; the rest that was cut off does not come."""

    class Response:
        def stream(self, _size: int) -> Iterator[bytes]:
            return iter([b"one\ntw", b"o", b"\n\nthree\nfo", b"ur"])

    stream = WatchStream(cast("urllib3.BaseHTTPResponse", Response()))
    assert list(stream.lines()) == [b"one", b"two", b"three"]
    stream.cut()


def kubeconfig_of(folder: Path, server: Any = "https://127.0.0.1:1", user: Any = None, **cluster: Any) -> str:
    """The path of a kubeconfig with one cluster and one user."""
    content = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(content))
    return str(path)


SECRET = "s3cret-token"


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"exec": {"apiVersion": "v1", "command": None, "args": [SECRET]}}, "Expected key command"),
        ({"exec": {"command": "x", "apiVersion": "v1", "env": [{"name": None, "value": SECRET}]}}, "Expected key name"),
        ({"exec": {"command": 5, "apiVersion": "v1"}}, "a value of the wrong kind"),
        ({"tokenFile": "/nope"}, "cannot read /nope: No such file or directory"),
        ([1], "a value of the wrong kind"),
        ({"username": "u", "password": 5}, "a value of the wrong kind"),
    ],
)
def test_a_user_of_a_kubeconfig_that_cannot_be_understood(tmp_path: Path, user: Any, words: str) -> None:
    """One sentence, without secrets of the file, names of Python's types and numbers of the system."""
    with pytest.raises(ConfigurationError, match=words) as refusal:
        ClusterLogin.find(kubeconfig_of(tmp_path, user=user), None)
    text = str(refusal.value)
    assert not [each for each in (SECRET, "Errno", "{", "object", "NoneType", "str") if each in text]
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    "server", ["", "x", "ftp://x", "https://", "https://a..b:6443", "https://h:99999", "10.0.0.1:6443"]
)
def test_the_server_of_a_kubeconfig_has_to_be_an_address(tmp_path: Path, server: str) -> None:
    """No waiting helps, so no restart does."""
    with pytest.raises(ConfigurationError, match="the server of the kubeconfig is not an address"):
        ClusterLogin.find(kubeconfig_of(tmp_path, server), None)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.DependencyWarning")
def test_a_proxy_for_socks_needs_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names it."""
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.delitem(sys.modules, "urllib3.contrib.socks", raising=False)
    with pytest.raises(ConfigurationError, match="SOCKS"):
        ClusterLogin.find(kubeconfig_of(tmp_path, **{"proxy-url": "socks5://127.0.0.1:1"}), None)
