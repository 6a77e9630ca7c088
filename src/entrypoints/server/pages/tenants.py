"""Tenants: the one that is shown can be renamed or deleted, others can be made."""

from collections.abc import Mapping
from typing import Any, Final

from prefect.agent.entrypoints.server.pages.kinds import Action, Again, Page, Section
from prefect.agent.entrypoints.server.pages.paging import Stretch, sheet
from prefect.agent.entrypoints.server.pages.settings import TAB, shown
from prefect.agent.entrypoints.server.pages.view import Form, FormRefused, View
from prefect.agent.entrypoints.server.storage.row_trees import Row

SHOWN: Final = 200


def data(view: View) -> Mapping[str, Any]:
    """What ``settings_tenants.html`` shows."""
    view.permit("tenant")

    def read(stretch: Stretch) -> list[Row]:
        beyond, start, end = stretch.sql("created", "id", descending=False)
        return view.tx.all(f"SELECT id, name, slug, created, created AS place FROM tenant WHERE {beyond} {end}", start)

    found = sheet(view.query, SHOWN, read)
    return shown({"name": "", "slug": ""}, sheet=found, own={"name": view.tenant["name"], "slug": view.tenant["slug"]})


PAGE: Final = Page("/settings/tenants", "settings_tenants.html", data, tab=TAB)


def create(form: Form) -> str:
    """Add a tenant.

    Raises:
        Again: The Cloud refuses it.
    """
    filled = {"name": form.value("name"), "slug": form.value("slug")}
    try:
        form.change("create_tenant", **filled)
    except FormRefused as problem:
        raise Again(PAGE, problem=_said(problem), filled=filled) from problem
    return form.link("settings", "tenants")


def rename(form: Form) -> str:
    """Change name and slug of the tenant; return its new address.

    Raises:
        Again: The Cloud refuses one of them.
    """
    own = {"name": form.value("name"), "slug": form.value("slug")}
    with form.look() as view:
        tenant = view.tenant
    if not own["name"]:  # before the slug is changed, and with it the address of this page
        raise Again(PAGE, problem="A tenant needs a name.", own=own)
    try:
        form.change("update_tenant_slug", tenant_id=tenant["id"], slug=own["slug"])
        form.change("update_tenant_name", tenant_id=tenant["id"], name=own["name"])
    except FormRefused as problem:
        raise Again(PAGE, problem=_said(problem), own=own) from problem
    return f"/{own['slug']}/settings/tenants"


def delete(form: Form) -> str:
    """Delete the tenant with everything in it, if its slug was typed.

    Raises:
        Again: It was not.
    """
    with form.look() as view:
        tenant = view.tenant
    if form.value("confirm") != tenant["slug"]:
        raise Again(PAGE, problem=f"To delete this tenant, type its slug: {tenant['slug']}")
    form.change("delete_tenant", tenant_id=tenant["id"], confirm=True)
    return "/"


def _said(problem: FormRefused) -> str:
    text = str(problem)
    return "There is a tenant with this slug." if text.startswith("Uniqueness") else text


SECTION: Final = Section(
    pages=(PAGE,),
    actions=(
        Action("/settings/tenants", create, "create_tenant"),
        Action("/settings/tenant", rename, "update_tenant_slug"),
        Action("/settings/tenant/delete", delete, "delete_tenant"),
    ),
)
