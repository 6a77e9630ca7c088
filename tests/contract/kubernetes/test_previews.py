"""What a preview says of a Job, compared with the Job that a real API server has."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from prefect.agent.adapters.kubernetes.pods import SecretReference
from prefect.agent.domain.errors import SubmissionRefused
from prefect.agent.domain.model.run_configs import KubernetesRun
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.harness import KubernetesHarness, kubernetes_harness, submission

pytestmark = pytest.mark.kubernetes


@pytest.fixture
def harness(control_plane: ControlPlane) -> Iterator[KubernetesHarness]:
    """A namespace."""
    with kubernetes_harness(control_plane) as harness:
        yield harness


def missing(wanted: Any, found: Any, where: str = "") -> Iterator[str]:
    """Where *found*, which may have more (the server's defaults) and drops what is empty, is not what *wanted* is."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for name, each in wanted.items():
            yield from missing(each or None, found.get(name) or None, f"{where}.{name}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from missing(one, other, f"{where}[{number}]")
    elif wanted != found:
        yield f"{where}: {wanted!r} != {found!r}"


def without_suffix(value: Any, name: str) -> Any:
    """*value* without what each Secret's name ends with: each try has another one."""
    if isinstance(value, Mapping):
        return {key: without_suffix(each, name) for key, each in value.items()}
    if isinstance(value, list):
        return [without_suffix(each, name) for each in value]
    return re.sub(rf"^{name}-[0-9a-f]{{8}}$", f"{name}-N", value) if isinstance(value, str) else value


def test_the_api_server_has_the_job_and_the_secret_of_the_preview(harness: KubernetesHarness) -> None:
    """With limits and template of the run config; nothing is there before the create."""
    config = KubernetesRun(cpu_limit="500m", job_template={"spec": {"backoffLimit": 0, "template": {"metadata": {}}}})
    made, platform = submission("exit 0", run_config=config), harness.platform()

    job, secret = platform.preview(made)
    assert harness.scratch.api.list(harness.scratch.jobs) == []
    before = harness.secrets()
    platform.create(made)

    (name,) = set(harness.secrets()) - set(before)
    path = f"/api/v1/namespaces/{harness.namespace}/secrets/{name}"
    found_job, found_secret = harness.job(made.name), harness.scratch.api.get(path)
    secret["metadata"]["ownerReferences"][0].pop("uid")  # the server gives it
    plain = [without_suffix(each, made.name) for each in (job, found_job, secret, found_secret)]
    assert list(missing(plain[0], plain[1])) == []
    assert list(missing(plain[2], plain[3])) == []


def test_a_job_of_an_existing_secret_is_the_only_document(harness: KubernetesHarness) -> None:
    """The agent makes no Secret then."""
    platform = harness.platform(api_key_secret=SecretReference(name="of-the-operator", key="key"))

    documents = platform.preview(submission("exit 0"))

    assert [document["kind"] for document in documents] == ["Job"]


def test_a_preview_refuses_a_namespace_as_a_create_does(harness: KubernetesHarness) -> None:
    """With the same sentence."""
    made = submission("exit 0", run_config=KubernetesRun(job_template={"metadata": {"namespace": "elsewhere"}}))
    platform = harness.platform()

    with pytest.raises(SubmissionRefused) as previewed:
        platform.preview(made)
    with pytest.raises(SubmissionRefused) as created:
        platform.create(made)

    assert str(previewed.value) == str(created.value)
