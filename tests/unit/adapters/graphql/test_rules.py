"""Run configs, storage, workloads and documents of the GraphQL adapter."""

import json
from datetime import datetime, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.adapters.graphql import documents, wire
from prefect.agent.adapters.graphql.run_configs import read_environment_image, read_run_config, read_storage
from prefect.agent.adapters.graphql.wire import read_flow_run
from prefect.agent.domain.model.flow_runs import Flow, FlowRun
from prefect.agent.domain.model.run_configs import (
    DockerRun,
    KubernetesRun,
    LocalRun,
    RunConfig,
    Storage,
    UniversalRun,
    UnusableRunConfig,
)
from prefect.agent.domain.model.submissions import PlatformTraits, Workload, plan_submission
from support.builders import NOW, a_run, an_id
from support.graphql import work

TEXT = st.lists(st.one_of(st.characters(), st.sampled_from("aA/-\ud800")), max_size=5).map("".join)
"""Half surrogate pairs included: JSON can hold them."""


# --- run configs, storage ---


@pytest.mark.parametrize(
    ("value", "image"),
    [
        ({"type": "LocalEnvironment", "metadata": {"image": "old/flow:1"}, "executor": "x"}, "old/flow:1"),
        ({"type": "KubernetesJobEnvironment", "metadata": {"image": "old/flow:1"}}, "old/flow:1"),
        ({"type": "DaskKubernetesEnvironment", "metadata": {"image": " old/flow:1 "}}, "old/flow:1"),
        ({"metadata": {"image": "old/flow:1"}}, "old/flow:1"),
        ({"type": "LocalEnvironment", "metadata": {}}, None),
        ({"type": "LocalEnvironment", "metadata": None}, None),
        ({"type": "LocalEnvironment", "metadata": {"image": None}}, None),
        ({"type": "LocalEnvironment", "metadata": {"image": ""}}, None),
        ({"metadata": {"image": 5}}, None),
        ({"metadata": ["image"]}, None),
        (["metadata"], None),
        ("x", None),
        (None, None),
    ],
)
def test_the_image_of_an_environment(value: Any, image: str | None) -> None:
    """Whatever its type is; what cannot be read is none."""
    assert read_environment_image(value) == image
    run = wire.read_flow_run({"id": an_id(), "version": 1, "state": "Scheduled", "flow": {"environment": value}}, NOW)
    assert run is not None
    assert run.flow.image == image


@pytest.mark.parametrize(
    ("value", "config"),
    [
        (None, UniversalRun()),
        ({"type": "UniversalRun", "env": {"A": 1, "B": True, "C": None, "D": 1.5}}, None),
        ({"type": "LocalRun", "working_dir": "/w"}, LocalRun(working_dir="/w")),
        (
            {"type": "DockerRun", "image": "i", "ports": [80], "host_config": {"mem_limit": "1g"}},
            DockerRun(image="i", ports=(80,), host_config={"mem_limit": "1g"}),
        ),
        (
            {"type": "KubernetesRun", "cpu_limit": 2, "memory_request": "1Gi", "image_pull_secrets": ["s"]},
            KubernetesRun(cpu_limit="2", memory_request="1Gi", image_pull_secrets=("s",)),
        ),
        ({"type": "KubernetesRun", "cpu_limit": "", "image": ""}, KubernetesRun()),
    ],
    ids=["null", "env", "local", "docker", "kubernetes", "empty"],
)
def test_run_configs_of_the_protocol(value: Any, config: RunConfig | None) -> None:
    """All shapes of run configs; numbers and truth values in env become texts, null is not set."""
    expected = config or UniversalRun(env={"A": "1", "B": "true", "D": "1.5"})

    assert read_run_config(value) == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"type": "ECSRun"}, "ECSRun"),
        ("DockerRun", "a text, not an object"),
        ({"type": "DockerRun", "env": []}, "env is a list"),
        ({"type": "DockerRun", "env": {"A": {}}}, "variable A is an object"),
        ({"type": "DockerRun", "ports": ["80"]}, "ports"),
        ({"type": "DockerRun", "ports": [True]}, "ports"),
        ({"type": "DockerRun", "ports": [70000]}, "ports"),
        ({"type": "DockerRun", "image": 3}, "image is a number"),
        ({"type": "KubernetesRun", "job_template": "x"}, "job_template is a text"),
        ({"type": "KubernetesRun", "image_pull_secrets": [1]}, "image_pull_secrets"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_with_a_run_config_is_said(value: Any, words: str) -> None:
    """The maker of the run reads which key is wrong and why."""
    config = read_run_config(value)

    assert isinstance(config, UnusableRunConfig)
    assert words in config.reason


@pytest.mark.parametrize(
    ("value", "image"),
    [
        ({"registry_url": "r.test/x", "image_name": "n", "image_tag": "t"}, "r.test/x/n:t"),
        ({"registry_url": "r.test/x/", "image_name": "n", "image_tag": "t"}, "r.test/x/n:t"),
        ({"registry_url": None, "image_name": "n", "image_tag": "t"}, "n:t"),
        ({"image_name": "n", "image_tag": None}, "n"),
    ],
)
def test_the_image_of_docker_storage(value: dict[str, Any], image: str) -> None:
    """Registry, name and tag, joined as paths are."""
    assert read_storage({"type": "Docker", **value}) == Storage(type="Docker", image=image)


ROW: dict[str, Any] = {"id": "x", "version": 1, "state": "Scheduled"}


def flow_run(run_config: object, environment: object, storage: object = None) -> FlowRun:
    """A run of a flow of 0.11 to 0.15."""
    flow = {"id": "f", "core_version": "0.14.22", "environment": environment, "storage": storage}
    run = read_flow_run({**ROW, "flow": flow, "run_config": run_config}, datetime.now(timezone.utc))
    assert run is not None
    return run


NO_IMAGES: tuple[object, ...] = (None, 5, [], {}, {"metadata": None}, {"metadata": {"image": " "}}, {"metadata": []})
DOCKER_STORAGE = {"type": "Docker", "image_name": "stored", "image_tag": "1"}


@pytest.mark.parametrize(
    ("run", "image"),
    [
        (flow_run(None, {"type": "LocalEnvironment", "metadata": {"image": "r.test/mine:1"}}), "r.test/mine:1"),
        (flow_run(None, {"metadata": {"image": "mine"}}, DOCKER_STORAGE), "stored:1"),
        (flow_run({"type": "UniversalRun"}, {"metadata": {"image": "mine"}}), "prefecthq/prefect:0.14.22"),
        (flow_run({"type": "DockerRun", "image": "run"}, {"metadata": {"image": "mine"}}), "run"),
        *((flow_run(None, environment), "prefecthq/prefect:0.14.22") for environment in NO_IMAGES),
    ],
)
def test_a_flow_without_a_run_config_runs_in_the_image_of_its_environment(run: FlowRun, image: str) -> None:
    """As flows of 0.11 to 0.15 do; a run config, and the image that the flow is stored in, come first."""
    workload = Workload(command=("x",), default_image="prefecthq/prefect:0.14.22")
    traits = PlatformTraits(kind="docker", run_config=DockerRun)
    planned = plan_submission(run, workload, traits, agent_env={})
    assert planned.image == image
    assert planned.image_is_default == (image == workload.default_image)


@pytest.mark.parametrize("value", [3, {}, {"type": 1}, {"type": "Docker"}, {"type": "Docker", "image_name": ""}])
def test_storage_without_sense_is_a_problem(value: object) -> None:
    """The run is refused with a sentence instead of being started wrongly."""
    assert read_storage(value).problem


# --- workloads ---


def run_of_version(core_version: str | None) -> FlowRun:
    """A run of a flow that some version made."""
    return attrs.evolve(a_run(), flow=Flow(id="f", core_version=core_version))


@pytest.mark.parametrize(
    ("version", "image", "command"),
    [
        ("1.4.1", "1.4.1", "flow-run"),
        ("0.13.0", "0.13.0", "flow-run"),
        ("0.12.9", "0.12.9", "cloud-flow"),
        ("0.6.7", "0.6.7", "cloud-flow"),
        ("1.4.1+7.gabc", "1.4.1", "flow-run"),
        (None, "latest", "cloud-flow"),
        ("nonsense/../x", "latest", "cloud-flow"),
    ],
)
def test_image_and_command_follow_the_flows_version(version: str | None, image: str, command: str) -> None:
    """A flow runs with the Prefect that made it; old ones by the old command."""
    found = work(run_of_version(version))

    assert found.default_image == f"prefecthq/prefect:{image}"
    assert found.command == ("prefect", "execute", command)
    assert found.image_variable == "PREFECT__CONTEXT__IMAGE"


@pytest.mark.parametrize(("version", "set_"), [("1.2.2", True), ("0.15.13", True), ("1.2.3", False), (None, False)])
def test_old_flows_need_their_task_runner_named(version: str | None, set_: bool) -> None:
    """Up to 1.2.2 the task runner's class is a variable too."""
    assert ("PREFECT__ENGINE__TASK_RUNNER__DEFAULT_CLASS" in work(run_of_version(version)).fixed) is set_


def test_the_key_is_a_secret_under_both_names() -> None:
    """Never a plain variable, and absent without a key (promise P5)."""
    tenant = "11111111-1111-4111-8111-111111111111"
    found = work(a_run(), key="k3y-s3cr3t", tenant_id=tenant, backend="cloud")

    assert set(found.secrets) == {"PREFECT__CLOUD__API_KEY", "PREFECT__CLOUD__AUTH_TOKEN"}
    assert found.fixed["PREFECT__CLOUD__TENANT_ID"] == tenant
    assert "k3y-s3cr3t" not in repr(found)
    assert work(a_run()).secrets == {}


def test_variables_that_cannot_be_overridden() -> None:
    """Which run this is, and the class without which a flow reports no state at all."""
    fixed = work(a_run(3), labels=["a", "b"]).fixed

    assert fixed["PREFECT__CONTEXT__FLOW_RUN_ID"] == an_id(3)
    assert fixed["PREFECT__ENGINE__FLOW_RUNNER__DEFAULT_CLASS"] == "prefect.engine.cloud.CloudFlowRunner"
    assert fixed["PREFECT__CLOUD__AGENT__LABELS"] == "['a', 'b']"
    assert fixed["PREFECT__CLOUD__USE_LOCAL_SECRETS"] == "false"


@pytest.mark.parametrize(("send", "layer"), [(True, "defaults"), (False, "fixed")])
def test_a_run_may_switch_its_logs_off_but_not_on(send: bool, layer: str) -> None:
    """If the agent sends no logs, its runs cannot choose otherwise."""
    found = work(a_run(), send_logs=send)

    name = "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS"
    assert (name in found.defaults) == (layer == "defaults")
    assert getattr(found, layer)[name] == str(send).lower()


def test_the_address_may_be_overridden_and_rewritten() -> None:
    """Runs in containers may see the Cloud elsewhere."""
    found = work(a_run())

    assert found.defaults["PREFECT__CLOUD__API"] == "http://api"
    assert found.address_variables == {"PREFECT__CLOUD__API"}


# --- documents ---


def test_claims_in_one_document_have_an_outcome_each() -> None:
    """Each claim is a root field of its own, so that one refused claim spoils no other."""
    document, variables = documents.updates([(documents.SET_FLOW_RUN, {"n": 1}), (documents.SET_TASK_RUN, {"n": 2})])

    assert f"{documents.alias(0)}: set_flow_run_states(input: $i0)" in document
    assert f"{documents.alias(1)}: set_task_run_states(input: $i1)" in document
    assert variables == {"i0": {"states": [{"n": 1}]}, "i1": {"states": [{"n": 2}]}}


def test_retries_have_a_head_start() -> None:
    """A running flow process retries its own tasks: the agent looks three seconds later."""
    document = documents.ready([an_id(1)], NOW)

    assert '_lte: "2026-01-02T03:04:02.000000+00:00"' in document


def test_parameters_are_read_on_request_only() -> None:
    """They may be megabytes, and no agent needs them to start a run."""
    for make in (documents.flow_runs, lambda ids, **more: documents.ready(ids, NOW, **more)):
        assert "parameters" not in make([an_id(1)])
        assert "parameters" in make([an_id(1)], parameters=True)


@given(TEXT)
def test_an_id_cannot_break_out_of_its_literal(text: str) -> None:
    """Ids are literals in the document: a quote in one must not become syntax."""
    assert json.dumps(text) in documents.flow_runs([text])
    assert not text or json.dumps(text) in documents.claimed(None, text, 1)
    assert json.dumps(text) in documents.due(text, NOW, NOW, [text], limit=1)[0]


# --- the documents against the embedded Cloud's schema ---


@pytest.mark.parametrize(
    "document",
    [
        documents.ready([an_id(1)], NOW),
        documents.flow_runs([an_id(1)]),
        documents.flow_runs([an_id(1)], parameters=True),
        documents.ready([an_id(1)], NOW, parameters=True),
        documents.claimed(an_id(2), an_id(1), 200),
        documents.claimed(None, "", 200),
        documents.claimed(None, an_id(1), 200, NOW),
        documents.claimed_ids(an_id(2), an_id(1), NOW),
        documents.due(an_id(2), NOW, NOW, [an_id(1)], limit=5)[0],
        documents.TENANT_OF_KEY,
        documents.TENANTS,
        documents.REGISTER,
        documents.QUEUE,
        documents.WRITE_LOGS,
        documents.updates([(documents.SET_FLOW_RUN, {}), (documents.SET_TASK_RUN, {})])[0],
    ],
    ids=lambda document: document.split("(")[0][:30],
)
def test_every_document_is_valid(document: str) -> None:
    """All documents that are sent fit the schema that both sides speak."""
    from graphql import parse, validate  # noqa: PLC0415 - only here

    from prefect.agent.entrypoints.server.graphql.schema import schema  # noqa: PLC0415 - only here

    assert validate(schema(), parse(document)) == []
