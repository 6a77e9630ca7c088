"""Who the agent is to a Cloud without keys, and what is said if the Cloud cannot be asked at all."""

import base64
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from prefect.agent.adapters.graphql import GraphQLCloudApi
from prefect.agent.adapters.graphql.transport import Transport
from prefect.agent.adapters.graphql.workloads import API_VARIABLE
from prefect.agent.adapters.system import SystemClock
from prefect.agent.domain.errors import CloudMisconfigured, CloudUnavailable, Unauthorised
from prefect.agent.domain.model.submissions import PlatformTraits, plan_submission
from prefect.agent.entrypoints.runtime.exits import ExitCode, exit_for
from support.builders import a_run
from support.graphql import work
from support.pki import Pki
from support.stub_cloud import Reply, Stub, says
from support.tls_answers import answering, needs_openssl
from support.tls_server import TlsServer

SECRET = "p@ss:word"
LOGIN = "a-person:p%40ss%3Aword@"
BASIC = "Basic " + base64.b64encode(f"a-person:{SECRET}".encode()).decode()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of this machine's own."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def refused(url: str, key: str | None = None) -> Exception:
    """What a question ends with."""
    with closing(Transport(url, key)) as conversation, pytest.raises(Exception) as problem:  # noqa: PT011
        conversation.ask("query { hello }")
    return problem.value


@pytest.mark.parametrize(("key", "sent"), [(None, BASIC), ("a-key", "Bearer a-key")])
def test_the_login_of_the_address_is_sent_if_there_is_no_key(stub: Stub, key: str | None, sent: str) -> None:
    """As 1.x does before a Server behind a proxy; percent-encoded characters are decoded."""
    stub.answers(says(data={"tenant": [{"id": "t1"}], "auth_info": {"tenant_id": "t1"}}))
    cloud = GraphQLCloudApi(stub.url.replace("http://", f"http://{LOGIN}"), clock=SystemClock(), key=key)
    cloud.connect()
    cloud.close()
    assert stub.asked[0].headers["authorization"] == sent


def test_flow_runs_get_the_login_as_a_secret() -> None:
    """And nowhere else; with a key they do not get it at all, since it is not used."""
    url = f"http://{LOGIN}localhost:4200"
    without_key, with_key = work(a_run(), url=url), work(a_run(), url=url, key="a-key")
    assert without_key.secrets == {API_VARIABLE: url}
    assert API_VARIABLE not in {**without_key.defaults, **without_key.fixed}
    assert with_key.defaults[API_VARIABLE] == "http://localhost:4200"
    assert API_VARIABLE not in with_key.secrets
    assert LOGIN not in repr(without_key)


@pytest.mark.parametrize(
    ("login", "key", "words"),
    [
        ("", None, "PREFECT__CLOUD__API_KEY.*NAME:PASSWORD@HOST"),
        (LOGIN, None, "does not accept the name and password in its address"),
        ("", "a-key", "does not accept the API key"),
    ],
)
@pytest.mark.parametrize("reply", [Reply(401), says(errors=[{"extensions": {"code": "UNAUTHENTICATED"}}])])
def test_a_refusal_says_what_was_refused(stub: Stub, login: str, key: str | None, words: str, reply: Reply) -> None:
    """Without any login it says how to give one."""
    stub.answers(reply)
    problem = refused(stub.url.replace("http://", f"http://{login}"), key)
    assert type(problem) is Unauthorised
    assert re.search(words, str(problem))
    assert SECRET not in str(problem)


def test_an_address_of_https_at_a_port_of_http(stub: Stub) -> None:
    """A restart cannot help."""
    assert_misconfigured(refused(stub.url.replace("http://", "https://")), "does not speak TLS")


@pytest.mark.parametrize(
    ("proxy", "words"),
    [("socks5://127.0.0.1:1", r"requests[socks]"), ("ftp://127.0.0.1:1", "HTTPS_PROXY"), ("http://", "HTTPS_PROXY")],
)
def test_a_proxy_that_cannot_be_used(proxy: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for SOCKS needs a package."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("HTTP_PROXY", proxy)
    for scheme in ("http", "https"):
        assert_misconfigured(refused(f"{scheme}://cloud.invalid"), words)


def test_a_proxy_of_https_that_speaks_http(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the proxy's address that is wrong."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, stub.url.replace("http://", "https://"))
    for scheme in ("http", "https"):
        assert_misconfigured(refused(f"{scheme}://cloud.invalid"), "its proxy does not speak TLS")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>The plain HTTP request was sent to HTTPS port</html>",
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"Reason: You're speaking plain HTTP to an SSL-enabled server port.",
    ],
)
def test_an_address_of_http_at_a_port_of_https(stub: Stub, body: bytes) -> None:
    """As nginx, Go's and Apache's servers say it."""
    stub.answers(Reply(400, body))
    assert_misconfigured(refused(stub.url), "give its https:// address as --api")


def test_an_alert_of_tls_is_an_answer_of_https() -> None:
    """Servers that say it in no other way."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        answering = threading.Thread(target=alert, args=(server,), daemon=True)
        answering.start()
        problem = refused(f"http://127.0.0.1:{server.getsockname()[1]}")
        answering.join(10)
    assert_misconfigured(problem, "give its https:// address as --api")


def alert(server: socket.socket) -> None:
    """Answer one request with an alert of TLS."""
    connection, _ = server.accept()
    with closing(connection):
        connection.recv(65536)
        connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(10)
        while connection.recv(65536):  # what is not read would reset the connection
            pass


@pytest.mark.parametrize(("status", "is_final"), [(301, True), (308, True), (302, False), (307, False)])
@pytest.mark.parametrize("target", ["https://u:s3cr3t@other.test/", "//u:s3cr3t@other.test/", "https://u:s3cr3t@[x/"])
def test_an_address_that_moved_for_good_is_a_wrong_one(stub: Stub, status: int, is_final: bool, target: str) -> None:
    """It ends the start; a passing redirect is waited for. Passwords of the new address are not shown."""
    stub.answers(Reply(status, headers={"Location": target}))
    problem = refused(stub.url)

    assert isinstance(problem, CloudUnavailable)
    assert isinstance(problem, CloudMisconfigured) == is_final
    assert exit_for(problem).code is (ExitCode.CONFIGURATION if is_final else ExitCode.CLOUD_UNAVAILABLE)
    assert f"redirects to {target.replace('u:s3cr3t@', '').lstrip('/')}" in str(problem)
    assert "s3cr3t" not in str(problem)


def test_a_host_that_can_be_no_name_is_one_sentence() -> None:
    """Also if it was not checked before."""
    problem = refused("http://a..b")
    assert isinstance(problem, CloudMisconfigured)
    assert "no host has such a name" in str(problem)


def test_an_address_of_the_agents_own_variables_wins() -> None:
    """``--env`` may change the address of flow runs, and with it what they log in with."""
    run = a_run()
    made, traits = work(run, url=f"http://{LOGIN}localhost:4200"), PlatformTraits(kind="docker")
    submission = plan_submission(run, made, traits, agent_env={API_VARIABLE: "http://other:1"})

    assert submission.env[API_VARIABLE] == "http://other:1"
    assert submission.secret_env == {}
    assert submission.address_variables == frozenset()


@needs_openssl
class TestBundles:
    """Files of trusted authorities."""

    @pytest.fixture
    def cloud(self, tmp_path: Path) -> Iterator[str]:
        """Address of a Cloud with TLS."""
        pki = Pki(tmp_path / "pki", bare=True)
        handler = answering(lambda _: {"data": {"hello": "x"}})
        with closing(TlsServer(handler, pki.server("cloud"))) as server:
            yield f"https://127.0.0.1:{server.server_address[1]}"

    @pytest.mark.parametrize("content", [None, "", "no certificate"])
    def test_a_bundle_that_is_not_there_or_empty(
        self, cloud: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
    ) -> None:
        """The variable is named."""
        bundle = tmp_path / "bundle.pem"
        if content is not None:
            bundle.write_text(content)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        problem = refused(cloud)
        assert_misconfigured(problem, "REQUESTS_CA_BUNDLE")
        assert content is not None or str(bundle) in str(problem)


def assert_misconfigured(problem: Exception, words: str) -> None:
    """One sentence, and the exit code for what a person must change."""
    assert isinstance(problem, CloudMisconfigured), repr(problem)
    assert words in str(problem)
    assert "\n" not in str(problem)
    assert exit_for(problem).code is ExitCode.CONFIGURATION
