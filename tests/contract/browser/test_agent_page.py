"""The agent's status page in a real browser: a real process agent on the embedded Cloud, and hostile texts."""

import re
import subprocess
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.units import Evidence, Unit, UnitStatus
from prefect.agent.domain.services.work_in_hand import Census, WorkInHand
from prefect.agent.entrypoints.runtime.health_server import HealthServer
from prefect.agent.entrypoints.runtime.site import Site, status_pages
from prefect.agent.entrypoints.runtime.status_page.pages import page_routes
from prefect.agent.ports import events
from support.builders import NOW
from support.commands import PREFECT, bare_environment
from support.remote_cloud import RemoteCloud
from support.status_boards import BoardHarness, members, possible

from .conftest import PATIENCE, Windows

pytestmark = pytest.mark.browser

LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "narrow": {"viewport": {"width": 360, "height": 740}},
}
EVIL = "<img src=/x onerror=alert(1)><script>alert(2)</script>\x1b[31m\u202e"
SERVED = re.compile(r"Health is served at (\S+)")
MARK = "window.mark = 'not reloaded'"


@attrs.define
class RealAgent:
    """A process agent on the embedded Cloud, as the command line starts it.

    Attributes:
        address: Of its page.
        release: A file: once it is there, the flow runs that execute end.
    """

    process: "subprocess.Popen[str]"
    address: str
    release: Path


@pytest.fixture
def agent(url: str, tmp_path: Path) -> Generator[RealAgent]:
    """An agent that has started; its flow runs execute until they are released."""
    release = tmp_path / "release"
    wait = f'for _ in $(seq 6000); do [ -e "{release}" ] && exit 3; sleep 0.05; done'
    env = {**bare_environment(tmp_path, wait), "PREFECT_AGENT_RUNTIME_DIRECTORY": str(tmp_path / "run")}
    words = ["--api", url, "--name", "ann", "--label", "gpu", "--limit", "3", "--agent-address", "http://127.0.0.1:0"]
    command: list[str | Path] = [PREFECT, "agent", "start", "process", *words]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            yield RealAgent(process, _address(process), release)
        finally:
            release.touch()
            process.terminate()
            process.wait(60)


def _address(process: "subprocess.Popen[str]") -> str:
    """Where the agent says that it serves its health; what it says later is read by a thread."""
    assert process.stderr is not None
    for line in process.stderr:
        found = SERVED.search(line)
        if found:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return found[1]
    raise AssertionError("the agent has ended")


@pytest.fixture
def agent_windows(chromium: Browser, agent: RealAgent) -> Generator[Windows]:
    """Windows at the agent's page; none may have complained at the end."""
    with closing(Windows(chromium, agent.address)) as opened:
        yield opened
    assert opened.unexpected() == []


def test_a_run_is_seen_from_its_claim_to_its_end(remote: RemoteCloud, agent: RealAgent, agent_windows: Windows) -> None:
    """Without a reload: the steps succeed, the unit lives, the run's time grows, its end and the error appear."""
    page = agent_windows.open()
    expect(page.locator("#health")).to_have_text("healthy")
    expect(page.locator("#runs-none")).to_be_visible()
    page.evaluate(MARK)
    flow = remote.flow(remote.project(), "nightly")
    remote.run(flow, flow_run_name="quick-fox", labels=["gpu"])

    row = page.locator("#runs tr", has_text="quick-fox")
    expect(row.locator(".state")).to_have_text("executing", timeout=PATIENCE)
    expect(page.locator("#units tr", has_text="quick-fox")).to_contain_text("nightly")
    expect(page.locator("#steps li.well", has_text="create")).to_be_visible()
    expect(row.locator("svg")).to_have_attribute("aria-label", re.compile("create .*, executing "))
    expect(page.locator("#slots-text")).to_have_text("1 of 3 in use.")
    expect(page.locator("#slots .alive")).to_have_count(1)
    expect(page.locator("#agent")).to_contain_text("gpu")
    expect(page.locator("#rates figure", has_text="Started").locator("b")).to_have_text("1")

    assert members(requests.get(f"{agent.address}/status.json", timeout=30).json()) <= possible()

    agent.release.touch()
    expect(row.locator(".state")).to_have_text(re.compile("failed|ended"), timeout=PATIENCE)
    expect(page.locator("#units-none")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#problems tr").first).to_be_visible()
    assert page.evaluate("window.mark") == "not reloaded"


def test_the_page_says_when_its_agent_is_gone(agent: RealAgent, agent_windows: Windows) -> None:
    """What was seen last stays, under a sentence that it is old."""
    agent_windows.expected.append("error: Failed to load resource")
    page = agent_windows.open()
    expect(page.locator("#name")).to_have_text("ann")
    expect(page.locator("#connection")).to_be_hidden()
    agent.process.terminate()

    expect(page.locator("#connection")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#name")).to_have_text("ann")


def test_poke_is_answered(agent_windows: Windows) -> None:
    """The one thing that the page can do, by keyboard."""
    page = agent_windows.open()
    page.get_by_role("button", name="Poll now").focus()
    page.keyboard.press("Enter")

    expect(page.locator("#answer")).to_have_text("The agent polls now")


def test_a_real_agent_keeps_its_page_from_other_names(agent: RealAgent) -> None:
    """As it is wired by the command line; its health is for probes, which may call it what they like."""
    evil = {"Host": "evil.example"}
    codes = {
        path: requests.get(f"{agent.address}{path}", headers=evil, timeout=30).status_code
        for path in ("/", "/status.json", "/page/status.js", "/api/poke", "/api/health")
    }

    assert codes == {"/": 421, "/status.json": 421, "/page/status.js": 421, "/api/poke": 403, "/api/health": 200}


# --- an agent whose facts are made up ---


def hostile_agent() -> BoardHarness:
    """An agent with something of each kind, in names that would do harm."""
    agent = BoardHarness(AgentSettings(name=f"ann {EVIL}", labels=(EVIL, "gpu"), limit=8), work=WorkInHand(limit=8))
    for number in range(30):
        agent.start(f"{number}", flow_run_name=f"{'very-' * 40}long {EVIL}", flow_name=EVIL, unit=EVIL)
        agent.clock.seconds += 50
    agent.say(events.RUN_ENDED, EVIL, flow_run_id="3", state=f"{EVIL} connection", duration_s=3.0)
    agent.start("huge", flow_run_name="x" * 1_000_000, flow_name=EVIL * 10_000)
    agent.say(events.RUN_LATE, f"{EVIL} Do: {EVIL}", "WARNING")
    agent.say(events.CLOUD_TROUBLE, EVIL * 10_000, "ERROR", loop="report")
    waits = Evidence(reason="ImagePullBackOff", message=EVIL)
    about: dict[str, Any] = {"flow_run_id": FlowRunId("2"), "attempt": "1", "evidence": waits, "created_at": NOW}
    units = (Unit(name=EVIL, status=UnitStatus.PENDING, **about), Unit(name="u2", status=UnitStatus.RUNNING, **about))
    agent.work.census = Census(units)
    return agent


@pytest.fixture
def facts_of() -> dict[str, BoardHarness]:
    """Which agent is shown, under ``agent``: a test may change that."""
    return {"agent": hostile_agent()}


@pytest.fixture
def made_up(chromium: Browser, facts_of: dict[str, BoardHarness]) -> Generator[Windows]:
    """Windows at that agent's page."""

    def facts() -> dict[str, Any]:
        return facts_of["agent"].facts()

    page = page_routes(facts)
    site = Site(pages={**status_pages(facts, lambda: (b"", "")), **page}, personal=frozenset(page))
    server = HealthServer(site, lambda: None)
    with closing(Windows(chromium, server.start("http://127.0.0.1:0"))) as opened:
        yield opened
    server.stop()
    assert opened.unexpected() == []


@pytest.fixture
def shown(made_up: Windows) -> Callable[[str], Page]:
    """Opens the page in one of ``LOOKS`` and waits until it shows its facts."""

    def opened(look: str) -> Page:
        page = made_up.open(**LOOKS[look])
        page.locator("#steps li").first.wait_for()
        return page

    return opened


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("kind", ["busy", "empty"])
def test_axe_finds_nothing_serious(
    shown: Callable[[str], Page], facts_of: dict[str, BoardHarness], look: str, kind: str
) -> None:
    """Contrast, names, roles, order of headings; light, dark and narrow; with everything and with nothing to show."""
    if kind == "empty":
        facts_of["agent"] = BoardHarness()
    violations = Axe().run(shown(look)).response["violations"]

    assert [(each["id"], each["nodes"]) for each in violations if each["impact"] in {"serious", "critical"}] == []


def test_the_page_fits_a_phone(shown: Callable[[str], Page]) -> None:
    """At 360 pixels nothing is cut off to the side, whatever the names are."""
    page = shown("narrow")

    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_hostile_texts_are_shown_as_texts(shown: Callable[[str], Page]) -> None:
    """No element of theirs, no dialog, no request, no class of the page's own: the window's fixture fails for some."""
    page = shown("light")

    assert page.locator("main img, main script").count() == 0
    expect(page.locator("#name")).to_contain_text("<img src=/x onerror=alert(1)>")
    expect(page.locator("#problems tr", has_text="run_late")).to_contain_text("<script>alert(2)</script>")
    assert page.locator("#runs .connection").count() == 0
    assert page.locator("#runs tr").count() == 31
    assert "x" * 1000 not in page.locator("main").inner_text()


def test_nothing_that_a_person_holds_is_replaced(
    shown: Callable[[str], Page], facts_of: dict[str, BoardHarness]
) -> None:
    """Focus, and the element that has it, stay while the page changes around them."""
    page = shown("light")
    page.locator("#steps li", has_text="report").locator(".wrong").focus()
    page.evaluate("window.held = document.activeElement")
    facts_of["agent"].clock.seconds += 100
    facts_of["agent"].start("new", flow_run_name="brand-new")

    expect(page.locator("#runs tr", has_text="brand-new")).to_be_visible()
    assert page.evaluate("document.activeElement === window.held && document.contains(window.held)")
    assert page.locator("#runs tr").first.inner_text().startswith("brand-new")


def test_an_outage_of_the_cloud_is_told_at_once(
    shown: Callable[[str], Page], facts_of: dict[str, BoardHarness]
) -> None:
    """The agent is healthy for a while yet; its page says what fails, and what to do, with the whole message."""
    facts_of["agent"] = BoardHarness()
    facts_of["agent"].say(events.CLOUD_TROUBLE, "poll: cannot reach it", "WARNING", loop="poll")
    page = shown("light")

    expect(page.locator("#health")).to_contain_text("but poll failed last")
    expect(page.locator("#about")).to_contain_text("did not answer the last poll")
    expect(page.locator("#steps li").first).to_contain_text("Fails: cannot reach it")
    expect(page.locator("#problems .said")).to_have_text("poll: cannot reach it")
    expect(page.locator("#problems .remedy")).to_contain_text("prefect agent doctor")


def test_a_hidden_tab_asks_nothing(made_up: Windows, shown: Callable[[str], Page]) -> None:
    """It goes on once it is seen again."""
    page = shown("light")
    hidden = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    change = "document.dispatchEvent(new Event('visibilitychange'))"
    page.clock.install()
    page.reload()
    page.locator("#steps li").first.wait_for()
    page.evaluate(hidden % "true" + change)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(60_000)
    assert asked == []

    page.evaluate(hidden % "false" + change)
    page.clock.run_for(10_000)
    assert [made_up.url + "/status.json"] == sorted(set(asked))


def test_without_javascript_the_page_shows_the_same_in_short(made_up: Windows) -> None:
    """And no more elements than it has."""
    page = made_up.open(java_script_enabled=False)

    expect(page.locator("#plain h1")).to_contain_text("ann <img src=/x onerror=alert(1)>")
    expect(page.locator("#plain table")).to_have_count(4)
    assert page.locator("main img, main script").count() == 0
