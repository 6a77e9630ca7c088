"""Who the agent is for a real API server: what the kubeconfig names, or nobody at all."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from prefect.agent.domain.errors import PlatformForbidden, PlatformUnavailable
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import KubernetesHarness, kubernetes_harness, submission, with_pod
from support.kubernetes.scratch_namespace import NOWHERE
from support.waiting import wait_until

pytestmark = pytest.mark.kubernetes


@pytest.fixture
def harness(control_plane: ControlPlane) -> Iterator[KubernetesHarness]:
    """A new namespace."""
    with kubernetes_harness(control_plane) as harness:
        yield harness


def kubeconfig(harness: KubernetesHarness, folder: Path, user: Mapping[str, Any]) -> str:
    """Path of a kubeconfig with this user."""
    cluster = {"server": harness.plane.server, "certificate-authority": str(harness.plane.ca)}
    config = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": dict(user)}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": harness.namespace}}],
        "current-context": "x",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return str(path)


def test_a_program_that_fails_once_makes_nobody_of_the_agent(harness: KubernetesHarness, tmp_path: Path) -> None:
    """It is unavailable, with the program's words, until the program gives credentials."""
    status = {"token": harness.account.token()}
    kind = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    (tmp_path / "credential").write_text(json.dumps({**kind, "status": status}))
    program = tmp_path / "lab-login"
    flag = tmp_path / "session"
    program.write_text(
        f"#!/bin/sh\ntest -e {flag} || {{ echo session expired >&2; exit 1; }}\ncat {tmp_path}/credential\n"
    )
    program.chmod(0o755)
    user = {"exec": {"apiVersion": kind["apiVersion"], "command": str(program), "interactiveMode": "Never"}}
    platform = harness.platform(kubeconfig=kubeconfig(harness, tmp_path, user))

    waiting = submission(template=with_pod(nodeSelector=NOWHERE))

    for ask in (platform.check, lambda: platform.create(waiting), platform.units):
        with pytest.raises(PlatformUnavailable, match=r"no credentials for .*lab-login.*session expired") as raised:
            ask()
        assert harness.plane.server in str(raised.value)

    flag.touch()

    def works() -> bool:
        try:
            platform.check()
        except PlatformUnavailable:
            return False
        return True

    wait_until(works, 20, "the program's credentials are used")
    platform.create(waiting)


def test_an_account_that_the_server_does_not_know_is_not_advised_a_role(
    harness: KubernetesHarness, tmp_path: Path
) -> None:
    """Without credentials the API server says 403 of system:anonymous: that is a refusal of the login."""
    platform = harness.platform(kubeconfig=kubeconfig(harness, tmp_path, {}))
    waiting = submission(template=with_pod(nodeSelector=NOWHERE))

    asked: tuple[Callable[[], object], ...] = (
        platform.check,
        lambda: platform.create(waiting),
        lambda: platform.unit(waiting.name),
    )
    for ask in asked:
        with pytest.raises(PlatformForbidden, match="does not accept the agent's credentials") as raised:
            ask()
        assert "Role" not in str(raised.value)


def test_it_acts_as_whom_the_kubeconfig_names(harness: KubernetesHarness, tmp_path: Path) -> None:
    """With the rights of that account, not with its own."""
    admin = {"client-certificate": "admin", "client-key": "admin"}
    found = json.loads(harness.plane.kubeconfig.read_text())["users"][0]["user"]
    admin = {key: found[key] for key in admin}
    account = f"system:serviceaccount:{harness.namespace}:{harness.account.name}"
    stranger = {**admin, "as": "a-stranger", "as-groups": ["system:authenticated"]}
    one = {**admin, "as": account, "as-groups": ["system:serviceaccounts", "system:authenticated"], "as-uid": "7"}

    with pytest.raises(PlatformForbidden, match="may not"):
        harness.platform(kubeconfig=kubeconfig(harness, tmp_path, stranger)).check()
    platform = harness.platform(kubeconfig=kubeconfig(harness, tmp_path, one))
    platform.check()
    unit = platform.create(submission(template=with_pod(nodeSelector=NOWHERE), secret_env={}))
    assert unit.name in {each.name for each in platform.units()}
