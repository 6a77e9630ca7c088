"""A Docker engine without the adapter, for the adapter's tests."""

import io
import tarfile
import time
import uuid
from typing import Any, Final

import attrs
from docker.api.client import APIClient
from docker.errors import NotFound

from prefect.agent.adapters.docker import DockerPlatform
from prefect.agent.domain.model.flow_runs import FlowRunId, SimpleAttempt
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Unit, unit_name
from support.waiting import wait_until

RUN: Final = uuid.uuid4().hex[:8]
"""In the name of everything that these tests make, so that two copies do not meet."""


@attrs.define
class DockerHarness:
    """The engine without the adapter, and what a test leaves there."""

    client: APIClient
    image: str
    _platforms: list[DockerPlatform] = attrs.field(factory=list)
    _containers: list[str] = attrs.field(factory=list)

    def platform(self, **options: Any) -> DockerPlatform:
        """An adapter that does not pull, unless told otherwise."""
        platform = DockerPlatform(**{"no_pull": True, **options})
        self._platforms.append(platform)
        return platform

    def submission(self, script: str = "exit 0", *, image: str = "", **changes: Any) -> Submission:
        """Of a new flow run that executes a shell script."""
        run_id = FlowRunId(str(uuid.uuid4()))
        name = unit_name(run_id, SimpleAttempt("1"))
        self._containers.append(name)
        submission = Submission(
            name=name, flow_run_id=run_id, attempt="1", command=("sh", "-c", script), image=image or self.image
        )
        return attrs.evolve(submission, **changes)

    def own(self, name: str) -> None:
        """Remove the container of that name in the end, if there is one."""
        self._containers.append(name)

    def about(self, name: str) -> dict[str, Any]:
        """What the engine says about a container."""
        about: dict[str, Any] = self.client.inspect_container(name)
        return about

    def exists(self, name: str) -> bool:
        """Whether there is a container of that name."""
        try:
            self.client.inspect_container(name)
        except NotFound:
            return False
        return True

    def events(self, name: str) -> list[str]:
        """What has happened to a container, in the engine's words."""
        told = self.client.events(since=1, until=int(time.time()), filters={"container": name}, decode=True)
        return [str(event["Action"]) for event in told]

    def end(self, name: str) -> None:
        """Make the file ``/end`` in a container, which waits for it; without a process there, which may lack memory."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("end"))
        assert self.client.put_archive(name, "/", packed.getvalue())

    def clean(self) -> None:
        """Remove everything."""
        for platform in self._platforms:
            platform.close()
        for name in self._containers:
            try:
                self.client.remove_container(name, force=True, v=True)
            except NotFound:
                continue
        self.client.close()


def ended(platform: DockerPlatform, submission: Submission) -> Unit:
    """The unit of a submission that ends by itself, once it has."""
    platform.create(submission)
    return once_ended(platform, submission.name)


def once_ended(platform: DockerPlatform, name: str) -> Unit:
    """The unit, once it has ended."""
    found: list[Unit] = []

    def look() -> bool:
        unit = platform.unit(name)
        found[:] = [unit] if unit is not None and unit.status.has_ended else []
        return bool(found)

    wait_until(look, 20, f"the end of {name}")
    return found[0]
