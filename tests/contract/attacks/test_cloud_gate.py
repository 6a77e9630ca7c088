"""Attacks of web pages and neighbours on an embedded Cloud that asks for no key."""

import os
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.server.testing import running_server
from prefect.agent.entrypoints.settings.configuration import Configuration, connection
from support.raw_http import Raw, ask, authority, get

JSON = "application/json"
MAKE_KEY = 'mutation { create_api_key(input: { name: "evil" }) { key } }'
EVERYWHERE = "0.0.0.0"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """An open Cloud at the loopback."""
    with running_server(tmp_path_factory.mktemp("cloud") / "cloud.db") as address:
        yield address


def port_of(url: str) -> str:
    """The port of *url*."""
    return authority(url).rpartition(":")[2]


@contextmanager
def started(home: Path, *words: str, lines: int = 6) -> Generator[tuple[str, str]]:
    """Run ``prefect server start WORDS``; yield its address and what it says."""
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    command = [sys.executable, "-m", "prefect.agent", "server", "start", "--port", "0", *words]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = "".join(process.stdout.readline() for _ in range(lines))
            found = re.search(r"http://\S+:\d+", said)
            assert found, said
            yield found[0], said
        finally:
            process.terminate()
            process.wait(60)


def was_answered(answer: Raw) -> bool:
    """Whether the query was executed."""
    return answer.status == 200 and "hello" in answer.body


# --- pages of other sites ---


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "text/plain;application/json", "application/x-www-form-urlencoded", "multipart/form-data"],
)
def test_a_post_without_json_changes_nothing(url: str, kind: str) -> None:
    """Attack: a page posts a mutation as text, which needs no preflight. Rule: only application/json."""
    given = {"content_type": kind} if kind else {}
    answer = ask(url, MAKE_KEY, **given)

    assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert was_answered(ask(url, content_type=JSON))


@pytest.mark.parametrize("path", ["/", "/graphql", "/graphql/", "/graphql/alpha"])
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://{own}", "http://{own}/x"]
)
def test_a_foreign_origin_is_refused(url: str, path: str, origin: str) -> None:
    """Attack: a page of another origin posts JSON. Rule: an Origin is this Cloud's own."""
    own = authority(url)
    answer = ask(url, path=path, content_type=JSON, origin=origin.format(own=own))

    allowed = origin == "https://{own}"  # the same authority behind a proxy that speaks TLS
    assert (answer.status == 403) is not allowed


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_of_another_site_is_refused(url: str, site: str) -> None:
    """Attack: a browser sends what another site or port asked for. Rule: Sec-Fetch-Site is none or same-origin."""
    assert ask(url, content_type=JSON, sec_fetch_site=site).status == 403
    assert get(url, sec_fetch_site=site, sec_fetch_mode="no-cors", sec_fetch_dest="image").status == 403
    assert was_answered(ask(url, content_type=JSON, sec_fetch_site="same-origin", origin=url))


def test_a_link_to_the_page_works(url: str) -> None:
    """No attack: a person follows a link. Rule: a visit changes nothing and tells the other site nothing."""
    visit = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}

    assert get(url, **visit).status == 200
    assert ask(url, content_type=JSON, **visit).status == 403
    assert get(url, sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="iframe").status == 403


# --- names ---


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}",
        "127.0.0.1.evil.example",
        "localhost.evil.example:{port}",
        "10.0.0.1:{port}",
        "a@localhost",
    ],
)
def test_a_foreign_host_is_not_answered(url: str, host: str) -> None:
    """Attack: DNS rebinding, a foreign name that leads here. Rule: only hosts that it was told to be, on every path."""
    given = host.format(port=port_of(url))

    assert ask(url, MAKE_KEY, content_type=JSON, host=given).status == 421
    assert get(url, host=given).status == 421
    assert get(url, "/health", host=given).status == 421


@pytest.mark.parametrize(
    "host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "LOCALHOST", "host.docker.internal:{port}"]
)
def test_its_own_names_are_answered(url: str, host: str) -> None:
    """No attack: clients on this machine and in its containers. Rule: loopback names and literals always count."""
    assert was_answered(ask(url, content_type=JSON, host=host.format(port=port_of(url))))


def test_several_hosts_or_none_are_refused(url: str) -> None:
    """Attack: two Host headers, or none, so that two readers see two hosts. Rule: exactly one."""
    assert ask(url, content_type=JSON, host=f"localhost\r\nhost: {authority(url)}").status in {400, 421}
    assert ask(url, content_type=JSON, host="").status in {400, 421}


def test_a_server_at_every_address_answers_to_addresses_and_to_names_it_was_given(tmp_path: Path) -> None:
    """Attack: rebinding to a server for pods. Rule: any address, and of the names only its own and --allow-host."""
    words = ("--host", EVERYWHERE, "--ephemeral", "--allow-anonymous", "--allow-host", "Cloud.prefect.svc")
    with started(tmp_path, *words) as (url, said):
        assert "Everyone who reaches" in said
        for host in ("10.1.2.3:4200", "cloud.prefect.svc", "CLOUD.prefect.svc:80", "localhost"):
            assert was_answered(ask(url, content_type=JSON, host=host))
        refused = ask(url, content_type=JSON, host="evil.example:4200")
    assert (refused.status, "--allow-host evil.example" in refused.body) == (421, True)


def test_names_come_from_the_environment(tmp_path: Path) -> None:
    """No attack: a container that is told its names. Rule: the variable holds several, and no scheme or wildcard."""
    command = [sys.executable, "-m", "prefect.agent", "server", "start", "--ephemeral", "--port", "0"]
    for name in ("http://x", "x:1", "*", "*.x", ""):
        done = subprocess.run([*command, "--allow-host", name], capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, "--allow-host" in done.stderr) == (2, True), name
    os.environ["PREFECT_SERVER_ALLOW_HOST"] = "one two"
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            found = re.search(r"http://\S+:\d+", process.stdout.readline())
            assert found
            assert was_answered(ask(found[0], content_type=JSON, host="two"))
            process.terminate()
            process.wait(60)
    finally:
        del os.environ["PREFECT_SERVER_ALLOW_HOST"]


# --- neighbours ---


def test_an_open_cloud_says_who_may_use_it(tmp_path: Path) -> None:
    """Attack: another user of the machine asks at the loopback. Rule: the banner says that every local user may."""
    with started(tmp_path, "--ephemeral") as (_, said):
        assert "Every user of this machine may use this Cloud" in said
        assert "--require-key" in said


def test_a_required_key_is_kept_for_its_user_and_found_by_the_agent(tmp_path: Path) -> None:
    """Attack: a neighbour asks without a key. Rule: --require-key refuses; its user's agents find the key."""
    environ = {"HOME": str(tmp_path)}
    with started(tmp_path, "--require-key") as (url, said):
        path = tmp_path / ".prefect-agent" / f"key-{port_of(url)}"
        assert f'PREFECT__CLOUD__API_KEY="$(cat {path})" prefect-agent start' in said
        assert (path.parent / f"admin-{path.name}").stat().st_mode & 0o777 == 0o600
        assert "pak_" not in said
        assert path.stat().st_mode & 0o777 == 0o600
        found = connection(Configuration.load(environ), api=url)
        assert (found.backend, found.key) == ("cloud", path.read_text(encoding="ascii").strip())
        assert "UNAUTHENTICATED" in ask(url, content_type=JSON).body
        assert was_answered(ask(url, content_type=JSON, authorization=f"Bearer {found.key}"))

    with started(tmp_path, "--require-key") as (again, _):
        assert was_answered(ask(again, content_type=JSON, authorization=f"Bearer {connection_key(tmp_path, again)}"))


def test_a_server_that_was_started_with_a_key_stays_locked_without_it(tmp_path: Path) -> None:
    """Attack: wait for a start that forgets --api-key. Rule: locked is a fact in the file."""
    with started(tmp_path, "--api-key", "given") as (url, _):
        assert was_answered(ask(url, content_type=JSON, authorization="Bearer given"))
    with started(tmp_path) as (url, said):
        assert "UNAUTHENTICATED" in ask(url, content_type=JSON).body
        assert "Every request needs an API key" in said


def connection_key(home: Path, api: str) -> str | None:
    """What an agent without a key would send to *api*."""
    return connection(Configuration.load({"HOME": str(home), "PREFECT__BACKEND": "server"}), api=api).key


@pytest.mark.parametrize(
    "api",
    ["http://127.0.0.1:4201", "https://127.0.0.1:4200", "http://127.0.0.1.evil.example:4200", "http://10.0.0.1:4200"],
)
def test_the_kept_key_goes_nowhere_else(tmp_path: Path, api: str) -> None:
    """Attack: an address that looks like the server's. Rule: plain http to that port of the loopback only."""
    kept(tmp_path)

    assert connection_key(tmp_path, api) is None
    for own in ("http://127.0.0.1:4200", "http://localhost:4200/graphql", "http://[::1]:4200"):
        assert connection_key(tmp_path, own) == "pak_kept"
    given = connection(Configuration.load({"HOME": str(tmp_path)}), api="http://localhost:4200", key="own")
    assert given.key == "own"


def kept(home: Path) -> Path:
    """A key of the Cloud at port 4200."""
    path = home / ".prefect-agent" / "key-4200"
    path.parent.mkdir()
    path.touch(0o600)
    path.write_text("pak_kept\n", encoding="ascii")
    return path


def test_a_kept_key_that_others_may_read_or_plant_is_refused(tmp_path: Path) -> None:
    """Attack: a link, a FIFO, a file that others can read. Rule: a regular file of this user alone, or one sentence."""
    path = kept(tmp_path)
    path.chmod(0o640)
    refused(tmp_path)
    path.unlink()
    os.mkfifo(path, 0o600)
    refused(tmp_path)
    path.unlink()
    (tmp_path / "other").mkdir()
    path.symlink_to(kept(tmp_path / "other"))
    refused(tmp_path)


def refused(home: Path) -> None:
    """The agent does not start, and says which file is wrong."""
    with pytest.raises(ConfigurationError, match="key-4200"):
        connection_key(home, "http://localhost:4200")


# --- two readers of one request ---


@pytest.mark.parametrize("host", ["127.0.0.1%.evil.example", "127.0.0.1%25evil.example", "[::1%25evil]", "[::1%evil]"])
def test_an_address_with_something_behind_it_is_a_foreign_name(url: str, host: str) -> None:
    """Attack: a foreign name that begins with an address and a zone. Rule: an address is the whole name."""
    assert ask(url, MAKE_KEY, content_type=JSON, host=host).status == 421


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("content_type", ("text/plain", JSON)),
        ("origin", ("http://evil.example", "http://{own}")),
        ("sec_fetch_site", ("cross-site", "none")),
        ("authorization", ("Bearer a", "Bearer b")),
    ],
)
def test_a_header_that_decides_comes_once(url: str, name: str, values: tuple[str, str]) -> None:
    """Attack: two readers see two values of one header. Rule: headers that decide come once."""
    one, other = (value.format(own=authority(url)) for value in values)
    given = {"content_type": JSON, name: f"{one}\r\n{name.replace('_', '-')}: {other}"}

    assert (ask(url, **given).status, ask(url, **given).code) == (400, "BAD_REQUEST")
