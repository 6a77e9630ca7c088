"""Whose a container is, on a real engine: the marks that it is made with, and that nothing else can set."""

import uuid
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest

from prefect.agent.domain.errors import SubmissionRefused, UnitNameTaken
from prefect.agent.domain.model.run_configs import DockerRun
from prefect.agent.domain.model.units import Owner, UnitStatus
from support.docker_harness import RUN, DockerHarness, ended

pytestmark = pytest.mark.docker

OURS = Owner(cloud="c1", agent="a1")


def test_the_owner_comes_back(harness: DockerHarness) -> None:
    """From the create, from the unit, from the list; for every agent on the engine."""
    submission = harness.submission(owner=OURS)
    made = harness.platform().create(submission)
    other = harness.platform()
    found = [other.unit(submission.name), *(unit for unit in other.units() if unit.name == submission.name)]
    assert [unit.owner for unit in (made, *found) if unit] == [OURS] * 3
    labels = harness.about(submission.name)["Config"]["Labels"]
    assert (labels["io.prefect.agent.cloud"], labels["io.prefect.agent.owner"]) == ("c1", "a1")


@pytest.fixture
def marked_image(harness: DockerHarness) -> Iterator[str]:
    """An image with marks of its own."""
    tag = f"test-{RUN}-{uuid.uuid4().hex[:8]}"
    marks = "LABEL io.prefect.agent.cloud=c1 io.prefect.agent.owner=a1 io.prefect.agent.attempt=9"
    script = BytesIO(f"FROM {harness.image}\n{marks}\n".encode())
    for _ in harness.client.build(fileobj=script, tag=tag, rm=True):
        continue
    yield tag
    harness.clean()
    harness.client.remove_image(tag, force=True)


def test_an_image_cannot_mark_a_unit(harness: DockerHarness, marked_image: str) -> None:
    """A unit without an owner has none, and one with an owner has its own."""
    platform = harness.platform()
    for owner in (None, Owner(cloud="c2", agent="a2")):
        unit = ended(platform, harness.submission(image=marked_image, owner=owner))
        assert (unit.owner, unit.attempt) == (owner, "1")


@pytest.mark.parametrize(
    "host_config", [{"labels": {"io.prefect.agent.cloud": "c9"}}, {"Labels": {}}, {"annotations": {}}]
)
def test_a_host_config_cannot_mark_a_unit(harness: DockerHarness, host_config: dict[str, Any]) -> None:
    """It is refused, or changes nothing."""
    submission = harness.submission(owner=OURS, run_config=DockerRun(host_config=host_config))
    try:
        unit = harness.platform().create(submission)
    except SubmissionRefused as refusal:
        assert "is not valid for Docker" in str(refusal)  # noqa: PT017
    else:
        assert unit.owner == OURS


def test_the_unit_of_another_cloud_keeps_its_name(harness: DockerHarness) -> None:
    """It is neither started nor taken for ours."""
    submission = harness.submission(owner=OURS)
    marks = {
        "io.prefect.agent.unit": submission.name,
        "io.prefect.flow-run-id": submission.flow_run_id,
        "io.prefect.agent.cloud": "c2",
        "io.prefect.agent.owner": "a1",
    }
    harness.client.create_container(harness.image, ["true"], name=submission.name, labels=marks)
    with pytest.raises(UnitNameTaken, match="another Prefect Cloud or tenant"):
        harness.platform().create(submission)
    assert harness.about(submission.name)["State"]["Status"] == "created"


@pytest.mark.parametrize("cloud", ["", "NOT A MARK", "c1"])
def test_other_units_of_the_name_are_adopted(harness: DockerHarness, cloud: str) -> None:
    """Made by a sibling, or by a version that did not mark."""
    submission = harness.submission(owner=OURS)
    marks = {
        "io.prefect.agent.unit": submission.name,
        "io.prefect.flow-run-id": submission.flow_run_id,
        "io.prefect.agent.cloud": cloud,
        "io.prefect.agent.owner": "a2",
    }
    harness.client.create_container(harness.image, ["true"], name=submission.name, labels=marks)
    unit = harness.platform().create(submission)
    assert unit.status is not UnitStatus.CREATED
    assert unit.owner == (Owner(cloud="c1", agent="a2") if cloud == "c1" else None)
