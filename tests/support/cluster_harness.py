"""An installed agent in a namespace of its own on a real cluster, and flow runs for it."""

import itertools
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import attrs

from support.cluster import Cluster, Object, PrefectInside, agent_image, eventually, flow_image
from support.real_prefect import FLOWS, OWN_PREFECT

HERE: Final = FLOWS.parent / "contract" / "cluster"
KEY: Final = "pcu_of-the-cluster-tests_3f9a77"
FILES: Final = {
    "sums": FLOWS / "sums.py",
    "patient": FLOWS / "patient.py",
    "endless": FLOWS / "endless.py",
    "greedy": HERE / "flows" / "greedy.py",
}
READY_SECONDS: Final = 90
AGENT: Final = "app=prefect-agent"


@attrs.frozen(kw_only=True)
class ClusterHarness:
    """An agent at work.

    Attributes:
        image: With Prefect.
        flows: Ids by name.
        manifest: What `prefect agent install` printed and kubectl applied.
    """

    cluster: Cluster
    real: PrefectInside
    namespace: str
    image: str
    flows: Mapping[str, str]
    manifest: str

    def start(self, flow: str, *, labels: tuple[str, ...] = (), image: str | None = None, **wish: Any) -> str:
        """Create a flow run whose pod finds the flow's file; return its id."""
        config = run_config(image or self.image, labels=labels, **wish)
        return self.real.create_run(self.flows[flow], run_config=config, labels=list(labels))

    def jobs(self, run_id: str, namespace: str | None = None) -> list[Object]:
        """The Jobs of a flow run."""
        return self.cluster.list("jobs", namespace or self.namespace, f"prefect.io/flow_run_id={run_id}")

    def pods(self, run_id: str, namespace: str | None = None) -> list[Object]:
        """Their pods."""
        return self.cluster.list("pods", namespace or self.namespace, f"prefect.io/flow_run_id={run_id}")

    def agents(self) -> list[Object]:
        """The agent's pods that are not on their way out."""
        found = self.cluster.list("pods", self.namespace, AGENT)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def agent_log(self) -> str:
        """What the agent that is there has written."""
        return self.cluster.ask("logs", "--namespace", self.namespace, "--selector", AGENT, "--tail=-1")

    def wait_for(self, state: str, *run_ids: str, seconds: float = 60) -> None:
        """Wait until all these flow runs are in a state."""
        try:
            eventually(lambda: set(self.real.states(run_ids)) == {state}, seconds, f"all of {len(run_ids)} {state}")
        except AssertionError:  # what is printed is shown with the failure
            print(self.agent_log()[-10_000:])
            for run_id in run_ids:
                print(run_id, self.real.end_of(run_id), *self.real.logs(run_id), sep="\n  ")
            raise

    def assert_started_once(self, *run_ids: str) -> None:
        """Every one of these flow runs had one Job, which had one pod, whose process began the flow run once.

        A claim that another agent has taken over is Submitted once more.
        """
        for run_id in run_ids:
            history = [state for state, _ in itertools.groupby(self.real.history(run_id))]
            assert history == ["Scheduled", "Submitted", "Running", "Success"]
            eventually(partial(self._is_over, run_id), 60, f"the process of {run_id} has ended and sent its log")
            assert self._beginnings(run_id) == 1
            assert len(self.jobs(run_id)) == 1
            assert len(self.pods(run_id)) == 1

    def _is_over(self, run_id: str) -> bool:
        over = all(job["status"].get("succeeded") for job in self.jobs(run_id))
        return over and self._beginnings(run_id) > 0

    def _beginnings(self, run_id: str) -> int:
        return sum("Beginning Flow run" in line for line in self.real.logs(run_id))


@contextmanager
def installed_agent(cluster: Cluster, real: PrefectInside) -> Generator[ClusterHarness]:
    """Install the agent as people do, and wait until it is ready."""
    image = agent_image()
    with cluster.namespace("agent") as namespace:
        put_flows(cluster, namespace)
        manifest = installation(cluster, real.url, namespace, image)
        cluster.ask("apply", "--filename", "-", given=manifest)
        flows = real.program(HERE / "programs" / "register.py", {name: str(path) for name, path in FILES.items()})
        # kubectl does not wait for what is not there yet.
        eventually(lambda: cluster.list("pods", namespace, AGENT), READY_SECONDS, "the agent has a pod")
        waits = ("--for=condition=Ready", f"--timeout={READY_SECONDS}s")
        ready = cluster.attempt("wait", "pod", "-n", namespace, "-l", AGENT, *waits)
        if ready.returncode:
            told = [cluster.attempt(word, "pods", "-n", namespace, "-l", AGENT).stdout for word in ("describe", "logs")]
            raise AssertionError(f"the agent is not ready: {ready.stderr}\n" + "\n".join(told))
        yield ClusterHarness(
            cluster=cluster,
            real=real,
            namespace=namespace,
            image=flow_image(cluster),
            flows=flows,
            manifest=manifest,
        )


def run_config(image: str, *, labels: tuple[str, ...] = (), **wish: Any) -> Object:
    """A KubernetesRun whose pod finds the flows in a ConfigMap."""
    container = {"name": "flow", "volumeMounts": [{"name": "flows", "mountPath": "/flows"}]}
    volumes = [{"name": "flows", "configMap": {"name": "flows"}}]
    pod = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 3}
    template = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": pod}}}
    return {"type": "KubernetesRun", "image": image, "labels": list(labels), "job_template": template, **wish}


def put_flows(cluster: Cluster, namespace: str) -> None:
    """Make the ConfigMap."""
    files = (f"--from-file={name}.py={path}" for name, path in FILES.items())
    cluster.ask("create", "configmap", "flows", "--namespace", namespace, *files)


def installation(cluster: Cluster, url: str, namespace: str, image: str) -> str:
    """What `prefect agent install` prints."""
    words = ("agent", "install", "--token", KEY, "--namespace", namespace, "--api", url, "--image", image)
    command = cluster.command(OWN_PREFECT, *words)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
