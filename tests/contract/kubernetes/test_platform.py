"""The Kubernetes platform against the one contract: a real API server, with the Role that `install` prints, no more."""

from collections.abc import Generator
from contextlib import ExitStack

import pytest

from prefect.agent.adapters.fakes.contracts import PatientPlatformContract, PlatformHarness
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.kubelet import ProcessKubelet
from support.kubernetes.platform_harness import KubernetesPlatformHarness, role

pytestmark = pytest.mark.kubernetes


class TestKubernetesPlatform(PatientPlatformContract):
    """Real Jobs."""

    @pytest.fixture
    def harness(
        self, control_plane: ControlPlane, kubelet: ProcessKubelet, namespace: str
    ) -> Generator[PlatformHarness]:
        """A new namespace."""
        account = control_plane.api.new_account(namespace, role(namespace))
        with ExitStack() as stack:
            yield KubernetesPlatformHarness(
                stack, control_plane=control_plane, kubelet=kubelet, namespace=namespace, account=account
            )
