"""Mutations that make and revoke API keys (protocol section 12.1)."""

from datetime import datetime
from typing import Any

from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.domain.cloud.states import read_time
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.mutations.registry import SUCCESS, Given, Payload, Request, mutation, required
from prefect.agent.entrypoints.server.storage.keys import add_key, revoke
from prefect.agent.entrypoints.server.storage.scopes import SCOPES, Caller


@mutation("name: String!, user_id: UUID, expires_at: DateTime, tenant_id: UUID, scope: String", "key: String, id: UUID")
def create_api_key(request: Request, given: Given) -> Payload:
    """Make a key. The first key locks the Cloud: from then on every request needs one.

    A key made through another key expires with it and is revoked with it.
    """
    key_id, key = add_key(
        request.tx,
        request.tenant(given.get("tenant_id")),
        required(given, "name"),
        user_id=given.get("user_id"),
        expires_at=_not_after(_in_future(given.get("expires_at"), request.now), request.caller),
        scope=_scope(given.get("scope"), request.caller),
        made_by=request.caller.key_id,
    )
    return {"key": key, "id": key_id}


@mutation("key_id: UUID!", SUCCESS)
def delete_api_key(request: Request, given: Given) -> Payload:
    """Revoke a key at once, with all keys made through it."""
    return {"success": revoke(request.tx, given["key_id"])}


def _in_future(value: Any, now: datetime) -> str | None:
    if value is None:
        return None
    moment = read_time(value)
    if moment <= now:
        raise CloudRefusal("expires_at is in the past")
    return iso(moment)


def _not_after(expires_at: str | None, caller: Caller) -> str | None:
    """Return when the new key expires: not after the key through which it is made."""
    both = [moment for moment in (expires_at, caller.expires_at) if moment is not None]
    return min(both, default=None)


def _scope(wanted: str | None, caller: Caller) -> str:
    """Return the scope of the new key: not greater than that of the key through which it is made."""
    scope = wanted or caller.scope
    if scope not in SCOPES:
        raise CloudRefusal(f"scope is {scope!r:.40}; it must be one of {', '.join(SCOPES)}")
    if caller.scope != scope and caller.scope == SCOPES[1]:
        raise CloudRefusal(f"A key of the scope {caller.scope} cannot make a key of the scope {scope}")
    return scope
