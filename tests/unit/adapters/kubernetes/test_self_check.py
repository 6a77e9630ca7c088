"""Which permissions the agent finds that it lacks, by what the API server says of its account."""

from collections.abc import Sequence
from typing import Any, Final

import pytest

from prefect.agent.adapters.kubernetes.errors import StatusError
from prefect.agent.adapters.kubernetes.permissions import FEATURES, RUN, TABLE, rules
from prefect.agent.adapters.kubernetes.self_check import AUTHORIZATION, missing_permissions
from support.kubernetes_objects import Object, ScriptedCluster

RULES: Final = f"{AUTHORIZATION}/selfsubjectrulesreviews"
ONE: Final = f"{AUTHORIZATION}/selfsubjectaccessreviews"
EVERYTHING: Final = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}


def lacks(
    granted: Sequence[object], *, answers: Sequence[bool] = (), everywhere: bool = False
) -> tuple[list[str], list[Object]]:
    """What is lacked, and for what the server was asked one by one."""
    cluster = ScriptedCluster()
    cluster.lists[RULES].put({"status": {"resourceRules": granted}})
    for allowed in answers:
        cluster.lists[ONE].put({"status": {"allowed": allowed}})
    found = missing_permissions(cluster.as_cluster(), "metrics", FEATURES, everywhere=everywhere)
    asked = [each["body"]["spec"]["resourceAttributes"] for each in cluster.asked if each["path"] == ONE]
    return [lack.line for lack in found], asked


def as_rules(**changes: Any) -> list[Object]:
    """The table as rules that hold."""
    return [
        {
            "verbs": list(rule.verbs),
            "apiGroups": [rule.group],
            "resources": [rule.resource],
            **({"resourceNames": ["metrics"]} if rule.names else {}),
            **changes,
        }
        for rule in TABLE
    ]


@pytest.mark.parametrize(
    "granted", [as_rules(), [EVERYTHING], ["nonsense", EVERYTHING], as_rules(verbs=["*"]), as_rules(resources=["*"])]
)
def test_enough(granted: list[object]) -> None:
    """Whatever grants it; one request is enough to know."""
    assert lacks(granted) == ([], [])


def test_what_the_rules_do_not_say_is_asked_for() -> None:
    """One by one: an authorizer that is no RBAC lists nothing."""
    verbs = sum(len(rule.verbs) for rule in TABLE)
    found, asked = lacks([], answers=[True] * verbs)
    assert (found, len(asked)) == ([], verbs)
    names = [each["name"] for each in asked if each["resource"] == "namespaces"]
    logs = [each for each in asked if each["subresource"] == "log"]
    assert names == ["metrics"]
    assert [(each["resource"], each["verb"], each["namespace"]) for each in logs] == [("pods", "get", "metrics")]


def test_other_names_are_not_enough() -> None:
    """A rule for some objects is none for all, and for others none at all."""
    granted = [{**rule, "resourceNames": ["other"]} for rule in as_rules()]
    _, asked = lacks(granted, answers=[True] * 100)
    assert len(asked) == sum(len(rule.verbs) for rule in TABLE)


def test_what_is_lacked() -> None:
    """As the line that a Role lacks."""
    granted = [rule for rule in as_rules() if rule["resources"] != ["secrets"]]
    found, _ = lacks(granted, answers=[False])
    assert found == ['{apiGroups: [""], resources: [secrets], verbs: [create]}']


def test_everywhere() -> None:
    """Rules of one namespace say nothing of all of them."""
    found, asked = lacks([EVERYTHING], answers=[True] * 100, everywhere=True)
    assert found == []
    assert {each["namespace"] for each in asked if each["resource"] != "namespaces"} == {""}


@pytest.mark.parametrize("code", [403, 404])
def test_who_may_not_ask_finds_out_later(code: int) -> None:
    """The first use will tell."""
    cluster = ScriptedCluster()
    cluster.lists[RULES].put(StatusError(code, {}))
    assert missing_permissions(cluster.as_cluster(), "metrics", FEATURES) == []


def test_other_failures_are_raised() -> None:
    """There is no answer."""
    cluster = ScriptedCluster()
    cluster.lists[RULES].put(StatusError(500, {}))
    with pytest.raises(StatusError):
        missing_permissions(cluster.as_cluster(), "metrics", FEATURES)


def test_features_are_what_rules_are_for() -> None:
    """Each rule is for one that there is, and each says why; running flow runs is not optional."""
    assert {rule.feature for rule in TABLE} == set(FEATURES)
    assert all(rule.why for rule in TABLE)
    assert {rule.feature for rule in rules(())} == {RUN}
    assert not any(rule.optional for rule in rules(()))
