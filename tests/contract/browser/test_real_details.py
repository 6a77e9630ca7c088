"""What the pages show and let choose beside their forms, on a Cloud that the real client has filled."""

import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from support.remote_cloud import RemoteCloud

from .conftest import Windows
from .plays import Real

pytestmark = [pytest.mark.browser, pytest.mark.real_prefect]


def begin(bar: Locator) -> datetime:
    """When the hour of a bar begins."""
    return datetime.fromisoformat(bar.get_attribute("data-start") or "")


def names(page: Page) -> list[str]:
    """Names of the flow runs in the list, from top to bottom."""
    return [one.inner_text() for one in page.locator("#runs tbody tr td:nth-child(3) a").all()]


def test_home_tells_what_waits_and_what_has_been(windows: Windows, real: Real, remote: RemoteCloud) -> None:
    """Late runs with the reason, silent agents, upcoming runs, counts by flow; a bar leads to the runs of its time."""
    later = {"scheduled_start_time": "2999-01-01T00:00:00Z"}
    remote.run(real.newest, flow_run_name="much later", parameters={"who": "x"}, **later)
    page = windows.open()
    expect(page.get_by_role("table", name="Late runs").get_by_role("row", name=re.compile("waits"))).to_contain_text(
        "gpu"
    )
    expect(page.locator("#home")).to_contain_text("Agents that have not asked for a minute")
    expect(page.get_by_role("table", name="Upcoming runs")).to_contain_text("much later")
    expect(page.get_by_role("table", name="Runs by flow").locator("tbody tr")).to_contain_text("everything")
    ended = datetime.fromisoformat(str(remote.row("flow_run", real.nobody, "state_timestamp")["state_timestamp"]))
    bars = page.locator("svg.chart a").all()
    bar = next(bar for bar in bars if begin(bar) <= ended < begin(bar) + timedelta(hours=1))
    bar.click()
    expect(page.get_by_role("heading", name="Flow runs")).to_be_visible()
    assert "from=" in page.url
    assert "for nobody" in names(page)


def test_the_list_is_narrowed_and_found_again(real: Real, windows: Windows) -> None:
    """By states, flow, project, label, name, a span of time; the address keeps it for a reload and the way back."""
    page = windows.open("/default/flow-runs")
    assert set(names(page)) == {"for everybody", "for nobody", "waits"}
    page.locator("summary", has_text=re.compile("^State")).click()
    page.get_by_role("checkbox", name="Failed", exact=True).check()
    page.get_by_role("checkbox", name="Success", exact=True).check()
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#runs tbody tr")).to_have_count(2)
    page.get_by_label("Name", exact=True).fill("body")
    page.locator("select[name=flow]").select_option(label="everything")
    page.locator("select[name=project]").select_option(label="tests")
    page.locator("select[name=time]").select_option("end")
    page.locator("select[name=span]").select_option("24h")
    with page.expect_navigation():
        page.get_by_role("button", name="Show", exact=True).click()
    page.reload()
    assert set(names(page)) == {"for everybody", "for nobody"}
    page.goto(f"{windows.url}/default/flow-runs?label=gpu")
    assert names(page) == ["waits"]
    page.go_back()
    assert set(names(page)) == {"for everybody", "for nobody"}
    for way in ("asc", "desc"):
        page.goto(f"{windows.url}/default/flow-runs?sort=name&way={way}")
        assert names(page) == sorted(names(page), reverse=way == "desc")
        assert len(names(page)) == 3


def test_a_view_of_the_list_is_saved(real: Real, windows: Windows) -> None:
    """In this browser, by a name that leads back to the filters."""
    page = windows.open("/default/flow-runs?state=Failed")
    page.locator("#views summary").click()
    page.get_by_label("Save these filters as").fill("what failed")
    page.get_by_role("button", name="Save").click()
    page.goto(f"{windows.url}/default/flow-runs")
    page.locator("#views summary").click()
    page.get_by_role("link", name="what failed").click()
    expect(page.locator("#runs tbody tr")).to_have_count(1)
    assert names(page) == ["for nobody"]


@pytest.mark.parametrize(("word", "left"), [("Cancel", {"Success", "Failed", "Cancelled"}), ("Delete", set())])
def test_many_runs_are_changed_at_once(
    real: Real, windows: Windows, remote: RemoteCloud, word: str, left: set[str]
) -> None:
    """After a question that says how many."""
    page = windows.open("/default/flow-runs")
    page.get_by_label("All of this page").check()
    page.get_by_role("button", name=f"{word}…").click()
    page.get_by_role("button", name=re.compile(rf"^{word} \d flow run")).click()
    expect(page.get_by_role("heading", name="Flow runs", exact=True)).to_be_visible()
    assert {row["state"] for row in remote.ask("{ flow_run { state } }")["flow_run"]} == left


def test_a_run_is_created_with_everything(real: Real, windows: Windows, remote: RemoteCloud) -> None:
    """Parameters, labels, context, run config, name, a start in the viewer's zone; clicked twice, it is one run."""
    page = windows.open(f"/default/flow/{real.newest}/run", timezone_id="Asia/Tokyo")
    who = page.locator("textarea[name='p:who']")
    who.fill("{")
    expect(page.get_by_text("This is not JSON")).to_be_visible()
    who.fill('"me"')
    page.locator("textarea[name='p:n']").fill("4")
    page.get_by_label("Later", exact=True).check()
    page.locator("input[type='datetime-local']").fill("2999-01-01T09:00")
    page.get_by_label("Name", exact=True).fill("with everything")
    page.get_by_label("Labels, separated by commas").fill("one, two")
    page.locator("summary", has_text="Context, run config, idempotency key").click()
    page.locator("textarea[name=context]").fill('{"k": 1}')
    page.locator("textarea[name=run_config]").fill('{"type": "UniversalRun", "env": {"A": "b"}}')
    page.get_by_role("button", name="Create the run").dblclick()
    expect(page.get_by_role("heading", name="with everything")).to_be_visible()
    run = page.url.rpartition("/")[2]
    assert len(remote.ask("{ flow_run { id } }")["flow_run"]) == 4

    found = remote.row("flow_run", run, "parameters labels context run_config scheduled_start_time")
    assert found["parameters"] == {"n": 4, "who": "me"}
    assert found["labels"] == ["one", "two"]
    assert found["context"] == {"k": 1}
    assert found["run_config"] == {"type": "UniversalRun", "env": {"A": "b"}}
    assert found["scheduled_start_time"].startswith("2999-01-01T00:00:00")


def test_a_run_is_repeated_with_changes(real: Real, windows: Windows, remote: RemoteCloud) -> None:
    """The form has the first run's values."""
    page = windows.open(f"/default/flow-run/{real.everybody}")
    page.get_by_role("link", name="Run again with changes").click()
    expect(page.locator("textarea[name='p:who']")).to_have_value(re.compile("everybody"))
    page.locator("textarea[name='p:n']").fill("1")
    page.get_by_role("button", name="Create the run").click()
    expect(page.locator("#head .state")).to_have_text("Scheduled")
    run = remote.row("flow_run", page.url.rpartition("/")[2], "parameters")
    assert run["parameters"] == {"n": 1, "who": "everybody"}


def test_a_log_is_searched_and_downloaded(real: Real, windows: Windows, tmp_path: Path) -> None:
    """By text and by task; to the top, to the end; the download has every line."""
    page = windows.open(f"/default/flow-run/{real.everybody}/logs")
    lines = page.locator("#lines li")
    total = lines.count()
    page.get_by_label("Text").fill("numbers up to")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(lines).to_have_count(1)
    page.get_by_label("Text").fill("")
    page.locator("select[name=task_run]").select_option(label="report")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(lines.filter(has_text="an error line for everybody")).to_have_count(1)
    expect(lines.filter(has_text="numbers up to")).to_have_count(0)
    page.goto(f"{windows.url}/default/flow-run/{real.everybody}/logs")
    page.get_by_role("link", name="To the top").click()
    expect(lines).to_have_count(total)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    download.value.save_as(tmp_path / "log.txt")
    text = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert text.count("\n") >= total
    assert "numbers up to 3" in text


def test_a_run_tells_where_it_was_and_with_what(real: Real, windows: Windows) -> None:
    """Agent, labels, parameters, run config, times."""
    page = windows.open(f"/default/flow-run/{real.everybody}")
    overview = page.locator("#overview")
    for text in ("ProcessAgent", '"who": "everybody"', "UniversalRun", "Heartbeat"):
        expect(overview).to_contain_text(text)
    expect(page.locator("#overview time[title]").first).to_be_visible()


def test_task_runs_are_narrowed(real: Real, windows: Windows) -> None:
    """By state and by name, in the address."""
    page = windows.open(f"/default/flow-run/{real.nobody}/task-runs?state=Failed")
    expect(page.locator("#task-runs tbody tr")).to_have_count(1)
    expect(page.locator("#task-runs tbody tr")).to_contain_text("there is nobody to report to")
    page.goto(f"{windows.url}/default/flow-run/{real.nobody}/task-runs?name=double")
    expect(page.locator("#task-runs tbody tr")).to_have_count(4)


def test_a_flow_shows_its_versions_and_its_next_runs(real: Real, windows: Windows) -> None:
    """Clocks with what they give, run config, storage, parameters, both versions, the last runs."""
    page = windows.open(f"/default/flow/{real.newest}")
    expect(page.get_by_role("cell", name=re.compile(r"^0 9 \* \* 1"))).to_be_visible()
    expect(page.locator("main")).to_contain_text("weekly")
    expect(page.locator("ol.strip li")).to_have_count(3)
    content = page.content()
    assert "UniversalRun" in content
    assert "stored_as_script" in content
    page.get_by_role("link", name="Versions").click()
    versions = page.get_by_role("region", name="Versions")
    expect(versions.get_by_role("link")).to_have_text(["Version 2", "Version 1"])
    expect(versions).to_contain_text("The first version.")
    versions.get_by_role("link", name="Version 1").click()
    expect(page.locator("header.head")).to_contain_text("version 1, archived")


def test_a_flow_shows_its_graph(real: Real, windows: Windows) -> None:
    """One box for each of its six tasks; each says what kind it is."""
    page = windows.open(f"/default/flow/{real.newest}")
    page.get_by_role("link", name="Graph").click()
    expect(page.locator("main svg .box")).to_have_count(6)
    expect(page.locator("main svg")).to_contain_text("report")


def test_agents_and_what_nobody_takes(real: Real, windows: Windows, remote: RemoteCloud) -> None:
    """Type, labels, version, when it last asked; the labels of waiting runs, and why nobody takes them."""
    page = windows.open("/default/agents")
    expect(page.get_by_role("table", name="Agents", exact=True)).to_contain_text("ProcessAgent")
    expect(page.get_by_role("table", name="Waiting runs by labels")).to_contain_text("gpu")
    expect(page.locator("#agents")).to_contain_text("silent")
    remote.change("register_agent", "id", type="DockerAgent", name="another", labels=["gpu"])
    expect(page.get_by_role("table", name="Agents", exact=True)).to_contain_text("another")


def test_a_locked_cloud_asks_for_a_key(real: Real, windows: Windows, remote: RemoteCloud) -> None:
    """The page that was asked for comes after the key; after signing out it is asked for again."""
    windows.expected.append("error: Failed to load resource: the server responded with a status of 401")
    key = str(remote.change("create_api_key", "key", name="me")["key"])
    page = windows.open(f"/default/flow-run/{real.nobody}")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#head .state")).to_have_text("Failed")
    assert key not in page.content() + json.dumps(page.evaluate("[document.cookie, {...localStorage}]"))
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
