"""What a doctor looks at in a cluster: the API server, permissions by feature, a Job that is tried out."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

import attrs

from prefect.agent.adapters.kubernetes import permissions
from prefect.agent.adapters.kubernetes.api_server import Cluster
from prefect.agent.adapters.kubernetes.errors import StatusError
from prefect.agent.adapters.kubernetes.jobs import Scope
from prefect.agent.adapters.kubernetes.self_check import Lack, stated_lacks
from prefect.agent.adapters.kubernetes.trial import is_about_settings
from prefect.agent.domain.errors import CreateBlocked, SubmissionRefused
from prefect.agent.domain.model.checks import (
    IMAGES,
    Answered,
    Blame,
    ClockReading,
    Fact,
    Feature,
    Noted,
    Severity,
    Step,
)

SERVER, PERMISSIONS = "api-server", "permissions"
"""Names of steps that others need."""

_RULES: Final = "look at --job-template, --job-security and the other options for Jobs"


@attrs.frozen
class ClusterCheckup:
    """Asks one API server.

    Attributes:
        scope: Namespace, and the features that the agent is to have.
        namespace_uid: Reads the namespace.
        dry_run: Tries out a Job without making it.
    """

    cluster: Cluster
    scope: Scope
    namespace_uid: Callable[[], str]
    dry_run: Callable[[], None]

    def steps(self, images: Callable[[], Collection[str]]) -> Sequence[Step]:
        """The steps, in order; *images* says which images the flows use."""

        def look() -> Iterator[Fact]:
            found = sorted(images())
            if found:
                text = "The nodes pull images when a pod needs them, which cannot be seen from here"
                yield Noted(severity=Severity.UNCHECKED, text=f"{text}: {', '.join(found)}.")

        return (
            Step(name=SERVER, ask=self._version),
            Step(name="api-server-clock", ask=self._clock, needs=(SERVER,)),
            Step(name=PERMISSIONS, ask=self._permissions, needs=(SERVER,)),
            Step(name="namespace", ask=self._namespace, needs=(SERVER, PERMISSIONS)),
            Step(name="trial-job", ask=self._trial, needs=(SERVER, PERMISSIONS, "namespace")),
            Step(name=IMAGES, ask=look, needs=(SERVER,)),
        )

    def _version(self) -> Iterator[Fact]:
        with self.cluster.asked("say its version"):
            began = time.monotonic()
            about = self.cluster.send("GET", "/version")
        what = f"The API server at {self.cluster.server}"
        yield Answered(what=what, seconds=time.monotonic() - began, version=str(about.get("gitVersion") or ""))

    def _clock(self) -> Iterator[Fact]:
        yield ClockReading(what="the API server", skew=self.cluster.skew)

    def _permissions(self) -> Iterator[Fact]:
        scope = self.scope
        with self.cluster.asked("ask what the agent may do"):
            try:
                lacks = stated_lacks(self.cluster, scope.namespace, scope.features, everywhere=scope.cluster_wide)
            except StatusError as failure:
                if failure.code not in {403, 404} or failure.is_unknown_account:
                    raise
                text = "The API server does not let the agent ask what it may do; the first use of each will show."
                yield Noted(severity=Severity.UNCHECKED, text=text)
                return
        names = [name for name in permissions.FEATURES if name == permissions.RUN or name in scope.features]
        yield from (_feature(name, [lack for lack in lacks if lack.rule.feature == name]) for name in names)

    def _namespace(self) -> Iterator[Fact]:
        self.namespace_uid()
        yield Noted(text=f"The namespace {self.scope.namespace} exists.")

    def _trial(self) -> Iterator[Fact]:
        try:
            self.dry_run()
        except SubmissionRefused as refusal:
            is_certain = is_about_settings(refusal)
            severity, blame = (Severity.FAIL, Blame.CONFIGURATION) if is_certain else (Severity.WARN, None)
            text = f"A Job as the agent's settings make it {'is' if is_certain else 'may be'} refused: {refusal}."
            yield Noted(severity=severity, blame=blame, text=text, remedies=(_RULES,))
        except CreateBlocked as blocked:
            remedies = ("free room in the quota, or raise it",) if blocked.needs_room else ()
            text = f"Flow runs would have to wait: {blocked}."
            yield Noted(severity=Severity.WARN, text=text, remedies=remedies)
        else:
            yield Noted(text="The API server would take a Job of the agent's settings (it was a dry run).")


def _feature(name: str, lacks: Sequence[Lack]) -> Feature:
    grants = tuple(lack.line for lack in lacks)
    is_optional = bool(lacks) and all(lack.rule.optional for lack in lacks)
    grant = f"apply the Role that `prefect agent install` prints, or add to it: {', '.join(grants)}"
    return Feature(
        name=name,
        use=permissions.FEATURES[name],
        lacks=tuple(map(str, lacks)),
        grants=grants,
        is_optional=is_optional,
        remedies=(grant, f"give --without {name}") if is_optional else (grant,),
    )
