"""A flow's page, and the form that creates a run."""

from datetime import datetime, timezone
from typing import Any

import pytest

from prefect.agent.entrypoints.server.pages.parameters import (
    DATE,
    JSON,
    NUMBER,
    TEXT,
    NotRight,
    form_fields,
    read_object,
    read_parameters,
)
from support.embedded import Embedded
from support.page_browser import Browser, Shown

PARAMETERS = [
    {"name": "limit", "slug": "limit", "required": False, "default": 10},
    {"name": "day", "slug": "day", "required": True, "default": None},
    {"name": "region", "slug": "region", "required": False, "default": "europe"},
]


@pytest.fixture
def flow(cloud: Embedded) -> str:
    """A flow with three parameters, one of them required."""
    return cloud.flow(cloud.project(), "sums", parameters=PARAMETERS)


def form_of(flow: str) -> str:
    """The address of the form."""
    return f"/default/flow/{flow}/run"


def created(cloud: Embedded, answer: Shown, columns: str) -> dict[str, Any]:
    """The run that a form created."""
    assert answer.status == 303, answer.body
    return cloud.row("flow_run", answer.headers["location"].rpartition("/")[2], columns)


def test_a_flow_is_found_by_its_id_and_by_its_groups(cloud: Embedded, browser: Browser, flow: str) -> None:
    """Links of either kind are printed; a group means the newest version."""
    project = cloud.row("flow", flow, "project_id flow_group_id")
    newer = cloud.flow(project["project_id"], "sums", parameters=PARAMETERS)

    assert "archived" in " ".join(browser.get(f"/default/flow/{flow}").texts("header"))
    shown = browser.get(f"/default/flow/{project['flow_group_id']}")
    assert form_of(newer) in shown.links()
    assert form_of(flow) not in shown.links()


def test_the_form_shows_defaults_and_marks_what_is_required(browser: Browser, flow: str) -> None:
    """Required parameters come first; what is neither text, number nor boolean is JSON."""
    shown = browser.get(form_of(flow))

    areas = [one for one in shown.all("textarea") if one.attrs["name"].startswith("p:")]
    assert [(one.attrs["name"], one.text, "required" in one.attrs) for one in areas] == [
        ("p:day", "", True), ("p:limit", "10", False), ("p:region", "europe", False),
    ]  # fmt: skip


def test_a_run_is_created_as_the_form_says(cloud: Embedded, browser: Browser, flow: str) -> None:
    """Parameters of their types, labels, name, context; without a start time it is due at once."""
    fields = {
        "p:day": '{"n": 1}',
        "p:limit": "20",
        "k:limit": "text",
        "labels": "b, a",
        "name": "my run",
        "context": '{"c": 1}',
    }

    answer = browser.submit(browser.get(form_of(flow)), form_of(flow), fields)

    run = created(cloud, answer, "name labels parameters context state")
    assert run == {
        "name": "my run",
        "labels": ["a", "b"],
        "parameters": {"day": {"n": 1}, "limit": "20", "region": "europe"},
        "context": {"c": 1},
        "state": "Scheduled",
    }


def test_a_form_that_is_sent_twice_creates_one_run(cloud: Embedded, browser: Browser, flow: str) -> None:
    """Each form has an idempotency key of its own."""
    shown = browser.get(form_of(flow))

    once, twice = (browser.submit(shown, form_of(flow), {"p:day": "1"}).headers["location"] for _ in range(2))
    other = browser.submit(browser.get(form_of(flow)), form_of(flow), {"p:day": "1"}).headers["location"]

    assert once == twice != other


def test_a_start_time_is_of_the_viewers_zone(cloud: Embedded, browser: Browser, flow: str) -> None:
    """The browser says how far its zone is behind UTC; without JavaScript the field is UTC, as its label says."""
    fields = {"p:day": "1", "start": "later", "start_time": "2999-06-01T12:00", "zone": "-120"}

    answer = browser.submit(browser.get(form_of(flow)), form_of(flow), fields)

    found = created(cloud, answer, "scheduled_start_time")["scheduled_start_time"]
    assert datetime.fromisoformat(found) == datetime(2999, 6, 1, 10, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"p:day": "monday"}, "The parameter day is not JSON"),
        ({"p:day": ""}, "Required parameters were not supplied: day"),
        ({"p:day": "1", "context": "[]"}, "The context must be a JSON object"),
        ({"p:day": "NaN"}, "The parameter day is not JSON"),
        ({"p:day": "1e999"}, "The parameter day is not JSON"),
        ({"p:day": "true", "k:day": "number"}, "The parameter day is not a number"),
        ({"p:day": "[" * 100_000}, "The parameter day is not JSON"),
        ({"p:day": "1", "start": "later", "start_time": "soon"}, "not a time"),
        ({"p:day": "1", "start": "later", "start_time": ""}, "Say at which time"),
        ({"p:day": "1", "start": "later", "start_time": "2999-01-01T00:00", "zone": "9" * 30}, "not a time"),
    ],
)
def test_what_was_filled_in_stays_when_it_is_refused(
    cloud: Embedded, browser: Browser, flow: str, fields: dict[str, str], words: str
) -> None:
    """The form comes back with the reason, and no run was created."""
    answer = browser.submit(browser.get(form_of(flow)), form_of(flow), {**fields, "name": "kept", "p:limit": "7"})

    assert answer.status == 422
    assert words in answer.one("p", role="alert").text
    assert answer.one("input", name="name").attrs["value"] == "kept"
    assert [one.text for one in answer.all("textarea") if one.attrs["name"] == "p:limit"] == ["7"]
    assert cloud.ask("query { flow_run { id } }")["flow_run"] == []


def test_run_again_with_changes_begins_with_the_runs_values(cloud: Embedded, browser: Browser, flow: str) -> None:
    """Of a run of this tenant; the new run is another one."""
    run = cloud.run(flow, parameters={"day": "x", "limit": 3}, labels=["gpu"], context={"c": 1})

    shown = browser.get(f"{form_of(flow)}?from={run}")
    answer = browser.submit(shown, f"{form_of(flow)}?from={run}", {"p:limit": "4"})

    made = created(cloud, answer, "id parameters labels context")
    assert made.pop("id") != run
    assert made == {"parameters": {"day": "x", "limit": 4, "region": "europe"}, "labels": ["gpu"], "context": {"c": 1}}
    assert browser.get(f"{form_of(flow)}?from=nothing").status == 404


def test_flows_are_listed_by_their_newest_version(cloud: Embedded, browser: Browser, flow: str) -> None:
    """One row each; the name narrows them down."""
    cloud.flow(cloud.row("flow", flow, "project_id")["project_id"], "sums", tasks=1)
    cloud.flow(cloud.project("other"), "clean-up")

    rows = browser.get("/default/flows").texts("tr")[1:]

    assert [row.split()[0] for row in rows] == ["sums", "clean-up"]
    assert len(browser.get("/default/flows?name=CLEAN").all("tr")) == 2


def test_all_that_is_wrong_is_told_beside_its_field(browser: Browser, flow: str) -> None:
    """Each field says what is wrong with it, and refers to the sentence."""
    fields = {"p:day": "{", "p:limit": "many", "run_config": "[]", "start": "later", "start_time": "soon"}

    answer = browser.submit(browser.get(form_of(flow)), form_of(flow), fields)

    wrong = {one.attrs["id"]: one.text for one in answer.all("p", class_="wrong")}
    assert [text.split(" is ")[0].split(" must ")[0] for text in wrong.values()] == [
        "The parameter day", "The parameter limit", "The start time", "The run config",
    ]  # fmt: skip
    marked = [one for one in answer.elements if one.attrs.get("aria-invalid") == "true"]
    assert [one.attrs["aria-describedby"] for one in marked] == list(wrong)


def test_a_boolean_is_chosen(cloud: Embedded, browser: Browser) -> None:
    """Of the two values that there are; a run that had another kind of value is run again with JSON."""
    flags = [{"name": "dry", "slug": "dry", "required": False, "default": True}]
    flow = cloud.flow(cloud.project(), "flags", parameters=flags)
    shown = browser.get(form_of(flow))
    assert [one.text for one in shown.all("option")][:2] == ["true", "false"]

    answer = browser.submit(shown, form_of(flow), {"p:dry": "false"})

    run = created(cloud, answer, "id parameters")
    assert run["parameters"] == {"dry": False}
    other = cloud.run(flow, parameters={"dry": None})
    assert browser.get(f"{form_of(flow)}?from={other}").one("textarea", name="p:dry").text == "null"


def test_defaults_of_all_versions_are_set(cloud: Embedded, browser: Browser, flow: str) -> None:
    """New runs have them; what is left empty is as the version was registered."""
    page, action = f"/default/flow/{flow}", f"/default/flow/{flow}/defaults"
    fields = {"labels": "gpu, eu", "parameters": '{"day": "monday"}', "run_config": '{"type": "DockerRun"}'}

    assert browser.submit(browser.get(page), action, fields).status == 303

    run = cloud.row("flow_run", cloud.run(flow), "labels parameters run_config")
    assert run["labels"] == ["eu", "gpu"]
    assert run["parameters"] == {"day": "monday", "limit": 10, "region": "europe"}
    assert run["run_config"] == {"type": "DockerRun"}
    browser.submit(browser.get(page), action, {"labels": "", "parameters": "", "run_config": ""})
    group = cloud.row("flow", flow, "flow_group { labels default_parameters run_config }")["flow_group"]
    assert group == {"labels": None, "default_parameters": {}, "run_config": None}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"parameters": "[1]", "run_config": "x"}, ["parameters-wrong", "run_config-wrong"]),
        ({"run_config": '{"image": "x"}'}, ["run_config-wrong"]),
    ],
)
def test_defaults_that_are_refused_change_nothing(
    cloud: Embedded, browser: Browser, flow: str, fields: dict[str, str], wrong: list[str]
) -> None:
    """The reason is beside the field, and what was typed is still there."""
    page, action = f"/default/flow/{flow}", f"/default/flow/{flow}/defaults"

    answer = browser.submit(browser.get(page), action, {"labels": "kept", **fields})

    assert answer.status == 422
    assert [one.attrs["id"] for one in answer.all("p", class_="wrong")] == wrong
    assert answer.one("input", name="labels").attrs["value"] == "kept"
    assert answer.one("main").attrs["data-address"] == page
    assert cloud.row("flow", flow, "flow_group { labels }") == {"flow_group": {"labels": None}}


# --- reading what was filled in ---


def test_a_groups_defaults_win_over_the_flows() -> None:
    """As they do when the run is created; a required parameter with one need not be filled in."""
    fields = form_fields(PARAMETERS, {"day": "monday", "limit": 5}, {})

    assert [(one.name, one.kind, one.value, one.is_required) for one in fields] == [
        ("limit", NUMBER, "5", False), ("day", TEXT, "monday", False), ("region", TEXT, "europe", False),
    ]  # fmt: skip


@pytest.mark.parametrize("declared", [None, {}, "x", [1, {"slug": "no name"}, {"name": 3}]])
def test_parameters_that_are_none_make_no_fields(declared: object) -> None:
    """A flow may have been registered with anything."""
    assert form_fields(declared, None, {}) == []


def test_empty_json_is_left_to_the_flow_and_an_empty_text_is_a_text() -> None:
    """Line ends are those of Unix."""
    fields = form_fields(PARAMETERS, {}, {})
    filled = [
        ("p:limit", " "),
        ("k:limit", JSON),
        ("p:region", ""),
        ("k:region", TEXT),
        ("p:day", "a\r\nb"),
        ("k:day", TEXT),
    ]

    assert read_parameters(filled, fields) == {"region": "", "day": "a\nb"}


def test_an_object_is_asked_for() -> None:
    """Nothing is None; a list is refused."""
    assert read_object("  ", "It") is None
    assert read_object("{}", "It") == {}
    with pytest.raises(NotRight, match="It must be a JSON object"):
        read_object("[]", "It")


DATES = [{"name": "when", "type": "prefect.core.parameter.DateTimeParameter", "required": True, "default": None}]


@pytest.mark.parametrize(
    ("given", "kind", "value"),
    [
        ({}, DATE, ""),
        ({"when": None}, DATE, ""),
        ({"when": "2026-01-31"}, DATE, "2026-01-31"),
        ({"when": 3}, NUMBER, "3"),
    ],
)
def test_a_date_is_asked_for_as_a_date(given: dict[str, Any], kind: str, value: str) -> None:
    """Of what the client makes a date of; something else that a run was given stays what it was."""
    [field] = form_fields(DATES, {}, given)

    assert (field.kind, field.value) == (kind, value)


@pytest.mark.parametrize(
    "text", ["2026-01-31", "2026-01-31T13:00", "2026-01-31 13:00:01+01:00", "2026-01-31T13:00:00Z"]
)
def test_a_date_needs_no_quotes(text: str) -> None:
    """It is sent as it is typed; an empty one is left out."""
    fields = form_fields(DATES, {}, {})

    assert read_parameters([("p:when", f" {text} ")], fields) == {"when": text}
    assert read_parameters([("p:when", " ")], fields) == {}


@pytest.mark.parametrize("text", ["tomorrow", "2026-02-30", "31.1.2026", "null", "13:00"])
def test_what_is_no_date_is_told_beside_its_field(text: str) -> None:
    """With one that is."""
    with pytest.raises(NotRight, match="2026-01-31T13:00") as refused:
        read_parameters([("p:when", text)], form_fields(DATES, {}, {}))

    assert set(refused.value.problems) == {"p:when"}


def test_the_last_runs_of_a_flow_are_not_those_to_come(cloud: Embedded, browser: Browser, flow: str) -> None:
    """A schedule makes runs ahead of time: what has been stays in sight."""
    ended = cloud.run(flow, flow_run_name="yesterday", parameters={"day": 1})
    cloud.set_state(ended, "Success")
    for number in range(60):
        cloud.run(flow, parameters={"day": number}, scheduled_start_time="2999-01-01T00:00:00Z")

    shown = browser.get(f"/default/flow/{flow}")
    listed = browser.get("/default/flows")

    assert shown.texts("li", inside="last-runs") == ["yesterday: Success"]
    assert [one.attrs["title"] for one in listed.all("a", class_="strip")] == ["1 Success"]


def test_an_id_is_found_whatever_its_letters(cloud: Embedded, browser: Browser, flow: str) -> None:
    """As other programs print it; what is changed there is the same thing."""
    run = cloud.run(flow, parameters={"day": 1})

    assert browser.get(f"/default/flow-run/{run.upper()}").status == 200
    assert browser.get(f"/default/flow/{flow.upper()}/run?from={run.upper()}").status == 200
    shown = browser.get(f"/default/flow-run/{run.upper()}/logs")
    token = shown.all("input", name="form_token")[0].attrs["value"]
    assert browser.post(f"/default/flow-run/{run.upper()}/cancel", {"form_token": token}).status == 303
    assert cloud.state(run) == "Cancelled"
