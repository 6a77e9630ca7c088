"""What a person does with each form of the Cloud's pages, by hand; what is then seen on the page and in the Cloud."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
from playwright.sync_api import Locator, Page, expect

from support.remote_cloud import RemoteCloud


@attrs.frozen(kw_only=True)
class Real:
    """What the real client made, by id, in a file that is copied for each test."""

    file: Path
    older: str
    newest: str
    everybody: str
    nobody: str
    waits: str


def confirmed(page: Page, text: str, inside: Locator | None = None) -> None:
    """Open the question behind *text*, and say yes."""
    menu = (inside or page).locator("details", has=page.locator("summary", has_text=re.compile(f"^{text}")))
    menu.locator("summary").click()
    menu.get_by_role("button").click()


def cancel(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Cancel the run that waits."""
    page.goto(f"{remote.url}/default/flow-run/{real.waits}")
    confirmed(page, "Cancel")
    expect(page.locator("#head .state")).to_have_text("Cancelled")


def restart(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Restart the failed run, which goes on from its failed tasks."""
    page.goto(f"{remote.url}/default/flow-run/{real.nobody}")
    confirmed(page, "Restart")
    expect(page.locator("#head .state")).to_have_text("Scheduled")
    states = {one["task"]["name"]: one["state"] for one in task_runs(remote, real.nobody)}
    assert (states["add"], states["report"]) == ("Success", "Pending")


def task_runs(remote: RemoteCloud, run: str) -> list[dict[str, Any]]:
    """Task runs with their states."""
    found: list[dict[str, Any]] = remote.row("flow_run", run, "task_runs { state task { name } }")["task_runs"]
    return found


def set_state(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Set a state with a message."""
    page.goto(f"{remote.url}/default/flow-run/{real.waits}")
    page.locator("summary", has_text="Set state").click()
    page.get_by_role("combobox", name="State").select_option("Failed")
    page.get_by_label("Message").fill("by hand")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.locator("#head")).to_contain_text("by hand")
    assert remote.state(real.waits) == "Failed"


def rename(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Give the run another name."""
    page.goto(f"{remote.url}/default/flow-run/{real.waits}")
    page.locator("summary", has_text="Rename").click()
    page.get_by_label("Name").fill("another name")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", name="another name")).to_be_visible()


def delete_run(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Delete a run."""
    page.goto(f"{remote.url}/default/flow-run/{real.nobody}")
    confirmed(page, "Delete")
    expect(page.locator("#runs")).to_contain_text("for everybody")
    expect(page.locator("#runs")).not_to_contain_text("for nobody")


def change_several(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Restart all runs of the list at once."""
    page.goto(f"{remote.url}/default/flow-runs")
    page.get_by_label("All of this page").check()
    page.get_by_role("button", name="Restart…").click()
    page.get_by_role("button", name="Restart 2 flow runs").click()
    expect(page.get_by_role("heading", name="Flow runs")).to_be_visible()
    assert {remote.state(one) for one in (real.everybody, real.nobody, real.waits)} == {"Scheduled"}


def create_run(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Create a run with parameters."""
    page.goto(f"{remote.url}/default/flow/{real.newest}")
    page.get_by_role("link", name="Create a run").click()
    page.get_by_label(re.compile("^who")).first.fill('"me"')
    page.get_by_label("Name", exact=True).fill("made here")
    page.get_by_role("button", name="Create the run").click()
    expect(page.get_by_role("heading", name="made here")).to_be_visible()
    run = remote.row("flow_run", page.url.rpartition("/")[2], "parameters")
    assert run["parameters"] == {"n": 3, "who": "me"}


def switch_on(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Switch the schedule on."""
    page.goto(f"{remote.url}/default/flow/{real.newest}")
    page.get_by_role("button", name="Switch on").click()
    expect(page.get_by_role("button", name="Switch off")).to_be_visible()
    assert remote.row("flow", real.newest, "is_schedule_active")["is_schedule_active"] is True


def switch_off(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Switch it off again."""
    switch_on(page, real, remote)
    page.get_by_role("button", name="Switch off").click()
    expect(page.get_by_role("button", name="Switch on")).to_be_visible()
    assert remote.row("flow", real.newest, "is_schedule_active")["is_schedule_active"] is False


def set_clocks(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Give the schedule another clock."""
    page.goto(f"{remote.url}/default/flow/{real.newest}")
    page.get_by_text("Set clocks").first.click()
    page.get_by_label("Cron expressions, one a line").fill("30 7 * * *")
    page.get_by_role("button", name="Set clocks").click()
    expect(page.get_by_role("cell", name="30 7 * * *")).to_be_visible()


def use_own_clocks(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Go back to the flow's own clocks."""
    set_clocks(page, real, remote)
    page.get_by_text("Set clocks").first.click()
    page.get_by_role("button", name="Use the flow's own schedule again").click()
    expect(page.get_by_role("cell", name="0 9 * * 1")).to_be_visible()


def set_defaults(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Set defaults of all runs of the flow."""
    page.goto(f"{remote.url}/default/flow/{real.newest}")
    page.locator("summary", has_text="Set defaults").click()
    form = page.locator("form[action$='/defaults']")
    form.get_by_label("Labels, separated by commas").fill("one, two")
    form.get_by_label("Parameters (JSON object)").fill('{"n": 9}')
    form.get_by_role("button", name="Set defaults").click()
    expect(page.locator("section", has=page.get_by_role("heading", name="Defaults of its runs"))).to_contain_text("two")
    group = remote.row("flow", real.newest, "flow_group { labels default_parameters }")["flow_group"]
    assert (group["labels"], group["default_parameters"]) == (["one", "two"], {"n": 9})


def move_flow(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Move the flow, with both of its versions, to another project."""
    other = remote.project("another")
    page.goto(f"{remote.url}/default/flow/{real.newest}")
    page.get_by_text("Move to another project").click()
    form = page.locator("form[action$='/move']")
    form.get_by_label("Project").select_option("another")
    form.get_by_role("button", name="Move").click()
    expect(page.locator(".crumbs")).to_contain_text("another")
    assert {remote.row("flow", one, "project_id")["project_id"] for one in (real.older, real.newest)} == {other}


def archive(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Archive the flow."""
    page.goto(f"{remote.url}/default/flow/{real.newest}")
    confirmed(page, "Archive")
    expect(page.locator("header.head")).to_contain_text("archived")
    assert remote.state(real.waits) != "Scheduled"


def delete_version(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Delete the older version."""
    page.goto(f"{remote.url}/default/flow/{real.older}")
    confirmed(page, "Delete version")
    expect(page.get_by_role("heading", name="Flows")).to_be_visible()
    assert len(remote.ask("{ flow { id } }")["flow"]) == 1


def delete_flow(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Delete all versions and runs."""
    page.goto(f"{remote.url}/default/flow/{real.older}")
    confirmed(page, "Delete flow")
    expect(page.get_by_role("heading", name="Flows")).to_be_visible()
    assert remote.ask("{ flow { id } flow_run { id } }") == {"flow": [], "flow_run": []}


def create_project(page: Page, _real: Real, remote: RemoteCloud) -> None:
    """Make a project."""
    page.goto(f"{remote.url}/default/projects")
    form = page.locator("form[action$='/projects']")
    form.get_by_label("Name").fill("sales")
    form.get_by_role("button", name="Create").click()
    expect(page.get_by_role("link", name="sales")).to_be_visible()


def edit_project(page: Page, _real: Real, remote: RemoteCloud) -> None:
    """Give a project another name and a description."""
    page.goto(f"{remote.url}/default/projects")
    page.locator("summary", has_text="Edit").click()
    form = page.locator("details", has=page.locator("summary", has_text="Edit"))
    form.get_by_label("Name").fill("trials")
    form.get_by_label("Description").fill("of the tests")
    form.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="trials")).to_be_visible()
    assert remote.ask("{ project { name description } }")["project"] == [
        {"name": "trials", "description": "of the tests"}
    ]


def delete_project(page: Page, _real: Real, remote: RemoteCloud) -> None:
    """Delete a project with its flows and their runs."""
    page.goto(f"{remote.url}/default/projects")
    confirmed(page, "Delete")
    expect(page.get_by_text("No projects.")).to_be_visible()
    assert remote.ask("{ flow { id } flow_run { id } }") == {"flow": [], "flow_run": []}


def delete_agent(page: Page, _real: Real, remote: RemoteCloud) -> None:
    """Delete the agent that has gone."""
    page.goto(f"{remote.url}/default/agents")
    confirmed(page, "Delete", page.locator("#agents table").first)
    expect(page.get_by_text("No agent has asked for work yet")).to_be_visible()


def set_limit(page: Page, _real: Real, remote: RemoteCloud) -> None:
    """Set a limit."""
    page.goto(f"{remote.url}/default/settings")
    page.get_by_label("Label or tag").fill("numbers")
    page.get_by_label("At most").fill("2")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.get_by_role("cell", name="numbers", exact=True)).to_be_visible()


def delete_limit(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Delete it again."""
    set_limit(page, real, remote)
    confirmed(page, "Delete")
    expect(page.get_by_role("cell", name="numbers", exact=True)).to_have_count(0)


def set_key_value(page: Page, _real: Real, remote: RemoteCloud) -> None:
    """Edit a value."""
    page.goto(f"{remote.url}/default/settings/key-values")
    page.get_by_role("link", name="Edit a-key").click()
    page.get_by_label("Value, as JSON").fill('{"a": 2}')
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.get_by_role("row", name="a-key")).to_contain_text('"a": 2')


def delete_key_value(page: Page, _real: Real, remote: RemoteCloud) -> None:
    """Delete a value."""
    page.goto(f"{remote.url}/default/settings/key-values")
    confirmed(page, "Delete")
    expect(page.get_by_text("No keys.")).to_be_visible()


def set_secret(page: Page, _real: Real, remote: RemoteCloud) -> None:
    """Set a secret, whose value is shown nowhere."""
    page.goto(f"{remote.url}/default/settings/secrets")
    page.get_by_label("Name").fill("another-secret")
    page.get_by_label("Value").fill("hush")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.get_by_role("row", name="another-secret")).to_be_visible()
    assert "hush" not in page.content()
    assert remote.ask('{ secret_value(name: "another-secret") }')["secret_value"] == "hush"


def delete_secret(page: Page, _real: Real, remote: RemoteCloud) -> None:
    """Delete a secret."""
    page.goto(f"{remote.url}/default/settings/secrets")
    confirmed(page, "Delete")
    expect(page.get_by_text("No secrets.")).to_be_visible()


def create_key(page: Page, _real: Real, remote: RemoteCloud) -> None:
    """Make the first key, which locks the Cloud for those without one."""
    page.goto(f"{remote.url}/default/settings/keys")
    page.get_by_label("Name").fill("my laptop")
    page.get_by_role("button", name="Make").click()
    expect(page.get_by_role("status").filter(has_text="pak_")).to_be_visible()
    assert remote.send("{ hello }")[0] == 401 or "errors" in remote.send("{ hello }")[1]


def revoke_key(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Revoke another key than the own one."""
    create_key(page, real, remote)
    page.get_by_label("Name").fill("an agent")
    page.get_by_role("button", name="Make").click()
    expect(page.get_by_role("row", name="an agent")).to_be_visible()
    confirmed(page, "Revoke", page.get_by_role("row", name="an agent"))
    expect(page.get_by_role("row", name="an agent")).to_have_count(0)
    expect(page.get_by_role("row", name="my laptop")).to_be_visible()


def create_tenant(page: Page, _real: Real, remote: RemoteCloud) -> None:
    """Create a tenant."""
    page.goto(f"{remote.url}/default/settings/tenants")
    form = page.locator("form[action$='/settings/tenants']")
    form.get_by_label("Name").fill("Second")
    form.get_by_label("Slug, in addresses").fill("second")
    form.get_by_role("button").click()
    expect(page.get_by_role("link", name="Second").first).to_be_attached()


def rename_tenant(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Rename a tenant; its pages move."""
    create_tenant(page, real, remote)
    page.goto(f"{remote.url}/second/settings/tenants")
    form = page.locator("form[action$='/settings/tenant']")
    form.get_by_label("Slug, in addresses").fill("third")
    form.get_by_role("button").click()
    page.wait_for_url("**/third/settings/tenants")


def delete_tenant(page: Page, real: Real, remote: RemoteCloud) -> None:
    """Delete a tenant, once its slug is typed."""
    create_tenant(page, real, remote)
    page.goto(f"{remote.url}/second/settings/tenants")
    form = page.locator("form[action$='/settings/tenant/delete']")
    page.locator("details", has=form).locator("summary").first.click()
    form.get_by_role("textbox").fill("second")
    form.get_by_role("button").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    assert [row["slug"] for row in remote.ask("{ tenant { slug } }")["tenant"]] == ["default"]


PLAYS: Final[Mapping[str, Callable[[Page, Real, RemoteCloud], None]]] = {
    "/flow-run/{run_id}/cancel": cancel,
    "/flow-run/{run_id}/restart": restart,
    "/flow-run/{run_id}/set-state": set_state,
    "/flow-run/{run_id}/rename": rename,
    "/flow-run/{run_id}/delete": delete_run,
    "/flow-runs/change": change_several,
    "/flow/{flow_id}/run": create_run,
    "/flow/{flow_id}/schedule/on": switch_on,
    "/flow/{flow_id}/schedule/off": switch_off,
    "/flow/{flow_id}/schedule/clocks": set_clocks,
    "/flow/{flow_id}/schedule/own": use_own_clocks,
    "/flow/{flow_id}/defaults": set_defaults,
    "/flow/{flow_id}/move": move_flow,
    "/flow/{flow_id}/archive": archive,
    "/flow/{flow_id}/delete": delete_version,
    "/flow/{flow_id}/delete-all": delete_flow,
    "/projects": create_project,
    "/project/{project_id}": edit_project,
    "/project/{project_id}/delete": delete_project,
    "/agent/{agent_id}/delete": delete_agent,
    "/settings/limit": set_limit,
    "/settings/limit/{kind}/{limit_id}/delete": delete_limit,
    "/settings/key-values": set_key_value,
    "/settings/key-values/{id}/delete": delete_key_value,
    "/settings/secrets": set_secret,
    "/settings/secrets/{id}/delete": delete_secret,
    "/settings/keys": create_key,
    "/settings/keys/{key_id}/revoke": revoke_key,
    "/settings/tenants": create_tenant,
    "/settings/tenant": rename_tenant,
    "/settings/tenant/delete": delete_tenant,
}
"""By the path of the form; one that is missing here fails its test."""
