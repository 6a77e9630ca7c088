"""Projects, which flows are registered in: they can be made, renamed, described and deleted."""

from collections.abc import Mapping
from typing import Any, Final

from prefect.agent.entrypoints.server.pages.kinds import Action, Again, Page, Section
from prefect.agent.entrypoints.server.pages.paging import sheet_of, text
from prefect.agent.entrypoints.server.pages.view import Form, FormRefused, View, fields
from prefect.agent.entrypoints.server.storage.row_trees import Row

SHOWN: Final = 200

_COUNTS: Final = (
    "SELECT project_id AS id, count(DISTINCT flow_group_id) AS flows FROM flow WHERE tenant_id = ? GROUP BY project_id"
)


def data(view: View) -> Mapping[str, Any]:
    """What ``projects.html`` shows."""
    found = sheet_of(view, "project", fields("id name description created"), text("name"), size=SHOWN)
    counts = {row["id"]: row["flows"] for row in view.sql("flow", _COUNTS, [view.tenant["id"]])}
    return {
        "rows": [{**row, "flows": counts.get(row["id"], 0)} for row in found.rows],
        "sheet": found,
        "problem": "",
        "filled": {"name": "", "description": ""},
        "edited": {"id": ""},
    }


PAGE: Final = Page("/projects", "projects.html", data, tab="Flows")


def create(form: Form) -> str:
    """Add a project.

    Raises:
        Again: The Cloud refuses it.
    """
    filled = _filled(form)
    try:
        form.change("create_project", **filled)
    except FormRefused as problem:
        raise Again(PAGE, problem=_said(problem), filled=filled) from problem
    return form.link("projects")


def edit(form: Form) -> str:
    """Set name and description.

    Raises:
        Again: The Cloud refuses the name.
    """
    project, filled = _own(form), _filled(form)
    try:
        form.change("set_project_name", project_id=project["id"], name=filled["name"])
        form.change("set_project_description", project_id=project["id"], description=filled["description"] or None)
    except FormRefused as problem:
        raise Again(PAGE, problem=_said(problem), edited={**filled, "id": project["id"]}) from problem
    return form.back("projects")


def delete(form: Form) -> str:
    """Delete a project with its flows."""
    form.change("delete_project", project_id=_own(form)["id"])
    return form.back("projects")


def _own(form: Form) -> Row:
    with form.look() as view:
        project: Row = view.row("project", form.path["project_id"], fields("id"))
    return project


def _filled(form: Form) -> dict[str, str]:
    return {name: form.value(name) for name in ("name", "description")}


def _said(problem: FormRefused) -> str:
    text = str(problem)
    return "There is a project with this name." if text.startswith("Uniqueness") else text


SECTION: Final = Section(
    pages=(PAGE,),
    actions=(
        Action("/projects", create, "create_project"),
        Action("/project/{project_id}", edit, "set_project_name", PAGE),
        Action("/project/{project_id}/delete", delete, "delete_project", PAGE),
    ),
)
