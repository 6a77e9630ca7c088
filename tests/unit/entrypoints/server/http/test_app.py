"""The embedded Cloud over HTTP."""

import json
from collections.abc import Generator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import requests

from prefect.agent.entrypoints.server.http.app import GRAPHQL_PATHS, HEALTH_PATHS, MAX_BODY
from prefect.agent.entrypoints.server.testing import running_server


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The address of a server at a free port of the loopback."""
    with running_server(tmp_path_factory.mktemp("cloud") / "cloud.db") as address:
        yield address


@pytest.fixture(scope="module")
def http() -> Generator[requests.Session]:
    """A client that takes no proxy and no key from its surroundings."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Content-Type"] = "application/json"
        yield session


@pytest.mark.parametrize("path", GRAPHQL_PATHS)
def test_graphql_is_served_where_clients_look(url: str, http: requests.Session, path: str) -> None:
    """At the root, and where older clients ask (protocol section 1.1)."""
    answer = http.post(url + path, json={"query": "query { hello }"}, timeout=60)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json() == {"data": {"hello": "👋"}}


@pytest.mark.parametrize("path", HEALTH_PATHS)
def test_health(url: str, http: requests.Session, path: str) -> None:
    """For load balancers and supervisors (protocol section 1.7)."""
    answer = http.get(url + path, timeout=60)

    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_variables_may_be_encoded_twice(url: str, http: requests.Session) -> None:
    """As official clients do (protocol section 1.3)."""
    query = "query($n: String) { project(where: { name: { _eq: $n } }) { name } }"
    body = {"query": query, "variables": json.dumps({"n": "x"})}

    assert http.post(url, json=body, timeout=60).json() == {"data": {"project": []}}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"query": "query { hello }", "variables": "{"}',
        b'"query { hello }"',
        b"[]",
    ],
    ids=["empty", "open", "bytes", "deep", "variables", "text", "list"],
)
def test_a_body_without_sense_is_a_400(url: str, http: requests.Session, body: bytes) -> None:
    """With an error as JSON, whatever it was; the server goes on."""
    answer = http.post(url, data=body, timeout=60)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["message"]


def test_a_document_that_is_not_valid_is_a_400(url: str, http: requests.Session) -> None:
    """The code is in the body (protocol section 1.4)."""
    answer = http.post(url, json={"query": "query { nothing }"}, timeout=60)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


def test_a_body_that_is_too_large_is_a_413(url: str, http: requests.Session) -> None:
    """The limit of real gateways; just below it is read."""
    small = json.dumps({"query": "query { hello }"}).encode()

    assert http.post(url, data=small.ljust(MAX_BODY), timeout=60).status_code == 200
    answer = http.post(url, data=small.ljust(MAX_BODY + 1), timeout=60)
    assert (answer.status_code, "larger than" in answer.json()["errors"][0]["message"]) == (413, True)


@pytest.mark.parametrize("body", [b'{"query": "{ hello }"}', b'{"query": "{ no }"}', b"[", b" " * (MAX_BODY + 1)])
def test_every_answer_says_that_claims_are_compared(url: str, http: requests.Session, body: bytes) -> None:
    """And what time it is, so that an agent learns both from whatever it asks first."""
    answer = http.post(url, data=body, timeout=60)

    assert answer.headers["Prefect-Claims"] == "compare-and-set"
    assert parsedate_to_datetime(answer.headers["Date"]).tzinfo is not None


def test_a_loose_cloud_does_not_say_that_claims_are_compared(tmp_path: Path, http: requests.Session) -> None:
    """Because they are not; its answers have a date all the same."""
    with running_server(tmp_path / "cloud.db", as_loose_as_server=True) as loose:
        answers = [http.post(loose, data=body, timeout=60) for body in (b'{"query": "{ hello }"}', b"[")]

    assert [answer.status_code for answer in answers] == [200, 400]
    assert not any("Prefect-Claims" in answer.headers for answer in answers)
    assert all("Date" in answer.headers for answer in answers)


def test_half_a_surrogate_pair_does_no_harm(url: str, http: requests.Session) -> None:
    """JSON can hold what no text can: refused or kept, but answered."""
    body = (
        '{"query": "query($n: String) { project(where: {name: {_eq: $n}}) { name } }", "variables": {"n": "\\ud800"}}'
    )

    answer = http.post(url, data=body, timeout=60)

    assert answer.status_code in {200, 400}
    assert answer.json()


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/gone", 404), ("PUT", "/", 405), ("POST", "/health", 405)]
)
def test_other_paths_and_methods(url: str, http: requests.Session, method: str, path: str, status: int) -> None:
    """There is nothing else."""
    assert http.request(method, url + path, timeout=60).status_code == status


def test_the_page_is_for_people(url: str, http: requests.Session) -> None:
    """HTML at the root."""
    answer = http.get(url, timeout=60)

    assert answer.headers["content-type"].startswith("text/html")
    assert "Flow runs" in answer.text


def test_keys(tmp_path: Path, http: requests.Session) -> None:
    """A server that was given keys takes no others."""
    with running_server(tmp_path / "cloud.db", keys=frozenset({"k1"})) as locked:
        refused = http.post(locked, json={"query": "{ hello }"}, timeout=60)
        taken = http.post(locked, json={"query": "{ hello }"}, headers={"Authorization": "Bearer k1"}, timeout=60)

    assert "UNAUTHENTICATED" in refused.text
    assert taken.json()["data"]["hello"]


def test_the_page_needs_the_key_as_well(tmp_path: Path, http: requests.Session) -> None:
    """What only key holders may ask for is not shown to everybody else."""
    with running_server(tmp_path / "cloud.db", keys=frozenset({"k1"})) as locked:
        assert "Flow runs" not in http.get(locked, timeout=60).text
