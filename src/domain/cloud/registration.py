"""Read serialized flows (protocol section 12.4)."""

import base64
import binascii
import gzip
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from prefect.agent.domain.cloud.errors import CloudRefusal

MAX_FLOW_BYTES: Final = 64 * 1024 * 1024
"""Bytes of the largest unpacked flow, so that a small request cannot fill the memory."""


def decompress_flow(text: str) -> dict[str, Any]:
    """Unpack base64(gzip(JSON)).

    Raises:
        CloudRefusal: The text is not in that form, or the flow is too large.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(base64.b64decode(text))) as packed:
            data = packed.read(MAX_FLOW_BYTES + 1)
    except (binascii.Error, OSError, EOFError, ValueError, zlib.error) as problem:
        raise CloudRefusal(f"The flow cannot be unpacked: {problem}") from problem
    if len(data) > MAX_FLOW_BYTES:
        raise CloudRefusal(f"The flow is larger than {MAX_FLOW_BYTES} bytes")
    try:
        return check_flow(json.loads(data))
    except (ValueError, RecursionError) as problem:
        raise CloudRefusal(f"The flow is not JSON: {problem}") from problem


def check_flow(flow: object) -> dict[str, Any]:
    """Return *flow* if it is an object with a name, or such an object as JSON text.

    Raises:
        CloudRefusal: The flow is neither.
    """
    if isinstance(flow, str):
        try:
            flow = json.loads(flow)
        except (ValueError, RecursionError) as problem:
            raise CloudRefusal(f"The flow is not JSON: {problem}") from problem
    if not isinstance(flow, dict) or not isinstance(flow.get("name"), str) or not flow["name"]:
        raise CloudRefusal("A serialized flow must be an object with a name")
    return flow


def core_version(flow: Mapping[str, Any]) -> str | None:
    """Return the library version that made the flow, from its run config, environment, storage, or the flow itself."""
    for part in (flow.get("run_config"), flow.get("environment"), flow.get("storage"), flow):
        version = part.get("__version__") if isinstance(part, Mapping) else None
        if isinstance(version, str):
            return version
    return None


def task_columns(task: object, *, reference: bool) -> dict[str, Any]:
    """Return the columns of a task row for a serialized task."""
    if not isinstance(task, Mapping) or not isinstance(task.get("slug"), str):
        raise CloudRefusal("A serialized task must be an object with a slug")
    kind = task.get("type")
    return {
        "name": task.get("name"),
        "slug": task["slug"],
        "description": task.get("description"),
        "type": kind if isinstance(kind, str) else None,
        "max_retries": task.get("max_retries") or 0,
        "retry_delay": None if task.get("retry_delay") is None else str(task["retry_delay"]),
        "trigger": (task.get("trigger") or {}).get("fn") if isinstance(task.get("trigger"), Mapping) else None,
        "tags": task.get("tags") or [],
        "mapped": bool(task.get("mapped")),
        "auto_generated": bool(task.get("auto_generated")),
        "cache_key": task.get("cache_key"),
        "is_reference_task": reference,
    }


def edge_slugs(edges: Sequence[Mapping[str, Any]]) -> tuple[set[str], set[str], set[str]]:
    """Return three sets of slugs: tasks with upstream tasks, tasks with downstream tasks, and mapped tasks."""
    below, above, mapped = set(), set(), set()
    for edge in edges:
        up, down = edge_ends(edge)
        below.add(down)
        above.add(up)
        if edge.get("mapped"):
            mapped.add(down)
    return below, above, mapped


def edge_ends(edge: Mapping[str, Any]) -> tuple[str, str]:
    """Return the slugs of an edge's upstream and downstream task.

    Raises:
        CloudRefusal: The edge does not name both.
    """
    try:
        return str(edge["upstream_task"]["slug"]), str(edge["downstream_task"]["slug"])
    except (KeyError, TypeError) as problem:
        raise CloudRefusal("A serialized edge must name its upstream_task and downstream_task by slug") from problem
