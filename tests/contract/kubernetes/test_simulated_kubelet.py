"""The Kubernetes that tests are made with: what it does by itself must be what a real one does."""

import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import requests

from support.kubernetes.scratch_namespace import MAY_CREATE, MAY_LIST, NOWHERE, ScratchNamespace, is_allowed, job
from support.processes import has_ended
from support.waiting import wait_until

if TYPE_CHECKING:
    from support.kubernetes.control_plane import ControlPlane
    from support.kubernetes.kubelet import ProcessKubelet

pytestmark = pytest.mark.kubernetes

ENDLESS: Final = "trap 'exit 7' TERM; echo ready; sleep 600 & wait $!"
STUBBORN: Final = "trap '' TERM; echo ready; while :; do sleep 0.1; done"


@pytest.fixture
def scratch(control_plane: "ControlPlane", namespace: str) -> ScratchNamespace:
    """A new namespace."""
    return ScratchNamespace(control_plane.api, namespace)


# --- pods that execute ---


@pytest.mark.usefixtures("kubelet")
class TestExecuting:
    """Pods are processes."""

    def test_a_job_executes(self, scratch: ScratchNamespace) -> None:
        """Its command is executed; exit code and output can be read through the API server, and the Job knows."""
        name = scratch.start("echo out; echo err >&2; exit 3")

        how = scratch.ended(name)

        assert (how["exitCode"], how["reason"]) == (3, "Error")
        assert how["startedAt"] <= how["finishedAt"]
        assert scratch.log(name) == "out\nerr\n"
        assert scratch.status(name)["phase"] == "Failed"
        assert scratch.conditions(name)[-1]["reason"] == "BackoffLimitExceeded"

    def test_success(self, scratch: ScratchNamespace) -> None:
        """Exit code 0 is a success."""
        name = scratch.start("exit 0")

        assert (scratch.ended(name)["exitCode"], scratch.status(name)["phase"]) == (0, "Succeeded")
        assert scratch.conditions(name)[-1]["type"] == "Complete"

    def test_variables(self, scratch: ScratchNamespace, kubelet: "ProcessKubelet") -> None:
        """Values, Secrets and fields reach the process; references are replaced unless they are escaped."""
        scratch.secret("mine")
        env = [
            {"name": "PLAIN", "value": 'a "b" $c ü'},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "key"}}},
            {"name": "WHERE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "UNIT", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['prefect.io/unit']"}}},
            {"name": "REFERS", "value": "$(SECRET) $$(SECRET) $(NONE) $$"},
        ]
        name = scratch.start("echo '$(REFERS)'", env=env)
        scratch.ended(name)

        given = {key: value for key, value in kubelet.environment(name).items() if key != "PATH"}
        assert given == {
            "PLAIN": 'a "b" $c ü',
            "SECRET": "s3cr3t",
            "WHERE": scratch.namespace,
            "UNIT": name,
            "REFERS": "s3cr3t $(SECRET) $(NONE) $",
        }
        assert scratch.log(name) == "s3cr3t $(SECRET) $(NONE) $\n"

    def test_a_missing_secret_is_waited_for(self, scratch: ScratchNamespace, kubelet: "ProcessKubelet") -> None:
        """Without its Secret the container waits and says why; it starts once the Secret is there."""
        source = {"secretKeyRef": {"name": "later", "key": "key"}}
        name = scratch.start(env=[{"name": "SECRET", "valueFrom": source}])
        why = {"reason": "CreateContainerConfigError", "message": 'secret "later" not found'}
        wait_until(lambda: scratch.state(name).get("waiting") == why, 20, "it says why")
        assert (scratch.status(name)["phase"], kubelet.starts(name)) == ("Pending", 0)

        scratch.secret("later")

        assert scratch.ended(name)["exitCode"] == 0
        assert kubelet.starts(name) == 1

    def test_a_program_that_is_not_there(self, scratch: ScratchNamespace) -> None:
        """A command that cannot be executed fails with 128 and StartError."""
        name = scratch.start(containers=[{"name": "flow", "image": "none", "command": ["/no/such/program"]}])

        assert {key: scratch.ended(name)[key] for key in ("exitCode", "reason")} == {
            "exitCode": 128,
            "reason": "StartError",
        }

    def test_logs_are_cut_as_a_kubelet_does(self, scratch: ScratchNamespace) -> None:
        """The last lines are taken, and limitBytes the first bytes of those; before the start there is no log."""
        name = scratch.start("printf '1\\n2\\n3\\n4\\n'")
        scratch.ended(name)
        early = scratch.start(ending="creating")
        wait_until(lambda: scratch.state(early).get("waiting"), 20, "it waits")

        assert scratch.log(name, tailLines=2) == "3\n4\n"
        assert scratch.log(name, tailLines=3, limitBytes=3) == "2\n3"
        with pytest.raises(Exception, match="is waiting to start: ContainerCreating"):
            scratch.log(early)

    def test_a_kill(self, scratch: ScratchNamespace, kubelet: "ProcessKubelet") -> None:
        """A unit that is killed for its memory has ended with 137, OOMKilled, its children too."""
        name = scratch.start("sleep 600; exit 0")
        wait_until(lambda: scratch.runs(name), 20, "it runs")
        assert kubelet.is_executing(name)

        kubelet.kill(name)

        assert {key: scratch.ended(name)[key] for key in ("exitCode", "reason")} == {
            "exitCode": 137,
            "reason": "OOMKilled",
        }
        assert not kubelet.is_executing(name)

    def test_what_the_first_process_leaves_is_killed(self, scratch: ScratchNamespace, tmp_path: Path) -> None:
        """A container is over when its first process is: children do not go on."""
        name = scratch.start(f"sleep 600 & echo $! > {tmp_path}/pid")
        scratch.ended(name)

        pid = (tmp_path / "pid").read_text().strip()
        wait_until(lambda: has_ended(pid), 20, "the child is gone")

    def test_a_polite_end(self, scratch: ScratchNamespace, kubelet: "ProcessKubelet") -> None:
        """A deleted pod is asked to end; how it did so is told before the pod is gone."""
        final = _deleted(scratch, kubelet, ENDLESS, grace=60)

        assert final["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 7

    def test_a_stubborn_end(self, scratch: ScratchNamespace, kubelet: "ProcessKubelet") -> None:
        """Who does not end within the grace period is killed."""
        final = _deleted(scratch, kubelet, STUBBORN, grace=1)

        assert final["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137

    def test_a_forced_end(self, scratch: ScratchNamespace, kubelet: "ProcessKubelet") -> None:
        """A pod that is deleted without grace is gone at once, and so is what it executed."""
        name = scratch.start(STUBBORN)
        wait_until(lambda: kubelet.is_executing(name), 20, "it runs")

        scratch.api.delete(f"{scratch.jobs}/{name}", propagationPolicy="Orphan")
        scratch.api.delete(scratch.pods, gracePeriodSeconds=0)

        wait_until(lambda: not kubelet.is_executing(name), 20, "it is killed")

    def test_many(self, scratch: ScratchNamespace) -> None:
        """A hundred Jobs are over in seconds."""
        with ThreadPoolExecutor(8) as pool:
            names = set(pool.map(lambda _: scratch.start(ending="complete"), range(100)))

        def succeeded() -> set[str]:
            return {job["metadata"]["name"] for job in scratch.api.list(scratch.jobs) if job["status"].get("succeeded")}

        wait_until(lambda: succeeded() == names, 120, "all have succeeded")


def _deleted(scratch: ScratchNamespace, kubelet: "ProcessKubelet", script: str, *, grace: int) -> dict[str, Any]:
    """The last status of the pod of a Job that is deleted while it executes."""
    name = scratch.start(script, terminationGracePeriodSeconds=grace)
    wait_until(lambda: scratch.runs(name), 20, "it runs")
    wait_until(lambda: scratch.log(name) == "ready\n", 20, "it is ready for whatever signal comes")
    version = scratch.api.get(scratch.pods)["metadata"]["resourceVersion"]
    with contextlib.closing(scratch.api.watch(scratch.pods, resourceVersion=version, timeoutSeconds=60)) as watch:
        scratch.api.delete(f"{scratch.jobs}/{name}", propagationPolicy="Background")
        last = next(event["object"] for event in watch if event["type"] == "DELETED")
    assert last["metadata"]["labels"]["prefect.io/unit"] == name
    assert not kubelet.is_executing(name)
    return dict(last["status"])


# --- pods that play ---


@pytest.mark.usefixtures("kubelet")
class TestEndings:
    """Pods do what their annotation says."""

    @pytest.mark.parametrize(
        ("ending", "reason", "message"),
        [
            ("creating", "ContainerCreating", None),
            ("config-error:no: such", "CreateContainerConfigError", "no: such"),
            *(
                (f"image-error:{reason}:no: such", reason, "no: such")
                for reason in ("ErrImagePull", "InvalidImageName")
            ),
        ],
    )
    def test_pods_that_never_start(
        self, scratch: ScratchNamespace, ending: str, reason: str, message: str | None
    ) -> None:
        """They stay Pending, and can be deleted."""
        name = scratch.start(ending=ending)

        wait_until(lambda: scratch.state(name).get("waiting", {}).get("reason") == reason, 20, ending)

        assert scratch.state(name)["waiting"].get("message") == message
        assert scratch.status(name)["phase"] == "Pending"
        scratch.api.delete(f"{scratch.jobs}/{name}", propagationPolicy="Background")
        wait_until(lambda: scratch.pod(name) is None, 20, "the pod is gone")

    @pytest.mark.parametrize(
        ("ending", "code", "reason"),
        [("exit:4", 4, "Error"), ("exit:0", 0, "Completed"), ("oom", 137, "OOMKilled"), ("complete", 0, "Completed")],
    )
    def test_pods_that_end(self, scratch: ScratchNamespace, ending: str, code: int, reason: str) -> None:
        """They end with this exit code and reason."""
        how = scratch.ended(scratch.start(ending=ending))

        assert (how["exitCode"], how["reason"]) == (code, reason)

    def test_eviction(self, scratch: ScratchNamespace) -> None:
        """An evicted pod has failed, and says why."""
        name = scratch.start(ending="evict")
        scratch.ended(name)

        status = scratch.status(name)
        assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
        assert status["message"] == "The node was low on resource: memory."

    def test_hanging(self, scratch: ScratchNamespace) -> None:
        """It runs until it is deleted."""
        name = scratch.start(ending="hang")
        wait_until(lambda: scratch.runs(name), 20, "it runs")

        scratch.api.delete(f"{scratch.jobs}/{name}", propagationPolicy="Background")

        wait_until(lambda: scratch.pod(name) is None, 20, "the pod is gone")

    def test_playing_by_hand(self, scratch: ScratchNamespace, kubelet: "ProcessKubelet") -> None:
        """A test may patch a pod's status itself."""
        name = scratch.start(ending="creating")
        wait_until(lambda: scratch.state(name).get("waiting"), 20, "it waits")
        pod = scratch.pod(name)
        assert pod is not None

        kubelet.play(pod["metadata"]["name"], {"phase": "Failed", "reason": "NodeLost"})

        assert scratch.status(name)["reason"] == "NodeLost"

    def test_no_node_fits(self, scratch: ScratchNamespace) -> None:
        """A pod that asks for a node that is not there stays unscheduled; the scheduler says why."""
        name = scratch.start(nodeSelector=NOWHERE)

        def why() -> list[str]:
            found = scratch.status(name).get("conditions", ())
            return [each["message"] for each in found if each.get("reason") == "Unschedulable"]

        words = "didn't match Pod's node affinity/selector"
        wait_until(lambda: any(words in each for each in why()), 20, "the scheduler, once it knows the node, says why")


# --- the control plane ---


class TestControlPlane:
    """It fails when told to, and only then."""

    def test_an_api_server_that_is_killed(
        self, scratch: ScratchNamespace, kubelet: "ProcessKubelet", control_plane: "ControlPlane"
    ) -> None:
        """While it is down processes go on, and may end; nothing is started twice, and all is told afterwards."""
        lasting, ending = (
            scratch.start(ENDLESS),
            scratch.start("while ! test -e go; do sleep 0.01; done; rm go; exit 5"),
        )
        for name in (lasting, ending):
            wait_until(partial(scratch.runs, name), 20, f"{name} runs")

        control_plane.stop_api_server()
        with pytest.raises(requests.ConnectionError):
            scratch.pod(lasting)
        (kubelet.folder / "go").touch()
        wait_until(lambda: not kubelet.is_executing(ending), 20, "it ends")
        control_plane.start_api_server()

        assert scratch.ended(ending)["exitCode"] == 5
        assert scratch.ended(scratch.start("exit 6"))["exitCode"] == 6
        assert scratch.state(lasting).keys() == {"running"}
        assert kubelet.is_executing(lasting)
        assert (kubelet.starts(lasting), kubelet.starts(ending)) == (1, 1)

    def test_an_account_may_do_what_its_role_says(
        self, scratch: ScratchNamespace, control_plane: "ControlPlane"
    ) -> None:
        """A token is good for the rules of its Role, which can be changed, and for nothing else."""
        from support.kubernetes.api import Api  # noqa: PLC0415

        account = scratch.api.new_account(scratch.namespace, MAY_LIST)
        with contextlib.closing(Api(control_plane.server, control_plane.ca, token=account.token(600))) as api:
            wait_until(lambda: is_allowed(lambda: api.list(scratch.pods)), 20, "the Role holds")
            assert not is_allowed(lambda: api.post(scratch.jobs, job("one")))
            account.allow(MAY_CREATE)
            wait_until(lambda: is_allowed(lambda: api.post(scratch.jobs, job("one"))), 20, "the new rules hold")
            assert not is_allowed(lambda: api.list(scratch.jobs))

    def test_a_part_that_does_not_start(self, tmp_path: Path) -> None:
        """A part that ends at once is an error that shows its log; nothing is left running."""
        from support.kubernetes.control_plane import ControlPlane, ControlPlaneBroken  # noqa: PLC0415

        program = tmp_path / "etcd"
        program.write_text("#!/bin/sh\necho I will not\nexit 3\n")
        program.chmod(0o755)

        with (
            contextlib.closing(ControlPlane(tmp_path, tmp_path / "plane")) as plane,
            pytest.raises(ControlPlaneBroken, match="etcd ended with 3:\nI will not"),
        ):
            plane.start()

    def test_nothing_outlives_a_killed_session(self, tmp_path: Path) -> None:
        """What is guarded ends with the process that guards it, however that ends."""
        program = (
            "import subprocess, sys; from support.kubernetes.guard import Guard; guard = Guard()\n"
            "child = subprocess.Popen(['sleep', '600'], start_new_session=True); guard.add(child.pid)\n"
            "print(child.pid, flush=True); sys.stdin.read()"
        )
        words = [sys.executable, "-c", program]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
            assert owner.stdout is not None
            pid = owner.stdout.readline().strip()
            assert not has_ended(pid)
            owner.send_signal(signal.SIGKILL)
            wait_until(lambda: has_ended(pid), 20, "the child is gone")
