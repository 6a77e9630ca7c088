"""The decisions about an agent in Kubernetes, and their consequences for more than one document."""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from prefect.agent.adapters.kubernetes import permissions
from prefect.agent.domain.model.run_configs import frozen_mapping
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.runtime.loops import LAST_REPORTS
from prefect.agent.entrypoints.settings.configuration import CLOUD_API, Backend

NAME: Final = "prefect-agent"
"""Name of every object. The official manifest's Deployment has it, too, so applying this one replaces that one."""

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
"""Seconds that a stopping agent may need: to create units with retries, to send the last reports, and a margin."""


@attrs.frozen(kw_only=True)
class Install:
    """The decisions of a person, all of them checked (:mod:`.checks`).

    Attributes:
        image: Image of the agent.
        key: API key for the Secret; None puts a placeholder there, if a Secret is needed.
        existing_secret: Name and key of an existing Secret with the API key.
        flow_run_secret: Name and key of a Secret with the flow runs' API key; None gives them the agent's.
        labels, env, name, agent_config_id: Options of the agent, as ``start`` takes them.
        jobs: Variables that set defaults for the Jobs, as in the official manifest (``JOB_MEM_REQUEST`` ...).
        pull_secrets: Secrets for pulling the images of the agent's pod and of the Jobs.
        without: Features of :data:`OPTIONAL` that are switched off.
        drain: Seconds between the request to stop and the kill.
        agent_options: More options of the agent's command line.
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
        """Name and key of the Secret with the API key; None if the backend requires no key."""
        if self.existing_secret is not None:
            return self.existing_secret
        return (NAME, SECRET_KEY) if self.key is not None or self.backend == "cloud" else None

    @property
    def needs_key(self) -> bool:
        """Whether the Secret is printed with a placeholder."""
        return self.secret is not None and self.existing_secret is None and self.key is None

    @property
    def secret_of_jobs(self) -> tuple[str, str] | None:
        """The Secret that Jobs refer to; None if Jobs may be in other namespaces, where they could not refer to it."""
        return None if self.cluster_wide else self.secret and (self.flow_run_secret or self.secret)

    @property
    def features(self) -> tuple[str, ...]:
        """Features that are switched on; among them Secrets for each Job if Jobs cannot refer to a common one."""
        on = [permissions.RUN, *(feature for feature in OPTIONAL if feature not in self.without)]
        return (*on, permissions.SECRET) if self.secret and not self.secret_of_jobs else tuple(on)

    @property
    def switched_off(self) -> tuple[str, ...]:
        """Features that are switched off: those that the person chose, and Secrets if there is no key."""
        return self.without if self.secret else (*self.without, permissions.SECRET)


def metadata(install: Install, name: str = NAME, *, namespaced: bool = True) -> dict[str, Any]:
    """Return the metadata of an object; without a namespace if the object is not *namespaced*."""
    place = {"namespace": install.namespace} if namespaced else {}
    return {"name": name, **place, "labels": dict(LABELS)}
