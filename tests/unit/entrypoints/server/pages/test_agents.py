"""The page of agents: who asks, what each runs, which waiting runs it could take, and which no agent can."""

import pytest

from prefect.agent.entrypoints.server.pages import agents
from support.embedded import Embedded
from support.page_browser import Browser


def register(cloud: Embedded, name: str, *labels: str, asked: str = "") -> str:
    """The id of an agent that has asked now, or at a time."""
    given = {"type": "DockerAgent", "name": name, "labels": list(labels)}
    found = str(cloud.change("register_agent", "id", {"x-prefect-core-version": "1.4.1"}, **given)["id"])
    if asked:
        cloud.database._connection.execute("UPDATE agent SET last_queried = ? WHERE id = ?", [asked, found])
    return found


def row(browser: Browser, name: str) -> str:
    """An agent's row of the table."""
    [found] = [text for text in browser.get("/default/agents").texts("tr") if text.startswith(name)]
    return found


def test_an_agent_shows_what_it_is_and_what_it_runs(cloud: Embedded, browser: Browser) -> None:
    """A run belongs to the agent that claimed it until it has ended."""
    agent = register(cloud, "large", "gpu")
    flow = cloud.flow(cloud.project())
    for name, state in (("mine", "Submitted"), ("done", "Success")):
        run = cloud.run(flow, flow_run_name=name, labels=["gpu"])
        cloud.set_state(run, state)
        cloud.database._connection.execute("UPDATE flow_run SET agent_id = ? WHERE id = ?", [agent, run])

    text = row(browser, "large")

    assert all(word in text for word in ("DockerAgent", "gpu", "1.4.1", "Submitted", "mine"))
    assert "done" not in text
    assert "silent" not in text


def test_an_agent_that_has_not_asked_for_a_minute_is_silent(cloud: Embedded, browser: Browser) -> None:
    """It is said in words, not by a colour alone."""
    register(cloud, "old", asked="2026-01-01T00:00:00+00:00")

    assert "silent" in row(browser, "old")


def test_waiting_runs_are_counted_for_agents_that_could_take_them(cloud: Embedded, browser: Browser) -> None:
    """An agent takes runs all of whose labels it has; one without labels takes runs without any."""
    flow = cloud.flow(cloud.project())
    register(cloud, "large", "gpu", "vm")
    register(cloud, "plain")
    for labels in (["gpu"], ["gpu", "vm"], []):
        cloud.run(flow, labels=labels)
    cloud.run(flow, labels=["gpu"], scheduled_start_time="2999-01-01T00:00:00Z")

    assert " 2 1.4.1" in row(browser, "large")
    assert " 1 1.4.1" in row(browser, "plain")
    assert row(browser, "gpu 1 1 large")
    assert row(browser, "none 1 0 plain")


def test_runs_that_no_agent_takes_say_so(cloud: Embedded, browser: Browser) -> None:
    """By the rules of ``why``, with the command that starts an agent which does."""
    register(cloud, "plain")
    cloud.run(cloud.flow(cloud.project()), labels=["gpu"])

    text = row(browser, "gpu 1 0")

    assert "No agent takes its labels: gpu." in text
    assert "prefect agent start --label gpu" in text


def test_runs_whose_agents_are_silent_say_so(cloud: Embedded, browser: Browser) -> None:
    """An agent that would take them does not count unless it asks."""
    register(cloud, "large", "gpu", asked="2026-01-01T00:00:00+00:00")
    cloud.run(cloud.flow(cloud.project()), labels=["gpu"])

    assert "No agent asks this tenant for work." in row(browser, "gpu 1 0")


def test_an_agent_is_forgotten_when_it_is_deleted(cloud: Embedded, browser: Browser) -> None:
    """The form asks first; an agent of another tenant is not there."""
    agent = register(cloud, "large")
    address = f"/default/agent/{agent}/delete"
    shown = browser.get("/default/agents")
    cloud.change("create_tenant", "id", name="Second", slug="second")

    token = shown.all("input", name="form_token")[0].attrs["value"]
    assert browser.post(f"/second/agent/{agent}/delete", {"form_token": token}).status == 404
    assert browser.submit(shown, address).headers["location"] == "/default/agents"
    assert cloud.ask("query { agent { id } }")["agent"] == []


def test_many_runs_of_an_agent_are_cut_short(
    cloud: Embedded, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is a number."""
    monkeypatch.setattr(agents, "RUNS_SHOWN", 1)
    agent, flow = register(cloud, "large"), cloud.flow(cloud.project())
    for _ in range(3):
        cloud.set_state(cloud.run(flow), "Running")
    cloud.database._connection.execute("UPDATE flow_run SET agent_id = ?", [agent])

    assert "and 2 more" in row(browser, "large")


def test_the_page_is_another_one_once_an_agent_asks(cloud: Embedded, browser: Browser) -> None:
    """So an open page is fetched again; pages about runs are left alone."""

    def seen(path: str, name: str) -> str:
        [found] = [one.attrs["data-seen"] for one in browser.get(path).elements if one.attrs.get("id") == name]
        return found

    before = seen("/default/agents", "agents"), seen("/default/flow-runs", "runs")
    register(cloud, "large")
    after = seen("/default/agents", "agents"), seen("/default/flow-runs", "runs")

    assert after[0] != before[0]
    assert after[1] == before[1]
