"""The rule by which labels bring flow runs and agents together (protocol section 3.2). Pure."""

from collections.abc import Collection


def labels_match(run_labels: Collection[str], agent_labels: Collection[str]) -> bool:
    """Return whether an agent is offered a run: it has all of the labels of a labelled run, or neither has labels."""
    return bool(run_labels) == bool(agent_labels) and set(run_labels) <= set(agent_labels)
