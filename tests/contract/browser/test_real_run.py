"""The whole job in the browser, with the real client's flow and our agent."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from support.real_prefect import RealPrefect

from .conftest import Windows

pytestmark = [pytest.mark.browser, pytest.mark.real_prefect]

A_RUN = 180_000
"""Milliseconds that a run may take on a busy machine."""


def printed_address(real: RealPrefect, kind: str, row_id: str) -> str:
    """The address that the real client prints."""
    return real.script(f"import prefect; print(prefect.Client().get_cloud_url({kind!r}, {row_id!r}))").strip()


def test_a_run_from_the_page_is_executed(windows: Windows, url: str, prefect_python: Path, tmp_path: Path) -> None:
    """Parameters of the form reach the flow; its states, log and task runs are seen without a reload."""
    real = RealPrefect(prefect_python, url, tmp_path)
    flow = real.register("sums")
    page = windows.open()
    page.goto(printed_address(real, "flow", flow))
    page.get_by_role("link", name="Create a run").click()
    page.get_by_label(re.compile("^n")).first.fill("4")
    page.get_by_role("button", name="Create the run").click()
    page.evaluate("window.mark = 'not reloaded'")

    with real.agent("start", "process", "--interpreter", str(prefect_python)):
        expect(page.locator("#head .state")).to_have_text("Success", timeout=A_RUN)

    assert page.evaluate("window.mark") == "not reloaded"
    page.get_by_role("link", name="Logs").click()
    expect(page.locator("#lines li", has_text="Flow run SUCCESS").first).to_be_visible()
    page.get_by_role("link", name="Task runs").click()
    expect(page.locator("#task-runs tbody tr")).to_have_count(8)
    expect(page.locator("#task-runs tbody tr", has_text="double")).to_have_count(5)
    page.goto(printed_address(real, "flow-run", page.url.split("/")[-2]))
    expect(page.locator("#head .state")).to_have_text("Success")
