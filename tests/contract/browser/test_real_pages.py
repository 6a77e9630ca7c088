"""Each page and each form, in a real browser, on a Cloud that the real client has filled and our agent worked for."""

import re
from collections.abc import Mapping
from typing import Any, Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from prefect.agent.entrypoints.server.pages.routes import PAGES, SECTIONS
from support.remote_cloud import RemoteCloud

from .conftest import PATIENCE, Windows
from .plays import PLAYS, Real

pytestmark = [pytest.mark.browser, pytest.mark.real_prefect]

expect.set_options(timeout=PATIENCE)

ACTIONS: Final = [action.path for section in SECTIONS for action in section.actions]
LOOKS: Final[Mapping[str, Mapping[str, Any]]] = {"light": {}, "dark": {"color_scheme": "dark"}}


def address_of(real: Real, path: str) -> str:
    """The address of a page with *path*."""
    return f"/default{path}".replace("{run_id}", real.everybody).replace("{flow_id}", real.newest)


# --- each page ---


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("path", [page.path for page in PAGES])
def test_every_page_is_well(real: Real, windows: Windows, path: str, look: str) -> None:
    """It has a heading, axe finds nothing serious, nothing is asked of another host, and the console is silent."""
    page = windows.open(address_of(real, path), **LOOKS[look])
    expect(page.locator("h1")).to_have_count(1)
    violations = Axe().run(page).response["violations"]

    assert [(each["id"], each["nodes"]) for each in violations if each["impact"] in {"serious", "critical"}] == []


def test_a_run_that_has_ended_is_shown_whole(real: Real, windows: Windows) -> None:
    """Timeline with the mapped task and the retry, graph, log by level, task runs, artifacts as text, states."""
    page = windows.open(address_of(real, "/flow-run/{run_id}"))
    expect(page.locator("#overview .states .state")).to_have_text(["Success", "Running", "Submitted", "Scheduled"])
    tabs = page.get_by_role("navigation", name="Flow run")
    tabs.get_by_role("link", name="Timeline").click()
    expect(page.locator("#timeline tr.folded", has_text="double")).to_have_count(1)
    expect(page.locator("#timeline tr", has_text="add")).to_contain_text("↻1")
    page.get_by_role("link", name=re.compile("double")).first.click()
    expect(page.locator("#timeline tr.child")).to_have_count(3)
    tabs.get_by_role("link", name="Graph").click()
    expect(page.locator("#graph a")).to_have_count(6)
    expect(page.get_by_role("link", name=re.compile("^report: 1 Success"))).to_be_visible()
    tabs.get_by_role("link", name="Logs").click()
    page.get_by_label("Level").select_option("ERROR")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#lines li", has_text="an error line for everybody")).to_have_count(1)
    expect(page.locator("#lines li", has_text="numbers up to 3")).to_have_count(0)
    tabs.get_by_role("link", name="Task runs").click()
    expect(page.locator("#task-runs tbody tr")).to_have_count(9)
    tabs.get_by_role("link", name="Artifacts").click()
    expect(page.locator("#artifacts article")).to_have_count(2)
    expect(page.locator("#artifacts")).to_contain_text("The sum is **6**.")
    expect(page.locator("#artifacts a[href*='example.org']")).to_have_count(0)


def test_home_says_what_needs_attention(real: Real, windows: Windows) -> None:
    """The run that failed, with its reason; a click leads to it."""
    page = windows.open()
    expect(page.locator("#home")).to_contain_text("for nobody")
    expect(page.get_by_role("table", name="Failed runs")).to_contain_text("Some reference tasks failed")
    page.get_by_role("link", name="for nobody").first.click()
    expect(page.locator("#head .state")).to_have_text("Failed")


def test_a_run_that_no_agent_takes_says_so(real: Real, windows: Windows) -> None:
    """By name of the label that is missing, and what to do."""
    page = windows.open(f"/default/flow-run/{real.waits}")

    expect(page.locator("#overview")).to_contain_text("Why it does not start")
    expect(page.locator("#overview .findings")).to_contain_text("gpu")


# --- each form ---


@pytest.mark.parametrize("path", ACTIONS)
def test_every_form_does_what_it_says(real: Real, remote: RemoteCloud, windows: Windows, path: str) -> None:
    """In the browser, by hand, and seen in the Cloud; the forms are those that the server has."""
    sent: list[str] = []
    page = windows.open()
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)

    PLAYS[path](page, real, remote)

    pattern = re.sub(r"\{\w+\}", "[^/]+", f"{remote.url}/\\w+{path}")
    assert [one for one in sent if re.fullmatch(pattern, one)], sent
