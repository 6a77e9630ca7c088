"""What a person decided about an agent in Kubernetes, and what follows from it for more than one document."""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from prefect.agent.adapters.kubernetes import permissions
from prefect.agent.domain.model.run_configs import frozen_mapping
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.runtime.loops import LAST_REPORTS
from prefect.agent.entrypoints.settings.configuration import CLOUD_API, Backend

NAME: Final = "prefect-agent"
"""Of every document; the official manifest's Deployment has it too, so applying this one replaces that one."""

SECRET_KEY: Final = "api-key"  # noqa: S105 - where it is, not what it is
PLACEHOLDER: Final = "PUT-THE-API-KEY-HERE"
OPTIONAL: Final = (permissions.CLEAN_UP, permissions.CANCEL, permissions.LOGS, permissions.EVENTS)
"""Features that ``--without`` can leave out."""

SELECTOR: Final = {"app": NAME}
LABELS: Final = {**SELECTOR, "app.kubernetes.io/name": NAME, "app.kubernetes.io/component": "agent"}

HEALTH_PORT: Final = 8080
USER: Final = 10001
"""User and group of the image (Containerfile)."""

DRAIN: Final = int(AgentSettings().create_deadline + LAST_REPORTS) + 15
"""Seconds a stopping agent may need: creates that meet trouble are retried, the last reports follow, and a margin."""


@attrs.frozen(kw_only=True)
class Install:
    """What a person decided. Checked values only (:mod:`.checks`).

    Attributes:
        image: Of the agent itself.
        key: API key to put into the Secret; None: a placeholder, if there is to be one.
        existing_secret: Name and key of a Secret that is there already.
        flow_run_secret: The same of one with the API key that flow runs get; None: they get the agent's.
        labels, env, name, agent_config_id: Of the agent, as of ``start``.
        jobs: Variables with defaults for the Jobs, as the official manifest sets them (``JOB_MEM_REQUEST`` ...).
        pull_secrets: For the agent's pod and for the Jobs.
        without: Features left out, of :data:`OPTIONAL`.
        drain: Seconds between the request to stop and the end by force.
        agent_options: More of the agent's command line.
    """

    image: str
    namespace: str = "default"
    api: str = CLOUD_API
    backend: Backend = "cloud"
    key: str | None = attrs.field(default=None, repr=False)
    existing_secret: tuple[str, str] | None = None
    flow_run_secret: tuple[str, str] | None = None
    tenant_id: str | None = None
    name: str | None = None
    labels: tuple[str, ...] = ()
    env: Mapping[str, str] = attrs.field(factory=dict, converter=frozen_mapping)
    agent_config_id: str | None = None
    jobs: Mapping[str, str] = attrs.field(factory=dict, converter=frozen_mapping)
    pull_secrets: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    cluster_wide: bool = False
    create_namespace: bool = False
    network_policy: bool = False
    pod_disruption_budget: bool = False
    drain: int = DRAIN
    agent_options: tuple[str, ...] = ()

    @property
    def secret(self) -> tuple[str, str] | None:
        """Name and key of the Secret with the API key; None if the backend asks for none."""
        if self.existing_secret is not None:
            return self.existing_secret
        return (NAME, SECRET_KEY) if self.key is not None or self.backend == "cloud" else None

    @property
    def needs_key(self) -> bool:
        """Whether the Secret is printed with a placeholder."""
        return self.secret is not None and self.existing_secret is None and self.key is None

    @property
    def secret_of_jobs(self) -> tuple[str, str] | None:
        """The Secret that Jobs refer to: the flow runs' own, else the same one. In its own namespace only."""
        return None if self.cluster_wide else self.secret and (self.flow_run_secret or self.secret)

    @property
    def features(self) -> tuple[str, ...]:
        """Features that are switched on. Secrets need only be made for Jobs that cannot refer to the one there is."""
        on = [permissions.RUN, *(feature for feature in OPTIONAL if feature not in self.without)]
        return (*on, permissions.SECRET) if self.secret and not self.secret_of_jobs else tuple(on)

    @property
    def switched_off(self) -> tuple[str, ...]:
        """Features that the agent is told to do without: those left out, and Secrets where there is no key."""
        return self.without if self.secret else (*self.without, permissions.SECRET)


def metadata(install: Install, name: str = NAME, *, namespaced: bool = True) -> dict[str, Any]:
    """Of one object."""
    place = {"namespace": install.namespace} if namespaced else {}
    return {"name": name, **place, "labels": dict(LABELS)}
