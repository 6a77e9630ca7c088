"""Separates the parts of a Job that are the operator's own; their rights do not extend to the run's parts. Pure.

A privileged helper in the agent's template does not allow a flow author a privileged container, and a volume that only
such a helper mounts does not allow the flow to mount it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from prefect.agent.adapters.kubernetes.pods import CONTAINER

Object = Mapping[str, Any]

KINDS: Final = ("containers", "initContainers", "ephemeralContainers")


def pod_of(job: Object) -> Object:
    """Return the PodSpec of *job*; empty if there is none."""
    spec = _map(job.get("spec"))
    return _map(_map(spec.get("template")).get("spec"))


def of_the_run(wanted: Object, given: Object) -> Object:
    """Return *wanted* without the containers of *given*, and without its volumes unless they get more rights.

    Args:
        wanted: The Job of a run.
        given: The Job that a run without a run config would get.
    """
    flow, pod, before = flow_of(wanted), pod_of(wanted), pod_of(given)
    kept = {
        kind: [each for each in _maps(pod, kind) if each is flow or each not in _maps(before, kind)] for kind in KINDS
    }
    uses = _uses(each for some in kept.values() for each in some)
    entitled = _uses([flow_of(given)])
    volumes = [
        each
        for each in _maps(pod, "volumes")
        if each not in _maps(before, "volumes") or not _covers(entitled, uses, each.get("name"))
    ]
    return _with_pod(wanted, {**pod, **kept, "volumes": volumes})


def of_the_flow(given: Object) -> Object:
    """Return *given* with only the flow's container and without volumes, since each volume of a run is judged."""
    flow = flow_of(given)
    kept = {kind: [flow] if flow and kind == "containers" else [] for kind in KINDS}
    return _with_pod(given, {**pod_of(given), **kept, "volumes": []})


def flow_of(job: Object) -> Object:
    """Return the container that runs the flow; empty if there is none."""
    containers = _maps(pod_of(job), "containers")
    named = (each for each in containers if each.get("name") == CONTAINER)
    return next(named, containers[0] if containers else {})


@attrs.frozen
class _Use:
    """A container's use of a volume."""

    volume: str
    part: tuple[str, ...]
    may_write: bool


def _uses(containers: Iterable[Object]) -> set[_Use]:
    mounts = [each for container in containers for each in _maps(container, "volumeMounts")]
    return {
        _Use(
            str(each.get("name")),
            tuple(str(each.get(key) or "") for key in ("subPath", "subPathExpr", "mountPropagation")),
            each.get("readOnly") is not True,
        )
        for each in mounts
    }


def _covers(entitled: set[_Use], uses: set[_Use], name: object) -> bool:
    """Return whether all *uses* of the volume *name* are *entitled*, or only read what may be written."""
    return all(use in entitled or attrs.evolve(use, may_write=True) in entitled for use in uses if use.volume == name)


def _with_pod(job: Object, pod: Object) -> Object:
    spec = _map(job.get("spec"))
    return {**job, "spec": {**spec, "template": {**_map(spec.get("template")), "spec": pod}}}


def _map(value: object) -> Object:
    return value if isinstance(value, Mapping) else {}


def _maps(mapping: Object, key: str) -> list[Object]:
    value = mapping.get(key)
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
