"""What people set for all versions of a flow, for projects and for tenants (protocol section 12.1)."""

from collections.abc import Generator
from pathlib import Path

import pytest

from support.embedded import Embedded


@pytest.fixture
def cloud(tmp_path: Path) -> Generator[Embedded]:
    """An empty Cloud."""
    embedded = Embedded(tmp_path / "cloud.db")
    yield embedded
    embedded.database.close()


def group_of(cloud: Embedded, flow: str) -> str:
    """The id of the flow group."""
    return str(cloud.row("flow", flow, "flow_group_id")["flow_group_id"])


def test_flow_groups(cloud: Embedded) -> None:
    """Description, labels, run config, default parameters; and what new runs get of it."""
    flow = cloud.flow(cloud.project())
    group = group_of(cloud, flow)
    config = {"type": "DockerRun", "image": "i"}
    cloud.change("set_flow_group_description", "success", flow_group_id=group, description="d")
    cloud.change("set_flow_group_labels", "success", flow_group_id=group, labels=["b", "a", "b"])
    cloud.change("set_flow_group_run_config", "success", flow_group_id=group, run_config=config)
    cloud.change("set_flow_group_default_parameters", "success", flow_group_id=group, parameters={"x": 1})

    columns = "description labels run_config default_parameters"
    shown = {"description": "d", "labels": ["a", "b"], "run_config": config, "default_parameters": {"x": 1}}
    assert cloud.row("flow_group", group, columns) == shown
    run = cloud.row("flow_run", cloud.run(flow), "labels run_config parameters")
    assert run == {"labels": ["a", "b"], "run_config": config, "parameters": {"x": 1}}
    cloud.change("set_flow_group_labels", "success", flow_group_id=group, labels=None)
    cloud.change("set_flow_group_run_config", "success", flow_group_id=group, run_config=None)
    assert cloud.row("flow_group", group, "labels run_config") == {"labels": None, "run_config": None}
    cloud.refused("set_flow_group_run_config", "success", flow_group_id=group, run_config=[1])
    cloud.refused("set_flow_group_default_parameters", "success", flow_group_id=group, parameters=[1])
    assert cloud.change("delete_flow_group", "success", flow_group_id=group)["success"]
    assert cloud.ask("query { flow { id } flow_run { id } }") == {"flow": [], "flow_run": []}
    cloud.refused("set_flow_group_description", "success", flow_group_id=group, description="d")


def test_a_flow_keeps_its_heartbeat_off_in_the_next_version(cloud: Embedded) -> None:
    """The setting belongs to the group."""
    project = cloud.project()
    cloud.change("disable_flow_heartbeat", "success", flow_id=cloud.flow(project))

    assert cloud.row("flow", cloud.flow(project), "settings") == {"settings": {"heartbeat_enabled": False}}


def test_version_lock(cloud: Embedded) -> None:
    """Switched on, a start at another version than the last is refused."""
    flow = cloud.flow(cloud.project())
    run = cloud.run(flow)
    cloud.change("enable_flow_version_lock", "success", flow_id=flow)
    assert cloud.refused_state(run, "Running", 7)["extensions"]["code"] == "VERSION_LOCKING_ERROR"
    cloud.change("disable_flow_version_lock", "success", flow_id=flow)
    cloud.set_state(run, "Running", version=7)
    assert cloud.state(run) == "Running"


def test_projects(cloud: Embedded) -> None:
    """Renamed, described; flows move between them with all their versions."""
    first, second = cloud.project("first"), cloud.project("second")
    old, new = cloud.flow(first), cloud.flow(first)
    assert cloud.change("set_project_name", "id", project_id=first, name="renamed") == {"id": first}
    cloud.change("set_project_name", "id", project_id=first, name="renamed")
    cloud.change("set_project_description", "id", project_id=first, description="d")
    assert cloud.row("project", first, "name description") == {"name": "renamed", "description": "d"}
    refused = cloud.refused("set_project_name", "id", project_id=first, name="second")
    assert refused["message"] == "Uniqueness violation."

    assert cloud.change("update_flow_project", "id", flow_id=new, project_id=second) == {"id": new}
    assert [cloud.row("flow", flow, "project_id")["project_id"] for flow in (old, new)] == [second, second]


def test_tenants(cloud: Embedded) -> None:
    """Renamed, set and deleted with all they have."""
    tenant = cloud.change("create_tenant", "id", name="t", slug="t")["id"]
    project = cloud.change("create_project", "id", name="p", tenant_id=tenant)["id"]
    cloud.change("update_tenant_name", "id", tenant_id=tenant, name="n")
    cloud.change("update_tenant_slug", "id", tenant_id=tenant, slug="s-1")
    cloud.change("update_tenant_settings", "id", tenant_id=tenant, settings={"a": 1})
    cloud.change("update_tenant_settings", "id", tenant_id=tenant, settings={"b": 2})
    assert cloud.row("tenant", tenant, "name slug settings") == {
        "name": "n",
        "slug": "s-1",
        "settings": {"a": 1, "b": 2},
    }
    cloud.refused("update_tenant_slug", "id", tenant_id=tenant, slug="Not A Slug")
    cloud.refused("update_tenant_slug", "id", tenant_id=tenant, slug="default")
    cloud.refused("update_tenant_settings", "id", tenant_id=tenant, settings=[1])

    cloud.refused("delete_tenant", "success", tenant_id=tenant, confirm=False)
    foreign = cloud.refused("update_flow_project", "id", flow_id=cloud.flow(cloud.project()), project_id=project)
    assert "another tenant" in foreign["message"]
    assert cloud.change("delete_tenant", "success", tenant_id=tenant, confirm=True)["success"]
    assert cloud.ask(f'query {{ project_by_pk(id: "{project}") {{ id }} }}') == {"project_by_pk": None}
