"""The first hour of a new user: ``prefect server start``, the real client, an agent, and otherwise only the browser."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect

from support.real_prefect import FLOWS, RealPrefect
from support.server_command import started

from .conftest import Windows
from .plays import confirmed

pytestmark = [pytest.mark.browser, pytest.mark.real_prefect]

A_RUN: Final = 180_000
"""Milliseconds that a run may take on a busy machine."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The address that ``prefect server start`` prints."""
    with started(tmp_path, "--database", str(tmp_path / "cloud.db")) as server:
        yield server.url


@pytest.fixture
def page(chromium: Browser, url: str) -> Iterator[Page]:
    """A window at the printed address; nothing may have been complained of at the end."""
    with closing(Windows(chromium, url)) as windows:
        yield windows.open()
        assert windows.unexpected() == []


def create_run(page: Page, who: str, *, name: str, labels: str = "") -> None:
    """From any page, by the navigation, to a new run's page."""
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Flows", exact=True).click()
    page.get_by_role("link", name="everything", exact=True).click()
    page.get_by_role("link", name="Create a run").click()
    page.locator("textarea[name='p:who']").fill(who)
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Labels, separated by commas").fill(labels)
    page.get_by_role("button", name="Create the run").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def test_the_whole_job_is_done_in_the_browser(page: Page, url: str, prefect_python: Path, tmp_path: Path) -> None:
    """Create with parameters, watch, read the log, learn why one waits, cancel, restart, switch the schedule off."""
    real = RealPrefect(prefect_python, url, tmp_path)
    expect(page.locator("main")).to_contain_text("prefect register")
    real.cli("create", "project", "tests")
    real.cli("register", "--project", "tests", "--path", str(FLOWS / "everything.py"))

    create_run(page, '"me"', name="the first")
    expect(page.locator("#overview .findings")).to_contain_text("prefect agent start")
    page.evaluate("window.mark = 'not reloaded'")
    with real.agent("start", "process", "--interpreter", str(prefect_python)):
        expect(page.locator("#head .state")).to_have_text("Success", timeout=A_RUN)
        assert page.evaluate("window.mark") == "not reloaded"
        page.get_by_role("link", name="Logs", exact=True).click()
        expect(page.locator("#lines li", has_text="an error line for me")).to_have_count(1)

        create_run(page, '"nobody"', name="fails")
        page.get_by_role("link", name="Logs", exact=True).click()
        page.evaluate("window.mark = 'not reloaded'")
        expect(page.locator("#lines li", has_text="an error line for nobody")).to_have_count(1, timeout=A_RUN)
        expect(page.locator("#head .state")).to_have_text("Failed", timeout=A_RUN)
        assert page.evaluate("window.mark") == "not reloaded"
        confirmed(page, "Restart")
        expect(page.locator("#head .state")).to_have_text("Failed", timeout=A_RUN)
        page.get_by_role("navigation", name="Flow run").get_by_role("link", name="Overview").click()
        expect(page.locator("#overview .states .state", has_text="Failed")).to_have_count(2, timeout=A_RUN)

        create_run(page, '"me"', name="waits", labels="gpu")
        expect(page.locator("#overview")).to_contain_text("Why it does not start")
        expect(page.locator("#overview .findings")).to_contain_text("gpu")
        confirmed(page, "Cancel")
        expect(page.locator("#head .state")).to_have_text("Cancelled")

    page.get_by_role("navigation", name="Main").get_by_role("link", name="Home").click()
    expect(page.get_by_role("table", name="Failed runs")).to_contain_text("fails")
    expect(page.get_by_role("table", name="Upcoming runs").locator("tbody tr").first).to_be_visible()
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Flows", exact=True).click()
    page.get_by_role("link", name="everything", exact=True).click()
    page.get_by_role("button", name="Switch off").click()
    expect(page.get_by_role("button", name="Switch on")).to_be_visible()
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Home").click()
    expect(page.get_by_text("No run is scheduled for later")).to_be_visible()
