"""A namespace for tests of the Kubernetes adapter: platforms, submissions, and what is there without the adapter."""

import re
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import attrs

from prefect.agent.adapters.kubernetes import KubernetesPlatform, templates
from prefect.agent.adapters.kubernetes.api_server import Cluster
from prefect.agent.adapters.kubernetes.jobs import Scope
from prefect.agent.adapters.kubernetes.manifest import JobDefaults, SecretReference
from prefect.agent.adapters.kubernetes.presence import PodProcess
from prefect.agent.adapters.kubernetes.reflector import WatchRhythm
from prefect.agent.adapters.kubernetes.throttle import Throttle
from prefect.agent.adapters.kubernetes.units import Patience
from prefect.agent.domain.model.flow_runs import FlowRunId, SimpleAttempt
from prefect.agent.domain.model.run_configs import KubernetesRun
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit, unit_name
from prefect.agent.ports.platform import ExecutionPlatform
from support.kubernetes.api import Account, Object
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.platform_harness import role
from support.kubernetes.proxy import FaultProxy
from support.kubernetes.scratch_namespace import ScratchNamespace
from support.waiting import wait_until

KEY: Final = "k3y-of-the-cloud"
FOREVER: Final = "trap 'exit 0' TERM; sleep 600 & wait $!"


@attrs.define(kw_only=True)
class KubernetesHarness:
    """One namespace, in which the agent has an account with the Role that ``install`` prints.

    Attributes:
        account: The agent's.
        proxy: What its requests go through, if anything.
    """

    plane: ControlPlane
    scratch: ScratchNamespace
    account: Account
    stack: ExitStack
    proxy: FaultProxy | None = None

    @property
    def namespace(self) -> str:
        """Its name."""
        return self.scratch.namespace

    def kubeconfig(self, token: str = "") -> str:
        """Path of a new kubeconfig of the agent's account."""
        token = token or self.account.token()
        if self.proxy is not None:
            return str(self.proxy.kubeconfig(token, self.namespace))
        return str(self.plane.kubeconfig_for_token(token, self.namespace))

    def platform(
        self,
        *,
        kubeconfig: str = "",
        trouble: float = 2,
        start: float = 600,
        rhythm: WatchRhythm | None = None,
        api_key_secret: SecretReference | None = None,
        scope: Mapping[str, Any] | None = None,
        template: Mapping[str, Any] = templates.BUILT_IN,
        process: PodProcess | None = None,
        template_paths: Sequence[str] = ("public",),
        **defaults: Any,
    ) -> KubernetesPlatform:
        """A platform of its own connection, closed in the end; *scope* and *defaults* change those of the factory."""
        platform = KubernetesPlatform(
            Cluster(kubeconfig=kubeconfig or self.kubeconfig(), throttle=Throttle(200, 400)),
            scope=Scope(**{"namespace": self.namespace, **(scope or {})}),
            defaults=JobDefaults(**{"namespace": self.namespace, **defaults}),
            template=template,
            api_key_secret=api_key_secret,
            patience=Patience(trouble=trouble, start=start),
            rhythm=rhythm,
            process=process,
            template_paths=template_paths,
        )
        self.stack.callback(platform.close)
        return platform

    def job(self, name: str) -> Object:
        """A Job, as an administrator sees it."""
        return self.scratch.api.get(f"{self.scratch.jobs}/{name}")

    def pod(self, name: str) -> Object:
        """The pod of a unit, once it has one."""
        wait_until(lambda: self.scratch.pod(name), 20, f"{name} has a pod")
        pod = self.scratch.pod(name)
        assert pod is not None
        return pod

    def pod_name(self, name: str) -> str:
        """The name of that pod."""
        return str(self.pod(name)["metadata"]["name"])

    def secrets(self) -> list[str]:
        """Names of all Secrets."""
        found = self.scratch.api.list(f"/api/v1/namespaces/{self.namespace}/secrets")
        return [each["metadata"]["name"] for each in found]

    def post(self, path: str, body: object) -> Object:
        """Make something in the namespace; *path* is ``api/v1 configmaps``."""
        group, _, resource = path.partition(" ")
        return self.scratch.api.post(f"/{group}/namespaces/{self.namespace}/{resource}", body)


@contextmanager
def kubernetes_harness(
    plane: ControlPlane, *, proxy: FaultProxy | None = None, labels: Mapping[str, str] | None = None
) -> Generator[KubernetesHarness]:
    """A new namespace with these labels; it and everything in it is deleted."""
    namespace = plane.api.new_namespace()
    with ExitStack() as stack:
        stack.callback(plane.api.clear, namespace)
        if labels:
            plane.api.patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": labels}})
        account = plane.api.new_account(namespace, role(namespace))
        yield KubernetesHarness(
            plane=plane, scratch=ScratchNamespace(plane.api, namespace), account=account, stack=stack, proxy=proxy
        )


def submission(
    script: str = "exit 0", *, ending: str = "", template: Mapping[str, Any] | None = None, **changes: Any
) -> Submission:
    """Of a new flow run that executes a shell script, or plays an *ending* of :mod:`support.kubernetes.pod_lives`.

    Args:
        template: The run config's own.
    """
    run_id = FlowRunId(str(uuid.uuid4()))
    job = dict(template or {})
    if ending:
        job = merged(job, {"spec": {"template": {"metadata": {"annotations": {"lab.test/ending": ending}}}}})
    made = Submission(
        name=unit_name(run_id, SimpleAttempt("1")),
        flow_run_id=run_id,
        attempt="1",
        command=("sh", "-c", script),
        image="lab/none:1",
        secret_env={"API_KEY": KEY},
        run_config=KubernetesRun(job_template=job) if job else KubernetesRun(),
    )
    return attrs.evolve(made, **changes)


def with_pod(**spec: Any) -> dict[str, Any]:
    """A Job template with this PodSpec."""
    return {"spec": {"template": {"spec": spec}}}


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two templates in one; lists of *other* win."""
    both = {**one}
    for key, value in other.items():
        old = both.get(key)
        both[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return both


def seen(platform: ExecutionPlatform, name: str) -> Unit | None:
    """The unit among all units: what the watches have told."""
    return next((unit for unit in platform.units() if unit.name == name), None)


def once(platform: ExecutionPlatform, name: str, fits: Callable[[Unit], object], seconds: float = 60) -> Unit:
    """The unit among all units, once it is like that."""
    found: list[Unit] = []

    def look() -> bool:
        unit = seen(platform, name)
        found[:] = [unit] if unit is not None and fits(unit) else []
        return bool(found)

    try:
        wait_until(look, seconds, f"{name} is as wanted")
    except AssertionError as late:
        raise AssertionError(f"{late}; but {seen(platform, name)}") from None
    return found[0]


def once_ended(platform: ExecutionPlatform, name: str, seconds: float = 60) -> Unit:
    """The unit among all units, once it has ended."""
    return once(platform, name, lambda unit: unit.status.has_ended, seconds)


def cells(table: str) -> list[list[str]]:
    """The cells of an account that are not empty, row by row."""
    return [re.split(r"\s{2,}", line.strip()) for line in table.splitlines() if line.strip()]
