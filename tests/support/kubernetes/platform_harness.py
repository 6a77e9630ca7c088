"""What the platform contract needs on Kubernetes, and the Role that the agent is given there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from prefect.agent.adapters.fakes.contracts import PlatformHarness
from prefect.agent.adapters.fakes.contracts.harnesses import eventually
from prefect.agent.adapters.kubernetes import factory, manifest, permissions
from prefect.agent.domain.model.run_configs import KubernetesRun, RunConfig
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.ports.platform import ExecutionPlatform
from support.kubernetes.api import Account, Api
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.kubelet import ProcessKubelet
from support.processes import has_ended
from support.submissions import Submissions


def role(namespace: str, features: Sequence[str] = tuple(permissions.FEATURES)) -> list[dict[str, Any]]:
    """The rules that the agent is granted, in the words of the Kubernetes API."""
    return [
        {
            "apiGroups": [rule.group],
            "resources": [rule.resource],
            "verbs": list(rule.verbs),
            **({"resourceNames": list(rule.names_in(namespace))} if rule.names else {}),
        }
        for rule in permissions.rules(features)
    ]


@attrs.define(kw_only=True)
class KubernetesPlatformHarness(Submissions, PlatformHarness):
    """Jobs whose pods a kubelet of ours executes as processes; looked at as an administrator."""

    control_plane: ControlPlane
    kubelet: ProcessKubelet
    namespace: str
    account: Account

    @property
    def api(self) -> Api:
        """The back door."""
        return self.control_plane.api

    @property
    def image(self) -> str:
        """Nobody pulls it."""
        return "lab/none:1"

    @property
    def run_config(self) -> RunConfig:
        """One of its own."""
        return KubernetesRun()

    def submission(self, *, secret_env: Mapping[str, str] | None = None, **wish: Any) -> Submission:
        """One that needs a Secret, as real ones do."""
        return super().submission(secret_env=secret_env or {"API_KEY": "k3y-of-the-cloud"}, **wish)

    def platform(self) -> ExecutionPlatform:
        """One more object, with the agent's own account."""
        config = self.control_plane.kubeconfig_for_token(self.account.token(), self.namespace)
        platform = factory(kubeconfig=str(config), start_trouble=2)
        self.stack.callback(platform.close)
        return platform

    def let_end(self, submission: Submission) -> None:
        """It does so itself."""

    def starts(self, name: str) -> int:
        """Ask the kubelet."""
        return self.kubelet.starts(name)

    def is_executing(self, name: str) -> bool:
        """Ask the kubelet."""
        return self.kubelet.is_executing(name)

    def child_trace(self, name: str) -> str:
        """Where the kubelet has its files."""
        return str(self.kubelet.folder / f"{name}.child")

    def is_detached(self, name: str) -> bool:
        """Look for the child."""
        trace = Path(self.child_trace(name))
        return trace.exists() and not has_ended(trace.read_text(encoding="ascii").strip() or "0")

    def environment(self, name: str) -> Mapping[str, str]:
        """Ask the kubelet."""
        return self.kubelet.environment(name)

    def kill(self, name: str) -> None:
        """As the machine does."""
        self.kubelet.kill(name)

    def vanish(self, name: str) -> None:
        """Delete the Job as kubectl does, and wait for its pods to go; a Job is never so young that it has none yet."""

        def has_pods() -> bool:
            return bool(self.api.list(self.pods, labelSelector=f"{manifest.UNIT}={name}"))

        eventually(has_pods, "the Job has its pod")
        self.api.delete(f"{self.jobs}/{name}", propagationPolicy="Background")
        eventually(lambda: not has_pods(), "its pods are gone")

    def take_name(self, name: str) -> None:
        """A Job of somebody else."""
        container = {"name": "other", "image": "lab/none:1"}
        pod = {"restartPolicy": "Never", "containers": [container], "nodeSelector": {"no": "such-node"}}
        self.api.post(self.jobs, {"metadata": {"name": name}, "spec": {"template": {"spec": pod}}})

    def is_taken(self, name: str) -> bool:
        """Look at the Job."""
        return self.api.exists(f"{self.jobs}/{name}")

    def leave_unstarted(self, submission: Submission) -> bool:
        """A Job that refers to a Secret which whoever made the Job had no time to make."""
        body = manifest.job(
            submission,
            {},
            from_run=False,
            defaults=manifest.JobDefaults(namespace=self.namespace),
            secret=manifest.SecretReference(name=f"{submission.name}-0"),
        )
        self.api.post(self.jobs, body)

        def is_refused() -> bool:
            pods = self.api.list(self.pods, labelSelector=f"{manifest.UNIT}={submission.name}")
            return "CreateContainerConfigError" in str(pods)

        eventually(is_refused, "the kubelet misses the Secret")
        return True

    def cannot_start(self) -> Submission | None:
        """An image that no registry can have."""
        made = self.submission()
        ending = {"lab.test/ending": "image-error:ErrImagePull:no such image"}
        template = {"spec": {"template": {"metadata": {"annotations": ending}}}}
        return attrs.evolve(made, run_config=KubernetesRun(job_template=template))

    @property
    def jobs(self) -> str:
        """Path of the Jobs."""
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs"

    @property
    def pods(self) -> str:
        """Path of the pods."""
        return f"/api/v1/namespaces/{self.namespace}/pods"
