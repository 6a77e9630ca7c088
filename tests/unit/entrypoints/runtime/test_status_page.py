"""The status page over HTTP: its files, its headers, whom it answers, and what hostile names do to it (nothing)."""

import http.client
import json
import re
from collections.abc import Generator, Mapping
from html.parser import HTMLParser
from typing import Any

import attrs
import pytest

from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.runtime.health_server import HealthServer
from prefect.agent.entrypoints.runtime.site import Site, health_pages, status_pages
from prefect.agent.entrypoints.runtime.status_page.pages import FOLDER, page_routes
from prefect.agent.entrypoints.runtime.status_page.summary import LONGEST, MOST_ROWS, summary
from prefect.agent.entrypoints.runtime.visits import POLICY, SECURITY_HEADERS, has_foreign_name, is_from_another_site
from prefect.agent.ports import events
from support.status_boards import BoardHarness

HOSTILE = "<img src=x onerror=alert(1)>\"'&\x1b[31m"
PATHS = ["/", *(f"/page/{name}" for name in ("drawing.js", "icon.svg", "status.css", "status.js", "texts.js"))]

PERSONAL = frozenset({*PATHS, "/status.json"})


@attrs.define
class Served:
    """An agent whose page is served."""

    agent: BoardHarness
    address: str
    pokes: list[str] = attrs.field(factory=list)

    def ask(
        self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and body of one answer."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def server() -> Generator[Served]:
    """One server for all tests: stopping one takes half a second."""
    found = Served(BoardHarness(), "")

    def facts() -> dict[str, Any]:
        return found.agent.facts()

    page = page_routes(facts)
    status = status_pages(facts, lambda: (b"", "text/plain"))
    pages = {**health_pages(found.agent.health), **status, **page}
    server = HealthServer(Site(pages=pages, personal=PERSONAL), lambda: found.pokes.append("poke"))
    found.address = server.start("http://127.0.0.1:0").removeprefix("http://")
    yield found
    server.stop()


@pytest.fixture
def served(server: Served) -> Served:
    """The page of an agent that has just started."""
    server.agent = BoardHarness()
    server.pokes.clear()
    return server


# --- what is served ---


@pytest.mark.parametrize("path", [*PATHS, "/status.json", "/api/health", "/nothing"])
def test_every_answer_has_the_headers_of_a_strict_site(served: Served, path: str) -> None:
    """No inline script or style, no frame, no guessing of types, no copy in a cache."""
    _, headers, _ = served.ask(path)

    assert {name: headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    """Every source is the agent itself, or none at all."""
    sources = {source for part in POLICY.split("; ") for source in part.split(" ")[1:]}

    assert sources == {"'self'", "'none'"}


def test_every_file_of_the_page_is_served_with_its_type(served: Served) -> None:
    """Browsers run no module of another type."""
    types = {path: served.ask(path)[1]["Content-Type"] for path in PATHS}

    assert {served.ask(path)[0] for path in PATHS} == {200}
    assert types["/"] == "text/html; charset=utf-8"
    assert types["/page/status.js"] == "text/javascript; charset=utf-8"
    assert types["/page/status.css"] == "text/css; charset=utf-8"
    assert {path.name for path in FOLDER.iterdir()} == {
        "index.html",
        *(path.removeprefix("/page/") for path in PATHS[1:]),
    }


@pytest.mark.parametrize("path", ["/page/", "/page/index.html", "/page/../pages.py", "/page/%2e%2e/pages.py"])
def test_no_other_file_is_served(served: Served, path: str) -> None:
    """A path is looked up among the known ones, never on the disk."""
    assert served.ask(path)[0] == 404


def test_the_page_is_small(served: Served) -> None:
    """All of it, for an agent with nothing to show: below 40 kB."""
    assert sum(len(served.ask(path)[2]) for path in PATHS) < 40_000


def test_the_page_names_only_files_of_its_own() -> None:
    """No address of another host, no inline script, style or handler, in any file."""
    for path in FOLDER.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]+\.|\bstyle=|\bon[a-z]+=|javascript:", text), path.name
    scripts = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.js"))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|DOMParser", scripts)


# --- without JavaScript ---


class Tags(HTMLParser):
    """Notes the elements of a document and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attributes: object) -> None:
        """Note an element."""
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.text += data


def test_the_page_without_scripts_shows_runs_units_and_problems(served: Served) -> None:
    """The same facts in short."""
    served.agent.start("a", flow_run_name="quick-fox")
    served.agent.say(events.CLOUD_TROUBLE, "the Cloud is away", "WARNING", loop="report")
    _, _, body = served.ask("/")
    parsed = Tags()
    parsed.feed(body)

    assert all(text in parsed.text for text in ("quick-fox", "the Cloud is away", "agent: healthy", "executing"))


def test_hostile_texts_are_texts(served: Served) -> None:
    """Names and messages add no element to the page, and no control character."""
    quiet = Tags()
    quiet.feed(served.ask("/")[2])
    hostile = BoardHarness(AgentSettings(name="<b>bold", labels=("<script>",)))
    hostile.start("<svg>", flow_run_name=HOSTILE, flow_name=HOSTILE)
    hostile.say(events.RUN_LATE, f"{HOSTILE} Do: {HOSTILE}", "ERROR")
    hostile.say(events.CLOUD_TROUBLE, HOSTILE, "ERROR", loop="poll")
    parsed = Tags()
    parsed.feed(summary(hostile.facts()))

    assert parsed.tags - quiet.tags == {"div", "table", "thead", "tbody", "tr", "th", "td", "time"} - quiet.tags
    assert "<img src=x onerror=alert(1)>" in parsed.text
    assert "\x1b" not in parsed.text


def test_the_summary_is_bounded(served: Served) -> None:
    """Some rows of each table, each text cut."""
    for number in range(100):
        served.agent.start(f"{number}")
        served.agent.say(events.BUG, "x" * 100_000, "ERROR", loop=f"{number}")
    _, _, body = served.ask("/")

    assert body.count("<tr>") <= 4 * (MOST_ROWS + 1) + 3
    assert f"{'x' * (LONGEST + 1)}" not in body


# --- whom it answers ---


@pytest.mark.parametrize("path", [*PATHS, "/status.json"])
def test_another_name_of_the_loopback_gets_no_page(served: Served, path: str) -> None:
    """A site whose name was made to lead to this machine reads nothing."""
    status, _, body = served.ask(path, {"Host": "evil.example"})

    assert (status, "error" in json.loads(body)) == (421, True)


@pytest.mark.parametrize("host", ["localhost:8080", "LOCALHOST", "127.0.0.1", "[::1]:80", "10.0.0.7:8080"])
def test_names_and_addresses_of_this_machine_get_the_page(served: Served, host: str) -> None:
    """An address is no name that another site could have."""
    assert served.ask("/", {"Host": host})[0] == 200


def test_probes_get_health_under_every_name(served: Served) -> None:
    """A load balancer or a proxy calls the agent what it likes."""
    assert served.ask("/api/health", {"Host": "agent.example"})[0] == 200


@pytest.mark.parametrize(
    ("local", "host", "foreign"),
    [
        ("127.0.0.1", "agent.example", False),
        ("127.0.0.1", "AGENT.example:80", False),
        ("127.0.0.1", "other.example", True),
        ("::ffff:127.0.0.1", "other.example", True),
        ("::1", "other.example", True),
        ("127.0.0.1", "[", True),
        ("127.0.0.1", "", True),
        ("127.0.0.1", None, False),
        ("10.0.0.7", "other.example", False),
        ("local", "other.example", False),
    ],
)
def test_only_the_loopback_knows_its_names(local: str, host: str | None, foreign: bool) -> None:
    """Which names lead to another address of this machine, the agent cannot know."""
    headers = {} if host is None else {"Host": host}

    assert has_foreign_name(headers, local, "agent.example") is foreign


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
    ],
)
def test_a_page_of_another_site_does_not_poke(served: Served, headers: dict[str, str], method: str) -> None:
    """The browser says where a request comes from."""
    assert served.ask("/api/poke", headers, method)[0] == 403
    assert served.pokes == []


def test_the_page_itself_pokes(served: Served) -> None:
    """Its requests come from the site that they go to."""
    own = {"Origin": f"http://{served.address}", "Sec-Fetch-Site": "same-origin"}

    assert served.ask("/api/poke", own, "POST")[0] == 200
    assert served.pokes == ["poke"]


def test_a_browser_that_says_nothing_is_no_other_site() -> None:
    """Neither is curl, nor an address that a person has typed."""
    assert not is_from_another_site({})
    assert not is_from_another_site({"Sec-Fetch-Site": "none"})


@pytest.mark.parametrize("path", PATHS)
def test_the_page_changes_nothing(served: Served, path: str) -> None:
    """It takes GET and HEAD only."""
    assert served.ask(path, method="POST")[0] == 405
    status, headers, body = served.ask(path, method="HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) > 0
