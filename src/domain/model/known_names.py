"""What the flows and runs of a tenant are called, and which of them a name may mean that there is not. Pure."""

from collections.abc import Sequence
from typing import Final

import attrs

from prefect.agent.domain.model.orders import FlowReference
from prefect.agent.domain.texts import did_you_mean, likeness, nearest

NEAR: Final = 0.6
"""How alike two names are, at least, if one may be meant by the other: names of flows are often short."""

MOST_LIKELY: Final = 3
"""How many names are shown that may be meant."""


@attrs.frozen(kw_only=True)
class KnownNames:
    """Names in a tenant, the latest first; empty where the backend does not say.

    Attributes:
        flows: Flows that are not archived, by name and project.
        runs: Flow runs.
    """

    flows: Sequence[FlowReference] = ()
    runs: Sequence[str] = ()

    def of_flow(self, meant: FlowReference) -> str:
        """Ask whether another flow is meant than the one that there is not; empty if no name is near."""
        return did_you_mean([_typed(flow) for flow in self._near(meant)])

    def of_run(self, name: str) -> str:
        """Ask whether another run is meant than the one that there is not; empty if no name is near."""
        return did_you_mean([repr(near) for near in nearest(name, self.runs, least=NEAR, most=MOST_LIKELY)])

    def is_flow(self, name: str) -> bool:
        """Whether a flow has that name."""
        return any(flow.name == name for flow in self.flows)

    def _near(self, meant: FlowReference) -> list[FlowReference]:
        """Flows with a name like the one that is *meant*, those of a project like its project first."""
        scores = {flow: _score(meant, flow) for flow in self.flows}
        near = [flow for flow, (score, _) in scores.items() if score >= NEAR]
        return sorted(near, key=lambda flow: scores[flow], reverse=True)[:MOST_LIKELY]


def _score(meant: FlowReference, flow: FlowReference) -> tuple[float, float]:
    """How alike the names are, also with name and project turned round; and the projects."""
    name = meant.name.removeprefix(f"{meant.project}/") if meant.project else meant.name
    straight, turned = likeness(name, flow.name), 0.0
    if meant.project and flow.project:
        turned = min(likeness(meant.project, flow.name), likeness(name, flow.project))
    return max(straight, turned), likeness(meant.project, flow.project)


def _typed(flow: FlowReference) -> str:
    """How a person names the flow on a command line."""
    if "/" in flow.project:
        return f"{flow.name!r} with --project {flow.project!r}"
    return repr(f"{flow.project}/{flow.name}" if flow.project else flow.name)
