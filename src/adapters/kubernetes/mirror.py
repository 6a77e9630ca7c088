"""The known state of the agent's Jobs and pods, updated by two watches and by the agent's own requests."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Final

import attrs

from prefect.agent.adapters.kubernetes.api_server import Cluster
from prefect.agent.adapters.kubernetes.facts import JobFacts, PodFacts, job_facts, pod_facts
from prefect.agent.adapters.kubernetes.reflector import Object, Reflector, WatchRhythm
from prefect.agent.adapters.kubernetes.units import by_age, start_problem
from prefect.agent.domain.errors import PlatformError, PlatformUnavailable

KEPT_CHANGES: Final = 10_000
"""Most changes that are kept for callers of :meth:`Mirror.changes`; older ones are lost."""

PODS_OF_A_UNIT: Final = 8
"""Most pods that are kept of one unit; a Job whose template allows retries may have many."""

MOST_BURIED: Final = 2000
"""Most deleted Jobs and pods that are remembered as deleted."""


def misses_pods(job: JobFacts, pods: Sequence[PodFacts]) -> bool:
    """Return whether pods of an ended Job are still unknown: the two watches do not wait for each other."""
    return job.end is not None and not job.pods_read and len(pods) < min(job.pods_ended, PODS_OF_A_UNIT)


def now() -> datetime:
    """Return the current time (aware, UTC)."""
    return datetime.now(timezone.utc)


class Mirror:
    """Keeps the facts of all units' Jobs and pods. Starts its watches at first use. Safe to use from several threads.

    Args:
        jobs_path, pods_path: Paths of the lists.
        selector: Label selector of units.
        today: Returns the API server's current time.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        jobs_path: str,
        pods_path: str,
        selector: str,
        rhythm: WatchRhythm,
        today: Callable[[], datetime] = now,
    ) -> None:
        self._cluster, self._paths, self._selector, self._rhythm = cluster, (jobs_path, pods_path), selector, rhythm
        self._today = today
        self.changed = threading.Condition()
        self._jobs: dict[str, JobFacts] = {}
        self._pods: dict[str, dict[str, PodFacts]] = {}
        self._buried: dict[str, None] = {}
        self._changes: deque[str] = deque(maxlen=KEPT_CHANGES)
        self._count = 0
        self._reflectors: tuple[Reflector, ...] = ()

    # --- reading ---

    def follow(self) -> None:
        """Start the watches, so that no change after this call is missed.

        Waits a limited time for the first list; if that fails, changes may be missed.
        """
        self._start()
        with self.changed:
            self.changed.wait_for(lambda: self._is_listed() or self._problems(), self._rhythm.first_list)

    def names(self) -> set[str]:
        """Return the names of all units.

        Raises:
            PlatformUnavailable, PlatformForbidden: There is no list yet, or it is too old to be trusted.
        """
        self._believe()
        with self.changed:
            return self._jobs.keys() | self._pods.keys()

    def facts(self, name: str) -> tuple[JobFacts | None, Sequence[PodFacts]]:
        """Return the known Job and pods of one unit."""
        with self.changed:
            return self._jobs.get(name), tuple(self._pods.get(name, {}).values())

    def changes(self, *, seconds: float) -> Iterator[str]:
        """Yield the names of units as they change, for at most *seconds*.

        Raises:
            PlatformUnavailable, PlatformForbidden: At the end, if the server is unavailable at present.
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
            problems = self._problems()
        if problems:
            raise problems[0]

    # --- writing ---

    def saw_job(self, job: Object) -> JobFacts | None:
        """Record a Job that was read or created; return its facts, None if it is not a unit."""
        facts = job_facts(job)
        if facts is not None:
            with self.changed:
                self._keep_job(facts)
        return facts

    def saw_pods(self, name: str, pods: Sequence[Object], version: int, *, after: JobFacts | None = None) -> None:
        """Record all pods of one unit, as they were at *version*, read after the Job was in the state *after*."""
        found = [facts for facts in map(pod_facts, pods) if facts is not None]
        with self.changed:
            self._drop_pods(name, {facts.uid for facts in found}, version)
            for facts in found:
                self._keep_pod(facts)
            job = self._jobs.get(name)
            if job is not None and after is not None and after.end is not None and job.uid == after.uid:
                self._jobs[name] = attrs.evolve(job, pods_read=True)

    def forget(self, job: JobFacts) -> None:
        """Record that this Job, with its uid, was deleted."""
        with self.changed:
            self._bury(job.uid)
            if self._is_same(job):
                self._forget_job(job.name)

    def replace_jobs(self, jobs: Sequence[Object], version: int) -> None:
        """Record that these were all Jobs at *version*."""
        found = {facts.name: facts for facts in map(job_facts, jobs) if facts is not None}
        with self.changed:
            for job in list(self._jobs.values()):
                if job.name not in found and job.version <= version:  # not what was made since the list
                    self._bury(job.uid)
                    self._forget_job(job.name)
            for facts in found.values():
                self._keep_job(facts)
            for name in self._pods.keys() - self._jobs.keys():
                self._forget_job(name)

    def replace_pods(self, pods: Sequence[Object], version: int) -> None:
        """Record that these were all pods at *version*."""
        found = [facts for facts in map(pod_facts, pods) if facts is not None]
        uids = {facts.uid for facts in found}
        with self.changed:
            for name in list(self._pods):
                self._drop_pods(name, uids, version)
            for facts in found:
                self._keep_pod(facts)

    def apply_job(self, kind: str, job: Object) -> None:
        """Record that a Job was ``ADDED``, ``MODIFIED`` or ``DELETED``."""
        facts = job_facts(job)
        if facts is None:
            return
        if kind == "DELETED":
            self.forget(facts)
        else:
            with self.changed:
                self._keep_job(facts)

    def apply_pod(self, kind: str, pod: Object) -> None:
        """Record that a pod was ``ADDED``, ``MODIFIED`` or ``DELETED``."""
        facts = pod_facts(pod)
        if facts is None:
            return
        with self.changed:
            self._keep_pod(attrs.evolve(facts, is_gone=kind == "DELETED"))

    def close(self) -> None:
        """Stop the watches. May be repeated; the next use starts them again."""
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
            follow = partial(Reflector, self._cluster, selector=self._selector, news=self._news, rhythm=self._rhythm)
            self._reflectors = (
                follow(kind="jobs", path=jobs, replace=self.replace_jobs, apply=self.apply_job),
                follow(kind="pods", path=pods, replace=self.replace_pods, apply=self.apply_pod),
            )

    def _believe(self) -> None:
        """Wait for the first list; raise an error if there is none, or if it is too old."""
        self.follow()
        with self.changed:
            listed, problems = self._is_listed(), self._problems()
            oldest = min((each.heard_at or 0.0 for each in self._reflectors), default=0.0)
        if not listed:
            raise problems[0] if problems else PlatformUnavailable("the first list of Jobs and pods takes too long")
        age = time.monotonic() - oldest
        if age > self._rhythm.stale:
            raise (
                problems[0]
                if problems
                else PlatformUnavailable(f"the API server has sent no news of Jobs and pods for {age:.0f} seconds")
            )

    def _news(self) -> None:
        """Wake waiting threads after a reflector's list or error."""
        with self.changed:
            self.changed.notify_all()

    def _is_listed(self) -> bool:
        return bool(self._reflectors) and all(each.heard_at is not None for each in self._reflectors)

    def _problems(self) -> list[PlatformError]:
        return [each.problem for each in self._reflectors if each.problem is not None]

    def _is_same(self, facts: JobFacts) -> bool:
        kept = self._jobs.get(facts.name)
        return kept is not None and kept.uid == facts.uid

    def _keep_job(self, facts: JobFacts) -> None:
        kept = self._jobs.get(facts.name)
        if facts.uid in self._buried or (kept is not None and kept.version >= facts.version):
            return
        if kept is not None and kept.uid == facts.uid:
            facts = attrs.evolve(facts, pods_read=kept.pods_read)
            if not facts.flow_run_id:  # the annotation was removed meanwhile: it is still the same unit
                facts = attrs.evolve(facts, flow_run_id=kept.flow_run_id, attempt=kept.attempt)
        self._jobs[facts.name] = facts
        self._tell(facts.name)

    def _forget_job(self, name: str) -> None:
        self._jobs.pop(name, None)
        alive: dict[str, PodFacts] = {}
        for uid, pod in self._pods.pop(name, {}).items():
            if pod.is_alive:
                alive[uid] = pod
            else:
                self._bury(uid)
        if alive:
            self._pods[name] = alive
        self._tell(name)

    def _keep_pod(self, facts: PodFacts) -> None:
        pods = self._pods.get(facts.unit, {})
        kept = pods.get(facts.uid)
        is_old = kept is not None and kept.version >= facts.version and (kept.is_gone or not facts.is_gone)
        if is_old or facts.uid in self._buried:
            return
        if kept is not None and kept.is_gone:  # the watch, which is late, has the pod's final state
            facts = attrs.evolve(facts, is_gone=True)
        if facts.is_gone and (kept is None or facts.unit not in self._jobs):
            self._bury(facts.uid)
            pods.pop(facts.uid, None)
            if not pods:
                self._pods.pop(facts.unit, None)
            self._tell(facts.unit)
            return
        if start_problem(facts):
            same = kept is not None and start_problem(kept) == start_problem(facts)
            facts = attrs.evolve(
                facts, waiting_since=kept.waiting_since if kept is not None and same else self._today()
            )
        pods[facts.uid] = facts
        while len(pods) > PODS_OF_A_UNIT:
            oldest = min(by_age(list(pods.values())), key=lambda pod: pod.is_alive)
            del pods[oldest.uid]
        self._pods[facts.unit] = pods
        self._tell(facts.unit)

    def _drop_pods(self, name: str, uids: set[str], version: int) -> None:
        """Record the deletion of those pods of a unit that were not among *uids* at *version*."""
        for pod in list(self._pods.get(name, {}).values()):
            if pod.uid not in uids and not pod.is_gone and pod.version <= version:
                self._keep_pod(attrs.evolve(pod, is_gone=True))

    def _bury(self, uid: str) -> None:
        """Remember that an object was deleted, since a late answer or event may still show it as existing."""
        self._buried[uid] = None
        if len(self._buried) > MOST_BURIED:
            del self._buried[next(iter(self._buried))]

    def _tell(self, name: str) -> None:
        self._changes.append(name)
        self._count += 1
        self.changed.notify_all()
