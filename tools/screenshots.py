"""Make the pictures of docs/images: pages of an embedded Cloud with runs that look like a day's work.

Needs Playwright and a Chromium (`CHROMIUM`, or one on the path). Run it from an environment of the project.
"""

import os
import shutil
import sys
import tempfile
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import requests
from playwright.sync_api import ViewportSize, sync_playwright

from prefect.agent.entrypoints.server.services import Routine
from prefect.agent.entrypoints.server.testing import running_server

IMAGES: Final = Path(__file__).resolve().parent.parent / "docs" / "images"
MOST_BYTES: Final = 150_000
SIZE: Final = ViewportSize(width=1000, height=640)

EDGES: Final = (
    ("extract", "clean"), ("clean", "join"), ("extract", "join"), ("join", "train"), ("train", "score"),
    ("join", "report"), ("score", "report"),
)  # fmt: skip
TASKS: Final = ("extract", "clean", "join", "train", "score", "report")
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
            run = cloud.change("create_flow_run", "id", flow_id=flow)["id"]
            cloud.set_run(run, "Running")
            cloud.now += timedelta(minutes=2)
            kind = ENDS[(hour + number) % len(ENDS)]
            cloud.set_run(run, kind, "Some reference tasks failed." if kind == "Failed" else "")
    cloud.now = end - timedelta(minutes=3)
    later = (end + timedelta(hours=2)).isoformat()
    cloud.change("create_flow_run", "id", flow_id=flows[1], scheduled_start_time=later)
    return _running(cloud, flows[0])


def _flow(cloud: Filled, project: str, name: str) -> str:
    flow = {
        "name": name,
        "tasks": [{"slug": one, "name": one} for one in TASKS],
        "edges": [{"upstream_task": {"slug": up}, "downstream_task": {"slug": down}} for up, down in EDGES],
        "storage": {"type": "Local"},
        "run_config": {"type": "UniversalRun", "labels": []},
        "__version__": "1.4.1",
    }
    return str(cloud.change("create_flow", "id", project_id=project, serialized_flow=flow)["id"])


def _running(cloud: Filled, flow: str) -> str:
    run = str(cloud.change("create_flow_run", "id", flow_id=flow, flow_run_name="clever-crane")["id"])
    cloud.set_run(run, "Running")
    query = f'query {{ task_run(where: {{ flow_run_id: {{ _eq: "{run}" }} }}) {{ id task_id task {{ slug }} }} }}'
    tasks = {one["task"]["slug"]: one for one in cloud.ask(query)["task_run"]}
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


def main() -> int:
    """Write the pictures; return the exit code, which is 1 if one is too large."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        cloud = Filled(Path(folder, "cloud.db"))
        with cloud.server as cloud.url, sync_playwright() as playwright:
            run = fill(cloud)
            pages = {
                "home": "",
                "flow-run-log": f"/flow-run/{run}/logs",
                "flow-run-timeline": f"/flow-run/{run}/timeline",
            }
            browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
            page = browser.new_page(viewport=SIZE, color_scheme="light")
            for name, end in pages.items():
                page.goto(f"{cloud.url}/default{end}")
                page.screenshot(path=IMAGES / f"{name}.png")
            browser.close()
    large = [path.name for path in IMAGES.glob("*.png") if path.stat().st_size > MOST_BYTES]
    print(f"Too large: {', '.join(large)}" if large else f"Written to {IMAGES}")
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
