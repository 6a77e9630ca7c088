"""The key-value store and the secrets of a tenant. Values of secrets are set here, and never shown."""

import json
from collections.abc import Mapping
from typing import Any, Final

from prefect.agent.entrypoints.server.pages.addresses import pattern
from prefect.agent.entrypoints.server.pages.kinds import Action, Again, Page, Section
from prefect.agent.entrypoints.server.pages.paging import sheet_of, text
from prefect.agent.entrypoints.server.pages.parameters import JSON, TEXT, NotRight, read_json
from prefect.agent.entrypoints.server.pages.settings import TAB, shown
from prefect.agent.entrypoints.server.pages.view import Form, FormRefused, View, fields

SHOWN: Final = 200


# --- the key-value store ---


def key_values(view: View) -> Mapping[str, Any]:
    """What ``settings_key_values.html`` shows; ``?edit=`` names the key whose value the form begins with."""
    name, edited = view.query.get("key", "")[:200], view.query.get("edit", "")
    where = {"key": {"_ilike": pattern(name)}} if name else None
    found = sheet_of(view, "key_value", fields("id key value updated"), text("key"), size=SHOWN, where=where)
    chosen = view.rows("key_value", fields("key value"), {"key": {"_eq": edited}}, whole=True) if edited else []
    value = json.dumps(chosen[0]["value"], indent=2, ensure_ascii=False) if chosen else ""
    return shown({"key": edited, "value": value}, sheet=found)


KEY_VALUES: Final = Page("/settings/key-values", "settings_key_values.html", key_values, tab=TAB)


def set_key_value(form: Form) -> str:
    """Store a value under a key.

    Raises:
        Again: The value is not JSON, or the Cloud refuses it.
    """
    key, value = form.value("key"), form.value("value")
    try:
        form.change("set_key_value", key=key, value=read_json(value, "The value"), tenant_id=_tenant(form))
    except NotRight as problem:
        raise Again(KEY_VALUES, problems={"value": str(problem)}, filled={"key": key, "value": value}) from problem
    except FormRefused as problem:
        raise Again(KEY_VALUES, problem=str(problem), filled={"key": key, "value": value}) from problem
    return form.link("settings", "key-values")


def delete_key_value(form: Form) -> str:
    """Delete a key with its value."""
    with form.look() as view:
        row = view.row("key_value", form.path["id"], fields("id"))
    form.change("delete_key_value", key_value_id=row["id"])
    return form.back("settings", "key-values")


# --- secrets ---


def secrets(view: View) -> Mapping[str, Any]:
    """What ``settings_secrets.html`` shows: names, and when each was set."""
    found = sheet_of(view, "secret", fields("id name updated"), text("name"), size=SHOWN)
    return shown({"name": "", "kind": TEXT}, sheet=found, kinds=(TEXT, JSON))


SECRETS: Final = Page("/settings/secrets", "settings_secrets.html", secrets, tab=TAB)


def set_secret(form: Form) -> str:
    """Store a secret; an earlier one of the name is replaced.

    Raises:
        Again: The value is empty or not JSON, or the Cloud refuses it. The form does not show the value again.
    """
    name, kind = form.value("name"), form.value("kind")
    given = next((value for field, value in form.values if field == "value"), "").replace("\r\n", "\n")
    try:
        value = given if kind == TEXT else read_json(given, "The secret")
        if value in (None, ""):
            raise NotRight("The secret is empty.")
        form.change("set_secret", name=name, value=value, tenant_id=_tenant(form))
    except (NotRight, FormRefused) as problem:
        raise Again(SECRETS, problem=str(problem), filled={"name": name, "kind": kind}) from problem
    return form.link("settings", "secrets")


def delete_secret(form: Form) -> str:
    """Delete a secret."""
    with form.look() as view:
        row = view.row("secret", form.path["id"], fields("name"))
    form.change("set_secret", name=row["name"], value=None, tenant_id=_tenant(form))
    return form.back("settings", "secrets")


def _tenant(form: Form) -> str:
    with form.look() as view:
        return str(view.tenant["id"])


SECTION: Final = Section(
    pages=(KEY_VALUES, SECRETS),
    actions=(
        Action("/settings/key-values", set_key_value, "set_key_value"),
        Action("/settings/key-values/{id}/delete", delete_key_value, "delete_key_value"),
        Action("/settings/secrets", set_secret, "set_secret"),
        Action("/settings/secrets/{id}/delete", delete_secret, "set_secret"),
    ),
)
