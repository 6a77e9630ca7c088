"""What Kubernetes' reasons and messages mean: the kind of a wait, as a table, and what to do in Kubernetes' words."""

import pytest

from prefect.agent.adapters.kubernetes.units import Patience, unit
from prefect.agent.adapters.kubernetes.waits import kind_of, suspended, waits
from prefect.agent.domain.model.units import Evidence, UnitStatus
from prefect.agent.domain.wait_kinds import WaitKind
from support.kubernetes_objects import state, the_job, the_pod


@pytest.mark.parametrize(
    ("reason", "message", "kind"),
    [
        ("ErrImagePull", "no such image", WaitKind.IMAGE),
        ("ErrImagePull", "registry.test/volume-quota:1 not found", WaitKind.IMAGE),
        ("ImagePullBackOff", "Back-off pulling", WaitKind.IMAGE),
        ("InvalidImageName", "couldn't parse", WaitKind.IMAGE),
        ("ErrImageNeverPull", "policy is Never", WaitKind.IMAGE),
        ("RegistryUnavailable", "", WaitKind.IMAGE),
        ("SignatureValidationFailed", "", WaitKind.IMAGE),
        ("Failed", 'Failed to pull image "x": not found', WaitKind.IMAGE),
        ("BackOff", 'Back-off pulling image "x"', WaitKind.IMAGE),
        ("BackOff", "Back-off restarting failed container", WaitKind.UNKNOWN),
        ("Unschedulable", "0/3 nodes are available: 3 Insufficient cpu.", WaitKind.NODE),
        ("FailedScheduling", "no nodes available to schedule pods", WaitKind.NODE),
        ("Unschedulable", 'persistentvolumeclaim "x" not found', WaitKind.VOLUME),
        ("Unschedulable", "pod has unbound immediate PersistentVolumeClaims", WaitKind.VOLUME),
        ("FailedMount", "MountVolume.SetUp failed", WaitKind.VOLUME),
        ("FailedAttachVolume", "", WaitKind.VOLUME),
        ("CreateContainerConfigError", 'failed to prepare subPath for volumeMount "x"', WaitKind.VOLUME),
        ("FailedCreate", "pods is forbidden: exceeded quota: memory", WaitKind.QUOTA),
        ("FailedCreate", 'admission webhook "w" denied the request', WaitKind.UNKNOWN),
        ("CreateContainerConfigError", 'configmap "x" not found', WaitKind.SETTINGS),
        ("CreateContainerError", "", WaitKind.SETTINGS),
        ("RunContainerError", 'exec: "nothing": not found', WaitKind.SETTINGS),
        ("CrashLoopBackOff", "back-off 10s", WaitKind.UNKNOWN),
        ("SchedulingGated", "", WaitKind.UNKNOWN),
        ("Slow", "Kubernetes does not report what it waits for", WaitKind.UNKNOWN),
        ("", "", WaitKind.UNKNOWN),
    ],
)
def test_a_wait_has_a_kind(reason: str, message: str, kind: WaitKind) -> None:
    """By the reason first: a message has names that its author chose."""
    assert kind_of(reason, message) is kind
    said = waits(reason, message)
    assert (said.reason, said.message, said.wait_kind) == (reason, message, kind)
    assert bool(said.what_to_do) is (kind is not WaitKind.UNKNOWN)


def test_what_to_do_names_what_kubernetes_has() -> None:
    """A person looks for these objects."""
    assert waits("CreateContainerError", "").what_to_do == (
        "make the Secret or ConfigMap that is missing, or take it out of the run config",
    )
    assert "tolerations" in waits("Unschedulable", "").what_to_do[1]


def test_a_suspended_job_waits_for_a_person_who_gets_the_command() -> None:
    """With the Job's own name and namespace."""
    job = the_job({"namespace": "flows", "is_suspended": True})

    said = suspended(job)

    assert (said.wait_kind, str(said)) == (WaitKind.RESUME, "Suspended, its Job was suspended externally")
    assert said.what_to_do == (
        f'resume its Job: kubectl --namespace flows patch job {job.name} --patch \'{{"spec": {{"suspend": false}}}}\'',
    )
    found = unit(job, [], Patience())
    assert found is not None
    assert found.evidence == said


def test_a_unit_whose_own_secret_is_to_come_is_not_waited_for() -> None:
    """The agent creates it again, with its Secret: there is nothing to do."""
    status = [state("waiting", reason="CreateContainerConfigError", message='secret "unit-0" not found')]
    found = unit(the_job({"secret": "unit-0"}), [the_pod(phase="Pending", containerStatuses=status)], Patience())

    assert found is not None
    assert found.status is UnitStatus.CREATED
    assert found.evidence == Evidence(reason="CreateContainerConfigError", message='secret "unit-0" not found')
