"""Lists the engine's containers that are units: at once, or in parts if the whole list exceeds the limits."""

from collections.abc import Mapping
from typing import Any, Final

from docker.api.client import APIClient

from prefect.agent.adapters.bounded_json import BeyondBounds
from prefect.agent.adapters.docker.containers import UNIT
from prefect.agent.domain.errors import PlatformUnavailable

PART: Final = 500
"""Containers of the first part. An entry may be large, since a container has all labels of its image."""


def entries(client: APIClient) -> list[Any]:
    """Return the engine's entry for each unit, the newest first.

    Raises:
        BeyondBounds: The entry of a single container exceeds the limits.
        PlatformUnavailable: The engine's answer is not a list.
        DockerException: The SDK raises this, or another error of ``RAISED``.
    """
    try:
        return _part(client)
    except BeyondBounds:
        return _in_parts(client)


def _in_parts(client: APIClient) -> list[Any]:
    found: list[Any] = []
    count, before = PART, ""
    while True:
        try:
            part = _part(client, count, before)
        except BeyondBounds:
            if count == 1:
                raise
            count = max(1, count // 4)
            continue
        found += part
        before = _id_of(part[-1]) if len(part) >= count else ""
        if not before:
            return found


def _part(client: APIClient, limit: int = -1, before: str = "") -> list[Any]:
    """Return at most *limit* entries of containers that are older than the one with the id *before*."""
    filters = {"label": UNIT, **({"before": before} if before else {})}
    found: object = client.containers(all=True, limit=limit, filters=filters)
    if not isinstance(found, list):
        raise PlatformUnavailable("the Docker engine's answer to a list of containers is not a list")
    return found


def _id_of(entry: object) -> str:
    found = entry.get("Id") if isinstance(entry, Mapping) else None
    return found if isinstance(found, str) else ""
