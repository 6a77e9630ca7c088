"""A reflector on a scripted cluster, and what it passed on."""

import attrs

from prefect.agent.adapters.kubernetes.reflector import Reflector, WatchRhythm
from support.kubernetes_objects import Object, ScriptedCluster, a_job_object


@attrs.define
class Follower:
    """A reflector, and what it passed on."""

    cluster: ScriptedCluster = attrs.field(factory=ScriptedCluster)
    lists: list[tuple[list[str], int]] = attrs.field(factory=list)
    events: list[tuple[str, str]] = attrs.field(factory=list)
    news: list[None] = attrs.field(factory=list)
    reflector: Reflector | None = None

    def start(self) -> Reflector:
        """Begin."""
        self.reflector = Reflector(
            self.cluster.as_cluster(),
            kind="jobs",
            path="/jobs",
            selector="a",
            replace=lambda found, version: self.lists.append(([each["metadata"]["name"] for each in found], version)),
            apply=self._apply,
            news=lambda: self.news.append(None),
            rhythm=WatchRhythm(shortest=0, pause=0.02),
        )
        return self.reflector

    def _apply(self, kind: str, thing: Object) -> None:
        name = thing["metadata"]["name"]
        self.events.append((kind, name))
        if name == "bug":
            raise RuntimeError("a bug")

    def watches(self) -> list[Object]:
        """What was asked of watches."""
        return [each for each in self.cluster.asked if "watch" in each]


def page(*names: str, rest: str = "") -> Object:
    """A page of a list."""
    return {"metadata": {"resourceVersion": "5", "continue": rest}, "items": [a_job_object(name) for name in names]}
