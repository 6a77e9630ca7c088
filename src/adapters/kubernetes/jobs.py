"""Sends the platform's requests to the API server, and updates the mirror with each answer."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from prefect.agent.adapters.kubernetes import manifest, permissions
from prefect.agent.adapters.kubernetes.api_server import MERGE_PATCH, Cluster, items_of, path_of
from prefect.agent.adapters.kubernetes.errors import StatusError, translate_submission
from prefect.agent.adapters.kubernetes.facts import EventFacts, JobFacts, PodFacts, event_facts, version_of
from prefect.agent.adapters.kubernetes.features import Features
from prefect.agent.adapters.kubernetes.mirror import Mirror, misses_pods
from prefect.agent.adapters.kubernetes.reflector import WatchRhythm
from prefect.agent.adapters.kubernetes.units import blamed
from prefect.agent.domain.errors import PlatformError, PlatformUnavailable
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.ports.platform import TEXT_LIMIT, output_tail

MOST_OUTPUT: Final = 16 * 1024 * 1024
"""Most bytes of output that are read for its tail, since lines may be long."""

OUTPUT_DEADLINE: Final = 60.0
"""Seconds for a pod's whole output."""

OUTPUT_SILENCE: Final = 20.0
"""Seconds to wait for the next piece of a pod's output."""

log: Final = logging.getLogger("prefect.agent.kubernetes")

Object = dict[str, Any]


@attrs.frozen(kw_only=True)
class Scope:
    """The namespaces of the agent's Jobs, and the features that are on.

    Attributes:
        namespace: Namespace of Jobs whose template names none.
        cluster_wide: Whether a template may name another namespace.
        features: Features that are on, of :data:`permissions.FEATURES`.
    """

    namespace: str
    cluster_wide: bool = False
    features: frozenset[str] = frozenset(permissions.FEATURES)

    def jobs(self, namespace: str | None = None, name: str | None = None) -> str:
        """Return the path of the Jobs, or of the Job *name*; without a *namespace*, of all Jobs in this scope."""
        return self._path("apis/batch/v1", namespace, "jobs", name)

    def pods(self, namespace: str | None = None, name: str | None = None) -> str:
        """Return the path of the pods, or of the pod *name*; without a *namespace*, of all pods in this scope."""
        return self._path("api/v1", namespace, "pods", name)

    def _path(self, group: str, namespace: str | None, resource: str, name: str | None) -> str:
        if namespace is None and self.cluster_wide:
            return path_of(group, resource)
        words = (group, "namespaces", namespace or self.namespace, resource)
        return path_of(*words) if name is None else path_of(*words, name)


class Jobs:
    """Accesses the Jobs of one scope, with their pods, Secrets, output and events."""

    def __init__(self, cluster: Cluster, scope: Scope, features: Features, rhythm: WatchRhythm) -> None:
        self._cluster, self._scope, self._features = cluster, scope, features
        self.mirror = Mirror(
            cluster,
            jobs_path=scope.jobs(),
            pods_path=scope.pods(),
            selector=manifest.UNIT,
            rhythm=rhythm,
            today=cluster.now,
        )

    # --- making ---

    def make(self, body: Mapping[str, Any], *, quotes: bool = True, dry_run: bool = False) -> Object | None:
        """Create a Job; None if its name is taken. Errors of ``ExecutionPlatform.create``.

        Args:
            quotes: Whether the log may show the server's warnings.
            dry_run: Only check whether the Job would be accepted.
        """
        name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
        with self._cluster.asked(f"create the Job {name}", into=translate_submission):
            try:
                return self._cluster.send(
                    "POST",
                    self._scope.jobs(namespace),
                    query={"fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})},
                    body=body,
                    heard_warning=lambda text: log.warning(
                        "Kubernetes warns of a Job: %s", text if quotes else "not shown, it may repeat its template"
                    ),
                )
            except StatusError as failure:
                # 409 may also be a conflict about the quota.
                if failure.code == 409 and failure.reason == "AlreadyExists":
                    return None
                raise

    def make_secret(self, submission: Submission, job: JobFacts) -> None:
        """Create the Job's own Secret, if it refers to one. Kubernetes deletes it with the Job."""
        if not job.secret:
            return
        body = manifest.secret(submission, name=job.secret, job_name=job.name, job_uid=job.uid)
        with self._cluster.asked(f"make the Secret of the Job {job.name}"):
            try:
                self._cluster.send("POST", path_of("api/v1", "namespaces", job.namespace, "secrets"), body=body)
            except StatusError as failure:
                if failure.code != 409 or failure.reason != "AlreadyExists":
                    raise

    # --- seeing ---

    def known(self, name: str) -> tuple[JobFacts | None, Sequence[PodFacts]]:
        """Return a unit's Job and pods from the mirror; read missing pods of an ended Job, which show how it ended."""
        job, pods = self.mirror.facts(name)
        if job is not None and misses_pods(job, pods):
            try:
                return self.look(name)
            except PlatformError as problem:
                log.debug("Cannot read the pods of %s, which has ended: %s", name, problem)
        return job, pods

    def look(self, name: str) -> tuple[JobFacts | None, Sequence[PodFacts]]:
        """Read a unit's Job and pods from the API server, and add the known facts of deleted pods."""
        known, _ = self.mirror.facts(name)
        with self._cluster.asked(f"read the Job {name}"):
            job = self._find(name)
            place = None if job is None else job["metadata"].get("namespace")
            answer = self._cluster.send("GET", self._scope.pods(place), query=_of_unit(name))
            pods = items_of(answer)
        facts = None if job is None else self.mirror.saw_job(job)
        if facts is None and known is not None:
            self.mirror.forget(known)
        self.mirror.saw_pods(name, pods, version_of(answer), after=facts)
        return self.mirror.facts(name)

    def find(self, namespace: str, name: str) -> Object | None:
        """Return the Job with that name, a unit or not; None if there is none."""
        with self._cluster.asked(f"read the Job {name}"):
            return self._cluster.find(self._scope.jobs(namespace, name))

    def namespace_uid(self) -> str:
        """Return the uid of the scope's namespace.

        Raises:
            PlatformUnavailable: The namespace does not exist.
        """
        name = self._scope.namespace
        with self._cluster.asked(f"read the namespace {name}"):
            found = self._cluster.find(path_of("api/v1", "namespaces", name))
        if found is None:
            raise PlatformUnavailable(
                f"the namespace {name!r} does not exist. Create it (kubectl create namespace {name}) "
                "or name another with --namespace"
            )
        return str(found["metadata"]["uid"])

    def output(self, pod: PodFacts, lines: int) -> str:
        """Return the last lines of output that explain the pod's end; empty if there are none or it is forbidden."""
        kept, read = b"", 0
        query = {"container": blamed(pod), "tailLines": lines}
        path = f"{self._scope.pods(pod.namespace, pod.name)}/log"
        with (
            self._features.optional(self._cluster, permissions.LOGS, f"read the output of {pod.name}"),
            self._cluster.stream(path, query=query, silence=OUTPUT_SILENCE, deadline=OUTPUT_DEADLINE) as stream,
        ):
            # Not limitBytes: it keeps the first bytes, but the last ones are needed.
            for piece in stream:
                kept = (kept + piece)[-TEXT_LIMIT:]
                read += len(piece)
                if read > MOST_OUTPUT:
                    break
        return output_tail(kept, lines, is_whole=read <= TEXT_LIMIT)

    def events(self, namespace: str, uid: str) -> list[EventFacts]:
        """Return the events of an object, oldest first; empty if reading them is forbidden."""
        found: list[Object] = []
        if self._features.may(permissions.EVENTS):
            query = {"fieldSelector": f"involvedObject.uid={uid}", "limit": 100}
            with self._features.optional(self._cluster, permissions.EVENTS, "list events"):
                path = path_of("api/v1", "namespaces", namespace, "events")
                found = items_of(self._cluster.send("GET", path, query=query))
        return sorted(map(event_facts, found), key=lambda each: each.at)

    # --- ending ---

    def end(self, job: JobFacts, *, ended: str = "") -> None:
        """Let the Job fail finally, without new pods, even if its template allows retries.

        Args:
            ended: How its main container had ended by itself, see :data:`manifest.ENDED`.
        """
        note = {manifest.ENDED: ended} if ended else {manifest.STOPPED: "ended by the agent"}
        body = {
            "metadata": {"uid": job.uid, "annotations": note},
            "spec": {"activeDeadlineSeconds": 1},
        }
        with self._cluster.asked(f"end the Job {job.name}"):
            try:
                path = self._scope.jobs(job.namespace, job.name)
                self.mirror.saw_job(self._cluster.send("PATCH", path, body=body, content_type=MERGE_PATCH))
            except StatusError as failure:
                if not _is_gone(failure):
                    raise

    def end_pod(self, pod: PodFacts, grace: float) -> None:
        """Ask the pod to end within *grace* seconds."""
        # Zero would delete the pod from the API before its node has ended it.
        options = {"gracePeriodSeconds": max(1, math.ceil(grace)), "preconditions": {"uid": pod.uid}}
        self._delete(self._scope.pods(pod.namespace, pod.name), options, f"end the pod {pod.name}")

    def remove(self, job: JobFacts) -> None:
        """Delete the Job; Kubernetes then deletes its pods and Secret."""
        # In the body, with which the query parameter would be ignored; without a policy the pods would remain.
        options = {"propagationPolicy": "Background", "preconditions": {"uid": job.uid}}
        self._delete(self._scope.jobs(job.namespace, job.name), options, f"remove the Job {job.name}")
        self.mirror.forget(job)

    def _delete(self, path: str, options: Object, doing: str) -> None:
        with self._cluster.asked(doing):
            try:
                self._cluster.send("DELETE", path, body=options)
            except StatusError as failure:
                if not _is_gone(failure):
                    raise

    def _find(self, name: str) -> Object | None:
        if not self._scope.cluster_wide:
            return self._cluster.find(self._scope.jobs(self._scope.namespace, name))
        answer = self._cluster.send("GET", self._scope.jobs(), query=_of_unit(name))
        return next(iter(items_of(answer)), None)


def _is_gone(failure: StatusError) -> bool:
    """Return whether the object was deleted, or replaced by another one with the same name."""
    return failure.is_absence or failure.code == 409


def _of_unit(name: str) -> dict[str, object]:
    return {"labelSelector": f"{manifest.UNIT}={name}"}
