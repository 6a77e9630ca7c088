"""Mutations for the settings that agents fetch by id (protocol sections 2.2 and 12.1)."""

from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.entrypoints.server.mutations.registry import ID, SUCCESS, Given, Payload, Request, mutation

_TAKES = "name: String, settings: JSON"


@mutation(f"tenant_id: UUID, {_TAKES}", ID)
def create_agent_config(request: Request, given: Given) -> Payload:
    """Store settings for agents."""
    row = {"tenant_id": request.tenant(given.get("tenant_id")), "name": given.get("name"), **_settings(given)}
    return {"id": request.tx.insert("agent_config", row)}


@mutation(f"agent_config_id: UUID!, {_TAKES}", SUCCESS)
def update_agent_config(request: Request, given: Given) -> Payload:
    """Change the given fields of an agent's settings; leave the others."""
    row = request.get("agent_config", given["agent_config_id"])
    changes = {**({"name": given["name"]} if "name" in given else {}), **_settings(given)}
    if changes:
        request.tx.update("agent_config", row["id"], changes)
    return {"success": True}


@mutation("agent_config_id: UUID!", SUCCESS)
def delete_agent_config(request: Request, given: Given) -> Payload:
    """Delete settings; agents that were started with them continue without."""
    key = [given["agent_config_id"]]
    request.tx.execute("UPDATE agent SET agent_config_id = NULL WHERE agent_config_id = ?", key)
    return {"success": request.tx.execute("DELETE FROM agent_config WHERE id = ?", key) > 0}


def _settings(given: Given) -> dict[str, object]:
    if given.get("settings") is None:
        return {}
    if not isinstance(given["settings"], dict):
        raise CloudRefusal("settings must be an object")
    return {"settings": given["settings"]}
