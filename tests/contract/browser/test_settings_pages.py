"""What of agents and settings needs a real browser: pages that follow agents, and the session of the first key."""

import pytest
from playwright.sync_api import expect

from support.remote_cloud import RemoteCloud

from .conftest import Windows

pytestmark = pytest.mark.browser


def register(remote: RemoteCloud, name: str) -> None:
    """An agent asks for the first time."""
    remote.change("register_agent", "id", type="DockerAgent", name=name, labels=["gpu"])


def test_an_agent_appears_by_itself(remote: RemoteCloud, windows: Windows) -> None:
    """And the runs that wait for one say so no longer."""
    remote.run(remote.flow(remote.project()), labels=["gpu"])
    page = windows.open("/default/agents")
    expect(page.get_by_text("No agent asks this tenant for work.")).to_be_visible()

    register(remote, "large")

    expect(page.get_by_role("cell", name="large DockerAgent")).to_be_visible()
    expect(page.get_by_text("No agent asks this tenant for work.")).to_have_count(0)


def test_a_question_stays_open_while_the_page_changes(remote: RemoteCloud, windows: Windows) -> None:
    """What a person is about to confirm is not taken away; once it is closed, the page catches up."""
    register(remote, "large")
    page = windows.open("/default/agents")
    question = page.locator("details.asked > summary")
    question.click()
    with page.expect_response(lambda answer: answer.url.endswith("/default/agents")):
        register(remote, "another")
    expect(page.get_by_text("Forget this agent?")).to_be_visible()

    question.click()

    expect(page.get_by_role("cell", name="another DockerAgent")).to_be_visible()


def test_the_browser_that_makes_the_first_key_stays_signed_in(windows: Windows) -> None:
    """The key is shown this once; another browser has to sign in."""
    windows.expected.append("error: Failed to load resource: the server responded with a status of 401")
    page = windows.open("/default/settings/keys")
    page.get_by_label("Name").fill("my laptop")
    page.get_by_role("button", name="Make").click()
    expect(page.get_by_role("status").filter(has_text="pak_")).to_be_visible()

    page.goto(f"{windows.url}/default/settings/keys")

    expect(page.get_by_role("cell", name="my laptop yours")).to_be_visible()
    assert "pak_" not in page.content()
    expect(windows.open("/default").get_by_role("heading", name="Sign in")).to_be_visible()
