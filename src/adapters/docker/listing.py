"""The engine's list of our containers: whole, or in parts where the whole is more than can be taken at once."""

from collections.abc import Mapping
from typing import Any, Final

from docker.api.client import APIClient

from prefect.agent.adapters.bounded_json import BeyondBounds
from prefect.agent.adapters.docker.containers import UNIT
from prefect.agent.domain.errors import PlatformUnavailable

PART: Final = 500
"""Containers of the first part; labels of an image are labels of its containers, and may be many."""


def entries(client: APIClient) -> list[Any]:
    """What the engine says of each container of ours, the latest first.

    Raises:
        BeyondBounds: One container alone is more than can be taken.
        PlatformUnavailable: The engine answers no list.
        DockerException: And the like, see ``RAISED``.
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
    """So many containers that were made before the one with the id *before*."""
    filters = {"label": UNIT, **({"before": before} if before else {})}
    found: object = client.containers(all=True, limit=limit, filters=filters)
    if not isinstance(found, list):
        raise PlatformUnavailable("the Docker engine answered no list when asked for its containers")
    return found


def _id_of(entry: object) -> str:
    found = entry.get("Id") if isinstance(entry, Mapping) else None
    return found if isinstance(found, str) else ""
