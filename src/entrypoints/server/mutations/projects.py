"""Mutations for tenants, projects, secrets and key-value pairs."""

import json
import re

from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.entrypoints.server.mutations.registry import ID, SUCCESS, Given, Payload, Request, mutation, required

UNIQUE = "Uniqueness violation."
"""The text from which official clients conclude that an object exists already (protocol section 1.4)."""


@mutation("name: String!, slug: String!", ID)
def create_tenant(request: Request, given: Given) -> Payload:
    """Add a tenant."""
    slug = tenant_slug(request, given)
    return {"id": request.tx.insert("tenant", {"name": required(given, "name"), "slug": slug})}


def tenant_slug(request: Request, given: Given) -> str:
    """Return the requested slug of a new tenant, or of the tenant *tenant_id*.

    Raises:
        CloudRefusal: The text is not a slug, or another tenant has it.
    """
    slug = required(given, "slug")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug):
        raise CloudRefusal("Slug must be slugified: lower-case words joined by dashes")
    same = request.tx.row("tenant", "slug = ?", [slug])
    if same and same["id"] != given.get("tenant_id"):
        raise CloudRefusal(UNIQUE)
    return slug


@mutation("name: String!, description: String, tenant_id: UUID", ID)
def create_project(request: Request, given: Given) -> Payload:
    """Add a project; its name is unique in its tenant."""
    tenant_id, name = request.tenant(given.get("tenant_id")), required(given, "name")
    if request.tx.row("project", "tenant_id = ? AND name = ?", [tenant_id, name]):
        raise CloudRefusal(UNIQUE)
    row = {"tenant_id": tenant_id, "name": name, "description": given.get("description")}
    return {"id": request.tx.insert("project", row)}


@mutation("project_id: UUID!", SUCCESS)
def delete_project(request: Request, given: Given) -> Payload:
    """Delete a project and everything in it."""
    return {"success": request.tx.execute("DELETE FROM project WHERE id = ?", [given["project_id"]]) > 0}


@mutation("name: String!, value: JSON, tenant_id: UUID", SUCCESS)
def set_secret(request: Request, given: Given) -> Payload:
    """Store a secret; null deletes it."""
    tenant_id, name = request.tenant(given.get("tenant_id")), required(given, "name")
    request.tx.execute("DELETE FROM secret WHERE tenant_id = ? AND name = ?", [tenant_id, name])
    if given.get("value") is not None:
        request.tx.insert("secret", {"tenant_id": tenant_id, "name": name, "value": given["value"]})
    return {"success": True}


MAX_VALUE = 10_000
"""Largest value in bytes (protocol section 12.1)."""


@mutation("key: String!, value: JSON, tenant_id: UUID", ID)
def set_key_value(request: Request, given: Given) -> Payload:
    """Store a value under a key; it replaces an earlier one."""
    tenant_id, key = request.tenant(given.get("tenant_id")), required(given, "key")
    if len(json.dumps(given.get("value"))) > MAX_VALUE:
        raise CloudRefusal(f"The value is larger than {MAX_VALUE} bytes")
    row = request.tx.row("key_value", "tenant_id = ? AND key = ?", [tenant_id, key])
    if row:
        request.tx.update("key_value", row["id"], {"value": given.get("value")})
        return {"id": row["id"]}
    return {"id": request.tx.insert("key_value", {"tenant_id": tenant_id, "key": key, "value": given.get("value")})}


@mutation("key_value_id: UUID!", SUCCESS)
def delete_key_value(request: Request, given: Given) -> Payload:
    """Delete a key-value pair."""
    return {"success": request.tx.execute("DELETE FROM key_value WHERE id = ?", [given["key_value_id"]]) > 0}
