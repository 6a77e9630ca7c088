"""The properties of a new flow run (protocol section 13.3)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from prefect.agent.domain.cloud.errors import CloudRefusal

_FIRST: Final = (
    "amber", "brisk", "calm", "clever", "copper", "crimson", "eager", "early", "gentle", "golden", "happy", "honest",
    "indigo", "keen", "lively", "lucky", "mellow", "nimble", "noble", "olive", "patient", "proud", "quick", "quiet",
    "royal", "rustic", "silver", "steady", "sunny", "swift", "teal", "tidy", "umber", "velvet", "warm", "wise",
)  # fmt: skip
_SECOND: Final = (
    "badger", "beetle", "bison", "crane", "cricket", "dolphin", "eagle", "falcon", "ferret", "finch", "fox", "gecko",
    "heron", "ibex", "jackal", "koala", "lemur", "lynx", "marten", "newt", "ocelot", "otter", "owl", "panda", "puffin",
    "quail", "raven", "robin", "salmon", "seal", "stork", "swan", "tapir", "turtle", "walrus", "wren",
)  # fmt: skip


def run_name(choose: Callable[[Sequence[str]], str]) -> str:
    """Return a name of two words; *choose* picks one element of a sequence."""
    return f"{choose(_FIRST)}-{choose(_SECOND)}"


def run_labels(given: Mapping[str, Any], group: Mapping[str, Any], flow: Mapping[str, Any]) -> list[str]:
    """Return the labels of a new run: the first set ones of request, run config, flow group and flow."""
    candidates = (
        given.get("labels"),
        _labels_of(given.get("run_config")),
        group.get("labels"),
        _labels_of(group.get("run_config")),
        _labels_of(flow.get("run_config")),
        _labels_of(flow.get("environment")),
    )
    return sorted({str(label) for label in next((c for c in candidates if c is not None), [])})


def run_parameters(
    declared: object, group_defaults: Mapping[str, Any] | None, given: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the parameters of a new run: the flow's defaults, overridden by the group's and the request's.

    Raises:
        CloudRefusal: A required parameter has no value.
    """
    known = [p for p in declared if isinstance(p, Mapping)] if isinstance(declared, list) else []
    named = {p["name"]: p for p in known if isinstance(p.get("name"), str)}
    defaults = {name: p["default"] for name, p in named.items() if p.get("default")}
    parameters = {**defaults, **(group_defaults or {}), **(given or {})}
    required = {name for name, p in named.items() if p.get("required")}
    missing = sorted(required - set(parameters))
    if missing:
        raise CloudRefusal(f"Required parameters were not supplied: {', '.join(missing)}")
    return parameters


def _labels_of(config: object) -> list[str] | None:
    labels = config.get("labels") if isinstance(config, Mapping) else None
    return labels if isinstance(labels, list) else None
