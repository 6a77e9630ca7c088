"""Pulls of images by a real engine, from a registry of the test's own."""

import contextlib
import logging
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import CodeType, FrameType
from typing import Any

import pytest
from docker.errors import ImageNotFound

from prefect.agent.adapters.docker.images import Images
from prefect.agent.domain.errors import PlatformUnavailable, SubmissionRefused
from prefect.agent.domain.model.units import UnitStatus
from support.docker_harness import RUN, DockerHarness, ended
from support.image_registry import ImageRegistry, image_registry
from support.waiting import wait_until

pytestmark = pytest.mark.docker


@pytest.fixture
def registry() -> Iterator[ImageRegistry]:
    """A registry on loopback."""
    with image_registry() as registry:
        yield registry


class TestPulls:
    """Getting images."""

    @pytest.fixture
    def image(self, harness: DockerHarness, registry: ImageRegistry) -> Iterator[str]:
        """The name of an image in the registry that the engine does not have yet. There is no program in it."""
        image = f"{registry.address}/test-{RUN}/{uuid.uuid4().hex[:8]}:1"
        yield image
        with contextlib.suppress(ImageNotFound):
            harness.client.remove_image(image, force=True)

    def problem(self, harness: DockerHarness, image: str, **options: Any) -> Exception:
        """What the creation of a unit with that image ends with."""
        submission, platform = harness.submission(image=image), harness.platform(**{"no_pull": False, **options})
        with pytest.raises((SubmissionRefused, PlatformUnavailable)) as problem:
            platform.prepare(submission)
        assert not harness.exists(submission.name)
        return problem.value

    def test_pulls_of_one_image_are_one_pull(self, harness: DockerHarness, registry: ImageRegistry, image: str) -> None:
        """However many flow runs wait for it; later ones pull again, since the tag may have moved."""
        platform = harness.platform(no_pull=False, reg_allow_list=[registry.address])

        def create() -> None:
            submission = harness.submission(image=image)
            platform.prepare(submission)
            with pytest.raises(SubmissionRefused, match="executable file not found"):
                platform.create(submission)

        create()
        requests_of_one_pull = registry.tags_asked
        assert requests_of_one_pull > 0
        registry.hold.clear()
        with ThreadPoolExecutor(4) as pool:
            created = [pool.submit(create) for _ in range(4)]
            wait_until(lambda: waiting_in(Images._lead.__code__) == 1, what="the flow run that pulls the image")
            wait_until(lambda: waiting_in(Future.result.__code__) == 3, what="three flow runs that wait for that")
            wait_until(lambda: registry.tags_asked > requests_of_one_pull, what="the pull")
            registry.hold.set()
            for each in created:
                each.result(30)
        assert registry.tags_asked == 2 * requests_of_one_pull

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            ((404, "MANIFEST_UNKNOWN"), SubmissionRefused),
            ((403, "DENIED"), SubmissionRefused),
            ((429, "TOOMANYREQUESTS"), PlatformUnavailable),
            ((503, "UNAVAILABLE"), PlatformUnavailable),
        ],
    )
    def test_what_the_registry_answers(
        self,
        harness: DockerHarness,
        registry: ImageRegistry,
        image: str,
        answer: tuple[int, str],
        kind: type[Exception],
    ) -> None:
        """An absent image is the run's fault, a registry in trouble is not."""
        registry.answer = answer
        problem = self.problem(harness, image)
        assert type(problem) is kind
        assert repr(image) in str(problem)
        assert registry.tags_asked > 0

    @pytest.mark.parametrize(
        ("image", "kind"),
        [
            ("registry.invalid/x/y:1", PlatformUnavailable),
            ("127.0.0.1:1/x/y:1", PlatformUnavailable),
            ("127.0.0.1:1/UPPER:1", SubmissionRefused),
            ("https://127.0.0.1:1/x", SubmissionRefused),
        ],
    )
    def test_images_of_nowhere(self, harness: DockerHarness, image: str, kind: type[Exception]) -> None:
        """A registry that cannot be found may come back; what is no name at all will not."""
        problem = self.problem(harness, image)
        assert type(problem) is kind
        assert repr(image) in str(problem)

    def test_create_pulls_what_was_not_prepared(
        self, harness: DockerHarness, registry: ImageRegistry, image: str
    ) -> None:
        """For a caller that leaves it out."""
        with pytest.raises(SubmissionRefused, match="executable file not found"):
            harness.platform(no_pull=False).create(harness.submission(image=image))
        assert registry.tags_asked > 0

    def test_create_keeps_to_the_allowed_registries(self, harness: DockerHarness, image: str) -> None:
        """Also for an image that the engine has."""
        harness.client.tag(harness.image, image.rpartition(":")[0], "1")
        submission = harness.submission(image=image)
        with pytest.raises(SubmissionRefused, match=r"registry\.invalid"):
            harness.platform(no_pull=False, reg_allow_list=["registry.invalid"]).create(submission)
        assert not harness.exists(submission.name)

    def test_only_allowed_registries(self, harness: DockerHarness, registry: ImageRegistry, image: str) -> None:
        """Others are not even asked."""
        problem = self.problem(harness, image, reg_allow_list=["registry.invalid"])
        assert type(problem) is SubmissionRefused
        assert "registry.invalid" in str(problem)
        assert registry.tags_asked == 0

    def test_the_image_that_is_here_will_do(
        self, harness: DockerHarness, registry: ImageRegistry, image: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A registry in trouble stops no flow run whose image is on the engine; the log says so."""
        registry.answer = (503, "UNAVAILABLE")
        harness.client.tag(harness.image, image.rpartition(":")[0], "1")
        submission = harness.submission("exit 0", image=image)
        with caplog.at_level(logging.WARNING, "prefect.agent.docker"):
            platform = harness.platform(no_pull=False)
            platform.prepare(submission)
            unit = ended(platform, submission)
        assert unit.status is UnitStatus.SUCCEEDED
        said = [record.getMessage() for record in caplog.records if record.name == "prefect.agent.docker"]
        assert [image in message for message in said] == [True]
        harness.client.remove_container(submission.name)


def waiting_in(code: CodeType) -> int:
    """How many threads are inside of a function with this code."""
    count = 0
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame is not None and frame.f_code is not code:
            frame = frame.f_back
        count += frame is not None
    return count
