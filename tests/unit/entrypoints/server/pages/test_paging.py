"""Lists that are a page at a time: every one leads on and back, by what is in the address."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Final

import attrs
import pytest
from starlette.datastructures import QueryParams

from prefect.agent.entrypoints.server.pages import (
    agents,
    artifacts,
    flow_run,
    flows,
    keys,
    limits,
    paging,
    projects,
    run_list,
    stores,
    tenants,
    timeline,
    versions,
)
from support.embedded import Embedded, task_run
from support.page_browser import Browser, Shown

NUMBER: Final = 7
SIZE: Final = 3

Fill = Callable[[Embedded], str]
"""Makes what a list shows; returns the address of its page."""


@attrs.frozen(kw_only=True)
class Listed:
    """A list with pages.

    Attributes:
        module: Has its ``size``.
        rows: The element that each row is, and where: arguments of ``Shown.texts``.
        inside: The label of the links to other pages.
    """

    module: ModuleType
    fill: Fill
    size: str = "SHOWN"
    rows: tuple[str, Mapping[str, str]] = ("tr", {})
    label: str = "Pages"


def task_runs(cloud: Embedded) -> str:
    """Task runs, of which none has changed since."""
    return f"/default/flow-run/{cloud.run(cloud.flow(cloud.project(), tasks=NUMBER))}/task-runs"


def mapped(cloud: Embedded) -> str:
    """Children of a mapped task."""
    run = cloud.run(cloud.flow(cloud.project(), tasks=1))
    task = str(cloud.row("task_run", task_run(cloud, run), "task_id")["task_id"])
    for number in range(NUMBER):
        cloud.change("get_or_create_task_run", "id", flow_run_id=run, task_id=task, map_index=number)
    return f"/default/flow-run/{run}/timeline?open={task}"


def some_artifacts(cloud: Embedded) -> str:
    """Artifacts of one task run."""
    run = cloud.run(cloud.flow(cloud.project(), tasks=1))
    for number in range(NUMBER):
        given = {"task_run_id": task_run(cloud, run), "kind": f"kind {number}", "data": {"n": number}}
        cloud.change("create_task_run_artifact", "id", **given)
    return f"/default/flow-run/{run}/artifacts"


def some_versions(cloud: Embedded) -> str:
    """Versions of one flow."""
    project = cloud.project()
    flow = [cloud.flow(project, "sums", tasks=number) for number in range(NUMBER)][-1]
    return f"/default/flow/{flow}/versions"


def several(mutation: str, page: str, **given: object) -> Fill:
    """Send a mutation for each row."""

    def fill(cloud: Embedded) -> str:
        tenant = cloud.ask("{ tenant { id } }")["tenant"][0]["id"]
        for number in range(NUMBER):
            filled = {name: value.format(number) if isinstance(value, str) else value for name, value in given.items()}
            own = {} if mutation in {"create_tenant", "create_project"} else {"tenant_id": tenant}
            cloud.change(mutation, "success" if mutation == "set_secret" else "id", **filled, **own)
        return page

    return fill


def some_keys(cloud: Embedded) -> str:
    """Keys, without the first of which the others could not be made."""
    [tenant] = cloud.ask("{ tenant { id } }")["tenant"]
    with cloud.database.write() as tx:
        for number in range(NUMBER):
            tx.insert("auth_api_key", {"tenant_id": tenant["id"], "name": f"key {number}", "scope": "admin"})
    return "/default/settings/keys"


def some_flows(cloud: Embedded) -> str:
    """Flows of one project."""
    project = cloud.project()
    for number in range(NUMBER):
        cloud.flow(project, f"flow {number}")
    return "/default/flows"


def some_runs(cloud: Embedded) -> str:
    """Runs of one flow."""
    flow = cloud.flow(cloud.project())
    for number in range(NUMBER):
        cloud.run(flow, flow_run_name=f"run {number}")
    return "/default/flow-runs?name=run"


LISTS: Final[Mapping[str, Listed]] = {
    "flow runs": Listed(module=run_list, size="PAGE_SIZE", fill=some_runs),
    "task runs": Listed(module=flow_run, size="TASK_RUNS_SHOWN", fill=task_runs),
    "timeline": Listed(
        module=timeline,
        size="ROWS",
        fill=lambda cloud: task_runs(cloud).replace("task-runs", "timeline"),
        rows=("th", {"scope": "row"}),
    ),
    "children": Listed(
        module=timeline, size="CHILDREN", fill=mapped, rows=("tr", {"class_": "child"}), label="Pages of the children"
    ),
    "artifacts": Listed(module=artifacts, fill=some_artifacts, rows=("article", {})),
    "versions": Listed(module=versions, fill=some_versions, rows=("a", {"inside": "versions"})),
    "flows": Listed(module=flows, fill=some_flows),
    "projects": Listed(module=projects, fill=several("create_project", "/default/projects", name="p {}")),
    "values": Listed(
        module=stores,
        fill=several("set_key_value", "/default/settings/key-values?key=k", key="k" * 400 + "{}", value="{}"),
    ),
    "secrets": Listed(module=stores, fill=several("set_secret", "/default/settings/secrets", name="s {}", value="x")),
    "limits": Listed(
        module=limits,
        fill=several("update_flow_concurrency_limit", "/default/settings", label="l {}", limit=1),
        label="Pages of limits of flow runs",
    ),
    "tenants": Listed(
        module=tenants, fill=several("create_tenant", "/default/settings/tenants", name="t {}", slug="t-{}")
    ),
    "agents": Listed(
        module=agents, fill=several("register_agent", "/default/agents", type="DockerAgent", name="a {}", labels=[])
    ),
    "keys": Listed(module=keys, fill=some_keys),
}


def turn(browser: Browser, shown: Shown, way: str, one: Listed, path: str) -> tuple[Shown, str] | None:
    """Follow a link to another page; None if there is none."""
    found = [
        link.attrs["href"]
        for link in shown.all("a", rel=way)
        if any(parent.attrs.get("aria-label") == one.label for parent in link.parents)
    ]
    return (browser.get(path + found[0]), found[0]) if found else None


@pytest.mark.parametrize("name", LISTS)
def test_a_list_leads_on_and_back(
    name: str, cloud: Embedded, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row is on one page; the way back shows the same pages, and the first one leads no further."""
    one = LISTS[name]
    monkeypatch.setattr(one.module, one.size, SIZE)
    address = one.fill(cloud)
    path = address.partition("?")[0]
    tag, where = one.rows
    shown = browser.get(address)
    there = [shown.texts(tag, **where)]
    while turned := turn(browser, shown, "next", one, path):
        shown = turned[0]
        there.append(shown.texts(tag, **where))
    back = [there[-1]]
    while turned := turn(browser, shown, "prev", one, path):
        shown, query = turned
        back.insert(0, shown.texts(tag, **where))
        assert all(each in query for each in address.partition("?")[2].split("&"))  # the filters stay

    assert back == there
    assert len(there) >= NUMBER // SIZE
    heads = there[0][:1] if tag == "tr" and "class_" not in where else []
    once = [text for page in there for text in page if text not in heads]
    assert len(once) == len(set(once))


ROWS: Final = [{"id": f"{number}", "place": f"{number}"} for number in range(1, 8)]


def read(stretch: paging.Stretch) -> list[dict[str, str]]:
    """Rows 1 to 7, in ascending order."""
    found = ROWS[::-1] if stretch.is_back else ROWS
    if stretch.start:
        found = [
            row for row in found if (row["id"] < stretch.start[1] if stretch.is_back else row["id"] > stretch.start[1])
        ]
    return found[: stretch.most]


@pytest.mark.parametrize(
    ("query", "shown", "previous", "following"),
    [
        ("", "123", None, "?after=3~3"),
        ("after=3~3", "456", "?before=4~4", "?after=6~6"),
        ("after=6~6", "7", "?before=7~7", None),
        ("before=7~7", "456", "?before=4~4", "?after=6~6"),
        ("before=4~4", "123", None, "?after=3~3"),
        ("after=7~7", "123", None, "?after=3~3"),
        ("before=1~1&name=x", "123", None, "?name=x&after=3~3"),
        ("after=nothing", "123", None, "?after=3~3"),
    ],
)
def test_a_page_begins_at_a_row(query: str, shown: str, previous: str | None, following: str | None) -> None:
    """One beyond the end is the first one: its rows were deleted meanwhile."""
    found = paging.sheet(QueryParams(query), 3, read)

    assert "".join(row["id"] for row in found.rows) == shown
    assert (found.previous, found.next) == (previous, following)


@pytest.mark.parametrize(
    ("query", "shown", "previous", "following"),
    [
        ("", "abc", None, "?skip=3"),
        ("skip=3&x=1", "def", "?x=1", "?x=1&skip=6"),
        ("skip=6", "g", "?skip=3", None),
        ("skip=900", "g", "?skip=3", None),
        ("skip=-1", "abc", None, "?skip=3"),
        ("skip=" + "9" * 5000, "abc", None, "?skip=3"),
    ],
)
def test_a_list_that_is_read_whole_has_pages(
    query: str, shown: str, previous: str | None, following: str | None
) -> None:
    """A number beyond its end shows its last one."""
    found = paging.part(QueryParams(query), 3, "abcdefg")

    assert ("".join(found.rows), found.previous, found.next) == (shown, previous, following)


def test_a_list_of_nothing_has_one_page() -> None:
    """Whatever the address says."""
    assert paging.part(QueryParams("skip=3"), 3, ()) == paging.Sheet(rows=(), previous=None, next=None)


def test_who_deletes_a_row_stays_on_its_page(
    cloud: Embedded, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its filters; after the last row of a page, on the first one. Another page is not gone back to."""
    monkeypatch.setattr(stores, "SHOWN", SIZE)
    path = "/default/settings/key-values"
    for number in range(SIZE + 1):
        cloud.change("set_key_value", "id", key=f"k {number}", value=number)
    [following] = [link.attrs["href"] for link in browser.get(f"{path}?key=k").all("a", rel="next")]
    page = browser.get(path + following)
    [delete] = [form.attrs["action"] for form in page.all("form") if form.attrs.get("action", "").endswith("/delete")]
    token = {"form_token": page.all("input", name="form_token")[0].attrs["value"]}

    def then(came_from: str) -> str:
        row = cloud.change("set_key_value", "id", key="k 9", value=1)["id"]
        return browser.post(f"{path}/{row}/delete", token, referer=came_from).headers["location"]

    assert then(f"http://localhost:4200{path}{following}") == path + following
    assert [then(other) for other in ("", "http://localhost:4200/default/flows?name=x", "http://evil.example//x/")] == [
        path
    ] * 3
    browser.post(delete, token)
    assert browser.get(path + following).texts("td") == browser.get(f"{path}?key=k").texts("td") != []
