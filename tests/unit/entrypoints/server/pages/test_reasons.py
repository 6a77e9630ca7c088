"""Why a flow run does not start, on its page and on the first one."""

from datetime import datetime, timedelta, timezone

import pytest

from prefect.agent.domain.times import iso
from support.embedded import Embedded
from support.page_browser import Browser, Shown


def agent(cloud: Embedded, name: str, *labels: str) -> None:
    """An agent that has just asked for work."""
    cloud.change("register_agent", "id", type="DockerAgent", name=name, labels=list(labels))


def why(browser: Browser, run: str) -> Shown:
    """The run's overview."""
    return browser.get(f"/default/flow-run/{run}")


def stops(shown: Shown) -> list[str]:
    """What the page names as keeping the run."""
    return [text.removeprefix("Stops it: ") for text in shown.texts("p") if text.startswith("Stops it: ")]


@pytest.fixture
def flow(cloud: Embedded) -> str:
    """A flow in an image's file, whose labels name no machine."""
    return cloud.flow(cloud.project(), storage={"type": "Docker"})


def test_labels_that_no_agent_has_are_named(cloud: Embedded, browser: Browser, flow: str) -> None:
    """With the agents that there are, what each lacks, and the command that starts one which fits."""
    agent(cloud, "small", "cpu")
    shown = why(browser, cloud.run(flow, labels=["gpu"]))

    assert stops(shown) == ["No agent takes its labels: gpu."]
    assert [row.split()[:3] for row in shown.texts("tr", inside="overview")[1:]] == [["small", "DockerAgent", "cpu"]]
    assert "prefect agent start --label gpu" in shown.texts("code")


def test_a_run_that_an_agent_can_take_has_nothing_against_it(cloud: Embedded, browser: Browser, flow: str) -> None:
    """The card says so, and names the agent."""
    agent(cloud, "large", "gpu")
    shown = why(browser, cloud.run(flow, labels=["gpu"]))

    assert stops(shown) == []
    assert "Nothing keeps it from starting" in shown.texts("h2")
    assert "Well: An agent that takes its labels asks for work: large." in shown.texts("p")


def test_a_full_limit_names_the_runs_that_hold_its_places(cloud: Embedded, browser: Browser, flow: str) -> None:
    """The message is the Cloud's own."""
    cloud.change("update_flow_concurrency_limit", "id", label="gpu", limit=1)
    first, second = (cloud.run(flow, labels=["gpu"], flow_run_name=name) for name in ("first", "second"))
    cloud.set_state(first, "Running")
    cloud.set_state(second, "Running")

    [sentence] = [text for text in stops(why(browser, second)) if "limit" in text]

    assert "concurrency limit: gpu" in sentence
    assert sentence.endswith("The places are held by first.")


@pytest.mark.parametrize("state", ["Submitted", "Running", "Success"])
def test_a_run_that_does_not_wait_has_no_such_card(cloud: Embedded, browser: Browser, flow: str, state: str) -> None:
    """Its state says how far it is."""
    run = cloud.run(flow)
    cloud.set_state(run, state)

    assert not why(browser, run).all("h2", id="why")


def test_the_first_page_says_why_runs_are_late(cloud: Embedded, browser: Browser, flow: str) -> None:
    """Each with its own reason; a paused one, whose start is far away, is late by the time it was made for."""
    before = {"scheduled_start_time": iso(datetime.now(timezone.utc) - timedelta(minutes=5))}
    cloud.run(flow, flow_run_name="unserved", labels=["gpu"], **before)
    later = iso(datetime.now(timezone.utc) + timedelta(days=3650))
    cloud.set_state(cloud.run(flow, flow_run_name="held", **before), "Paused", message="Approve me.", start_time=later)
    agent(cloud, "plain")

    rows = browser.get("/").texts("tr")

    assert any("unserved" in row and "No agent takes its labels: gpu." in row for row in rows)
    assert any("held" in row and "It is paused. Approve me." in row for row in rows)
