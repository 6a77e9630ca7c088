"""Projects: the page that makes, changes and deletes them."""

import pytest

from support.embedded import Embedded
from support.page_browser import Browser, Shown

PROJECTS = "/default/projects"


def send(browser: Browser, action: str, /, **fields: str) -> Shown:
    """Fill in and send a form of the page."""
    return browser.submit(browser.get(PROJECTS), action, fields)


def test_a_project_is_made_renamed_and_described(cloud: Embedded, browser: Browser) -> None:
    """Its flows stay in it."""
    assert send(browser, PROJECTS, name="sales", description="").status == 303
    [project] = cloud.ask("query { project { id } }")["project"]
    cloud.flow(project["id"], "sums")
    send(browser, f"/default/project/{project['id']}", name="Sales", description="Money")

    assert cloud.row("project", project["id"], "name description") == {"name": "Sales", "description": "Money"}
    assert browser.get(PROJECTS).texts("td", class_="number") == ["1"]
    assert browser.get(PROJECTS).texts("p", class_="note") == ["Money"]
    assert "sums" in browser.get(f"/default/flows?project={project['id']}").texts("a")


def test_deleting_a_project_says_how_many_flows_go_with_it(cloud: Embedded, browser: Browser) -> None:
    """Versions of one flow count once; other projects stay."""
    project, other = cloud.project("sales"), cloud.project("other")
    for name in ("sums", "sums", "forecast"):
        cloud.flow(project, name)
    assert "Delete this project with its 2 flows, their runs and logs?" in browser.get(PROJECTS).body

    send(browser, f"/default/project/{project}/delete")

    assert cloud.ask("query { project { id } flow { id } }") == {"project": [{"id": other}], "flow": []}


@pytest.mark.parametrize(("name", "words"), [("other", "There is a project with this name."), (" ", "empty")])
def test_a_name_that_is_refused_changes_nothing(cloud: Embedded, browser: Browser, name: str, words: str) -> None:
    """The reason is on the page."""
    project = cloud.project("sales")
    cloud.project("other")

    made = send(browser, PROJECTS, name=name, description="kept")
    renamed = send(browser, f"/default/project/{project}", name=name, description="kept, too")

    assert [one.status for one in (made, renamed)] == [422, 422]
    assert all(words in one.one("p", role="alert").text for one in (made, renamed))
    assert "kept" in [one.attrs["value"] for one in made.all("input", name="description")]
    assert "kept, too" in [one.attrs["value"] for one in renamed.all("input", name="description")]
    assert cloud.row("project", project, "name") == {"name": "sales"}


def test_a_project_of_another_tenant_is_not_there(cloud: Embedded, browser: Browser) -> None:
    """Its id names nothing here."""
    cloud.change("create_tenant", "id", name="Other", slug="other")
    project = cloud.project("sales")
    token = browser.get(PROJECTS).all("input", name="form_token")[0].attrs["value"]

    answer = browser.post(f"/other/project/{project}/delete", {"form_token": token})

    assert answer.status == 404
    assert cloud.row("project", project, "name") == {"name": "sales"}


def test_without_a_project_the_flows_page_leads_to_them(cloud: Embedded, browser: Browser) -> None:
    """Registering a flow needs one."""
    assert "Make a project" in browser.get("/default/flows").texts("p", class_="none")[0]
    cloud.project()
    assert "Make a project" not in browser.get("/default/flows").body
