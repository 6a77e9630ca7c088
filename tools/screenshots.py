"""Make the pictures of docs/images: pages of an embedded Cloud with runs that look like a day's work.

Needs Playwright and a Chromium (`CHROMIUM`, or one on the path). Run it from an environment of the project.
"""

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import requests
from playwright.sync_api import Browser, ViewportSize, sync_playwright

from prefect.agent.entrypoints.server.services import Routine
from prefect.agent.entrypoints.server.testing import running_server

IMAGES: Final = Path(__file__).resolve().parent.parent / "docs" / "images"
MOST_BYTES: Final = 150_000
SIZE: Final = ViewportSize(width=1000, height=640)
LOOKS: Final[Mapping[str, Any]] = {
    "light": {"viewport": SIZE, "color_scheme": "light"},
    "dark": {"viewport": SIZE, "color_scheme": "dark"},
    "narrow": {"viewport": ViewportSize(width=360, height=740), "color_scheme": "light"},
}
PAGES: Final = {
    "home": "",
    "home-dark": "",
    "home-narrow": "",
    "flow-run-narrow": "/flow-run/{run}",
    "flow-run-log": "/flow-run/{run}/logs",
    "flow-run-timeline": "/flow-run/{run}/timeline",
    "flow-run-timeline-dark": "/flow-run/{run}/timeline",
    "flow-run-graph": "/flow-run/{run}/graph",
    "create-run": "/flow/{flow}/run",
}
"""Pages below the tenant's address, by the names of their pictures."""

MANY: Final = {"home-many": "?span=7d", "flow-runs-many": "/flow-runs"}
"""The same of a Cloud with 100,000 runs."""

EDGES: Final = (
    ("extract", "clean"), ("clean", "join"), ("extract", "join"), ("join", "train"), ("train", "score"),
    ("join", "report"), ("score", "report"),
)  # fmt: skip
TASKS: Final = ("extract", "clean", "join", "train", "score", "report")
PARAMETERS: Final = [
    {"name": "day", "slug": "day", "required": True, "default": None},
    {"name": "dry_run", "slug": "dry_run", "required": False, "default": False},
    {"name": "limit", "slug": "limit", "required": False, "default": 50_000},
    {"name": "region", "slug": "region", "required": False, "default": "europe"},
]
FAILURES: Final = ("ConnectionError: the database does not answer", "KeyError: 'region'")
HOURS: Final = 23
ENDS: Final = (*["Success"] * 6, "Failed", *["Success"] * 4, "Cancelled", *["Success"] * 3)


class Filled:
    """A Cloud over HTTP whose clock this program sets."""

    def __init__(self, path: Path) -> None:
        self.now = datetime.now(timezone.utc).replace(microsecond=0)
        self.server = running_server(path, routine=Routine(enabled=()), now=lambda: self.now)
        self.url = ""

    def change(self, mutation: str, gives: str, **given: Any) -> Any:
        """Send a mutation; return its answer."""
        document = f"mutation($input: {mutation}_input!) {{ {mutation}(input: $input) {{ {gives} }} }}"
        return self.ask(document, {"input": given})[mutation]

    def ask(self, document: str, variables: Any = None) -> Any:
        """Send a request; return its data.

        Raises:
            SystemExit: It was refused.
        """
        with closing(requests.Session()) as session:
            session.trust_env = False
            answer = session.post(self.url, json={"query": document, "variables": variables}, timeout=30).json()
        if "errors" in answer:
            raise SystemExit(str(answer["errors"]))
        return answer["data"]

    def set_run(self, run: str, kind: str, message: str = "") -> None:
        """Set the state of a flow run."""
        state = {"type": kind, "message": message or f"{kind}."}
        self.change("set_flow_run_states", "states { id }", states=[{"flow_run_id": run, "state": state}])

    def set_task(self, task_run: str, kind: str, after: float = 0.0, message: str = "") -> None:
        """Set the state of a task run, *after* seconds later."""
        self.now += timedelta(seconds=after)
        state = {"type": kind, "message": message or f"{kind}."}
        self.change("set_task_run_states", "states { id }", states=[{"task_run_id": task_run, "state": state}])


def fill(cloud: Filled) -> str:
    """Make a day of runs; return the id of one that runs."""
    project = cloud.change("create_project", "id", name="sales")["id"]
    flows = [_flow(cloud, project, name) for name in ("daily sums", "forecast", "clean up")]
    end = cloud.now
    for hour in range(HOURS):
        for number, flow in enumerate(flows[: 1 + hour % 3]):
            cloud.now = end - timedelta(hours=HOURS - hour, minutes=-number)
            run = cloud.change("create_flow_run", "id", flow_id=flow, parameters={"day": "monday"})["id"]
            cloud.set_run(run, "Running")
            cloud.now += timedelta(minutes=2)
            kind = ENDS[(hour + number) % len(ENDS)]
            if kind == "Failed":
                cloud.set_task(_tasks(cloud, run)["extract"]["id"], "Failed", message=FAILURES[hour % 2])
            cloud.set_run(run, kind, "Some reference tasks failed." if kind == "Failed" else "")
    cloud.now = end - timedelta(minutes=3)
    later = (end + timedelta(hours=2)).isoformat()
    cloud.change("create_flow_run", "id", flow_id=flows[1], parameters={"day": "monday"}, scheduled_start_time=later)
    return _running(cloud, flows[0])


def _flow(cloud: Filled, project: str, name: str) -> str:
    flow = {
        "name": name,
        "tasks": [{"slug": one, "name": one} for one in TASKS],
        "edges": [{"upstream_task": {"slug": up}, "downstream_task": {"slug": down}} for up, down in EDGES],
        "storage": {"type": "Local"},
        "run_config": {"type": "UniversalRun", "labels": []},
        "parameters": PARAMETERS,
        "__version__": "1.4.1",
    }
    return str(cloud.change("create_flow", "id", project_id=project, serialized_flow=flow)["id"])


def _tasks(cloud: Filled, run: str) -> dict[str, Any]:
    """Task runs of a flow run, by the slugs of their tasks."""
    query = f'query {{ task_run(where: {{ flow_run_id: {{ _eq: "{run}" }} }}) {{ id task_id task {{ slug }} }} }}'
    return {one["task"]["slug"]: one for one in cloud.ask(query)["task_run"]}


def _running(cloud: Filled, flow: str) -> str:
    run = str(
        cloud.change("create_flow_run", "id", flow_id=flow, flow_run_name="clever-crane", parameters={"day": "today"})[
            "id"
        ]
    )
    cloud.set_run(run, "Running")
    tasks = _tasks(cloud, run)
    extract, clean = tasks["extract"]["id"], tasks["clean"]["id"]
    cloud.set_task(extract, "Running", 4)
    cloud.set_task(extract, "Retrying", 12, "ConnectionError: the database does not answer")
    cloud.set_task(extract, "Running", 15)
    cloud.set_task(extract, "Success", 18)
    cloud.set_task(clean, "Mapped", 1)
    for number in range(8):
        given = {"flow_run_id": run, "task_id": tasks["clean"]["task_id"], "map_index": number}
        child = cloud.change("get_or_create_task_run", "id", **given)["id"]
        cloud.set_task(child, "Running", 1)
        cloud.set_task(child, "Success", 3 + number % 3)
    cloud.set_task(tasks["join"]["id"], "Running", 2)
    cloud.set_task(tasks["join"]["id"], "Success", 14)
    cloud.set_task(tasks["train"]["id"], "Running", 1)
    _log(cloud, run, extract, clean)
    cloud.now += timedelta(seconds=40)
    return run


def _flow_of(cloud: Filled, run: str) -> str:
    return str(cloud.ask(f'query {{ flow_run_by_pk(id: "{run}") {{ flow_id }} }}')["flow_run_by_pk"]["flow_id"])


def _log(cloud: Filled, run: str, extract: str, clean: str) -> None:
    start = cloud.now - timedelta(seconds=100)
    lines = [
        ("INFO", "Beginning Flow run for 'daily sums'", None),
        ("INFO", "Task 'extract': Starting task run...", extract),
    ]
    lines += [("ERROR", "Task 'extract': ConnectionError: the database does not answer", extract)]
    lines += [("WARNING", "Task 'extract': tried again in 15 seconds", extract), ("INFO", "Read 48,210 rows", extract)]
    lines += [("INFO", f"Task 'clean[{number}]': {6000 + 17 * number} rows are clean", clean) for number in range(8)]
    lines += [("INFO", "Task 'train': Starting task run...", None), ("DEBUG", "Epoch 1 of 10: loss 0.482", None)]
    entries = [
        {"flow_run_id": run, "task_run_id": task, "name": "prefect", "level": level, "message": message}
        | {"timestamp": (start + timedelta(seconds=6 * number)).isoformat()}
        for number, (level, message, task) in enumerate(lines)
    ]
    cloud.change("write_run_logs", "success", logs=entries)


def many(path: Path) -> None:
    """Fill a Cloud's file with 100,000 runs of a week."""
    sys.path.append(str(IMAGES.parent.parent / "benchmarks"))
    importlib.import_module("seeding").seed(path, 100_000)
    importlib.import_module("pages").spread(path)


def shoot(browser: Browser, url: str, pages: Mapping[str, str]) -> None:
    """Take a picture of each page; the end of its name says the look."""
    for name, end in pages.items():
        page = browser.new_page(**LOOKS.get(name.rpartition("-")[2], LOOKS["light"]))
        page.goto(f"{url}/default{end}")
        page.screenshot(path=IMAGES / f"{name}.png")
        page.close()


def main() -> int:
    """Write the pictures; return the exit code, which is 1 if one is too large."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        cloud = Filled(Path(folder, "cloud.db"))
        with cloud.server as cloud.url:
            run = fill(cloud)
            pages = {name: end.format(run=run, flow=_flow_of(cloud, run)) for name, end in PAGES.items()}
            shoot(browser, cloud.url, pages)
        path = Path(folder, "many.db")
        many(path)
        with running_server(path, routine=Routine(enabled=())) as url:
            shoot(browser, url, MANY)
        browser.close()
    made = [IMAGES / f"{name}.png" for name in (*PAGES, *MANY)]
    large = [path.name for path in made if path.stat().st_size > MOST_BYTES]
    print(f"Too large: {', '.join(large)}" if large else f"Written to {IMAGES}")
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
