"""What holds for each page in a real browser: it is accessible, fits a phone, and does what no other site says."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from prefect.agent.entrypoints.server.pages.routes import PAGES
from support.embedded import task_run
from support.remote_cloud import RemoteCloud

from .conftest import Windows

pytestmark = pytest.mark.browser

LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "narrow": {"viewport": {"width": 360, "height": 740}},
}
EVIL = "<img src=/x onerror=alert(1)><script>alert(2)</script>"


def settings(remote: RemoteCloud) -> None:
    """Two agents, and one of each kind of setting."""
    for labels in ([EVIL, "other"], []):
        remote.change("register_agent", "id", type="DockerAgent", name=f"agent {EVIL}", labels=labels)
    remote.change("update_flow_concurrency_limit", "id", label=EVIL, limit=1)
    remote.change("update_task_tag_limit", "id", tag=EVIL, limit=1)
    remote.change("set_key_value", "id", key=EVIL, value={EVIL: EVIL})
    remote.change("set_secret", "success", name=EVIL, value=EVIL)
    remote.change("create_tenant", "id", name=EVIL, slug="second")


@pytest.fixture
def addresses(remote: RemoteCloud) -> list[str]:
    """Every page, of a Cloud in which there is something of each kind, with names that would do harm."""
    parameters = [
        {"name": "day", "required": True, "default": None},
        {"name": EVIL, "required": False, "default": EVIL},
    ]
    clock = {"type": "CronClock", "cron": "0 9 * * *", "labels": [EVIL], "parameter_defaults": {"day": EVIL}}
    schedule = {"clocks": [clock, {**clock, "cron": EVIL}]}
    flow = remote.flow(remote.project(), f"flow {EVIL}", tasks=3, parameters=parameters, schedule=schedule)
    settings(remote)
    for state in ("Running", "Success", "Failed", "Cancelled", "Submitted", "Paused"):
        later: dict[str, Any] = {"start_time": "2999-01-01T00:00:00Z"} if state == "Paused" else {}
        remote.set_state(remote.run(flow, parameters={"day": EVIL}, labels=[EVIL, "gpu"]), state, message=EVIL, **later)
    run = remote.run(flow, parameters={"day": EVIL}, flow_run_name=f"{'very-' * 40}long {EVIL}")
    same = {"flow_run_id": run, "name": "prefect", "timestamp": "2026-01-01T00:00:00Z"}
    lines = [
        {**same, "level": level, "message": EVIL * 5} for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    ]
    remote.change("write_run_logs", "success", logs=lines)
    remote.set_state(run, "Running")
    task = task_run(remote, run)
    for number in range(2):
        given = {"task_id": remote.row("task_run", task, "task_id")["task_id"], "map_index": number}
        child = remote.change("get_or_create_task_run", "id", flow_run_id=run, **given)["id"]
        states = [{"task_run_id": child, "state": {"type": ("Running", "Failed")[number], "message": EVIL}}]
        remote.change("set_task_run_states", "states { id }", states=states)
    remote.change("create_task_run_artifact", "id", task_run_id=task, kind=EVIL, data={"markdown": EVIL})
    return [f"/default{page.path}".replace("{run_id}", run).replace("{flow_id}", flow) for page in PAGES]


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_serious(addresses: list[str], windows: Windows, look: str) -> None:
    """Contrast, names, roles, order of headings: on every page, light, dark and narrow."""
    windows.expected.append("error: Failed to load resource: the server responded with a status of 404")
    page = windows.open(**LOOKS[look])
    serious = []
    for address in [*addresses, "/-/sign-in", "/default/nothing"]:
        page.goto(windows.url + address)
        for found in Axe().run(page).response["violations"]:
            if found["impact"] in {"serious", "critical"}:
                serious += [(address, found["id"], node["html"][:200]) for node in found["nodes"]]

    assert serious == []


def test_every_page_fits_a_phone(addresses: list[str], windows: Windows) -> None:
    """At 360 pixels nothing is cut off to the side; wide tables scroll by themselves."""
    page = windows.open(**LOOKS["narrow"])
    wide = []
    for address in addresses:
        page.goto(windows.url + address)
        if page.evaluate("document.documentElement.scrollWidth") > 360:
            wide.append(address)

    assert wide == []


def test_markup_does_nothing(addresses: list[str], windows: Windows) -> None:
    """No image is loaded, no dialog opened, no policy broken: the window's fixture fails for each of these."""
    page = windows.open()
    for address in addresses:
        page.goto(windows.url + address)
        assert page.locator("img").count() == 0


INSIDE: Final = """() => {
    const box = document.querySelector("details.menu[open] > :not(summary)")?.getBoundingClientRect();
    return box && box.left >= 0 && box.right <= document.documentElement.clientWidth;
}"""


@pytest.mark.parametrize("width", [360, 760, 1200])
def test_menus_are_inside_the_window(addresses: list[str], windows: Windows, width: int) -> None:
    """An opened menu is not cut off, neither on a phone nor at the end of a line."""
    page = windows.open(viewport={"width": width, "height": 640})
    for address in addresses:
        page.goto(windows.url + address)
        for menu in page.locator("details.menu").all():
            menu.locator("summary").click()
            page.wait_for_function(INSIDE)
            page.keyboard.press("Escape")


@contextmanager
def other_site(html: str) -> Iterator[str]:
    """Another site on this machine with one page; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_form_of_another_site_changes_nothing(remote: RemoteCloud, url: str, windows: Windows) -> None:
    """Even if it has got hold of the token: the browser says where the form comes from."""
    windows.expected += ["another host:", "error: Failed to load resource"]
    run = remote.run(remote.flow(remote.project()))
    action = f"/default/flow-run/{run}/cancel"
    page = windows.open(f"/default/flow-run/{run}")
    token = page.locator(f"form[action='{action}'] input[name=form_token]").get_attribute("value")
    html = f"<form method=post action='{url}{action}'><input name=form_token value={token}><button>Go</button></form>"
    with other_site(html) as address:
        page.goto(address)
        page.get_by_role("button", name="Go").click()
        expect(page.locator("body")).to_contain_text("Pages of other sites may not use this Cloud")

    assert remote.state(run) == "Scheduled"


def test_no_other_site_shows_these_pages_in_a_frame(url: str, windows: Windows) -> None:
    """A frame stays empty: nothing can be clicked by mistake."""
    windows.expected += ["another host:", "error: "]
    page = windows.open()
    with other_site(f"<iframe src='{url}/default'></iframe>") as address:
        page.goto(address)
        page.wait_for_load_state()
        assert page.frame_locator("iframe").get_by_text("Flow runs").count() == 0
