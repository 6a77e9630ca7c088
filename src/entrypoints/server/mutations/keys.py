"""API keys, for those who hold one already (protocol section 12.1)."""

from datetime import datetime
from typing import Any

from prefect.agent.domain.cloud.errors import CloudError
from prefect.agent.domain.cloud.states import read_time
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.keys import add_key
from prefect.agent.entrypoints.server.mutation import SUCCESS, Answer, Given, Request, mutation, required


@mutation("name: String!, user_id: UUID, expires_at: DateTime, tenant_id: UUID", "key: String, id: UUID")
def create_api_key(request: Request, given: Given) -> Answer:
    """Make a key. The first one locks the Cloud: from then on every request needs a key."""
    key_id, key = add_key(
        request.tx,
        request.tenant(given.get("tenant_id")),
        required(given, "name"),
        user_id=given.get("user_id"),
        expires_at=_in_future(given.get("expires_at"), request.now),
    )
    return {"key": key, "id": key_id}


@mutation("key_id: UUID!", SUCCESS)
def delete_api_key(request: Request, given: Given) -> Answer:
    """Revoke a key at once."""
    return {"success": request.tx.execute("DELETE FROM auth_api_key WHERE id = ?", [given["key_id"]]) > 0}


def _in_future(value: Any, now: datetime) -> str | None:
    if value is None:
        return None
    moment = read_time(value)
    if moment <= now:
        raise CloudError("expires_at is in the past")
    return iso(moment)
