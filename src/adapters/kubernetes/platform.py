"""Flow runs as Kubernetes Jobs. What the agent must be allowed to do is in ``permissions.py``."""

import contextlib
import logging
import math
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from prefect.agent.adapters.kubernetes import manifest, permissions, reading, templates
from prefect.agent.adapters.kubernetes.access import MERGE_PATCH, Cluster, path_of
from prefect.agent.adapters.kubernetes.accounts import account
from prefect.agent.adapters.kubernetes.errors import StatusError, translate_submission
from prefect.agent.adapters.kubernetes.facts import STOPPED, JobFacts, PodFacts
from prefect.agent.adapters.kubernetes.manifest import JobDefaults, SecretReference
from prefect.agent.adapters.kubernetes.mirror import Mirror
from prefect.agent.adapters.kubernetes.mirror import now as time_of_day
from prefect.agent.adapters.kubernetes.reading import Patience
from prefect.agent.adapters.kubernetes.self_check import missing_permissions
from prefect.agent.domain.errors import (
    PlatformForbidden,
    PlatformUnavailable,
    SubmissionRefused,
    UnitNameTaken,
)
from prefect.agent.domain.model.run_configs import KubernetesRun
from prefect.agent.domain.model.units import Submission, Unit, UnitStatus
from prefect.agent.domain.model.workloads import PlatformTraits
from prefect.agent.ports.platform import ExecutionPlatform

TRAITS: Final = PlatformTraits(kind="kubernetes", run_config=KubernetesRun)

STOP_MARGIN: Final = 30.0
"""Seconds beyond its grace that a node has to tell that a pod is gone."""

LOOK_FIRST, LOOK_LAST = 0.1, 1.0
"""Shortest and longest pause between two looks at a unit that is being stopped, in seconds."""

MAX_TAIL: Final = 64 * 1024
MOST_OUTPUT: Final = 16 * 1024 * 1024
"""Bytes of output read for its tail: lines may be long."""

NO_POD_AFTER: Final = 5.0
"""Seconds after which a Job without a pod is asked about."""

log: Final = logging.getLogger("prefect.agent.kubernetes")


@attrs.frozen(kw_only=True)
class Scope:
    """Where Jobs are, and what the agent does with them.

    Attributes:
        namespace: For Jobs whose template names none.
        cluster_wide: Whether a template may name another namespace.
        features: Of :data:`permissions.FEATURES`.
    """

    namespace: str
    cluster_wide: bool = False
    features: frozenset[str] = frozenset(permissions.FEATURES)

    def jobs(self, namespace: str | None = None, name: str | None = None) -> str:
        """Path of the Jobs, or of one of them."""
        return self._path("apis/batch/v1", namespace, "jobs", name)

    def pods(self, namespace: str | None = None, name: str | None = None) -> str:
        """Path of the pods, or of one of them."""
        return self._path("api/v1", namespace, "pods", name)

    def _path(self, group: str, namespace: str | None, resource: str, name: str | None) -> str:
        if namespace is None and self.cluster_wide:
            return path_of(group, resource)
        words = (group, "namespaces", namespace or self.namespace, resource)
        return path_of(*words) if name is None else path_of(*words, name)


class KubernetesPlatform(ExecutionPlatform):
    """The Jobs of one namespace (or, if asked for, of a cluster).

    Args:
        template: The agent's own Job template, checked.
        api_key_secret: A Secret that is there already and holds the API key; None to make one for each Job.
        patience: How long a unit may wait for its start.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        scope: Scope,
        defaults: JobDefaults,
        template: Mapping[str, Any],
        api_key_secret: SecretReference | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._cluster, self._scope, self._defaults = cluster, scope, defaults
        self._template, self._api_key_secret = template, api_key_secret
        self._patience = patience or Patience()
        self._mirror = Mirror(cluster, jobs_path=scope.jobs(), pods_path=scope.pods(), selector=manifest.UNIT)
        self._identity = ""
        self._off: set[str] = set()
        self._warned: set[str] = set()
        self._no_pod: dict[str, tuple[float, str]] = {}

    @property
    def traits(self) -> PlatformTraits:
        return TRAITS

    @property
    def identity(self) -> str:
        """Namespace and its uid: a name alone may stand for another place tomorrow, or in another cluster."""
        if not self._identity:
            name = self._scope.namespace
            with self._cluster.asked(f"read the namespace {name}"):
                found = self._cluster.find(path_of("api/v1", "namespaces", name))
            if found is None:
                raise PlatformUnavailable(
                    f"the namespace {name!r} does not exist. Create it (kubectl create namespace {name}) "
                    "or name another with --namespace"
                )
            self._identity = f"kubernetes:{name}:{found['metadata']['uid']}"
        return self._identity

    def check(self) -> None:
        with self._cluster.asked("ask what the agent may do"):
            missing = missing_permissions(
                self._cluster, self._scope.namespace, self._features(), everywhere=self._scope.cluster_wide
            )
        needed = [lack for lack in missing if not lack.rule.optional]
        if needed:
            raise PlatformForbidden(
                f"the agent's account at {self._cluster.server} may not {'; '.join(map(str, needed))}. Apply the Role "
                f"that `prefect agent install` prints, or add: {', '.join(lack.line for lack in needed)}"
            )
        for lack in missing:
            self._switch_off(lack.rule.feature, f"the agent may not {lack}: add {lack.line} to its Role")
        _ = self.identity

    def create(self, submission: Submission) -> Unit:
        from_run = templates.of_run(submission.run_config)
        template = self._template if from_run is None else from_run
        namespace = self._namespace_for(template)
        reference = self._secret_for(submission)
        body = manifest.job(
            submission, template, from_run=from_run is not None, defaults=self._defaults, secret=reference
        )
        self._warn_of_addresses(submission, template)
        with self._cluster.asked(f"create the Job {submission.name}", into=translate_submission):
            try:
                made = self._cluster.send(
                    "POST",
                    self._scope.jobs(namespace),
                    query={"fieldValidation": "Strict"},
                    body=body,
                    heard_warning=lambda text: log.warning("Kubernetes warns of a Job: %s", text),
                )
            except StatusError as failure:
                if failure.code != 409 or failure.reason != "AlreadyExists":
                    raise
                return self._adopt(submission, namespace)
        job = self._mirror.saw_job(made)
        if job is None:
            raise SubmissionRefused(
                f"something in the cluster changes the labels of Jobs; {manifest.UNIT} must stay as it is"
            )
        self._make_secret(submission, job)
        return self._now(submission.name, job)

    def units(self) -> Sequence[Unit]:
        found = (self._known(name) for name in self._mirror.names())
        return [unit for unit in found if unit is not None]

    def unit(self, name: str) -> Unit | None:
        job, pods = self._look(name)
        return reading.unit(job, pods, self._patience)

    def watch(self, *, seconds: float) -> Iterator[Unit]:
        told: dict[str, tuple[object, ...]] = {}
        for name in self._mirror.changes(seconds=seconds):
            unit = self._known(name)
            if unit is None:
                told.pop(name, None)
                continue
            looks = (unit.status, unit.evidence, unit.hopeless_at)
            if told.get(name) != looks:
                told[name] = looks
                yield unit

    def stop(self, name: str, *, grace: float) -> None:
        self._require(permissions.CANCEL, f"stop {name}")
        job, pods = self._look(name)
        unit = reading.unit(job, pods, self._patience)
        if unit is None or unit.status.has_ended:
            return
        if job is not None and (unit.status is UnitStatus.CREATED or (job.is_suspended and not pods)):
            self._delete(job)  # nothing of it ever executed, and it cannot end
        elif job is not None:
            self._end_job(job)
        self._wait_gone(name, pods, grace)

    def remove(self, name: str) -> None:
        job, pods = self._mirror.facts(name)
        unit = reading.unit(job, pods, self._patience)
        if unit is None or not unit.status.has_ended:
            job, pods = self._look(name)
            unit = reading.unit(job, pods, self._patience)
        if unit is not None and not unit.status.has_ended:
            raise PlatformUnavailable(f"{name} still executes")
        if unit is None or job is None:
            return
        self._require(permissions.CLEAN_UP, f"remove {name}")
        self._delete(job)

    def logs_tail(self, name: str, *, lines: int = 50) -> str:
        if lines <= 0 or not self._may(permissions.LOGS):
            return ""
        job, pods = self._look(name)
        pod = next((pod for pod in reversed(_by_age(pods)) if not pod.is_gone and pod.main), None)
        if job is None or pod is None:
            return ""
        path = f"{self._scope.pods(pod.namespace, pod.name)}/log"
        query = {"container": pod.main, "tailLines": lines}
        kept = bytearray()
        read = 0
        with (
            self._optional(permissions.LOGS, f"read the output of {name}"),
            self._cluster.stream(path, query=query, silence=20.0) as stream,
        ):
            for piece in stream:
                kept = (kept + piece)[-MAX_TAIL:]
                read += len(piece)
                if read > MOST_OUTPUT:
                    break
        return bytes(kept).decode(errors="replace").encode()[-MAX_TAIL:].decode(errors="ignore")

    def account(self, name: str) -> str:
        job, pods = self._look(name)
        if job is None:
            return ""
        happened: list[dict[str, Any]] = []
        for uid in (job.uid, *(pod.uid for pod in _by_age(pods)[-3:])):
            happened += self._events(job.namespace, uid)
        return account(job, pods, happened)

    def close(self) -> None:
        self._mirror.close()
        self._cluster.close()

    # --- creating ---

    def _namespace_for(self, template: Mapping[str, Any]) -> str:
        namespace = manifest.namespace_of(template, self._scope.namespace)
        if namespace != self._scope.namespace and not self._scope.cluster_wide:
            raise SubmissionRefused(
                f"the job template names the namespace {namespace!r}, but the agent makes Jobs in "
                f"{self._scope.namespace!r} only; leave it out, or start the agent with --cluster-wide"
            )
        return namespace

    def _secret_for(self, submission: Submission) -> SecretReference | None:
        """Where the Job finds its secret variables. The Secret there is holds one value: a backend's one API key."""
        if not submission.secret_env:
            return None
        if self._api_key_secret is not None and len(set(submission.secret_env.values())) == 1:
            return self._api_key_secret
        # Of this attempt to create only: a Secret of an earlier Job of the same name may be on its way out.
        return SecretReference(name=f"{submission.name}-{uuid.uuid4().hex[:8]}")

    def _make_secret(self, submission: Submission, job: JobFacts) -> None:
        """Make the Secret that the Job refers to; the Job owns it, so it goes when the Job goes."""
        if not job.secret:
            return
        body = manifest.secret(submission, name=job.secret, job_name=job.name, job_uid=job.uid)
        with self._cluster.asked(f"make the Secret of the Job {job.name}"):
            try:
                self._cluster.send("POST", path_of("api/v1", "namespaces", job.namespace, "secrets"), body=body)
            except StatusError as failure:
                if failure.code != 409 or failure.reason != "AlreadyExists":
                    raise

    def _adopt(self, submission: Submission, namespace: str) -> Unit:
        """The unit that has the name already, if it is the one of this very claim."""
        name = submission.name
        found = self._cluster.find(self._scope.jobs(namespace, name))
        if found is None:
            raise PlatformUnavailable(f"the Job {name} was removed by somebody else just now")
        job = self._mirror.saw_job(found)
        if job is None or (job.flow_run_id, job.attempt) != (submission.flow_run_id, submission.attempt):
            labels = found.get("metadata", {}).get("labels") or {}
            owner = labels.get(manifest.MANAGED_BY) or "somebody"
            raise UnitNameTaken(name, f"a Job of {owner} in the namespace {namespace}")
        if job.is_deleting:
            raise PlatformUnavailable(f"the Job {name} is being deleted by somebody")
        unit = self._now(name, job)
        if not unit.status.has_ended and submission.secret_env:
            self._make_secret(submission, job)
        return unit

    def _now(self, name: str, job: JobFacts) -> Unit:
        """The unit of a Job that was just seen; its pods as far as they are known."""
        unit = reading.unit(job, self._mirror.facts(name)[1], self._patience)
        return reading.unit(attrs.evolve(job, is_deleting=False), (), self._patience) if unit is None else unit  # type: ignore[return-value]

    def _warn_of_addresses(self, submission: Submission, template: Mapping[str, Any]) -> None:
        for name in manifest.unreachable_addresses(submission, template):
            self._warn(
                f"{name} is {submission.env[name]}: a pod does not reach the agent's machine by that address. "
                "Give the agent an --api address that holds in the cluster, or --env for the flow runs"
            )

    # --- seeing ---

    def _known(self, name: str) -> Unit | None:
        """A unit as the mirror has it."""
        job, pods = self._mirror.facts(name)
        unit = reading.unit(job, pods, self._patience)
        if job is not None and unit is not None and not pods and unit.status is UnitStatus.PENDING:
            return reading.unit(job, pods, self._patience, no_pod=self._why_no_pod(job))
        return unit

    def _look(self, name: str) -> tuple[JobFacts | None, Sequence[PodFacts]]:
        """A unit as the API server has it now; what is known of pods that are gone is added."""
        with self._cluster.asked(f"read the Job {name}"):
            job, namespace = self._find(name), self._scope.namespace
            if job is not None:
                namespace = job["metadata"]["namespace"]
            path = self._scope.pods() if job is None else self._scope.pods(namespace)
            answer = self._cluster.send("GET", path, query={"labelSelector": f"{manifest.UNIT}={name}"})
        if job is None or self._mirror.saw_job(job) is None:
            self._mirror.forget(name)
        self._mirror.saw_pods(name, answer.get("items") or [])
        return self._mirror.facts(name)

    def _find(self, name: str) -> dict[str, Any] | None:
        if not self._scope.cluster_wide:
            return self._cluster.find(self._scope.jobs(self._scope.namespace, name))
        answer = self._cluster.send("GET", self._scope.jobs(), query={"labelSelector": f"{manifest.UNIT}={name}"})
        found: list[dict[str, Any]] = answer.get("items") or []
        return found[0] if found else None

    def _why_no_pod(self, job: JobFacts) -> str:
        """What Kubernetes says of a Job that gets no pod (a quota, a policy); asked for now and then."""
        if job.created_at is None or (time_of_day() - job.created_at).total_seconds() < NO_POD_AFTER:
            return ""
        asked_at, said = self._no_pod.get(job.uid, (-math.inf, ""))
        if time.monotonic() - asked_at > 3 * NO_POD_AFTER:
            events = [each for each in self._events(job.namespace, job.uid) if each.get("type") == "Warning"]
            said = str(events[-1].get("message") or "") if events else ""
            if len(self._no_pod) > 10_000:
                self._no_pod.clear()
            self._no_pod[job.uid] = (time.monotonic(), said)
        return said

    def _events(self, namespace: str, uid: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if self._may(permissions.EVENTS):
            query = {"fieldSelector": f"involvedObject.uid={uid}", "limit": 100}
            with self._optional(permissions.EVENTS, "list events"):
                path = path_of("api/v1", "namespaces", namespace, "events")
                found = self._cluster.send("GET", path, query=query).get("items") or []
        return found

    # --- ending ---

    def _end_job(self, job: JobFacts) -> None:
        """Let the Job fail for good: no new pods, whatever its template says about retries."""
        body = {
            "metadata": {"uid": job.uid, "annotations": {STOPPED: "ended by the agent"}},
            "spec": {"activeDeadlineSeconds": 1},
        }
        with self._cluster.asked(f"end the Job {job.name}"):
            path = self._scope.jobs(job.namespace, job.name)
            try:
                self._mirror.saw_job(self._cluster.send("PATCH", path, body=body, content_type=MERGE_PATCH))
            except StatusError as failure:
                if failure.code not in {404, 409}:  # gone, or another Job by now
                    raise

    def _wait_gone(self, name: str, pods: Sequence[PodFacts], grace: float) -> None:
        """Ask the pods to end, and return when nothing of the unit executes."""
        asked: set[str] = set()
        pause, end = LOOK_FIRST, time.monotonic() + grace + STOP_MARGIN
        while True:
            for pod in pods:
                if pod.is_alive and pod.uid not in asked:
                    asked.add(pod.uid)
                    self._end_pod(pod, grace)
            job, pods = self._look(name)
            unit = reading.unit(job, pods, self._patience)
            if unit is None or unit.status.has_ended:
                return
            if time.monotonic() >= end:
                raise PlatformUnavailable(
                    f"{name} was told to end, but nobody confirms that it has; is its node alive?"
                )
            with self._mirror.changed:
                self._mirror.changed.wait(pause)
            pause = min(LOOK_LAST, 2 * pause)

    def _end_pod(self, pod: PodFacts, grace: float) -> None:
        # Zero would remove the pod from the API before the node has ended it.
        body = {"gracePeriodSeconds": max(1, math.ceil(grace)), "preconditions": {"uid": pod.uid}}
        self._delete_object(self._scope.pods(pod.namespace, pod.name), body, f"end the pod {pod.name}")

    def _delete(self, job: JobFacts) -> None:
        # In the body: with one the query parameter is ignored, and without either the pods would stay behind.
        body = {"propagationPolicy": "Background", "preconditions": {"uid": job.uid}}
        self._delete_object(self._scope.jobs(job.namespace, job.name), body, f"remove the Job {job.name}")
        self._mirror.forget(job.name)

    def _delete_object(self, path: str, body: dict[str, Any], doing: str) -> None:
        with self._cluster.asked(doing):
            try:
                self._cluster.send("DELETE", path, body=body)
            except StatusError as failure:
                if failure.code not in {404, 409}:  # gone, or another object of that name by now
                    raise

    # --- what may be missing ---

    def _features(self) -> Collection[str]:
        """Those that need a permission here."""
        own_secret = self._api_key_secret is not None
        return self._scope.features - ({permissions.SECRET} if own_secret else set())

    def _may(self, feature: str) -> bool:
        return feature in self._scope.features and feature not in self._off

    def _require(self, feature: str, doing: str) -> None:
        if not self._may(feature):
            raise PlatformForbidden(f"cannot {doing}: the agent was started without {feature}")

    @contextlib.contextmanager
    def _optional(self, feature: str, doing: str) -> Iterator[None]:
        """What is asked inside is good to have: trouble with it is told, and the agent goes on without."""
        try:
            with self._cluster.asked(doing):
                yield
        except PlatformForbidden as forbidden:
            self._switch_off(feature, str(forbidden))
        except PlatformUnavailable as trouble:
            cause = trouble.__cause__
            if not (isinstance(cause, StatusError) and cause.code in {400, 404}):  # nothing was put out yet, or is left
                log.info("%s", trouble)

    def _switch_off(self, feature: str, why: str) -> None:
        self._off.add(feature)
        self._warn(f"The agent goes on without {feature} ({permissions.FEATURES[feature]}): {why}")

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning("%s", text)


def _by_age(pods: Sequence[PodFacts]) -> list[PodFacts]:
    return sorted(pods, key=lambda pod: (str(pod.created_at or ""), pod.name))
