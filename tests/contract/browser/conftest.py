"""One Chromium for all tests; for each, a Cloud of its own and a window that must stay without a complaint."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

from prefect.agent.entrypoints.server.services import Routine
from prefect.agent.entrypoints.server.testing import running_server
from support.real_prefect import FLOWS, RealPrefect
from support.remote_cloud import RemoteCloud
from support.waiting import wait_until

from .plays import Real

PATIENCE = 30_000
"""Milliseconds that a page may take to show what it should."""


FILLING: Final = """
import json, runpy, sys
import pendulum, prefect
path = json.load(sys.stdin)
flow = runpy.run_path(path)["flow"]
client = prefect.Client()
client.create_project("tests")
older = flow.register("tests", labels=[], no_url=True, idempotency_key="1", set_schedule_active=False)
newest = flow.register("tests", labels=[], no_url=True, idempotency_key="2", set_schedule_active=False)
runs = {who: client.create_flow_run(flow_id=newest, run_name=f"for {who}", parameters={"who": who})
        for who in ("everybody", "nobody")}
waits = client.create_flow_run(flow_id=newest, run_name="waits", parameters={"who": "x"}, labels=["gpu"],
                               scheduled_start_time=pendulum.now().subtract(hours=1))
client.set_secret("a-secret", "not shown")
given = {"input": {"key": "a-key", "value": {"a": 1}}}
client.graphql("mutation($input: set_key_value_input!) { set_key_value(input: $input) { id } }", variables=given)
print(json.dumps({"older": older, "newest": newest, "waits": waits, **runs}))
"""

MACHINE: Final = "net::ERR_NETWORK_CHANGED"
"""What Chromium says of loads that it gave up since the machine has another network: other tests start containers."""


@attrs.define(slots=False, repr=False)  # Playwright keeps its handlers in the object
class Windows:
    """Opens windows at one Cloud, and notes what their pages complain of.

    Attributes:
        complaints: Messages of the console, exceptions, and requests to other hosts.
        expected: Beginnings of complaints that a test has provoked.
    """

    browser: Browser
    url: str
    complaints: list[str] = attrs.field(factory=list)
    expected: list[str] = attrs.field(factory=list)
    contexts: list[BrowserContext] = attrs.field(factory=list)

    def open(self, path: str = "/", **options: Any) -> Page:
        """A window of its own, without the cookies of others.

        Args:
            options: Of Playwright's ``new_context``.
        """
        context = self.browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
        context.set_default_timeout(PATIENCE)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        page.on("request", self._asked)
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.goto(self.url + path)
        return page

    def unexpected(self) -> list[str]:
        """Complaints that no test has provoked."""
        return [one for one in self.complaints if not one.startswith(tuple(self.expected) or ("\0",))]

    def close(self) -> None:
        """Close all windows."""
        for context in self.contexts:
            context.close()

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and MACHINE not in message.text:
            self.complaints.append(f"{message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc:
            self.complaints.append(f"another host: {request.url}")


def set_columns(tmp_path: Path, table: str, row_id: str, **values: Any) -> None:
    """Change a row of the Cloud's file, as time would have."""
    columns = ", ".join(f"{name} = ?" for name in values)
    with closing(sqlite3.connect(tmp_path / "cloud.db", isolation_level=None)) as connection:
        connection.execute(f"UPDATE {table} SET {columns} WHERE id = ?", [*values.values(), row_id])


@pytest.fixture(scope="module")
def chromium(chromium_path: Path) -> Iterator[Browser]:
    """A browser without a screen; its event loop is that of this thread, so it ends before the tests of other files."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def real(prefect_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Real:
    """A flow in two versions with a schedule; a run that succeeded, one that failed, one that no agent takes."""
    folder = tmp_path_factory.mktemp("real")
    program = folder / "fill.py"
    program.write_text(FILLING, encoding="utf-8")
    with running_server(folder / "cloud.db", routine=Routine(enabled=())) as url:
        client = RealPrefect(prefect_python, url, folder)
        ids = client.program(program, str(FLOWS / "everything.py"))
        with client.agent("start", "process", "--interpreter", str(prefect_python)):
            ended = [ids["everybody"], ids["nobody"]]
            wait_until(lambda: client.states(ended) == ["Success", "Failed"], 180, what="both runs have ended")
    with closing(sqlite3.connect(folder / "cloud.db")) as file, file:
        long_ago = (datetime.now(timezone.utc) - timedelta(minutes=10)).isoformat(timespec="microseconds")
        file.execute("UPDATE agent SET last_queried = ?", [long_ago])
    return Real(file=folder / "cloud.db", **ids)


@pytest.fixture
def url(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a Cloud that does nothing by itself; with a copy of what ``real`` made, if that is asked for."""
    if "real" in request.fixturenames:
        real: Real = request.getfixturevalue("real")
        for path in real.file.parent.glob("cloud.db*"):
            shutil.copy(path, tmp_path / path.name)
    with running_server(tmp_path / "cloud.db", routine=Routine(enabled=())) as address:
        yield address


@pytest.fixture
def remote(url: str) -> Iterator[RemoteCloud]:
    """The same Cloud, as GraphQL clients ask it."""
    with closing(RemoteCloud(url)) as found:
        yield found


@pytest.fixture
def windows(chromium: Browser, url: str) -> Iterator[Windows]:
    """Windows at this Cloud; none may have complained at the end."""
    with closing(Windows(chromium, url)) as opened:
        yield opened
    assert opened.unexpected() == []


@pytest.fixture
def open_window(windows: Windows) -> Callable[..., Page]:
    """Opens a window at a path of this Cloud."""
    return windows.open
