"""The versions of a flow: what changed from each to the next."""

from typing import Any

import pytest

from prefect.agent.entrypoints.server.pages import versions
from prefect.agent.entrypoints.server.pages.version_changes import NAMED, Version, changes
from support.embedded import Embedded
from support.page_browser import Browser


def parameter(name: str, default: object = None, *, required: bool = False) -> dict[str, Any]:
    """A parameter as flows are registered with."""
    return {"name": name, "slug": name, "required": required, "default": default}


def version(**given: Any) -> Version:
    """A version, of which only what is given is not empty."""
    return Version(**{"parameters": [], "tasks": {}, "edges": frozenset(), "settings": {}, **given})


def test_each_version_says_what_changed(cloud: Embedded, browser: Browser) -> None:
    """The newest first; the first one has nothing to be compared with."""
    project = cloud.project()
    cloud.flow(project, "sums", tasks=2, parameters=[parameter("day", required=True)])
    storage = {"type": "Docker", "tag": "2"}
    newest: dict[str, Any] = {"tasks": 3, "parameters": [parameter("limit", 10)], "storage": storage}
    flow = [cloud.flow(project, "sums", **newest) for _ in range(2)][-1]

    shown = browser.get(f"/default/flow/{flow}/versions")

    assert [text[:9] for text in shown.texts("li") if text.startswith("Version")] == [
        "Version 3", "Version 2", "Version 1",
    ]  # fmt: skip
    assert "Nothing changed but the version." in shown.body
    assert "The first version." in shown.body
    assert [text for text in shown.texts("li") if text.startswith(("parameter", "tasks", "edges", "storage"))] == [
        "parameter limit added, default 10",
        "parameters removed: day",
        "tasks added: t-2",
        "edges added: t-1 → t-2",
        'storage: type "Local" → "Docker"; tag nothing → "2"',
    ]


def test_older_versions_are_on_further_pages(
    cloud: Embedded, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last version of a page is compared with the first one of the next."""
    monkeypatch.setattr(versions, "SHOWN", 2)
    project = cloud.project()
    flow = [cloud.flow(project, "sums", tasks=number) for number in range(1, 4)][-1]

    first = browser.get(f"/default/flow/{flow}/versions")
    second = browser.get(f"/default/flow/{flow}/versions{first.one('a', rel='next').attrs['href']}")

    assert "tasks added: t-1" in first.texts("li")
    assert "The first version." not in first.body
    assert "The first version." in second.body


def test_too_many_tasks_are_not_compared(cloud: Embedded, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part of them would tell of tasks removed that are there; everything else is compared."""
    monkeypatch.setattr(versions, "MOST_READ", 2)
    project = cloud.project()
    cloud.flow(project, "sums", tasks=1)
    flow = cloud.flow(project, "sums", tasks=3, parameters=[parameter("n", 1)])

    shown = browser.get(f"/default/flow/{flow}/versions")

    assert "too many tasks to be compared" in shown.body
    assert "tasks added" not in shown.body
    assert "parameter n added, default 1" in shown.texts("li")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ([parameter("n", 1)], [parameter("n", 2)], ["parameter n: default 1 → 2"]),
        ([parameter("n", 1)], [parameter("n", None, required=True)],
         ["parameter n: required", "parameter n: default 1 → null"]),
        ([parameter("n", required=True)], [parameter("n")], ["parameter n: no longer required"]),
        ([], [parameter("n", required=True)], ["parameter n added, required"]),
        (None, [1, {"slug": "x"}], []),
    ],
)  # fmt: skip
def test_parameters_are_compared_by_name(old: object, new: object, said: list[str]) -> None:
    """A flow may have been registered with anything."""
    assert changes(version(parameters=old), version(parameters=new)) == said


def test_settings_of_tasks_and_objects_are_compared_by_path() -> None:
    """What begins with two underlines is the serializer's own; a value that is no object is shown whole."""
    old = version(
        tasks={"load": {"max_retries": 0, "tags": ["a"]}},
        settings={"schedule": None, "run config": {"env": {"A": "1"}, "labels": ["x"], "__version__": "1"}},
    )
    new = version(
        tasks={"load": {"max_retries": 3, "tags": ["a"]}},
        settings={"schedule": {"clocks": []}, "run config": {"env": {"A": "2"}, "labels": [], "__version__": "2"}},
    )

    assert changes(old, new) == [
        "task load: max_retries 0 → 3",
        'schedule: null → {"clocks": []}',
        'run config: env.A "1" → "2"; labels ["x"] → []',
    ]


def test_a_great_change_is_told_in_part() -> None:
    """A page stays small, whatever a flow was registered with."""
    tasks = {f"t-{number:03}": {"name": "x" * 1000} for number in range(100)}
    deep: Any = 1
    for _ in range(500):
        deep = {"d": deep}

    said = changes(version(settings={"storage": {}}), version(tasks=tasks, settings={"storage": {"a": deep}}))

    assert said[0].endswith(f"and {100 - NAMED} more")
    assert all(len(line) < 1000 for line in said)


def test_a_flow_has_a_graph(cloud: Embedded, browser: Browser) -> None:
    """Its boxes say what kind of task each is; they lead nowhere."""
    flow = cloud.flow(cloud.project(), "sums", tasks=3)

    shown = browser.get(f"/default/flow/{flow}/graph")

    assert len(shown.all("path", class_="edge")) == 2
    assert [one.attrs["aria-label"].split(":")[0] for one in shown.all("g")] == ["t-0", "t-1", "t-2"]
    assert shown.all("a", inside="graph") == []
    assert "no tasks" in browser.get(f"/default/flow/{cloud.flow(cloud.project('other'), 'empty')}/graph").body
