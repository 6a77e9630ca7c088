"""The agent's status page with agents that execute real flows, as processes and in containers: all that it promises."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import docker
import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from support.real_prefect import FLOWS, RealPrefect
from support.status_boards import members, possible
from support.waiting import wait_until

from .conftest import Windows

pytestmark = [pytest.mark.browser, pytest.mark.real_prefect]

A_RUN: Final = 90_000
"""Milliseconds that a run may take on a busy machine."""

STEPS: Final = ("poll", "claim", "create", "watch", "sweep", "report")

Words = tuple[str, ...]


@pytest.fixture
def client(prefect_python: Path, url: str, tmp_path: Path) -> RealPrefect:
    """The real client."""
    return RealPrefect(prefect_python, url, tmp_path, {"PREFECT_AGENT_RUNTIME_DIRECTORY": str(tmp_path / "run")})


@contextmanager
def agent_page(client: RealPrefect, chromium: Browser, *words: str) -> Iterator[Page]:
    """The page of an agent that is started so; nothing may have been complained of at the end."""
    words = (*words, "--name", "ann", "--limit", "3", "--agent-address", "http://127.0.0.1:0")

    def served() -> re.Match[str] | None:
        return re.search(r"Health is served at (\S+)", client.agent_log())

    with client.agent("start", *words):
        wait_until(lambda: served() is not None, 60, what="the agent serves its page")
        found = served()
        assert found is not None
        with closing(Windows(chromium, found[1])) as windows:
            yield windows.open()
            assert windows.unexpected() == []


def look_at_a_run(page: Page, client: RealPrefect, runs: list[str], remedy: str) -> dict[str, object]:
    """Two runs: one that is executed, and one that this platform cannot execute; each part of the page."""
    page.evaluate("window.mark = 'not reloaded'")
    unit = page.locator("#units tr", has_text="goes well")
    expect(unit.locator("td").nth(2)).to_have_text(re.compile("created|running"), timeout=A_RUN)
    expect(unit).to_contain_text("released")
    expect(unit.locator("time")).to_be_visible()
    expect(page.locator("#slots-text")).to_have_text(re.compile("[12] of 3 in use."))
    row = page.locator("#runs tr", has_text="goes well")
    expect(row.locator(".state")).to_have_text("executing", timeout=A_RUN)
    expect(page.locator("#runs tr", has_text="goes wrong").locator(".state")).to_have_text(
        re.compile("failed|Failed"), timeout=A_RUN
    )
    facts = facts_of(page)
    (client.home / "release").touch()
    expect(row.locator(".state")).to_have_text(re.compile("ended|Success"), timeout=A_RUN)
    expect(row.locator("svg")).to_have_attribute("aria-label", re.compile("create .*, execut"))
    expect(page.locator("#problems")).to_contain_text(re.compile(remedy))
    for step in STEPS:
        expect(page.locator("#steps li", has=page.get_by_text(step, exact=True)).locator(".when")).not_to_have_text(
            "not yet", timeout=A_RUN
        )
    expect(page.locator("#rates figure", has_text="Claimed").locator("b")).to_have_text("2")
    expect(page.locator("#rates figure svg")).to_have_count(8)
    expect(page.locator("#about")).to_contain_text(re.compile(r"up \d.*Cloud http://127.0.0.1:\d+, answered in "))
    assert page.evaluate("window.mark") == "not reloaded"
    assert client.states(runs) == ["Success", "Failed"]
    return facts


def released(client: RealPrefect) -> dict[str, str]:
    """The parameters of a run: it ends once this file is there."""
    return {"path": str(client.home / "release")}


def facts_of(page: Page) -> dict[str, object]:
    """The document for machines, of the same agent; every member of it is documented."""
    facts: dict[str, object] = requests.get(page.url.rstrip("/") + "/status.json", timeout=30).json()
    assert members(facts) <= possible()
    assert facts["version"] == 1
    return facts


def test_a_process_agent_tells_all(client: RealPrefect, chromium: Browser, prefect_python: Path) -> None:
    """Identity, steps, slots, units, runs, what went wrong and what to do, rates; and the same for machines."""
    flow = client.register("released")
    with agent_page(client, chromium, "process", "--interpreter", str(prefect_python)) as page:
        expect(page.locator("#agent")).to_contain_text("process:")
        good = client.create_run(flow, flow_run_name="goes well", parameters=released(client))
        bad = client.create_run(
            flow, flow_run_name="goes wrong", run_config={"type": "DockerRun"}, parameters=released(client)
        )
        facts = look_at_a_run(page, client, [good, bad], "DockerRun")

    assert isinstance(facts["agent"], dict)
    assert (facts["agent"]["type"], facts["agent"]["platform"]) == ("ProcessAgent", "process")


@pytest.mark.docker
def test_a_docker_agent_tells_all(client: RealPrefect, chromium: Browser, flow_image: str) -> None:
    """Likewise, with containers, and an image that cannot be pulled."""
    flow = client.register("released")
    volumes = ("--volume", f"{FLOWS}:{FLOWS}:ro", "--volume", f"{client.home}:{client.home}:ro")
    cloud = f"PREFECT__CLOUD__API={client.url}"
    words = ("docker", "--no-pull", "--network", "host", *volumes, "--env", cloud)
    runs: list[str] = []
    try:
        with agent_page(client, chromium, *words) as page:
            expect(page.locator("#agent")).to_contain_text("docker:")
            for name, image in (("goes well", flow_image), ("goes wrong", "127.0.0.1:1/no-such-image:1")):
                config: dict[str, object] = {"type": "DockerRun", "image": image, "env": None, "labels": []}
                runs.append(client.create_run(flow, flow_run_name=name, run_config=config, parameters=released(client)))
            facts = look_at_a_run(page, client, runs, "no-such-image")
    finally:
        remove_containers(runs)

    assert isinstance(facts["agent"], dict)
    assert (facts["agent"]["type"], facts["agent"]["platform"]) == ("DockerAgent", "docker")


def remove_containers(runs: list[str]) -> None:
    """Remove what these flow runs left in the engine."""
    with closing(docker.from_env()) as client:
        for run in runs:
            for container in client.containers.list(all=True, filters={"label": f"io.prefect.flow-run-id={run}"}):
                container.remove(force=True)
