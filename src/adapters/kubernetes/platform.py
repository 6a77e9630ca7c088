"""The platform that runs flows as Kubernetes Jobs. ``permissions.py`` lists the permissions that it needs."""

import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import attrs

from prefect.agent.adapters.kubernetes import locations, manifest, permissions, templates
from prefect.agent.adapters.kubernetes import units as reading
from prefect.agent.adapters.kubernetes.api_server import Cluster
from prefect.agent.adapters.kubernetes.checkup import ClusterCheckup
from prefect.agent.adapters.kubernetes.demanding import asked_of_the_cluster
from prefect.agent.adapters.kubernetes.facts import JobFacts, PodFacts
from prefect.agent.adapters.kubernetes.features import Features
from prefect.agent.adapters.kubernetes.fingerprints import fingerprint
from prefect.agent.adapters.kubernetes.hiding import without_text
from prefect.agent.adapters.kubernetes.jobs import Jobs, Scope
from prefect.agent.adapters.kubernetes.manifest import JobDefaults, SecretReference
from prefect.agent.adapters.kubernetes.own_pod import renamed_secret
from prefect.agent.adapters.kubernetes.presence import PodPresence, PodProcess
from prefect.agent.adapters.kubernetes.previews import check_namespace, documents
from prefect.agent.adapters.kubernetes.references import OwnerReferences
from prefect.agent.adapters.kubernetes.reflector import WatchRhythm
from prefect.agent.adapters.kubernetes.self_check import OwnAccount, missing_permissions
from prefect.agent.adapters.kubernetes.start_events import StartEvents
from prefect.agent.adapters.kubernetes.templates import TemplatesOfRuns
from prefect.agent.adapters.kubernetes.trial import Trial
from prefect.agent.adapters.kubernetes.unit_report import account, looks, saying
from prefect.agent.adapters.kubernetes.units import Patience
from prefect.agent.domain.errors import (
    CreateBlocked,
    PlatformForbidden,
    PlatformUnavailable,
    SubmissionRefused,
    UnitNameTaken,
)
from prefect.agent.domain.model.checks import Step
from prefect.agent.domain.model.demands import Demands
from prefect.agent.domain.model.run_configs import KubernetesRun
from prefect.agent.domain.model.submissions import PlatformTraits, Submission
from prefect.agent.domain.model.template_paths import PUBLIC
from prefect.agent.domain.model.units import Evidence, Unit, UnitStatus
from prefect.agent.ports.platform import ExecutionPlatform
from prefect.agent.ports.presence import Presence

TRAITS: Final = PlatformTraits(
    kind="kubernetes",
    run_config=KubernetesRun,
    units_are="Kubernetes Jobs",
    rights="they may do what the namespace allows, with any Secret and service account in it",
)

STOP_MARGIN: Final = 60.0
"""Seconds beyond its grace within which a node must report that a pod has ended. If the Job's controller deletes the
pod first, the pod has its own grace, usually 30 s."""

FINAL_STATE_WITHIN: Final = 3.0
"""Seconds to wait until the watch delivers the final state of a pod that is known to be deleted."""

LOOK_FIRST, LOOK_LAST = 0.1, 1.0
"""Shortest and longest pause between two looks at a unit that is being stopped, in seconds."""

log: Final = logging.getLogger("prefect.agent.kubernetes")


class KubernetesPlatform(ExecutionPlatform):
    """Runs flows as Jobs of one namespace, or of the whole cluster if that is configured.

    Args:
        template: The agent's own Job template, checked.
        api_key_secret: An existing Secret that holds the API key; None creates one for each Job.
        patience: How long a unit may wait for its start.
        rhythm: Intervals and deadlines of the watches.
        process: This process, if it runs in a pod.
        template_paths: Folders, files and addresses of run configs' templates, as in the policy's rule of this name.
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
        rhythm: WatchRhythm | None = None,
        process: PodProcess | None = None,
        template_paths: Sequence[str] = (PUBLIC,),
    ) -> None:
        self._cluster, self._scope, self._defaults = cluster, scope, defaults
        self._template, self._api_key_secret = template, api_key_secret
        self._patience = patience or Patience()
        self._features = Features(scope.features)
        self._jobs = Jobs(cluster, scope, self._features, rhythm or WatchRhythm())
        self._identity = ""
        self._reports = StartEvents(self._jobs.events, today=cluster.now)
        self._references = OwnerReferences(cluster, warn=self._features.warn)
        self._templates_of_runs = TemplatesOfRuns(fetch=partial(locations.read_listed, places=tuple(template_paths)))
        self._process = process
        self._presence = None if process is None else PodPresence(cluster, process)
        self._fingerprint = fingerprint(scope, defaults, template, api_key_secret)
        self._trial = Trial(self._jobs, template, defaults)
        self._reported: dict[str, Unit] = {}
        self._own_account = OwnAccount(cluster, scope.namespace, warn=self._features.warn)

    @property
    def traits(self) -> PlatformTraits:
        return TRAITS

    @property
    def identity(self) -> str:
        """Name and uid of the namespace, since the name alone may later mean another namespace or cluster."""
        if not self._identity:
            self._identity = f"kubernetes:{self._scope.namespace}:{self._jobs.namespace_uid()}"
        return self._identity

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def secrets(self) -> Collection[str]:
        return self._cluster.secrets

    @property
    def exposures(self) -> Sequence[str]:
        return self._cluster.exposures

    @property
    def skew(self) -> float:
        return self._cluster.skew

    @property
    def presence(self) -> Presence | None:
        return self._presence

    def check(self) -> None:
        features = self._scope.features - ({permissions.SECRET} if self._api_key_secret else set())
        with self._cluster.asked("ask what the agent may do"):
            missing = missing_permissions(
                self._cluster, self._scope.namespace, features, everywhere=self._scope.cluster_wide
            )
        needed = [lack for lack in missing if not lack.rule.optional]
        if needed:
            raise PlatformForbidden(
                f"the agent's account at {self._cluster.server} may not {'; '.join(map(str, needed))}. Apply the Role "
                f"that `prefect agent install` prints, or add: {', '.join(lack.line for lack in needed)}"
            )
        for lack in missing:
            self._features.switch_off(lack.rule.feature, f"it may not {lack}: add {lack.line} to its Role")
        _ = self.identity
        if self._process is not None and self._api_key_secret is not None:
            self._api_key_secret = renamed_secret(self._cluster, self._process, self._api_key_secret)
            self._process = None  # ask only once
        self._trial()

    def checks(self, images: Callable[[], Collection[str]]) -> Sequence[Step]:
        features = self._scope.features - ({permissions.SECRET} if self._api_key_secret else set())
        wanted = attrs.evolve(self._scope, features=features)
        return ClusterCheckup(self._cluster, wanted, self._jobs.namespace_uid, self._trial.dry_run).steps(images)

    def demands(self, submission: Submission) -> Demands:
        basis, fetched = super().demands(submission), templates.is_elsewhere(submission.run_config)
        secret = SecretReference(name=submission.name) if submission.secret_env else None
        from_run = self._templates_of_runs.judged(submission)
        with without_text(hides=fetched):
            wanted = self._body(submission, from_run, secret)
        given = self._body(attrs.evolve(submission, run_config=KubernetesRun()), None, secret)
        found = asked_of_the_cluster(basis, wanted, given, self._template, account=self._own_account.name)
        return attrs.evolve(found, quotable=not fetched)

    def preview(self, submission: Submission) -> Sequence[Mapping[str, Any]]:
        self._templates_of_runs.fetch(submission)
        with without_text(hides=templates.is_elsewhere(submission.run_config)):
            secret = self._secret_for(submission)
            body = self._body(submission, self._templates_of_runs.of(submission), secret)
            check_namespace(body, self._scope)
        return documents(submission, body, secret)

    def prepare(self, submission: Submission) -> None:
        self._templates_of_runs.fetch(submission)

    def create(self, submission: Submission) -> Unit:
        from_run = self._templates_of_runs.of(submission)
        quotes = not templates.is_elsewhere(submission.run_config)
        with without_text(hides=not quotes):
            body = self._body(submission, from_run, self._secret_for(submission))
            check_namespace(body, self._scope)
            for name in manifest.unreachable_addresses(submission, body):
                self._features.warn(
                    f"{name} is {submission.env[name]}: a pod cannot reach the agent's machine at that address. "
                    "Give the agent an --api address that works in the cluster, or set the variable with --env"
                )
            self._references.check(body, quotes=quotes)
            made = self._make(body, quotes=quotes)
        self._templates_of_runs.forget(submission)
        if made is None:
            return self._adopt(submission, body["metadata"]["namespace"])
        job = self._jobs.mirror.saw_job(made)
        if job is None:
            raise SubmissionRefused(
                f"something in the cluster changes the labels of Jobs; {manifest.UNIT} must stay as it is"
            )
        self._jobs.make_secret(submission, job)
        ignored = [] if from_run is None else manifest.ignored(submission, from_run)
        return saying(self._made(job), ignored)

    def units(self) -> Sequence[Unit]:
        found = (self._known_at_least(name) for name in self._jobs.mirror.names())
        return [unit for unit in found if unit is not None]

    def unit(self, name: str) -> Unit | None:
        self._jobs.look(name)
        return self._known(name)

    def watch(self, *, seconds: float) -> Iterator[Unit]:
        for name in self._jobs.mirror.changes(seconds=seconds):
            unit, last = self._known(name), self._reported.pop(name, None)
            if unit is not None:
                self._reported[name] = unit
                if last is None or looks(last) != looks(unit):
                    yield unit
            elif last is not None and not last.status.has_ended:
                deleted = Evidence(reason="Deleted", message="its Job was deleted externally")
                yield attrs.evolve(last, status=UnitStatus.FAILED, evidence=deleted, hopeless_at=None)

    def stop(self, name: str, *, grace: float) -> None:
        self._jobs.mirror.follow()  # an ended pod is deleted soon: only a watch shows how it ended
        job, pods = self._jobs.look(name)
        unit = self._read(job, pods)
        if unit is None or (unit.status.has_ended and not unit.lingers):
            return
        self._features.require(permissions.CANCEL, f"stop {name}")
        if job is not None and (unit.status is UnitStatus.CREATED or (job.is_suspended and not pods)):
            self._remove(job)  # nothing of it ever executed, and it cannot end
        elif job is not None:
            self._jobs.end(job, ended=reading.note_of(unit))
        self._wait_for_end(name, pods, grace)

    def remove(self, name: str) -> None:
        job, pods = self._look_unless_ended(name)
        unit = self._read(job, pods)
        if unit is None or job is None:
            return
        if not unit.status.has_ended:
            raise PlatformUnavailable(f"{name} still executes")
        self._features.require(permissions.CLEAN_UP, f"remove {name}")
        self._remove(job)

    def logs_tail(self, name: str, *, lines: int = 50) -> str:
        if lines <= 0 or not self._features.may(permissions.LOGS):
            return ""
        job, pods = self._look_unless_ended(name)
        pod = next((pod for pod in reversed(reading.by_age(pods)) if not pod.is_gone and pod.main), None)
        return "" if job is None or pod is None else self._jobs.output(pod, lines)

    def account(self, name: str) -> str:
        job, pods = self._look_unless_ended(name)
        latest: list[JobFacts | PodFacts] = [*reading.by_age(pods)[-3:]]
        # The pods' events explain the end of a Job better, and each request makes the server read all its events.
        if job is not None and not (latest and job.end is not None):
            latest.insert(0, job)
        return account(job, pods, [each for thing in latest for each in self._jobs.events(thing.namespace, thing.uid)])

    def close(self) -> None:
        self._jobs.mirror.close()
        self._cluster.close()

    # --- creating ---

    def _body(
        self, submission: Submission, from_run: Mapping[str, Any] | None, secret: SecretReference | None
    ) -> dict[str, Any]:
        """Return the Job, made from the run's own template if it has one."""
        template = self._template if from_run is None else from_run
        return manifest.job(submission, template, from_run=from_run is not None, defaults=self._defaults, secret=secret)

    def _make(self, body: Mapping[str, Any], *, quotes: bool) -> dict[str, Any] | None:
        """Create the Job; None if its name is taken."""
        try:
            return self._jobs.make(body, quotes=quotes)
        except CreateBlocked as blocked:
            self._trial.is_blocked = True
            raise CreateBlocked(
                str(blocked),
                patience=self._patience.start,
                needs_room=blocked.needs_room,
                retry_after=blocked.retry_after,
                wait_kind=blocked.wait_kind,
            ) from blocked

    def _secret_for(self, submission: Submission) -> SecretReference | None:
        """Return the Secret for the Job's secret variables: the existing one only if all of them are the API key."""
        if not submission.secret_env:
            return None
        is_key = not submission.address_variables & submission.secret_env.keys()
        if self._api_key_secret is not None and is_key and len(set(submission.secret_env.values())) == 1:
            return self._api_key_secret
        self._features.require(permissions.SECRET, f"give secrets to {submission.name}")
        # A new name for each try: the Secret of an earlier Job of the same name may just be being deleted.
        return SecretReference(name=f"{submission.name}-{uuid.uuid4().hex[:8]}")

    def _adopt(self, submission: Submission, namespace: str) -> Unit:
        """Return the existing unit with this name, if it belongs to the same claim."""
        name = submission.name
        found = self._jobs.find(namespace, name)
        if found is None:
            raise PlatformUnavailable(f"the Job {name} was deleted externally just now")
        job = self._jobs.mirror.saw_job(found)
        if job is None or (job.flow_run_id, job.attempt) != (submission.flow_run_id, submission.attempt):
            labels = found["metadata"].get("labels") or {}
            manager = labels.get(manifest.MANAGED_BY) if isinstance(labels, Mapping) else None
            raise UnitNameTaken(name, f"a Job of {manager or 'another program'} in {namespace}")
        if job.owner and submission.owner and job.owner.cloud != submission.owner.cloud:
            raise UnitNameTaken(name, f"a Job of another Prefect Cloud or tenant in {namespace}")
        if job.is_deleting:
            raise PlatformUnavailable(f"the Job {name} is being deleted externally")
        unit = self._read(*self._jobs.look(name)) or self._made(job)
        if submission.secret_env and unit.status in {UnitStatus.CREATED, UnitStatus.PENDING}:
            self._jobs.make_secret(submission, job)
        return unit

    def _made(self, job: JobFacts) -> Unit:
        """Return the unit of a Job that was just created."""
        unit = self._known(job.name) or reading.unit(attrs.evolve(job, is_deleting=False), (), self._patience)
        assert unit is not None  # of a Job that is there
        return unit

    def _known_at_least(self, name: str) -> Unit | None:
        """Return a unit of the mirror; if a bug prevents reading it, return it as running, so that none is hidden."""
        try:
            return self._known(name)
        except Exception:
            log.exception("Bug: the unit %s cannot be read, so it counts as running", name)
            return reading.barely(*self._jobs.mirror.facts(name))

    # --- seeing ---

    def _read(self, job: JobFacts | None, pods: Sequence[PodFacts]) -> Unit | None:
        unit = reading.unit(job, pods, self._patience)
        if unit is not None and not unit.flow_run_id:
            self._features.warn(f"cannot read of {unit.name}: its flow run's id; it is left alone")
            return None
        return unit

    def _look_unless_ended(self, name: str) -> tuple[JobFacts | None, Sequence[PodFacts]]:
        """Return Job and pods from the mirror if the unit has ended, which is final; else read them from the server."""
        job, pods = self._jobs.known(name)
        unit = self._read(job, pods)
        return (job, pods) if unit is not None and unit.status.has_ended else self._jobs.look(name)

    def _known(self, name: str) -> Unit | None:
        """Return a unit as the mirror has it."""
        job, pods = self._jobs.known(name)
        unit = self._read(job, pods)
        if job is None or unit is None or unit.status is not UnitStatus.PENDING or unit.evidence is not None:
            return unit
        return reading.unit(job, pods, self._patience, said=self._reports.of(job, pods))

    # --- ending ---

    def _remove(self, job: JobFacts) -> None:
        """Delete the Job, without reporting it as deleted externally to callers of :meth:`watch`."""
        self._reported.pop(job.name, None)
        self._jobs.remove(job)

    def _wait_for_end(self, name: str, pods: Sequence[PodFacts], grace: float) -> None:
        """Ask the pods to end, and return when nothing of the unit executes."""
        asked: set[str] = set()
        pause, end = LOOK_FIRST, time.monotonic() + grace + STOP_MARGIN
        while True:
            for pod in pods:
                if pod.is_alive and pod.uid not in asked:
                    asked.add(pod.uid)
                    self._jobs.end_pod(pod, grace)
            job, pods = self._jobs.look(name)
            unit = self._read(job, pods)
            if unit is None or (unit.status.has_ended and not unit.lingers):
                self._await_final_state(name)
                return
            if time.monotonic() >= end:
                raise PlatformUnavailable(
                    f"{name} was asked to end, but Kubernetes does not confirm its end; check its node"
                )
            with self._jobs.mirror.changed:
                self._jobs.mirror.changed.wait(pause)
            pause = min(LOOK_LAST, 2 * pause)

    def _await_final_state(self, name: str) -> None:
        """Wait until the watch shows how the pods ended, since a read may show their deletion before that."""
        mirror = self._jobs.mirror
        with mirror.changed:
            mirror.changed.wait_for(lambda: not any(pod.is_silent for pod in mirror.facts(name)[1]), FINAL_STATE_WITHIN)
