"""Which test makes each cause of ``why`` and each finding of ``doctor`` with real parts; none may be missing."""

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from support.pages import ROOT

CONTRACT: Final = ROOT / "tests" / "contract"

AGENTS: Final = "cli/test_why_agents.py::"
CAUSE: Final = "cli/test_why_causes.py::"
DOCKER: Final = "docker/test_why.py::"
KUBERNETES: Final = "kubernetes/test_why.py::"

CAUSES: Final = {
    "agent-declines": AGENTS + "test_an_agent_that_leaves_a_run_alone_says_why",
    "agent-full": AGENTS + "test_an_agent_that_is_full_is_certain",
    "agent-has-room": AGENTS + "test_an_agent_with_room_is_said_to_have_it",
    "agent-paused": AGENTS + "test_an_agent_that_is_paused",
    "agent-stopping": DOCKER + "test_an_agent_that_is_about_to_end_takes_no_more",
    "agent-unhealthy": AGENTS + "test_an_agent_whose_key_is_refused",
    "agent-unseen": AGENTS + "test_an_address_at_which_no_agent_answers",
    "agents": "cli/test_why.py::test_a_run_that_an_agent_could_take",
    "agents-gone": CAUSE + "test_agents_that_have_gone",
    "archived": CAUSE + "test_a_flow_that_is_archived",
    "claimed": CAUSE + "test_a_claim_whose_unit_is_absent",
    "finished": CAUSE + "test_a_run_that_has_ended",
    "foreign-claim": CAUSE + "test_a_run_that_another_product_has_claimed",
    "gave-up": CAUSE + "test_a_run_that_an_agent_gave_up",
    "late": CAUSE + "test_a_run_that_is_late",
    "namesakes": CAUSE + "test_a_name_that_several_runs_have",
    "no-agent": CAUSE + "test_a_run_whose_labels_no_agent_takes",
    "no-agents": CAUSE + "test_a_tenant_without_agents",
    "not-due": CAUSE + "test_a_run_that_is_not_due",
    "paused": CAUSE + "test_a_run_that_is_paused",
    "platform-unavailable": DOCKER + "test_an_engine_that_is_away",
    "queued": CAUSE + "test_a_run_that_a_limit_keeps",
    "recovered": CAUSE + "test_a_claim_whose_unit_is_absent",
    "refused": CAUSE + "test_a_run_that_an_agent_refused",
    "refused-by-policy": CAUSE + "test_a_run_that_an_agent_refused",
    "retries-wait": CAUSE + "test_task_runs_that_wait_for_a_retry",
    "schedule-off": CAUSE + "test_a_flow_whose_schedule_is_off",
    "unit-absent": KUBERNETES + "test_a_job_that_is_gone_is_said_to_be_absent",
    "unit-ended": DOCKER + "test_a_container_that_has_ended",
    "unit-executes": DOCKER + "test_a_container_that_executes",
    "unit-pending": KUBERNETES + "test_a_pending_unit_says_what_it_waits_for",
    "unit-starting": DOCKER + "test_an_image_that_is_being_pulled",
    "unit-unseen": CAUSE + "test_a_claim_on_a_platform_that_was_not_asked",
    "units-alive": CAUSE + "test_units_that_may_fill_an_agent",
    "unknown-state": CAUSE + "test_a_state_that_no_agent_acts_on",
}
"""Test that asserts each cause, by the name that ``--output json`` has for it."""

VARIANTS: Final = (
    ("agent-full", AGENTS + "test_an_agent_elsewhere_is_asked_at_its_address"),
    ("agent-full", AGENTS + "test_an_agent_of_others_may_take_what_a_full_one_cannot"),
    ("no-agents", CAUSE + "test_a_label_that_local_storage_adds_is_explained"),
    ("not-due", CAUSE + "test_a_run_that_is_due_by_this_machines_clock_only"),
    ("unit-absent", DOCKER + "test_a_container_that_is_gone"),
    ("unit-pending", KUBERNETES + "test_an_agent_that_has_no_room_for_a_job_says_so"),
    ("unit-pending", DOCKER + "test_an_image_that_cannot_be_pulled_now"),
)
"""Further tests of causes that have more than one face."""

WELL: Final = "cli/test_doctor.py::test_all_is_well"
LINE: Final = "cli/test_doctor.py::"
CONDITION: Final = "cli/test_doctor_conditions.py::"
CLUSTER: Final = "kubernetes/test_doctor.py::"

CHECKS: Final = {
    "api": (CONDITION + "test_a_cloud_that_is_slow_or_has_another_time", LINE + "TestTls::test_through_a_proxy"),
    "api-server": (CLUSTER + "test_an_api_server_that_is_slow_is_named",),
    "api-server-clock": (CLUSTER + "test_an_api_server_with_another_time_is_named",),
    "claims": (LINE + "test_a_cloud_that_does_not_compare_is_named",),
    "cloud-clock": (CONDITION + "test_a_cloud_that_is_slow_or_has_another_time",),
    "configuration": (LINE + "test_unknown_settings_are_named",),
    "dns": (LINE + "test_a_name_that_does_not_resolve_fails",),
    "engine": (CONDITION + "TestDocker::test_an_engine_that_is_not_as_it_should_be",),
    "engine-clock": (CONDITION + "TestDocker::test_an_engine_that_is_not_as_it_should_be",),
    "engine-containers": (CONDITION + "TestDocker::test_an_engine_that_lists_no_containers_fails",),
    "flows": (LINE + "test_flows_that_cannot_run_here_are_named",),
    "images": (LINE + "TestDocker::test_images_of_flows", CLUSTER + "test_images_are_the_nodes_business"),
    "interpreter": (LINE + "test_the_version_of_an_interpreter",),
    "key": (LINE + "test_a_key_that_is_not_accepted_fails", LINE + "test_a_tenant_that_is_not_there_fails"),
    "namespace": (CLUSTER + "test_a_namespace_that_is_not_there_fails",),
    "permissions": (
        CLUSTER + "test_a_missing_permission_is_named_by_its_feature",
        CLUSTER + "test_an_account_that_may_not_ask_what_it_may_do",
    ),
    "platform": (LINE + "test_an_interpreter_that_is_not_there_fails",),
    "proxy": (LINE + "test_a_proxy_that_is_away_fails",),
    "secrets": (LINE + "test_a_secret_that_others_can_read_is_named",),
    "state-directory": (CONDITION + "test_a_disk_that_is_full_or_nearly",),
    "tls": (CONDITION + "test_the_certificate_of_a_cloud",),
    "trial-job": (
        CLUSTER + "test_a_quota_without_room_is_a_warning",
        CLUSTER + "test_a_policy_of_the_cluster_that_refuses_the_trial_is_a_warning",
    ),
    "units-directory": (CONDITION + "test_a_disk_that_is_full_or_nearly",),
    "waiting-runs": (LINE + "test_runs_that_no_agent_takes_are_named",),
}
"""Tests in which each check finds something that is not as it should be."""

CHECKS_MODULE: Final = "prefect.agent.domain.model.checks"

INSTEAD: Final = {"cloud"}
"""Names that stand for the checks of a Cloud that could not be made, because the configuration is wrong."""

PROOFS: Final = [
    *CAUSES.items(),
    *VARIANTS,
    *((check, proof) for check, proofs in CHECKS.items() for proof in proofs),
]


def test_each_cause_is_in_the_table() -> None:
    """What ``explain`` can say is literal."""
    found = [set(texts_of(value)) for value in given("Finding", "cause")]
    assert all(found)

    assert set().union(*found) == set(CAUSES)


def test_each_check_is_in_the_table() -> None:
    """Names of steps are literal, or constants of their module."""
    found = {name for path in sources() if imports_steps(parsed(path)) for name in steps_of(path)}

    assert found - INSTEAD == set(CHECKS)


@pytest.mark.parametrize(("name", "proof"), PROOFS, ids=[f"{name} {proof}" for name, proof in PROOFS])
def test_each_named_test_exists_and_speaks_of_what_it_proves(name: str, proof: str) -> None:
    """In its body or in its parameters."""
    file, *path = proof.split("::")
    node: ast.AST = parsed(CONTRACT / file)
    for step in path:
        (node,) = [child for child in ast.iter_child_nodes(node) if getattr(child, "name", None) == step]

    assert isinstance(node, ast.FunctionDef)
    assert name in set(texts_of(node))


def sources() -> list[Path]:
    """Modules of the package."""
    return sorted((ROOT / "src").rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    """A module's tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def calls(tree: ast.AST, name: str, keyword: str) -> Iterator[ast.expr]:
    """What is given as *keyword* wherever *tree* calls *name*."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield from (each.value for each in node.keywords if each.arg == keyword)


def given(name: str, keyword: str) -> Iterator[ast.expr]:
    """The same for the whole package."""
    for path in sources():
        yield from calls(parsed(path), name, keyword)


def imports_steps(tree: ast.Module) -> bool:
    """Whether a module makes steps of a doctor: other things are called steps, too."""
    froms = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return any(node.module == CHECKS_MODULE and "Step" in {each.name for each in node.names} for node in froms)


def steps_of(path: Path) -> Iterator[str]:
    """Names of the steps that a module makes."""
    inside = path.relative_to(ROOT / "src").with_suffix("")
    for value in calls(parsed(path), "Step", "name"):
        if isinstance(value, ast.Constant):
            yield str(value.value)
        else:
            assert isinstance(value, ast.Name), ast.unparse(value)
            yield str(getattr(importlib.import_module(f"prefect.agent.{'.'.join(inside.parts)}"), value.id))


def texts_of(code: ast.AST) -> Iterator[str]:
    """The texts in a piece of code."""
    for node in ast.walk(code):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
