"""Logins of Docker's ``config.json`` with a real engine, and a registry that asks for one."""

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.errors import ImageNotFound

from prefect.agent.domain.errors import SubmissionRefused
from support.docker_config import ENTRIES, GOOD, SECRET, auths
from support.docker_harness import RUN, DockerHarness, ended
from support.image_registry import ImageRegistry, image_registry

pytestmark = pytest.mark.docker


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's configuration, still to be written."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


@pytest.fixture
def registry() -> Iterator[ImageRegistry]:
    """A registry on loopback that asks for a login."""
    with image_registry() as registry:
        registry.login = f"me:{SECRET}"
        yield registry


@pytest.fixture
def image(harness: DockerHarness, registry: ImageRegistry) -> Iterator[str]:
    """The name of an image in the registry that the engine does not have yet."""
    image = f"{registry.address}/test-{RUN}/{uuid.uuid4().hex[:8]}:1"
    yield image
    with contextlib.suppress(ImageNotFound):
        harness.client.remove_image(image, force=True)


def test_the_login_beside_odd_entries_is_used(
    harness: DockerHarness, registry: ImageRegistry, image: str, config: Path
) -> None:
    """Proxies that are null, and entries of others that are no logins."""
    odd = {f"{number}.example": entry for number, entry in enumerate(ENTRIES.values())}
    config.write_bytes(auths({**odd, registry.address: GOOD}, proxies=None, credHelpers=None, HttpHeaders=[]))
    platform = harness.platform(no_pull=False)
    platform.check()
    platform.prepare(harness.submission(image=image))
    assert harness.client.inspect_image(image)["Id"]


def test_with_a_wrong_password_the_image_that_is_here_will_do(
    harness: DockerHarness, registry: ImageRegistry, image: str, config: Path
) -> None:
    """Without it the run is refused: another try has the same password."""
    wrong = {"username": "me", "password": "wrong"}
    config.write_bytes(auths({registry.address: wrong}))
    platform = harness.platform(no_pull=False)
    with pytest.raises(SubmissionRefused, match="docker login"):
        platform.prepare(harness.submission(image=image))
    harness.client.tag(harness.image, image.rpartition(":")[0], "1")
    platform.prepare(harness.submission(image=image))


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_without_the_login_the_image_that_is_here_will_do(
    harness: DockerHarness,
    registry: ImageRegistry,
    image: str,
    config: Path,
    entry: object,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log names file and entry; without the image the run is refused with the same words."""
    config.write_bytes(auths({registry.address: entry}, proxies={"default": None}))
    platform = harness.platform(no_pull=False)
    with pytest.raises(SubmissionRefused, match=f"'{registry.address}' of auths in {config}"):
        platform.prepare(harness.submission(image=image))
    harness.client.tag(harness.image, image.rpartition(":")[0], "1")
    submission = harness.submission(image=image)
    platform.prepare(submission)
    assert ended(platform, submission).status.has_ended
    assert f"of auths in {config}" in caplog.text
    assert SECRET not in caplog.text
    harness.client.remove_container(submission.name)
