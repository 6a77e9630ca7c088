"""What leaves a secret unprotected is said at start: one sentence for each."""

from pathlib import Path

import pytest

from prefect.agent.adapters.docker import DockerPlatform
from prefect.agent.adapters.kubernetes import factory
from prefect.agent.entrypoints.settings.configuration import CloudLogin, Configuration
from prefect.agent.entrypoints.settings.exposures import of_connection, of_files, of_login

KEY = "pak_SECRET"


def test_a_login_that_goes_to_another_machine_in_the_clear_is_said() -> None:
    """Like a key."""
    (said,) = of_connection(CloudLogin(api="http://u:s3cr3t@far.test", backend="server"))

    assert "The password in the address" in said
    assert "s3cr3t" not in said
    assert "s3cr3t" not in repr(CloudLogin(api="http://u:s3cr3t@far.test", backend="server"))


@pytest.mark.parametrize(
    ("api", "key", "is_said"),
    [
        ("http://cloud.test:4200", KEY, True),
        ("http://user:pak_SECRET@10.0.0.1", KEY, True),
        ("https://cloud.test", KEY, False),
        ("http://cloud.test:4200", None, False),
        ("http://user:pak_SECRET@cloud.test", None, True),
        ("http://user:pak_SECRET@localhost:4200", None, False),
        ("http://localhost:4200", KEY, False),
        ("http://127.0.0.2:4200", KEY, False),
        ("http://[::1]:4200", KEY, False),
        ("http://host.docker.internal:4200", KEY, False),
    ],
)
def test_a_key_that_goes_to_another_machine_in_the_clear_is_said(api: str, key: str | None, *, is_said: bool) -> None:
    """Without a key or password there is nothing to lose; loopback is this machine."""
    found = list(of_connection(CloudLogin(api=api, backend="server", key=key)))
    assert [KEY in sentence for sentence in found] == [False] * is_said


@pytest.mark.parametrize(("mode", "is_said"), [(0o600, False), (0o644, False), (0o664, True), (0o646, True)])
def test_configuration_that_others_can_write_is_said(tmp_path: Path, mode: int, *, is_said: bool) -> None:
    """They decide where the key is sent."""
    path = tmp_path / "config.toml"
    path.touch()
    path.chmod(mode)
    assert len(list(of_files([path, path], [], {}))) == is_said


@pytest.mark.parametrize(("mode", "is_said"), [(0o400, False), (0o600, False), (0o640, True), (0o604, True)])
def test_a_file_with_a_secret_that_others_can_read_is_said(tmp_path: Path, mode: int, *, is_said: bool) -> None:
    """Once for each file; not where systemd has put it, which protects it itself."""
    path = tmp_path / "key"
    path.touch()
    path.chmod(mode)
    assert len(list(of_files([], [path, path], {}))) == is_said
    assert list(of_files([], [path], {"CREDENTIALS_DIRECTORY": str(tmp_path)})) == []


def test_the_files_are_those_that_were_read(tmp_path: Path) -> None:
    """config.toml only if it holds a key; the key's own file in any case."""
    home = tmp_path / ".prefect"
    home.mkdir()
    (home / "config.toml").write_text('[cloud]\napi_key = "pak_SECRET"\n', encoding="utf-8")
    (home / "config.toml").chmod(0o666)
    (tmp_path / "key").touch(0o644)
    found = Configuration.load({"HOME": str(tmp_path)})
    login = CloudLogin(api="https://cloud.test", backend="cloud", key=KEY)

    said = of_login(login, found, [str(tmp_path / "key"), None, "-"])

    assert [sentence.partition(",")[0] for sentence in said] == [
        f"Others can write {home}/config.toml",
        f"Others can read {tmp_path}/key",
        f"Others can read {home}/config.toml",
    ]


@pytest.mark.parametrize(
    ("host", "tls", "is_said"),
    [
        ("tcp://engine.test:2375", "", True),
        ("tcp://127.0.0.1:2375", "", False),
        ("unix:///var/run/docker.sock", "", False),
    ],
)
def test_a_docker_engine_that_is_asked_in_the_clear_is_said(
    monkeypatch: pytest.MonkeyPatch, host: str, tls: str, *, is_said: bool
) -> None:
    """It gets the flow runs' key, and obeys every request."""
    monkeypatch.setenv("DOCKER_HOST", host)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", tls)
    assert len(DockerPlatform().exposures) == is_said


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
users: [{{name: u, user: {{token: token-of-the-agent}}}}]
clusters: [{{name: c, cluster: {{server: "{server}"{more}}}}}]
"""


@pytest.mark.parametrize(
    ("server", "more", "said"),
    [
        ("https://cluster.test", "", ""),
        ("https://cluster.test", ", insecure-skip-tls-verify: true", "insecure-skip-tls-verify"),
        ("http://cluster.test", "", "without TLS"),
        ("https://127.0.0.1:6443", ", insecure-skip-tls-verify: true", ""),
    ],
)
def test_an_api_server_that_is_not_checked_is_said(tmp_path: Path, server: str, more: str, said: str) -> None:
    """The machine that answers gets the agent's token; the platform knows that token, so that it is masked."""
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG.format(server=server, more=more), encoding="utf-8")
    platform = factory(kubeconfig=str(path))
    try:
        assert len(platform.exposures) == bool(said)
        assert said in "".join(platform.exposures)
        assert set(platform.secrets) == {"token-of-the-agent"}
    finally:
        platform.close()
