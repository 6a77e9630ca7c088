"""The platform that runs flows as containers of a Docker engine, 20.10 or newer.

A container has the name of its unit, so the engine itself refuses a second one. The engine never removes containers by
itself: their exit code is the only evidence of how a flow run ended.
"""

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
from docker.api.client import APIClient
from docker.errors import APIError, NotFound

from prefect.agent.adapters.bounded_json import BeyondBounds
from prefect.agent.adapters.docker import containers, listing
from prefect.agent.adapters.docker import units as reading
from prefect.agent.adapters.docker.checkup import DockerCheckup
from prefect.agent.adapters.docker.demanding import asked_of_the_engine
from prefect.agent.adapters.docker.doubts import Doubts
from prefect.agent.adapters.docker.engine import DockerEngine
from prefect.agent.adapters.docker.errors import says, translate_start, words
from prefect.agent.adapters.docker.following import LogFollower, changed_names
from prefect.agent.adapters.docker.images import Images
from prefect.agent.adapters.docker.making import ContainerMaker
from prefect.agent.adapters.docker.previews import create_request
from prefect.agent.adapters.docker.volumes import parse_volumes
from prefect.agent.domain.errors import (
    ConfigurationError,
    PlatformUnavailable,
    SubmissionRefused,
    UnitNameTaken,
)
from prefect.agent.domain.model.checks import Step
from prefect.agent.domain.model.demands import Demands
from prefect.agent.domain.model.run_configs import DockerRun
from prefect.agent.domain.model.submissions import PlatformTraits, Submission
from prefect.agent.domain.model.units import Unit, UnitStatus
from prefect.agent.ports.events import EventSink
from prefect.agent.ports.platform import ExecutionPlatform, output_tail

TRAITS: Final = PlatformTraits(
    kind="docker",
    run_config=DockerRun,
    units_are="Docker containers",
    rights="they are root on the machine of the Docker engine",
)

TIMEOUT: Final = 60
"""Seconds to wait for an answer of the engine."""

VISIBLE_WITHIN: Final = 10.0
"""Seconds until a new container is visible; the engine reserves its name before that."""

LOOK_EVERY: Final = 0.02
"""Seconds between two tries while a name is taken by a container that is not visible yet."""

TRIES: Final = 3
"""How often to stop a container that others start again meanwhile."""

TOO_LONG: Final = "(the last lines of its output are too long to be shown here)"


class DockerPlatform(ExecutionPlatform):
    """Executes flow runs as containers.

    Args:
        base_url: Address of the engine; None for DOCKER_HOST, else the default socket.
        no_pull: Never pull images.
        volumes: Volumes for every container, as ``volumes.py`` reads them.
        show_flow_logs: Copy the containers' output to the agent's stdout, too.
        networks: Networks for every container; ``host`` or ``none`` as the first one is its network mode.
        reg_allow_list: The only registries whose images may be used, as in the policy's ``registries``; empty: all.
        docker_client_timeout: Seconds that an answer of the engine may take; a pull may take half an hour.

    Raises:
        ConfigurationError: An argument is invalid.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        no_pull: bool = False,
        volumes: Sequence[str] = (),
        show_flow_logs: bool = False,
        networks: Sequence[str] = (),
        reg_allow_list: Sequence[str] = (),
        docker_client_timeout: int = TIMEOUT,
    ) -> None:
        if docker_client_timeout <= 0:
            raise ConfigurationError(f"the Docker client timeout must be more than 0, not {docker_client_timeout}")
        self._engine = DockerEngine(base_url, timeout=docker_client_timeout)
        self._images = Images(self._engine, no_pull=no_pull, allowed=reg_allow_list)
        self._networks = tuple(networks)
        mounted = parse_volumes(volumes)
        self._maker = ContainerMaker(self._engine, self._images, volumes=mounted, networks=self._networks)
        self._fingerprint = _digest(
            no_pull=no_pull,
            registries=sorted(set(reg_allow_list)),
            volumes=sorted(volume.bind for volume in mounted),
            networks=self._networks,
        )
        self._doubts = Doubts()
        self._follower = LogFollower(self._engine) if show_flow_logs else None
        self._identity: str | None = None
        self._ended: dict[str, Unit] = {}

    @property
    def traits(self) -> PlatformTraits:
        return TRAITS

    @property
    def identity(self) -> str:
        if self._identity is None:
            with self._engine.asked("return its id") as client:
                about: object = client.info()
            found = about.get("ID") or about.get("Name") if isinstance(about, Mapping) else None
            if not found:
                raise PlatformUnavailable("the Docker engine does not return its id")
            self._identity = f"docker:{found}"
        return self._identity

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def secrets(self) -> Collection[str]:
        return self._images.secrets

    @property
    def exposures(self) -> Sequence[str]:
        return self._engine.exposures

    @property
    def skew(self) -> float:
        return self._engine.clock.skew

    def listen(self, tell: EventSink) -> None:
        self._images.tell = tell

    def check(self) -> None:
        with self._engine.asked("answer") as client:
            client.ping()
        with self._engine.asked("list containers") as client:
            client.containers(all=True, limit=1, filters={"label": containers.UNIT})

    def checks(self, images: Callable[[], Collection[str]]) -> Sequence[Step]:
        return DockerCheckup(self._engine, self._images).steps(images)

    def demands(self, submission: Submission) -> Demands:
        wanted, _ = self._maker.host_config(submission)
        given, _ = self._maker.host_config(attrs.evolve(submission, run_config=DockerRun()))
        source = "pulled" if self._images.is_pulled(submission.image or "") else "local"
        basis = attrs.evolve(super().demands(submission), image_sources=frozenset({source}))
        return asked_of_the_engine(basis, wanted, given, submission.run_config, address=self._engine.address)

    def preview(self, submission: Submission) -> Sequence[Mapping[str, Any]]:
        return (create_request(self._engine, self._maker, submission, self._image(submission), self._networks),)

    def prepare(self, submission: Submission) -> None:
        image = self._image(submission)
        if self._images.is_pulled(image) and self._inspect(submission.name) is None:
            self._images.prepare(image, submission.flow_run_id)

    def create(self, submission: Submission) -> Unit:
        found = self._adopt(submission)
        if found is not None:
            return found
        image = self._image(submission)
        arguments, mode = self._maker.arguments(submission)
        self._maker.make_volumes()
        end = time.monotonic() + VISIBLE_WITHIN
        while time.monotonic() < end:
            container = self._maker.make(image, arguments, submission.flow_run_id)
            if container is not None:
                return self._begin(container, submission, containers.joins(self._networks, mode))
            found = self._adopt(submission)
            if found is not None:
                return found
            time.sleep(LOOK_EVERY)
        raise PlatformUnavailable(f"a container has the name {submission.name}, but does not become visible")

    def units(self) -> Sequence[Unit]:
        with self._engine.asked("list containers") as client:
            entries = listing.entries(client)
        known = self._ended
        ended: dict[str, Unit] = {}
        units: list[Unit] = []
        for entry in entries:
            name = reading.claimed_name(entry)
            unit = reading.listed(entry, self._doubts.of(name))
            if unit is not None and unit.status.has_ended:
                unit = known.get(unit.id) or self._in_full(unit)  # an ended unit does not change: ask once
                if unit is not None and unit.status.has_ended and unit.ended_at is not None:
                    ended[unit.id] = unit
            if unit is not None:
                units.append(unit)
        self._ended = ended
        return units

    def unit(self, name: str) -> Unit | None:
        about = self._inspect(name)
        return None if about is None else reading.inspected(about, self._doubts.of(name))

    def watch(self, *, seconds: float) -> Iterator[Unit]:
        for name in changed_names(self._engine, seconds=seconds):
            unit = self.unit(name)
            if unit is not None:
                yield unit

    def stop(self, name: str, *, grace: float) -> None:
        for _ in range(TRIES):
            unit = self.unit(name)
            if unit is None or unit.status.has_ended:
                return
            if unit.status is UnitStatus.CREATED:
                self._discard(unit.id)  # it cannot end, and it holds nothing worth keeping
                continue
            with self._engine.asked(f"stop the container {name}") as client, contextlib.suppress(NotFound):
                client.stop(unit.id, timeout=max(0, math.ceil(grace)))
        raise PlatformUnavailable(f"the container {name} does not end")

    def remove(self, name: str) -> None:
        unit = self.unit(name)
        if unit is None:
            return
        if not unit.status.has_ended:
            raise PlatformUnavailable(f"the container {name} still executes")
        with self._engine.asked(f"remove the container {name}") as client:
            try:
                client.remove_container(unit.id, v=True)
            except NotFound:
                return
            except APIError as problem:
                if not says(words(problem), ("already in progress",)):
                    raise

    def logs_tail(self, name: str, *, lines: int = 50) -> str:
        unit = self.unit(name)
        if unit is None or lines <= 0:
            return ""
        with self._engine.asked(f"read the output of {name}") as client:
            try:
                output: bytes = client.logs(unit.id, stdout=True, stderr=True, tail=lines)
            except NotFound:
                return ""
            except APIError as problem:
                if not says(words(problem), ("does not support reading",)):
                    raise
                return ""
            except BeyondBounds:
                return TOO_LONG
        return output_tail(output, lines)

    def close(self) -> None:
        if self._follower is not None:
            self._follower.close()
        self._engine.close()

    # --- inside ---

    def _image(self, submission: Submission) -> str:
        """Return the image of a submission.

        Raises:
            SubmissionRefused: It names no image, or one that is not allowed.
        """
        if not submission.image:
            raise SubmissionRefused("a container needs an image, but the flow run names none")
        self._images.check(submission.image)
        return submission.image

    def _inspect(self, name: str) -> Mapping[str, Any] | None:
        """Return the engine's description of the container *name*, a unit or not; None if there is none."""
        with self._engine.asked(f"inspect the container {name}") as client:
            try:
                about: object = client.inspect_container(name)
            except NotFound:
                return None
        if not isinstance(about, Mapping) or not isinstance(about.get("Name"), str):
            raise PlatformUnavailable(f"the Docker engine's answer about the container {name} cannot be read")
        return about if about["Name"] == f"/{name}" else None  # the engine also finds the beginning of an id

    def _in_full(self, unit: Unit) -> Unit | None:
        """Return an ended unit of the list with all details; without them if the engine cannot describe it."""
        try:
            return self.unit(unit.name)
        except PlatformUnavailable as problem:
            if problem.__cause__ is not None and not isinstance(problem.__cause__, APIError):
                raise  # no answer at all: the engine is at fault, not this container
            self._doubts.warn(unit.name, str(problem))
            return unit

    def _adopt(self, submission: Submission) -> Unit | None:
        """Return the existing unit of *submission*, and start it if it never was; None if there is none.

        Raises:
            UnitNameTaken: A container that is not a unit, or a unit of another Cloud or tenant, has the name.
        """
        name = submission.name
        about = self._inspect(name)
        if about is None:
            return None
        unit = reading.inspected(about, self._doubts.of(name))
        if unit is None:
            image = (about.get("Config") or {}).get("Image")
            raise UnitNameTaken(name, f"the container {str(about.get('Id'))[:12]} of the image {image}")
        if unit.owner and submission.owner and unit.owner.cloud != submission.owner.cloud:
            raise UnitNameTaken(name, f"the container {unit.id[:12]} of another Prefect Cloud or tenant")
        if unit.status is not UnitStatus.CREATED:
            return unit
        joined = (about.get("NetworkSettings") or {}).get("Networks") or {}
        wanted = containers.joins(self._networks, str((about.get("HostConfig") or {}).get("NetworkMode") or ""))
        return self._begin(unit.id, submission, [network for network in wanted if network not in joined])

    def _begin(self, container: str, submission: Submission, networks: Sequence[str]) -> Unit:
        """Join the networks, start the container, and return its unit; a container that already runs is left alone."""
        name = submission.name
        try:
            with self._engine.asked(f"start the container {name}", into=translate_start) as client:
                for network in networks:
                    _join(client, container, network)
                client.start(container)
        except SubmissionRefused:
            if self._discard(container):
                raise
        unit = self.unit(name)
        if unit is None:
            raise PlatformUnavailable(f"the container {name} was deleted externally while it started")
        if self._follower is not None:
            self._follower.follow(container, submission)
        return unit

    def _discard(self, container: str) -> bool:
        """Remove a container that was never started; return False if it has started meanwhile."""
        with self._engine.asked(f"remove the container {container[:12]}") as client, contextlib.suppress(NotFound):
            about = client.inspect_container(container)
            if about.get("State", {}).get("Status") != "created":
                return False
            client.remove_container(container, v=True)
        return True


def _digest(**settings: object) -> str:
    """Return a short text that changes with the settings, and does not show them."""
    return f"docker:{hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]}"


def _join(client: APIClient, container: str, network: str) -> None:
    try:
        client.connect_container_to_network(container, network)
    except APIError as problem:
        if not says(words(problem), ("already exists in network", "already connected")):
            raise
