"""What a doctor looks at on a Docker engine."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

import attrs

from prefect.agent.adapters.docker import containers
from prefect.agent.adapters.docker.engine import DockerEngine
from prefect.agent.adapters.docker.images import Images
from prefect.agent.domain.model.checks import IMAGES, Answered, ClockReading, Fact, Step

OLDEST: Final = "20.10"
"""The oldest engine that will do."""


@attrs.frozen
class DockerCheckup:
    """Asks one engine."""

    engine: DockerEngine
    images: Images

    def steps(self, images: Callable[[], Collection[str]]) -> Sequence[Step]:
        """The steps, in order; *images* says which images the flows use."""

        def look() -> Iterator[Fact]:
            yield from map(self.images.look, sorted(images()))

        return (
            Step(name="engine", ask=self._version),
            Step(name="engine-containers", ask=self._containers, needs=("engine",)),
            Step(name="engine-clock", ask=self._clock, needs=("engine",)),
            Step(name=IMAGES, ask=look, needs=("engine",)),
        )

    def _version(self) -> Iterator[Fact]:
        with self.engine.asked("say its version") as client:
            began = time.monotonic()
            about: object = client.version(api_version=False)
            took = time.monotonic() - began
        version = str(about.get("Version") or "") if isinstance(about, Mapping) else ""
        what = f"The Docker engine at {self.engine.address}"
        yield Answered(what=what, seconds=took, version=version, least=OLDEST if version[:1].isdigit() else "")

    def _containers(self) -> Iterator[Fact]:
        with self.engine.asked("list containers") as client:
            began = time.monotonic()
            client.containers(all=True, limit=1, filters={"label": containers.UNIT})
        yield Answered(what="The list of the engine's containers", seconds=time.monotonic() - began)

    def _clock(self) -> Iterator[Fact]:
        yield ClockReading(what="the Docker engine", skew=self.engine.clock.skew)
