"""API keys: who may use the Cloud. A key is shown once, when it is made."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.pages.kinds import Action, Again, Once, Page, Section
from prefect.agent.entrypoints.server.pages.paging import sheet_of
from prefect.agent.entrypoints.server.pages.parameters import NotRight
from prefect.agent.entrypoints.server.pages.settings import TAB, shown
from prefect.agent.entrypoints.server.pages.view import Form, FormRefused, View, fields
from prefect.agent.entrypoints.server.storage.scopes import ADMIN, SCOPES

SHOWN: Final = 200
MAX_DAYS: Final = 36_500


def data(view: View) -> Mapping[str, Any]:
    """What ``settings_keys.html`` shows."""
    columns = fields("id name scope created expires_at")
    found = sheet_of(view, "auth_api_key", columns, "t0.created", size=SHOWN, descending=True)
    filled = {"name": "", "scope": ADMIN, "days": ""}
    return shown(filled, sheet=found, scopes=SCOPES, needs_key=view.caller.key_id is not None, made="")


PAGE: Final = Page("/settings/keys", "settings_keys.html", data, tab=TAB)


def create(form: Form) -> Once:
    """Make a key and show it. The first one locks the Cloud: the browser goes on with it.

    Raises:
        Again: It was not filled in right, or the Cloud refuses it.
    """
    filled = {name: form.value(name) for name in ("name", "scope", "days")}
    with form.look() as view:
        tenant, now, is_first = view.tenant["id"], view.now, view.caller.key_id is None
    try:
        if is_first and filled["scope"] != ADMIN:
            raise NotRight("The first key must have the scope admin: without it no page can make others.")
        days = _days(filled["days"])
        ends = {"expires_at": iso(now + timedelta(days=days))} if days else {}
        made = form.change("create_api_key", name=filled["name"], scope=filled["scope"], tenant_id=tenant, **ends)
    except (NotRight, FormRefused) as problem:
        raise Again(PAGE, problem=str(problem), filled=filled) from problem
    if is_first:
        form.sign_in(made["key"])
    return Once(PAGE, {"made": made["key"]})


def _days(text: str) -> float:
    if not text:
        return 0
    try:
        days = float(text)
    except ValueError:
        days = -1
    if not 0 < days <= MAX_DAYS:
        raise NotRight(f"A key lasts for a number of days up to {MAX_DAYS}.")
    return days


def revoke(form: Form) -> str:
    """Revoke a key at once, with all keys made through it."""
    with form.look() as view:
        key = view.row("auth_api_key", form.path["key_id"], fields("id"))
    form.change("delete_api_key", key_id=key["id"])
    return form.back("settings", "keys")


SECTION: Final = Section(
    pages=(PAGE,),
    actions=(
        Action("/settings/keys", create, "create_api_key"),
        Action("/settings/keys/{key_id}/revoke", revoke, "delete_api_key"),
    ),
)
