"""The agent's Role on a real Kubernetes API server with RBAC: enough, no more, and missed by its name."""

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from prefect.agent.adapters.kubernetes import KubernetesPlatform, permissions
from prefect.agent.adapters.kubernetes.errors import missing_rule
from prefect.agent.adapters.kubernetes.manifest import SecretReference
from prefect.agent.adapters.kubernetes.permissions import OWN_NAMESPACE, TABLE, Rule
from prefect.agent.domain.errors import PlatformError, PlatformForbidden
from prefect.agent.domain.model.units import UnitStatus
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.faults import Request
from support.kubernetes.harness import KEY, KubernetesHarness, kubernetes_harness, once, once_ended, submission
from support.kubernetes.kubelet import ProcessKubelet
from support.kubernetes.platform_harness import role
from support.kubernetes.proxy import FaultProxy
from support.waiting import wait_until

pytestmark = pytest.mark.kubernetes

VERBS: Final = [(rule, verb) for rule in TABLE for verb in rule.verbs]
NEEDED: Final = [pair for pair in VERBS if not pair[0].optional]
OPTIONAL: Final = [pair for pair in VERBS if pair[0].optional]


def name_of(value: object) -> str:
    """Of a parameter."""
    return value.resource.replace("/", "-") if isinstance(value, Rule) else str(value)


@pytest.fixture(scope="module")
def harness(control_plane: ControlPlane, kubelet: ProcessKubelet) -> Iterator[KubernetesHarness]:
    """A namespace; each test gives its own account a Role."""
    with kubernetes_harness(control_plane) as harness:
        yield harness


@pytest.fixture(scope="module")
def full(harness: KubernetesHarness) -> KubernetesPlatform:
    """A platform that may do everything."""
    platform = harness.platform()
    platform.check()
    return platform


def without(harness: KubernetesHarness, rule: Rule, verb: str) -> KubernetesPlatform:
    """A platform whose account lacks one verb; it may do the rest."""
    rules = []
    for each in role(harness.namespace):
        lacks = each["resources"] == [rule.resource] and verb in each["verbs"]
        rules.append({**each, "verbs": [word for word in each["verbs"] if word != verb] if lacks else each["verbs"]})
    account = harness.plane.api.new_account(harness.namespace, [each for each in rules if each["verbs"]])
    return harness.platform(kubeconfig=harness.kubeconfig(account.token()))


def running(harness: KubernetesHarness, full: KubernetesPlatform) -> str:
    """A unit that executes until it is stopped."""
    made = submission(ending="hang")
    full.create(made)
    once(full, made.name, lambda unit: unit.status is UnitStatus.RUNNING)
    return made.name


def ended(harness: KubernetesHarness, full: KubernetesPlatform) -> str:
    """A unit that has failed with some output."""
    made = submission("echo output; exit 3")
    full.create(made)
    once_ended(full, made.name)
    return made.name


def watch_for_long(platform: KubernetesPlatform) -> None:
    """Until trouble is raised: it is at the end of a watch, for which the first ones may be too short."""
    for _ in range(30):
        list(platform.watch(seconds=1))


def wait_for_events(harness: KubernetesHarness, name: str) -> None:
    """Return once it is reported that the unit's pod was scheduled; events come when they like."""
    about = f"involvedObject.uid={harness.pod(name)['metadata']['uid']}"
    events = f"/api/v1/namespaces/{harness.namespace}/events"
    wait_until(
        lambda: "Successfully assigned" in str(harness.scratch.api.list(events, fieldSelector=about)),
        20,
        "it is reported",
    )


Use = Callable[[KubernetesPlatform, KubernetesHarness, KubernetesPlatform], Any]
USES: Final[dict[tuple[str, str], Use]] = {
    ("namespaces", "get"): lambda platform, *_: platform.identity,
    ("jobs", "create"): lambda platform, *_: platform.create(submission()),
    ("jobs", "get"): lambda platform, *_: platform.unit("prefect-x"),
    ("jobs", "list"): lambda platform, *_: platform.units(),
    ("jobs", "watch"): lambda platform, *_: watch_for_long(platform),
    ("jobs", "delete"): lambda platform, *scratch: platform.remove(ended(*scratch)),
    ("jobs", "patch"): lambda platform, *scratch: platform.stop(running(*scratch), grace=1),
    ("pods", "list"): lambda platform, *_: platform.units(),
    ("pods", "watch"): lambda platform, *_: watch_for_long(platform),
    ("pods", "delete"): lambda platform, *scratch: platform.stop(running(*scratch), grace=1),
    ("secrets", "create"): lambda platform, *_: platform.create(submission()),
}
"""What needs the verb."""


class TestEnough:
    """The Role that ``install`` prints."""

    def test_it_is_enough_and_every_verb_of_it_is_used(
        self, control_plane: ControlPlane, kubelet: ProcessKubelet, fault_proxy: FaultProxy
    ) -> None:
        """All that the agent asks in the life of units is in the table, and all that is in the table is asked."""
        with kubernetes_harness(control_plane, proxy=fault_proxy) as harness:
            platform = harness.platform()
            platform.check()
            made = submission("echo output; exit 3")
            platform.create(made)
            assert platform.create(made).name == made.name
            once_ended(platform, made.name)
            wait_for_events(harness, made.name)
            assert platform.logs_tail(made.name) == "output"
            assert "Successfully assigned" in platform.account(made.name)
            platform.remove(made.name)
            going = submission(ending="hang")
            platform.create(going)
            once(platform, going.name, lambda unit: unit.status is UnitStatus.RUNNING)
            platform.stop(going.name, grace=1)
            watched = ("jobs", "pods")
            wait_until(lambda: all(fault_proxy.count("GET", each, watch=True) for each in watched), 20, "it watches")

            asked = {_asked(each) for each in fault_proxy.requests}

        assert asked - {None} == {(rule.group, rule.resource, verb) for rule, verb in VERBS}

    def test_a_secret_that_is_there_needs_no_permission(
        self, harness: KubernetesHarness, kubelet: ProcessKubelet
    ) -> None:
        """With a Secret that is there already the agent neither makes nor reads any; the flow run has the key."""
        harness.post("api/v1 secrets", {"metadata": {"name": "own"}, "stringData": {"api-key": KEY}})
        account = harness.plane.api.new_account(
            harness.namespace,
            role(harness.namespace, [each for each in permissions.FEATURES if each != permissions.SECRET]),
        )
        secret = SecretReference("own", "api-key")
        platform = harness.platform(kubeconfig=harness.kubeconfig(account.token()), api_key_secret=secret)
        platform.check()
        made = submission()
        before = harness.secrets()

        platform.create(made)

        assert once_ended(platform, made.name).status is UnitStatus.SUCCEEDED
        assert kubelet.environment(made.name)["API_KEY"] == KEY
        assert set(harness.secrets()) <= set(before)

    def test_without_a_feature_its_permission_is_not_missed(
        self, harness: KubernetesHarness, full: KubernetesPlatform
    ) -> None:
        """What is switched off is neither asked for nor tried; whoever wants it is told."""
        features = [each for each in permissions.FEATURES if each not in {permissions.CANCEL, permissions.SECRET}]
        account = harness.plane.api.new_account(harness.namespace, role(harness.namespace, features))
        scope = {"features": frozenset(features)}
        platform = harness.platform(kubeconfig=harness.kubeconfig(account.token()), scope=scope)
        platform.check()
        name, jobs = running(harness, full), len(harness.scratch.api.list(harness.scratch.jobs))
        with pytest.raises(PlatformForbidden, match=f"cannot stop {name}: the agent was started without cancel"):
            platform.stop(name, grace=1)
        with pytest.raises(PlatformForbidden, match="the agent was started without secret"):
            platform.create(submission())
        assert len(harness.scratch.api.list(harness.scratch.jobs)) == jobs
        full.stop(name, grace=1)


class TestMissing:
    """One verb less."""

    @pytest.mark.parametrize(("rule", "verb"), NEEDED, ids=name_of)
    def test_the_check_names_it(self, harness: KubernetesHarness, rule: Rule, verb: str) -> None:
        """Verb, resource, what for, and the rule to paste; nothing else is complained of."""
        platform = without(harness, rule, verb)
        names = tuple(name.replace(OWN_NAMESPACE, harness.namespace) for name in rule.names)
        line = missing_rule(rule.group, rule.resource, verb, names)
        with pytest.raises(PlatformForbidden) as raised:
            platform.check()
        what = f"{rule.resource}.{rule.group}" if rule.group else rule.resource
        message = str(raised.value)
        assert f" may not {verb} {what} in the namespace {harness.namespace!r} ({rule.why})." in message
        assert message.endswith(f"Apply the Role that `prefect agent install` prints, or add: {line}")

    @pytest.mark.parametrize(("rule", "verb"), NEEDED, ids=name_of)
    def test_the_use_names_it(
        self, harness: KubernetesHarness, full: KubernetesPlatform, rule: Rule, verb: str
    ) -> None:
        """Without a check before, too; a rule of the Role that is to be pasted is in the message."""
        platform = without(harness, rule, verb)
        line = missing_rule(rule.group, rule.resource, verb)
        with pytest.raises(PlatformForbidden, match=rf"the agent may not {verb} {rule.resource}.*{re.escape(line)}"):
            USES[rule.resource, verb](platform, harness, full)

    @pytest.mark.parametrize("checks", [True, False])
    @pytest.mark.parametrize(("rule", "verb"), OPTIONAL, ids=name_of)
    def test_the_agent_goes_on_without_it(
        self, harness: KubernetesHarness, rule: Rule, verb: str, checks: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With exactly one warning that names it; how units end is told all the same."""
        platform = without(harness, rule, verb)
        if checks:
            platform.check()
        made = submission("echo output; exit 3")
        platform.create(made)

        unit = once_ended(platform, made.name)
        wait_for_events(harness, made.name)
        said = [(platform.logs_tail(made.name), platform.account(made.name)) for _ in range(2)][1]

        assert str(unit.evidence) == "Error, exit code 3"
        assert "terminated  3" in said[1]
        assert (said[0] == "") is (rule.resource == "pods/log")
        assert ("Successfully assigned" in said[1]) is (rule.resource != "events")
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warnings) == 1
        assert f"goes on without {rule.feature}" in warnings[0]
        assert missing_rule(rule.group, rule.resource, verb) in warnings[0]

    def test_what_is_granted_later_heals(self, harness: KubernetesHarness) -> None:
        """Nobody has to restart the agent: lists and watches find out by themselves."""
        account = harness.plane.api.new_account(harness.namespace, [])
        platform = harness.platform(kubeconfig=harness.kubeconfig(account.token()))
        with pytest.raises(PlatformForbidden, match=r"may not list (jobs|pods)"):
            platform.units()
        made = submission()
        with pytest.raises(PlatformForbidden, match="may not create jobs"):
            platform.create(made)

        account.allow(role(harness.namespace))

        wait_until(lambda: _works(platform.units), 60, "units are listed")
        platform.create(made)
        assert once_ended(platform, made.name).status is UnitStatus.SUCCEEDED


def _works(call: Callable[[], object]) -> bool:
    try:
        call()
    except PlatformError:
        return False
    return True


def _asked(request: Request) -> tuple[str, str, str] | None:
    """Group, resource and verb of a request; None of one that every account may send."""
    if "/authorization.k8s.io/" in request.path:
        return None
    group = "batch" if request.path.startswith("/apis/batch/") else ""
    verbs = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}
    is_list = request.path.endswith(("/jobs", "/pods", "/events"))
    reading = "watch" if request.is_watch else "list" if is_list else "get"
    return group, request.kind, verbs.get(request.method, reading)
