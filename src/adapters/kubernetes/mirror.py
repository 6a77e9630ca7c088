"""What the agent knows of its Jobs and pods: kept up to date by two watches, and by what it does and reads itself."""

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Final

import attrs

from prefect.agent.adapters.kubernetes.access import Cluster
from prefect.agent.adapters.kubernetes.facts import JobFacts, PodFacts, job_facts, pod_facts
from prefect.agent.adapters.kubernetes.reading import trouble_of
from prefect.agent.adapters.kubernetes.reflector import Object, Reflector
from prefect.agent.domain.errors import PlatformError, PlatformUnavailable

FIRST_LIST: Final = 30.0
"""Seconds to wait for the first list."""

STALE_AFTER: Final = 180.0
"""Seconds without a word from the server after which the mirror is not believed any more."""

KEPT_CHANGES: Final = 10_000
"""Changes kept for who watches; beyond it the oldest are missed."""

PODS_OF_A_UNIT: Final = 8
"""Pods kept of one unit; a Job whose template allows retries may have had many."""


def now() -> datetime:
    """The time of day."""
    return datetime.now(timezone.utc)


class Mirror:
    """Facts about all Jobs and pods of ours. Safe to use from several threads; it starts to watch when first asked.

    Args:
        jobs_path, pods_path: Of the lists.
        selector: Labels of ours.
    """

    def __init__(self, cluster: Cluster, *, jobs_path: str, pods_path: str, selector: str) -> None:
        self._cluster, self._paths, self._selector = cluster, (jobs_path, pods_path), selector
        self.changed = threading.Condition()
        self._jobs: dict[str, JobFacts] = {}
        self._pods: dict[str, dict[str, PodFacts]] = {}
        self._changes: deque[str] = deque(maxlen=KEPT_CHANGES)
        self._count = 0
        self._reflectors: tuple[Reflector, ...] = ()

    # --- reading ---

    def names(self) -> set[str]:
        """Names of all units.

        Raises:
            PlatformUnavailable, PlatformForbidden: There is no list yet, or it is too old to be believed.
        """
        self._believe()
        with self.changed:
            return self._jobs.keys() | self._pods.keys()

    def facts(self, name: str) -> tuple[JobFacts | None, Sequence[PodFacts]]:
        """What is known of one unit."""
        with self.changed:
            return self._jobs.get(name), tuple(self._pods.get(name, {}).values())

    def changes(self, *, seconds: float) -> Iterator[str]:
        """Names of units as they change, for at most *seconds*.

        Raises:
            PlatformUnavailable, PlatformForbidden: In the end, if nothing is heard from the server at present.
        """
        self._start()
        end = time.monotonic() + seconds
        with self.changed:
            seen = self._count
        while (left := end - time.monotonic()) > 0:
            with self.changed:
                if self._count == seen:
                    self.changed.wait(left)
                news = min(self._count - seen, len(self._changes))
                names = list(self._changes)[len(self._changes) - news :]
                seen = self._count
            yield from dict.fromkeys(names)
        with self.changed:
            troubles = self._troubles()
        if troubles:
            raise troubles[0]

    # --- writing ---

    def saw_job(self, job: Object) -> JobFacts | None:
        """A Job was read or made."""
        facts = job_facts(job)
        if facts is not None:
            with self.changed:
                self._keep_job(facts)
        return facts

    def saw_pods(self, name: str, pods: Sequence[Object]) -> None:
        """All pods of one unit were read."""
        found = [facts for facts in map(pod_facts, pods) if facts is not None]
        with self.changed:
            self._drop_pods(name, {facts.uid for facts in found})
            for facts in found:
                self._keep_pod(facts)

    def forget(self, name: str) -> None:
        """There is no such Job."""
        with self.changed:
            self._forget_job(name)

    def close(self) -> None:
        """Stop watching. May be repeated; asking again starts anew."""
        with self.changed:
            reflectors, self._reflectors = self._reflectors, ()
        for reflector in reflectors:
            reflector.close()

    # --- inside ---

    def _start(self) -> None:
        with self.changed:
            if self._reflectors:
                return
            jobs, pods = self._paths
            follow = partial(Reflector, self._cluster, selector=self._selector, news=self._news)
            self._reflectors = (
                follow(kind="jobs", path=jobs, replace=self._replace_jobs, apply=self._apply_job),
                follow(kind="pods", path=pods, replace=self._replace_pods, apply=self._apply_pod),
            )

    def _believe(self) -> None:
        """Wait for the first list; refuse to answer from one that is too old."""
        self._start()
        end = time.monotonic() + FIRST_LIST
        with self.changed:
            self.changed.wait_for(lambda: self._is_listed() or self._troubles(), max(0.0, end - time.monotonic()))
            listed, troubles = self._is_listed(), self._troubles()
            oldest = min((each.heard_at or 0.0 for each in self._reflectors), default=0.0)
        if not listed:
            raise troubles[0] if troubles else PlatformUnavailable("the first list of Jobs and pods takes too long")
        age = time.monotonic() - oldest
        if age > STALE_AFTER:
            raise (
                troubles[0]
                if troubles
                else PlatformUnavailable(f"nothing was heard of Jobs and pods for {age:.0f} seconds")
            )

    def _news(self) -> None:
        """A reflector heard something for the first time, or fell into trouble."""
        with self.changed:
            self.changed.notify_all()

    def _is_listed(self) -> bool:
        return bool(self._reflectors) and all(each.heard_at is not None for each in self._reflectors)

    def _troubles(self) -> list[PlatformError]:
        return [each.trouble for each in self._reflectors if each.trouble is not None]

    def _replace_jobs(self, jobs: Sequence[Object]) -> None:
        found = {facts.name: facts for facts in map(job_facts, jobs) if facts is not None}
        with self.changed:
            for name in self._jobs.keys() - found.keys():
                self._forget_job(name)
            for facts in found.values():
                self._keep_job(facts)
            for name in self._pods.keys() - found.keys():
                self._forget_job(name)

    def _replace_pods(self, pods: Sequence[Object]) -> None:
        found = [facts for facts in map(pod_facts, pods) if facts is not None]
        uids = {facts.uid for facts in found}
        with self.changed:
            for name in list(self._pods):
                self._drop_pods(name, uids)
            for facts in found:
                self._keep_pod(facts)

    def _apply_job(self, kind: str, job: Object) -> None:
        facts = job_facts(job)
        with self.changed:
            if facts is not None and kind != "DELETED":
                self._keep_job(facts)
            elif facts is not None and self._is_same(facts):
                self._forget_job(facts.name)

    def _apply_pod(self, kind: str, pod: Object) -> None:
        facts = pod_facts(pod)
        if facts is None:
            return
        with self.changed:
            self._keep_pod(attrs.evolve(facts, is_gone=kind == "DELETED"))

    def _is_same(self, facts: JobFacts) -> bool:
        kept = self._jobs.get(facts.name)
        return kept is not None and kept.uid == facts.uid

    def _keep_job(self, facts: JobFacts) -> None:
        kept = self._jobs.get(facts.name)
        if kept is not None and kept.version >= facts.version:
            return
        self._jobs[facts.name] = facts
        self._tell(facts.name)

    def _forget_job(self, name: str) -> None:
        self._jobs.pop(name, None)
        pods = self._pods.get(name, {})
        alive = {uid: pod for uid, pod in pods.items() if pod.is_alive}
        if alive:
            self._pods[name] = alive
        else:
            self._pods.pop(name, None)
        self._tell(name)

    def _keep_pod(self, facts: PodFacts) -> None:
        pods = self._pods.get(facts.unit, {})
        kept = pods.get(facts.uid)
        if kept is not None and (kept.is_gone or (kept.version >= facts.version and not facts.is_gone)):
            return
        if facts.is_gone and (kept is None or facts.unit not in self._jobs):
            pods.pop(facts.uid, None)
            if not pods:
                self._pods.pop(facts.unit, None)
            self._tell(facts.unit)
            return
        if trouble_of(facts):
            same = kept is not None and trouble_of(kept) == trouble_of(facts)
            facts = attrs.evolve(facts, waiting_since=kept.waiting_since if kept is not None and same else now())
        pods[facts.uid] = facts
        while len(pods) > PODS_OF_A_UNIT:
            del pods[next(iter(pods))]
        self._pods[facts.unit] = pods
        self._tell(facts.unit)

    def _drop_pods(self, name: str, uids: set[str]) -> None:
        """Of a unit's pods, those that are not among *uids* do not exist any more."""
        for pod in list(self._pods.get(name, {}).values()):
            if pod.uid not in uids and not pod.is_gone:
                self._keep_pod(attrs.evolve(pod, is_gone=True))

    def _tell(self, name: str) -> None:
        self._changes.append(name)
        self._count += 1
        self.changed.notify_all()
