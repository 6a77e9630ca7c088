"""Attacks by links and addresses on the Cloud's pages: other names, other sites, stolen links, tricks in paths."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

import attrs
import pytest

from prefect.agent.entrypoints.server.graphql.execution import Executor
from prefect.agent.entrypoints.server.http.gate import SECURITY_HEADERS
from prefect.agent.entrypoints.server.pages.assets import asset_path
from prefect.agent.entrypoints.server.testing import running_server
from support.embedded import Embedded
from support.full_cloud import Filled, fill
from support.hostile_texts import HOSTILE
from support.page_browser import Browser
from support.raw_http import Raw, authority, connect, get, head_of, read
from support.remote_cloud import RemoteCloud

KEY: Final = "the-key-of-the-cloud"


@attrs.frozen
class Served:
    """A Cloud with something of everything, over HTTP."""

    url: str
    filled: Filled

    @property
    def addresses(self) -> list[str]:
        """Pages, and what they load."""
        return ["/", *self.filled.pages(), "/-/sign-in", asset_path("pages.css"), asset_path("pages.js")]

    def post(self, path: str, body: str = "", **headers: str) -> Raw:
        """Send a form with exactly these headers."""
        with connect(self.url) as connection:
            given = {"content_type": "application/x-www-form-urlencoded", "content_length": str(len(body)), **headers}
            connection.sendall(head_of(self.url, "POST", path, **given) + body.encode())
            return read(connection)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A Cloud that asks for no key."""
    with running_server(tmp_path_factory.mktemp("cloud") / "cloud.db") as url:
        yield Served(url, fill(RemoteCloud(url)))


@pytest.fixture
def locked(cloud: Embedded) -> Browser:
    """A browser at this Cloud, which asks for ``KEY``."""
    fill(cloud, "do-not-tell")
    return Browser(Executor(cloud.database, frozenset({KEY})))


# --- other names, other sites ---


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example:{port}",
             "10.0.0.1", "localhost:99999", "localhost:", "", "localhost@evil.example", "localhost,evil.example"],
)  # fmt: skip
def test_no_page_is_shown_under_another_name(served: Served, host: str) -> None:
    """Attack: DNS rebinding, a name of another site that leads here. Rule: pages, files and streams answer 421."""
    given = host.format(port=authority(served.url).rpartition(":")[2])
    for address in [*served.addresses, *served.filled.streams(), "/-/sign-out"]:
        answer = get(served.url, address, host=given)
        assert answer.status in {400, 421}, address
        assert "harmless" not in answer.body


def test_no_other_site_reads_or_embeds_a_page(served: Served) -> None:
    """Attack: another site fetches, frames or loads pages as scripts, images, streams. Rule: 403, and nothing told."""
    cross = {"sec_fetch_site": "cross-site"}
    for mode, dest in [("no-cors", "script"), ("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe"),
                       ("navigate", "object"), ("navigate", "embed"), ("same-origin", "empty")]:  # fmt: skip
        for address in [*served.addresses, *served.filled.streams()]:
            answer = get(served.url, address, sec_fetch_mode=mode, sec_fetch_dest=dest, **cross)
            assert answer.status == 403, (address, mode, dest)
    for address in [*served.filled.pages(), *served.filled.streams()]:
        answer = get(served.url, address, origin="http://evil.example")
        assert (answer.status, answer.headers.get("access-control-allow-origin")) == (403, None)


def test_every_answer_carries_what_protects_it(served: Served) -> None:
    """Attack: frames, guessed types, scripts put in, in whatever is answered. Rule: the same headers everywhere."""
    answers = {address: get(served.url, address) for address in served.addresses}
    answers |= {
        path: get(served.url, path)
        for path in ("/default/nothing", "/nobody", "/-/static/0/pages.js", "/default/flow-run/x/logs/download", "/%00")
    }
    answers["a foreign name"] = get(served.url, "/", host="evil.example")
    answers["a foreign form"] = served.post("/-/sign-in", "key=x", origin="http://evil.example")
    answers["no token"] = served.post("/default/flow-runs/change")
    answers["another method"] = served.post("/default/flows")
    with connect(served.url) as connection:
        connection.sendall(head_of(served.url, "GET", served.filled.page("/-/changes")))
        answers["a stream"] = Raw(0, _headers(connection.recv(4096).decode()), "")
    for name, answer in answers.items():
        for header, value in SECURITY_HEADERS:
            assert answer.headers.get(header.lower()) == value, (name, header)
        is_file = name.startswith("/-/static/") and answer.status == 200
        assert ("immutable" in answer.headers["cache-control"]) is is_file, name
        assert ("no-store" in answer.headers["cache-control"]) is not is_file, name


def _headers(head: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.partition("\r\n\r\n")[0].split("\r\n")[1:])
    return {name.lower(): value.strip() for name, _, value in pairs}


# --- links ---


def test_a_link_carries_no_rights(locked: Browser) -> None:
    """Attack: a link with a key, a session or a token in it. Rule: only the cookie and the header count."""
    locked.submit(locked.get("/"), "/-/sign-in", key=KEY)
    [(name, session)] = locked.cookies.items()
    token = locked.get("/default/flows").all("input", name="form_token")[0].attrs["value"]
    locked.cookies = {}
    for given in ("key", "api_key", "token", "authorization", "session", name):
        for value in (KEY, f"Bearer {KEY}", session, token):
            shown = locked.get(f"/default/flow-runs?{given}={quote(value)}")
            assert (shown.status, "do-not-tell" in shown.body, "set-cookie" in shown.headers) == (401, False, False)


def test_a_session_is_nowhere_but_in_its_cookie(locked: Browser) -> None:
    """Attack: read the session from a page, a link or a log. Rule: it is in no body and in no address."""
    locked.submit(locked.get("/"), "/-/sign-in", key=KEY)
    [session] = locked.cookies.values()
    for address in ("/", "/default/flows", "/default/settings/keys", "/default/flow-runs?next=x"):
        shown = locked.get(address)
        assert shown.status == 200
        assert session not in shown.body
        assert KEY not in shown.body


def test_a_session_that_was_planted_is_not_taken(locked: Browser) -> None:
    """Attack: set the victim's cookie before the sign-in and use it after. Rule: a sign-in makes a new session."""
    cookie = "prefect-session-4200"
    locked.cookies = {cookie: "planted"}
    locked.submit(locked.get("/"), "/-/sign-in", key=KEY)
    assert locked.cookies[cookie] != "planted"

    locked.cookies = {cookie: "planted"}
    assert locked.get("/").status == 401


@pytest.mark.parametrize(("origin", "is_secure"), [("http://localhost:4200", False), ("https://localhost:4200", True)])
def test_the_cookie_of_a_session_is_for_this_host_alone(locked: Browser, origin: str, is_secure: bool) -> None:
    """Attack: read the cookie by a script, send it from another site or in the clear. Rule: its flags forbid it."""
    fields = {"key": KEY, "next": "/", "form_token": locked.get("/").one("input", name="form_token").attrs["value"]}
    answer = locked.post("/-/sign-in", fields, origin=origin)

    name, *flags = (part.strip().lower() for part in answer.headers["set-cookie"].split(";"))
    assert name.startswith("prefect-session-4200=")
    assert set(flags) == {"httponly", "path=/", "samesite=strict", *(["secure"] if is_secure else [])}
    assert len(name.partition("=")[2]) >= 43


TARGETS: Final = [
    "https://evil.example/", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example", "\t//evil.example", " //evil.example", "/ /evil.example", "http:evil.example",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)", "data:text/html,x", "/\x00/evil.example", "/..//evil.example", "/.//evil.example",
    "/%2f%2fevil.example", "/%5cevil.example", "/@evil.example", ".evil.example", "@evil.example", ":80@evil.example",
    "/\r\nSet-Cookie: a=b", "\u2028//evil.example", "/\u202e//evil.example", "\uff0f\uff0fevil.example", "",
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
def test_signing_in_leads_nowhere_else(locked: Browser, target: str) -> None:
    """Attack: a link to the sign-in that leads on to another site. Rule: to an address of this Cloud, or the front."""
    form = locked.get(f"/-/sign-in?next={quote(target)}")
    answers = [locked.submit(form, "/-/sign-in", key=KEY), locked.submit(form, "/-/sign-in", key=KEY, next=target)]

    for answer in answers:
        location = answer.headers["location"]
        assert answer.status == 303
        assert not re.match(r"[/\\]{2}|/[\\\s]|[^/]", location), location
        assert not re.search(r"[\x00-\x20\x7f]", location), location
        assert urlsplit(urljoin("http://localhost:4200/-/sign-in", location)).netloc == "localhost:4200"
        assert set(answer.headers) & {"a", "set-cookie"} == {"set-cookie"}


# --- paths ---

ENDS: Final = ("pyproject.toml", "etc/passwd", "__init__.py", "routes.py", "base.html")
CLIMBS: Final = (
    "../",
    "..%2f",
    "%2e%2e/",
    "%2e%2e%2f",
    "..\\",
    "..%5c",
    "....//",
    "%252e%252e%252f",
    "..%c0%af",
    "%00/",
)


def paths(edition: str) -> Iterator[str]:
    """Addresses that try to leave the folder of static files."""
    for climb, times, end in itertools.product(CLIMBS, (1, 3, 8), ENDS):
        yield f"/-/static/{edition}/{climb * times}{end}"
        yield f"/-/static/{climb * times}{end}"
    yield f"/-/static/{edition}//etc/passwd"
    yield f"/-/static/{edition}/pages.css%00.html"
    yield f"/-/static/{edition}/pages.css/../../../routes.py"
    yield from (
        "//evil.example/",
        "//evil.example/flows/",
        "/%2Fevil.example/flows/",
        "/%5Cevil.example/flows/",
        "/\\evil.example/flows/",
        "///evil.example",
        "/\\evil.example",
        "/default//",
        "/default/flows/",
        "/-/",
        "/-/static/",
    )
    yield from ("/default/flow-run/..%2f..%2fflows", "/../default", "/%2e%2e/default", "/.git/config", "/default/.env")


WITH_SLASH: Final = {"/default//": "/default", "/default/flows/": "/default/flows"}
"""Paths that lead to a page of this host, and to which."""


def test_no_path_leads_out(served: Served) -> None:
    """Attack: dots, codes, backslashes, NUL and double slashes in paths. Rule: a table of names, and to these only."""
    edition = asset_path("pages.css").split("/")[3]
    for path in paths(edition):
        answer = get(served.url, path)
        assert answer.status in {400, 404} or path in WITH_SLASH, path
        assert answer.headers.get("location") == WITH_SLASH.get(path), path
        assert "import" not in answer.body, path
        assert "root:" not in answer.body, path


# --- what stands behind the question mark ---

NAMES: Final = (
    "state", "flow", "project", "label", "name", "time", "span", "from", "to", "sort", "way", "after", "before", "text",
    "level", "task_run", "open", "start", "edit", "key", "id", "do", "all", "filters", "run", "of", "seen", "since",
)  # fmt: skip
VALUES: Final[Sequence[str]] = [
    *HOSTILE.values(), "", "-1", "0", "999999999999999999999", "1e400", "nan", "~", "~~", "a~b", "\ud83d", "\x00",
    "9999-12-31T23:59:59+23:59", "0001-01-01T00:00:00-23:59", "2026-02-30", "[]", "{}", "null", "%", "_", "x" * 3000,
]  # fmt: skip


PER_PAGE: Final = 4
"""Values that each name has on one page."""


def test_no_address_breaks_a_page(cloud: Embedded) -> None:
    """Attack: whatever a link may carry behind its question mark. Rule: a page, or a refusal; never a failure."""
    filled = fill(cloud)
    browser = Browser(cloud.execute)
    for (place, address), (number, name) in itertools.product(enumerate(filled.pages()), enumerate(NAMES)):
        for step in range(PER_PAGE):  # of all pages together: each value for each name
            value = VALUES[(place * PER_PAGE + number + step) % len(VALUES)]
            query = f"{name}={quote(value, errors='surrogatepass')}"
            shown = browser.get(f"{address}?{query}")
            assert shown.status in {200, 400, 404}, (address, query, shown.body[-500:])
