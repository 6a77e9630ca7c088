"""Artifacts of a flow run."""

import pytest

from prefect.agent.entrypoints.server.pages import artifacts
from prefect.agent.entrypoints.server.pages.artifacts import text_of
from support.embedded import Embedded, task_run
from support.page_browser import Browser

EVIL = "<script>alert(1)</script>[x](javascript:alert(2))"


@pytest.fixture
def run(cloud: Embedded) -> str:
    """A run with one task."""
    return cloud.run(cloud.flow(cloud.project(), tasks=1))


def attach(cloud: Embedded, run: str, kind: str, data: object) -> None:
    """Attach an artifact to the run's task."""
    cloud.change("create_task_run_artifact", "id", task_run_id=task_run(cloud, run), kind=kind, data=data)


def test_links_and_markdown_are_text(cloud: Embedded, browser: Browser, run: str) -> None:
    """Nothing that a task attached becomes an element or a link; anything else is shown as JSON."""
    attach(cloud, run, "link", {"link": "javascript:alert(1)"})
    attach(cloud, run, "markdown", {"markdown": f"# Head\n{EVIL}"})
    attach(cloud, run, EVIL, {"rows": [1, EVIL]})

    shown = browser.get(f"/default/flow-run/{run}/artifacts")

    assert [one.text for one in shown.all("pre")][:2] == ["javascript:alert(1)", f"# Head\n{EVIL}"]
    assert '"rows"' in shown.all("pre")[2].text
    assert len(shown.all("script")) == 1  # ours
    assert not [link for link in shown.links() if "javascript" in link]
    assert f"/default/flow-run/{run}/logs?task_run={task_run(cloud, run)}" in shown.links()


def test_artifacts_are_paged(cloud: Embedded, browser: Browser, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page begins where the last one ended; a run without any says so."""
    address = f"/default/flow-run/{run}/artifacts"
    assert "No artifacts" in browser.get(address).body
    for number in range(3):
        attach(cloud, run, "link", {"link": f"number {number}"})
    monkeypatch.setattr(artifacts, "SHOWN", 2)

    first = browser.get(address)
    second = browser.get(address + first.one("a", rel="next").attrs["href"])

    assert first.texts("pre") == ["number 0", "number 1"]
    assert second.texts("pre") == ["number 2"]


@pytest.mark.parametrize("content", [None, 1, ["a"], {}, {"a": "b", "c": "d"}, {"a": 1}])
def test_what_is_no_text_has_no_text(content: object) -> None:
    """It is shown as JSON."""
    assert text_of(content) is None
