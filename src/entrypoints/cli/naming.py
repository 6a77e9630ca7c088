"""What a person who names a flow or a flow run may mean."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from prefect.agent.domain.errors import AgentError
from prefect.agent.domain.model.known_names import KnownNames
from prefect.agent.domain.model.orders import FlowDraft

if TYPE_CHECKING:
    from prefect.agent.ports.cloud_api import CloudApi

MOST_NAMES: Final = 200
"""Flows and runs whose names are looked at, the latest first."""


def only_draft(drafts: Sequence[FlowDraft], flow: str) -> FlowDraft | None:
    """Return the only one of *drafts*; None if there is none.

    Raises:
        UsageError: There are several.
    """
    if len(drafts) > 1:
        names = ", ".join(sorted(draft.project for draft in drafts))
        raise click.UsageError(f"several projects have a flow {flow!r}: choose one by --project ({names})")
    return drafts[0] if drafts else None


def names_like(cloud: "CloudApi", name: str) -> KnownNames:
    """Return the names among which one like *name* is looked for; none for an empty one, or if the Cloud does not say.

    It is not worth an error of its own: the caller has one to report already.
    """
    try:
        return cloud.known_names(limit=MOST_NAMES) if name else KnownNames()
    except AgentError:
        return KnownNames()
