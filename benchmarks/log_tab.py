"""What a log tab costs while it is written to: ``python benchmarks/log_tab.py [lines a second]`` (10000).

In turns, within one run: no lines are written; lines are written and no tab is open; lines are written into a log tab
that is open in a real Chromium. Each time another client asks for what agents and people ask for. Server, writer,
browser and that client are processes of their own and share the machine's cores; the browser, which is another
machine's in life, gives way to the others (``nice``).
"""

import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import requests
from playwright.sync_api import Page, sync_playwright
from seeding import seed
from server import Served, served

ROUNDS: Final = 3
SECONDS: Final = 6.0
BATCH: Final = 500
RUNS: Final = 1000
CHROMIUM: Final = os.environ.get("CHROMIUM", "/usr/bin/chromium")

ASKED: Final = {
    "an agent's query": '{ flow_run(limit: 20) { id name state } }',
    "a page": "/default/flows",
}  # fmt: skip

_TIMERS: Final = """() => {
    window.blocked = [];
    let last = performance.now();
    setInterval(() => {
        const now = performance.now();
        window.blocked.push(Math.max(0, now - last - 50));
        last = now;
    }, 50);
}"""
"""How much too late a timer of the page is: as long as its thread was busy."""


def write(url: str, run: str, rate: int, end: float, written: Any) -> None:
    """Write *rate* lines a second until *end*, each with the time at which it was written."""
    document = "mutation($input: write_run_logs_input!) { write_run_logs(input: $input) { success } }"
    same = {"flow_run_id": run, "name": "prefect", "level": "INFO"}
    due = time.time()
    with requests.Session() as http:
        while time.time() < end:
            lines = [
                {
                    **same,
                    "timestamp": datetime.now(timezone.utc).isoformat(),
                    "message": f"line {n} of a task that tells a lot [{time.time():.3f}]",
                }
                for n in range(BATCH)
            ]
            answer = http.post(url, json={"query": document, "variables": {"input": {"logs": lines}}}, timeout=60)
            assert answer.json().get("errors") is None, answer.text
            written.value += BATCH
            due += BATCH / rate
            time.sleep(max(0.0, due - time.time()))


def ask(url: str, end: float, found: Any) -> None:
    """Ask again and again until *end*; milliseconds of each answer, by what was asked."""
    times: dict[str, list[float]] = {name: [] for name in ASKED}
    with requests.Session() as http:
        while time.time() < end:
            for name, what in ASKED.items():
                start = time.perf_counter()
                if what.startswith("/"):
                    answer = http.get(url + what, timeout=60)
                else:
                    answer = http.post(url, json={"query": what}, timeout=60)
                assert answer.status_code == 200
                times[name].append((time.perf_counter() - start) * 1e3)
                time.sleep(0.02)
    found.put(times)


@contextmanager
def others(url: str, seconds: float) -> Iterator[dict[str, list[float]]]:
    """Another client for so long; its times are there at the end of the block."""
    queue: Any = multiprocessing.Queue()
    times: dict[str, list[float]] = {}
    process = multiprocessing.Process(target=ask, args=(url, time.time() + seconds, queue))
    process.start()
    yield times
    times.update(queue.get(timeout=seconds + 60))
    process.join()


@contextmanager
def writing(url: str, run: str, rate: int, seconds: float) -> Iterator[Any]:
    """A writer for so long; what it has written."""
    written = multiprocessing.Value("i", 0)
    process = multiprocessing.Process(target=write, args=(url, run, rate, time.time() + seconds, written))
    process.start()
    yield written
    process.join()


@contextmanager
def share(pid: int, found: list[float]) -> Iterator[None]:
    """Add the share of a core that a process used meanwhile to *found*."""
    start, before = time.monotonic(), _seconds(pid)
    yield
    found.append((_seconds(pid) - before) / (time.monotonic() - start))


def _seconds(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def use(page: Page, end: float) -> dict[str, list[float]]:
    """Use a log tab until *end*: milliseconds that a click takes, and how old the newest line is that is seen."""
    found: dict[str, list[float]] = {"a click": [], "age of the newest line": []}
    page.evaluate(_TIMERS)
    menu = page.locator("summary", has_text="Rename")
    while time.time() < end:
        start = time.perf_counter()
        menu.click()
        menu.click()
        found["a click"].append((time.perf_counter() - start) * 500)
        text = page.evaluate("document.getElementById('lines').lastElementChild?.textContent ?? ''")
        stamp = re.search(r"\[([\d.]+)\]", text)
        if stamp:
            found["age of the newest line"].append((time.time() - float(stamp[1])) * 1e3)
        page.wait_for_timeout(250)
    found["too late"] = page.evaluate("window.blocked")
    return found


def show(name: str, times: Sequence[float], usual: float | None = None) -> float:
    """Print a row; return its median."""
    median, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
    ratio = f"   {median / usual:4.1f} times the usual" if usual else ""
    print(f"    {name:<26} p50 {median:7.1f} ms   p95 {p95:7.1f} ms   max {max(times):7.1f} ms{ratio}")
    return median


def merged(several: Sequence[dict[str, list[float]]]) -> dict[str, list[float]]:
    """All rounds together."""
    return {name: [each for one in several for each in one[name]] for name in several[0]}


def measure(server: Served, run: str, rate: int, page: Page) -> None:
    """Print what others and the viewer of the log wait for."""
    url = f"http://127.0.0.1:{server.port}"
    idle, unseen, seen, tab, counts = [], [], [], [], []
    shares: dict[str, list[float]] = {"lines are written": [], "into an open tab": []}
    for _ in range(ROUNDS):
        page.goto("about:blank")
        with others(url, SECONDS) as times:
            pass
        idle.append(times)
        with (
            share(server.pid, shares["lines are written"]),
            writing(url, run, rate, SECONDS),
            others(url, SECONDS) as times,
        ):
            pass
        unseen.append(times)
        page.goto(f"{url}/default/flow-run/{run}/logs")
        with (
            share(server.pid, shares["into an open tab"]),
            writing(url, run, rate, SECONDS) as written,
            others(url, SECONDS) as times,
        ):
            tab.append(use(page, time.time() + SECONDS - 0.5))
        seen.append(times)
        counts.append(written.value / SECONDS)
    usual: dict[str, float] = {}
    for title, rounds in {"usually": idle, "lines are written": unseen, "into an open tab": seen}.items():
        print(f"  others, {title}")
        for name, times in merged(rounds).items():
            median = show(name, times, usual.get(name))
            usual.setdefault(name, median)
    for title, several in shares.items():
        print(f"  the server, {title}: {statistics.mean(several):.0%} of a core")
    print(f"  the tab, at {statistics.mean(counts):.0f} lines a second")
    for name, times in merged(tab).items():
        show(name, times)
    print(f"    lines in the page          {page.locator('#lines li').count()}")


def main(rate: int) -> None:
    """Measure with *rate* lines a second."""
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder, "cloud.db")
        run = seed(path, RUNS).running[0]
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        nice = Path(folder, "chromium")
        nice.write_text(f'#!/bin/sh\nexec nice -n 19 "{CHROMIUM}" "$@"\n', encoding="ascii")
        nice.chmod(0o755)
        browser = playwright.chromium.launch(executable_path=nice, args=arguments)
        with served(path) as server:
            measure(server, run, rate, browser.new_page())
        browser.close()


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["10000"])[0]))
