"""What a doctor finds at a real Kubernetes API server: each line, good and bad."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from prefect.agent.adapters.kubernetes import KubernetesPlatform
from prefect.agent.domain.model.checks import Blame, Check, Severity, examine
from prefect.agent.entrypoints.server.testing import running_server
from support.commands import bare_environment, run
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import KubernetesHarness, kubernetes_harness
from support.kubernetes.platform_harness import role
from support.kubernetes.proxy import FaultProxy
from support.kubernetes.refusing import denied_jobs, limit_jobs

pytestmark = pytest.mark.kubernetes


@pytest.fixture(scope="module")
def harness(control_plane: ControlPlane) -> Iterator[KubernetesHarness]:
    """A namespace."""
    with kubernetes_harness(control_plane) as harness:
        yield harness


def findings(platform: KubernetesPlatform, *images: str) -> dict[str, list[Check]]:
    """By check."""
    found: dict[str, list[Check]] = {}
    for check in examine(platform.checks(lambda: images)):
        found.setdefault(check.name, []).append(check)
    return found


def test_the_role_that_install_prints_is_enough(harness: KubernetesHarness) -> None:
    """All is well, and no Job is made."""
    found = findings(harness.platform())

    assert {check.severity for checks in found.values() for check in checks} == {Severity.OK}
    assert list(found) == ["api-server", "api-server-clock", "permissions", "namespace", "trial-job"]
    assert len(found["permissions"]) == 6
    assert "Its version is v1." in found["api-server"][0].text
    assert harness.scratch.api.list(harness.scratch.jobs) == []


def test_the_command_asks_the_cluster_of_its_options(harness: KubernetesHarness, tmp_path: Path) -> None:
    """With a Cloud: all is well, exit code 0."""
    with running_server(tmp_path / "cloud.db") as url:
        env = bare_environment(tmp_path) | {"PREFECT__BACKEND": "server", "PREFECT__CLOUD__API": url}
        options = ("--kubeconfig", harness.kubeconfig(), "--namespace", harness.namespace)
        done = run(env, "doctor", "kubernetes", *options)

    assert done.returncode == 0, done.stdout + done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"ok"}
    assert "trial-job: The API server would take a Job" in done.stdout


def account_without(harness: KubernetesHarness, resource: str, verb: str) -> str:
    """Path of a kubeconfig of an account that lacks one verb."""
    rules = []
    for each in role(harness.namespace):
        lacks = each["resources"] == [resource]
        rules.append({**each, "verbs": [word for word in each["verbs"] if not (lacks and word == verb)]})
    account = harness.plane.api.new_account(harness.namespace, [each for each in rules if each["verbs"]])
    return harness.kubeconfig(account.token())


@pytest.mark.parametrize(
    ("resource", "verb", "feature", "severity"),
    [
        ("jobs", "create", "run", Severity.FAIL),
        ("jobs", "delete", "clean-up", Severity.FAIL),
        ("secrets", "create", "secret", Severity.FAIL),
        ("pods/log", "get", "logs", Severity.WARN),
        ("events", "list", "events", Severity.WARN),
        ("jobs", "patch", "cancel", Severity.FAIL),
        ("namespaces", "get", "run", Severity.FAIL),
        ("pods", "watch", "run", Severity.FAIL),
    ],
)
def test_a_missing_permission_is_named_by_its_feature(
    harness: KubernetesHarness, resource: str, verb: str, feature: str, severity: Severity
) -> None:
    """With the rule to add; what is optional is a warning, the other features are granted."""
    found = findings(harness.platform(kubeconfig=account_without(harness, resource, verb)))

    (lacking,) = [check for check in found["permissions"] if check.severity is not Severity.OK]
    assert (lacking.severity, lacking.text.split()[0]) == (severity, feature)
    assert resource in lacking.remedies[0]
    assert found["trial-job"][0].severity is (Severity.UNCHECKED if severity is Severity.FAIL else Severity.OK)


def test_settings_that_no_job_can_have_fail_the_trial(harness: KubernetesHarness) -> None:
    """The API server says why."""
    found = findings(harness.platform(cpu_request="1", cpu_limit="500m"))

    (trial,) = found["trial-job"]
    assert (trial.severity, trial.blame) == (Severity.FAIL, Blame.CONFIGURATION)
    assert "cpu" in trial.text


def test_an_account_that_is_not_known_fails(harness: KubernetesHarness) -> None:
    """Everything else is unchecked."""
    found = findings(
        harness.platform(kubeconfig=str(harness.plane.kubeconfig_for_token("no-such-token", harness.namespace)))
    )

    severities = {name: checks[0].severity for name, checks in found.items()}
    assert severities.pop("api-server") is Severity.FAIL
    assert set(severities.values()) == {Severity.UNCHECKED}


def test_images_are_the_nodes_business(harness: KubernetesHarness) -> None:
    """They are named, and said to be unchecked."""
    (found,) = findings(harness.platform(), "registry.test/flow:1")["images"]

    assert found.severity is Severity.UNCHECKED
    assert "registry.test/flow:1" in found.text


@pytest.fixture(scope="module")
def proxied(control_plane: ControlPlane) -> Iterator[KubernetesHarness]:
    """A namespace, and an agent whose requests go through a proxy."""
    with closing(FaultProxy(control_plane)) as proxy, kubernetes_harness(control_plane, proxy=proxy) as harness:
        yield harness


@pytest.fixture
def proxy(proxied: KubernetesHarness) -> Iterator[FaultProxy]:
    """The proxy, without faults in the end."""
    assert proxied.proxy is not None
    yield proxied.proxy
    proxied.proxy.clear()


def test_an_api_server_with_another_time_is_named(proxied: KubernetesHarness, proxy: FaultProxy) -> None:
    """A warning; the agent takes it into account."""
    then = {"Date": "Sat, 01 Jan 2022 00:00:00 GMT"}
    proxy.answer(200, {"gitVersion": "v1.37.0"}, then, path="^/version$")

    (clock,) = findings(proxied.platform())["api-server-clock"]

    assert clock.severity is Severity.WARN
    assert "behind this machine's" in clock.text


def test_an_api_server_that_is_away_fails(proxied: KubernetesHarness, proxy: FaultProxy) -> None:
    """Everything else is unchecked."""
    proxy.cut(times=None)

    found = findings(proxied.platform(), "registry.test/flow:1")

    assert (found["api-server"][0].severity, found["api-server"][0].blame) == (Severity.FAIL, Blame.PLATFORM)
    assert {check.severity for name in list(found)[1:] for check in found[name]} == {Severity.UNCHECKED}


def test_an_api_server_that_is_slow_is_named(proxied: KubernetesHarness, proxy: FaultProxy) -> None:
    """With its version all the same."""
    held = proxy.hold(path="^/version$")
    threading.Timer(1.2, held.release).start()

    (server,) = findings(proxied.platform())["api-server"]

    assert server.severity is Severity.WARN
    assert "That is slow." in server.text


def test_an_account_that_may_not_ask_what_it_may_do(proxied: KubernetesHarness, proxy: FaultProxy) -> None:
    """Permissions are unchecked then; the trial shows whether Jobs can be made."""
    proxy.answer(403, path="selfsubjectrulesreviews", times=None)

    found = findings(proxied.platform())

    assert [check.severity for check in found["permissions"]] == [Severity.UNCHECKED]
    assert found["trial-job"][0].severity is Severity.OK


def test_a_namespace_that_is_not_there_fails(harness: KubernetesHarness) -> None:
    """To an account that may look for it."""
    kubeconfig = str(harness.plane.kubeconfig)

    found = findings(harness.platform(kubeconfig=kubeconfig, scope={"namespace": "no-such-namespace"}))

    assert {check.severity for check in found["permissions"]} == {Severity.OK}
    assert (found["namespace"][0].severity, found["trial-job"][0].severity) == (Severity.FAIL, Severity.UNCHECKED)
    assert "no-such-namespace" in found["namespace"][0].text


def test_a_quota_without_room_is_a_warning(control_plane: ControlPlane) -> None:
    """Flow runs would have to wait; the agent starts."""
    with kubernetes_harness(control_plane) as harness:
        limit_jobs(harness, 0)

        (trial,) = findings(harness.platform())["trial-job"]

    assert trial.severity is Severity.WARN
    assert "the namespace's quota has no room" in trial.text
    assert trial.remedies == ("free room in the quota, or raise it",)


def test_a_policy_of_the_cluster_that_refuses_the_trial_is_a_warning(control_plane: ControlPlane) -> None:
    """It may be about the trial alone: the words are those of the policy."""
    with kubernetes_harness(control_plane) as harness, denied_jobs(harness, "no Jobs on Sundays"):
        (trial,) = findings(harness.platform())["trial-job"]

    assert (trial.severity, trial.blame) == (Severity.WARN, None)
    assert "no Jobs on Sundays" in trial.text
