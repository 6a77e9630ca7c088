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

from support.kubernetes.place import MAY_CREATE, MAY_LIST, NOWHERE, Place, is_allowed, job
from support.processes import has_ended
from support.waiting import wait_until

if TYPE_CHECKING:
    from support.kubernetes.control_plane import ControlPlane
    from support.kubernetes.kubelet import ProcessKubelet

pytestmark = pytest.mark.kubernetes

ENDLESS: Final = "trap 'exit 7' TERM; echo ready; sleep 600 & wait $!"
STUBBORN: Final = "trap '' TERM; echo ready; while :; do sleep 0.1; done"


@pytest.fixture
def place(control_plane: "ControlPlane", namespace: str) -> Place:
    """A new namespace."""
    return Place(control_plane.api, namespace)


# --- pods that execute ---


@pytest.mark.usefixtures("kubelet")
class TestExecuting:
    """Pods are processes."""

    def test_a_job_executes(self, place: Place) -> None:
        """Its command is executed; exit code and output can be read through the API server, and the Job knows."""
        name = place.start("echo out; echo err >&2; exit 3")

        how = place.ended(name)

        assert (how["exitCode"], how["reason"]) == (3, "Error")
        assert how["startedAt"] <= how["finishedAt"]
        assert place.log(name) == "out\nerr\n"
        assert place.status(name)["phase"] == "Failed"
        assert place.conditions(name)[-1]["reason"] == "BackoffLimitExceeded"

    def test_success(self, place: Place) -> None:
        """Exit code 0 is a success."""
        name = place.start("exit 0")

        assert (place.ended(name)["exitCode"], place.status(name)["phase"]) == (0, "Succeeded")
        assert place.conditions(name)[-1]["type"] == "Complete"

    def test_variables(self, place: Place, kubelet: "ProcessKubelet") -> None:
        """Values, Secrets and fields reach the process; references are replaced unless they are escaped."""
        place.secret("mine")
        env = [
            {"name": "PLAIN", "value": 'a "b" $c ü'},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "key"}}},
            {"name": "WHERE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "UNIT", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['prefect.io/unit']"}}},
            {"name": "REFERS", "value": "$(SECRET) $$(SECRET) $(NONE) $$"},
        ]
        name = place.start("echo '$(REFERS)'", env=env)
        place.ended(name)

        given = {key: value for key, value in kubelet.environment(name).items() if key != "PATH"}
        assert given == {
            "PLAIN": 'a "b" $c ü',
            "SECRET": "s3cr3t",
            "WHERE": place.namespace,
            "UNIT": name,
            "REFERS": "s3cr3t $(SECRET) $(NONE) $",
        }
        assert place.log(name) == "s3cr3t $(SECRET) $(NONE) $\n"

    def test_a_missing_secret_is_waited_for(self, place: Place, kubelet: "ProcessKubelet") -> None:
        """Without its Secret the container waits and says why; it starts once the Secret is there."""
        source = {"secretKeyRef": {"name": "later", "key": "key"}}
        name = place.start(env=[{"name": "SECRET", "valueFrom": source}])
        why = {"reason": "CreateContainerConfigError", "message": 'secret "later" not found'}
        wait_until(lambda: place.state(name).get("waiting") == why, 20, "it says why")
        assert (place.status(name)["phase"], kubelet.starts(name)) == ("Pending", 0)

        place.secret("later")

        assert place.ended(name)["exitCode"] == 0
        assert kubelet.starts(name) == 1

    def test_a_program_that_is_not_there(self, place: Place) -> None:
        """A command that cannot be executed fails with 128 and StartError."""
        name = place.start(containers=[{"name": "flow", "image": "none", "command": ["/no/such/program"]}])

        assert {key: place.ended(name)[key] for key in ("exitCode", "reason")} == {
            "exitCode": 128,
            "reason": "StartError",
        }

    def test_logs_are_cut_as_a_kubelet_does(self, place: Place) -> None:
        """The last lines are taken, and limitBytes the first bytes of those; before the start there is no log."""
        name = place.start("printf '1\\n2\\n3\\n4\\n'")
        place.ended(name)
        early = place.start(ending="creating")
        wait_until(lambda: place.state(early).get("waiting"), 20, "it waits")

        assert place.log(name, tailLines=2) == "3\n4\n"
        assert place.log(name, tailLines=3, limitBytes=3) == "2\n3"
        with pytest.raises(Exception, match="is waiting to start: ContainerCreating"):
            place.log(early)

    def test_a_kill(self, place: Place, kubelet: "ProcessKubelet") -> None:
        """A unit that is killed for its memory has ended with 137, OOMKilled, its children too."""
        name = place.start("sleep 600; exit 0")
        wait_until(lambda: place.runs(name), 20, "it runs")
        assert kubelet.is_executing(name)

        kubelet.kill(name)

        assert {key: place.ended(name)[key] for key in ("exitCode", "reason")} == {
            "exitCode": 137,
            "reason": "OOMKilled",
        }
        assert not kubelet.is_executing(name)

    def test_what_the_first_process_leaves_is_killed(self, place: Place, tmp_path: Path) -> None:
        """A container is over when its first process is: children do not go on."""
        name = place.start(f"sleep 600 & echo $! > {tmp_path}/pid")
        place.ended(name)

        pid = (tmp_path / "pid").read_text().strip()
        wait_until(lambda: has_ended(pid), 20, "the child is gone")

    def test_a_polite_end(self, place: Place, kubelet: "ProcessKubelet") -> None:
        """A deleted pod is asked to end; how it did so is told before the pod is gone."""
        final = _deleted(place, kubelet, ENDLESS, grace=60)

        assert final["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 7

    def test_a_stubborn_end(self, place: Place, kubelet: "ProcessKubelet") -> None:
        """Who does not end within the grace period is killed."""
        final = _deleted(place, kubelet, STUBBORN, grace=1)

        assert final["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137

    def test_a_forced_end(self, place: Place, kubelet: "ProcessKubelet") -> None:
        """A pod that is deleted without grace is gone at once, and so is what it executed."""
        name = place.start(STUBBORN)
        wait_until(lambda: kubelet.is_executing(name), 20, "it runs")

        place.api.delete(f"{place.jobs}/{name}", propagationPolicy="Orphan")
        place.api.delete(place.pods, gracePeriodSeconds=0)

        wait_until(lambda: not kubelet.is_executing(name), 20, "it is killed")

    def test_many(self, place: Place) -> None:
        """A hundred Jobs are over in seconds."""
        with ThreadPoolExecutor(8) as pool:
            names = set(pool.map(lambda _: place.start(ending="complete"), range(100)))

        def succeeded() -> set[str]:
            return {job["metadata"]["name"] for job in place.api.list(place.jobs) if job["status"].get("succeeded")}

        wait_until(lambda: succeeded() == names, 120, "all have succeeded")


def _deleted(place: Place, kubelet: "ProcessKubelet", script: str, *, grace: int) -> dict[str, Any]:
    """The last status of the pod of a Job that is deleted while it executes."""
    name = place.start(script, terminationGracePeriodSeconds=grace)
    wait_until(lambda: place.runs(name), 20, "it runs")
    wait_until(lambda: place.log(name) == "ready\n", 20, "it is ready for whatever signal comes")
    version = place.api.get(place.pods)["metadata"]["resourceVersion"]
    with contextlib.closing(place.api.watch(place.pods, resourceVersion=version, timeoutSeconds=60)) as watch:
        place.api.delete(f"{place.jobs}/{name}", propagationPolicy="Background")
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
    def test_pods_that_never_start(self, place: Place, ending: str, reason: str, message: str | None) -> None:
        """They stay Pending, and can be deleted."""
        name = place.start(ending=ending)

        wait_until(lambda: place.state(name).get("waiting", {}).get("reason") == reason, 20, ending)

        assert place.state(name)["waiting"].get("message") == message
        assert place.status(name)["phase"] == "Pending"
        place.api.delete(f"{place.jobs}/{name}", propagationPolicy="Background")
        wait_until(lambda: place.pod(name) is None, 20, "the pod is gone")

    @pytest.mark.parametrize(
        ("ending", "code", "reason"),
        [("exit:4", 4, "Error"), ("exit:0", 0, "Completed"), ("oom", 137, "OOMKilled"), ("complete", 0, "Completed")],
    )
    def test_pods_that_end(self, place: Place, ending: str, code: int, reason: str) -> None:
        """They end with this exit code and reason."""
        how = place.ended(place.start(ending=ending))

        assert (how["exitCode"], how["reason"]) == (code, reason)

    def test_eviction(self, place: Place) -> None:
        """An evicted pod has failed, and says why."""
        name = place.start(ending="evict")
        place.ended(name)

        status = place.status(name)
        assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
        assert status["message"] == "The node was low on resource: memory."

    def test_hanging(self, place: Place) -> None:
        """It runs until it is deleted."""
        name = place.start(ending="hang")
        wait_until(lambda: place.runs(name), 20, "it runs")

        place.api.delete(f"{place.jobs}/{name}", propagationPolicy="Background")

        wait_until(lambda: place.pod(name) is None, 20, "the pod is gone")

    def test_playing_by_hand(self, place: Place, kubelet: "ProcessKubelet") -> None:
        """A test may patch a pod's status itself."""
        name = place.start(ending="creating")
        wait_until(lambda: place.state(name).get("waiting"), 20, "it waits")
        pod = place.pod(name)
        assert pod is not None

        kubelet.play(pod["metadata"]["name"], {"phase": "Failed", "reason": "NodeLost"})

        assert place.status(name)["reason"] == "NodeLost"

    def test_no_node_fits(self, place: Place) -> None:
        """A pod that asks for a node that is not there stays unscheduled; the scheduler says why."""
        name = place.start(nodeSelector=NOWHERE)

        def why() -> list[str]:
            found = place.status(name).get("conditions", ())
            return [each["message"] for each in found if each.get("reason") == "Unschedulable"]

        words = "didn't match Pod's node affinity/selector"
        wait_until(lambda: any(words in each for each in why()), 20, "the scheduler, once it knows the node, says why")


# --- the control plane ---


class TestControlPlane:
    """It fails when told to, and only then."""

    def test_an_api_server_that_is_killed(
        self, place: Place, kubelet: "ProcessKubelet", control_plane: "ControlPlane"
    ) -> None:
        """While it is down processes go on, and may end; nothing is started twice, and all is told afterwards."""
        lasting, ending = place.start(ENDLESS), place.start("while ! test -e go; do sleep 0.01; done; rm go; exit 5")
        for name in (lasting, ending):
            wait_until(partial(place.runs, name), 20, f"{name} runs")

        control_plane.stop_api_server()
        with pytest.raises(requests.ConnectionError):
            place.pod(lasting)
        (kubelet.folder / "go").touch()
        wait_until(lambda: not kubelet.is_executing(ending), 20, "it ends")
        control_plane.start_api_server()

        assert place.ended(ending)["exitCode"] == 5
        assert place.ended(place.start("exit 6"))["exitCode"] == 6
        assert place.state(lasting).keys() == {"running"}
        assert kubelet.is_executing(lasting)
        assert (kubelet.starts(lasting), kubelet.starts(ending)) == (1, 1)

    def test_an_account_may_do_what_its_role_says(self, place: Place, control_plane: "ControlPlane") -> None:
        """A token is good for the rules of its Role, which can be changed, and for nothing else."""
        from support.kubernetes.api import Api  # noqa: PLC0415

        account = place.api.new_account(place.namespace, MAY_LIST)
        with contextlib.closing(Api(control_plane.server, control_plane.ca, token=account.token(600))) as api:
            wait_until(lambda: is_allowed(lambda: api.list(place.pods)), 20, "the Role holds")
            assert not is_allowed(lambda: api.post(place.jobs, job("one")))
            account.allow(MAY_CREATE)
            wait_until(lambda: is_allowed(lambda: api.post(place.jobs, job("one"))), 20, "the new rules hold")
            assert not is_allowed(lambda: api.list(place.jobs))

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
