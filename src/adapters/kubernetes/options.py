"""Creates the Kubernetes platform from options: the entry point ``kubernetes`` of ``prefect.agent.platforms``."""

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from prefect.agent.adapters.kubernetes import manifest, permissions, templates
from prefect.agent.adapters.kubernetes.api_server import Cluster
from prefect.agent.adapters.kubernetes.jobs import Scope
from prefect.agent.adapters.kubernetes.manifest import JobDefaults, SecretReference
from prefect.agent.adapters.kubernetes.platform import KubernetesPlatform
from prefect.agent.adapters.kubernetes.presence import PodProcess
from prefect.agent.adapters.kubernetes.throttle import Throttle
from prefect.agent.adapters.kubernetes.units import Patience
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.template_paths import PUBLIC
from prefect.agent.ports.platform import ExecutionPlatform

QPS: Final = 200.0
"""Requests per second, few enough that the API server's priority and fairness does not reject them."""

BURST: Final = 400
"""Requests at once."""

DEFAULT_KEY: Final = "api-key"
"""Key in the Secret that ``prefect agent install`` prints."""

PULL_POLICIES: Final = frozenset({"Always", "IfNotPresent", "Never"})
SECURITIES: Final = ("restricted", "none")

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@attrs.frozen(kw_only=True)
class KubernetesOptions:
    """The options of the platform.

    Attributes:
        namespace: Namespace for the Jobs; None for the agent's own, or the one that the kubeconfig names.
        image_pull_secrets: Names of Secrets, or one text with commas between them.
        api_key_secret: ``NAME/KEY`` of a Secret in the Jobs' namespace that holds the API key; None creates a Secret
            for each Job.
        job_security: Pod security of Jobs whose template sets none: ``restricted`` (Pod Security Standards) or
            ``none``.
        job_ttl: Seconds after which Kubernetes itself deletes a finished Job; None for never.
        start_trouble: Seconds after which the agent gives up on a pod whose image cannot be pulled.
        start_deadline: Seconds after which the agent gives up on a Job that finds no node.
        template_paths: Folders, files and addresses that run configs may name as job templates, as in the policy.
        without: Features of :data:`permissions.FEATURES` that are switched off.
    """

    namespace: str | None = None
    kubeconfig: str | None = None
    context: str | None = None
    job_template_path: str | None = None
    service_account_name: str | None = None
    image_pull_secrets: str | Iterable[str] | None = None
    image_pull_policy: str | None = None
    job_cpu_request: str | None = None
    job_cpu_limit: str | None = None
    job_mem_request: str | None = None
    job_mem_limit: str | None = None
    volumes: Sequence[Mapping[str, Any]] | None = None
    volume_mounts: Sequence[Mapping[str, Any]] | None = None
    api_key_secret: str | None = None
    job_security: str = "restricted"
    job_ttl: int | None = 86_400
    start_trouble: float = 60.0
    start_deadline: float = 6 * 3600.0
    cluster_wide: bool = False
    without: Collection[str] = ()
    template_paths: Sequence[str] = (PUBLIC,)
    qps: float = QPS
    burst: int = BURST

    def __attrs_post_init__(self) -> None:
        _check(self.namespace, self.image_pull_policy, self.job_security, self.without)

    def defaults(self, namespace: str) -> JobDefaults:
        """Return the settings that a Job has unless its template or run config sets others."""
        return JobDefaults(
            namespace=namespace,
            service_account_name=self.service_account_name,
            image_pull_secrets=tuple(_names(self.image_pull_secrets)),
            image_pull_policy=self.image_pull_policy,
            cpu_request=self.job_cpu_request,
            cpu_limit=self.job_cpu_limit,
            memory_request=self.job_mem_request,
            memory_limit=self.job_mem_limit,
            volumes=tuple(self.volumes or ()),
            volume_mounts=tuple(self.volume_mounts or ()),
            ttl_seconds=self.job_ttl,
            restricted=self.job_security == "restricted",
        )


def factory(**given: Any) -> ExecutionPlatform:
    """Create the Kubernetes platform from options.

    Args:
        given: Attributes of :class:`KubernetesOptions`.

    Raises:
        TypeError: This platform does not have one of the options.
        ConfigurationError: The value of an option is invalid, or no cluster is configured.
    """
    unknown = given.keys() - {each.name for each in attrs.fields(KubernetesOptions)}
    if unknown:
        raise TypeError(f"the kubernetes platform has no option {', '.join(sorted(unknown))}")
    options = KubernetesOptions(**given)
    cluster = Cluster(
        kubeconfig=options.kubeconfig, context=options.context, throttle=Throttle(options.qps, options.burst)
    )
    scope = Scope(
        namespace=options.namespace or cluster.home_namespace(),
        cluster_wide=options.cluster_wide,
        features=frozenset(permissions.FEATURES) - frozenset(options.without),
    )
    defaults = options.defaults(scope.namespace)
    template = templates.of_agent(options.job_template_path)
    manifest.check(template, defaults=defaults)
    return KubernetesPlatform(
        cluster,
        scope=scope,
        defaults=defaults,
        template=template,
        api_key_secret=_reference(options.api_key_secret),
        patience=Patience(trouble=options.start_trouble, start=options.start_deadline),
        process=PodProcess.this(os.environ),
        template_paths=options.template_paths,
    )


def _check(namespace: str | None, pull_policy: str | None, security: str, without: Collection[str]) -> None:
    if namespace and not _NAME.fullmatch(namespace):
        raise ConfigurationError(f"{namespace!r} cannot be a namespace: use up to 63 of a-z, 0-9 and '-'")
    if pull_policy and pull_policy not in PULL_POLICIES:
        raise ConfigurationError(
            f"the image pull policy is {pull_policy!r}; set it to one of {', '.join(sorted(PULL_POLICIES))}"
        )
    if security not in SECURITIES:
        raise ConfigurationError(f"the Jobs' security is {security!r}; set it to {' or '.join(SECURITIES)}")
    strange = set(without) - (permissions.FEATURES.keys() - {permissions.RUN})
    if strange:
        known = ", ".join(name for name in permissions.FEATURES if name != permissions.RUN)
        raise ConfigurationError(f"there is no feature {', '.join(sorted(strange))} to switch off; choose from {known}")


def _names(given: str | Iterable[str] | None) -> list[str]:
    words = given.split(",") if isinstance(given, str) else given or ()
    return [word.strip() for word in words if word.strip()]


def _reference(text: str | None) -> SecretReference | None:
    if not text:
        return None
    name, _, key = text.partition("/")
    if not name:
        raise ConfigurationError(f"{text!r} names no Secret; write it like prefect-agent/{DEFAULT_KEY}")
    return SecretReference(name=name, key=key or DEFAULT_KEY)
