"""A place where flow runs execute."""

import abc
from collections.abc import Callable, Collection, Iterator, Sequence

from prefect.agent.domain.model.checks import Step
from prefect.agent.domain.model.demands import Demands, asked
from prefect.agent.domain.model.submissions import PlatformTraits, Submission
from prefect.agent.domain.model.units import Unit
from prefect.agent.ports.presence import Presence


class ExecutionPlatform(abc.ABC):
    """A Docker engine, a Kubernetes namespace, or this machine's processes. Safe to use from several threads.

    A *unit of execution* is one container, Job or process tree. Units are known by their name, which the domain makes
    from run id and attempt. A platform only ever sees, stops and removes units that carry this product's own mark
    (label or registry); everything else on the platform does not exist for it. Units of other agents, Clouds and
    tenants are among them: ``Unit.owner`` says whose a unit is, and the caller keeps to its own.

    "Cannot look" is never "is not there": a unit is absent, has ended or was never started only if the platform said
    so; out of descriptors, without an answer or with an unreadable one, a method raises.

    Errors. Every method may raise

    - ``PlatformUnavailable``: no useful answer now, or out of something that comes back. Repeat later. A ``create``
      may have taken effect all the same: repeating it is safe by its contract.
    - ``PlatformForbidden``: the agent itself lacks a permission; the message names it.

    and ``create`` also ``SubmissionRefused``, and of ``PlatformUnavailable`` ``CreateBlocked`` if nothing was created
    and nothing will be until something comes back (room in a quota). Nothing else crosses the port.
    """

    @property
    @abc.abstractmethod
    def traits(self) -> PlatformTraits:
        """What can run here. Constant."""

    @property
    @abc.abstractmethod
    def identity(self) -> str:
        """Which engine, cluster and namespace, or machine this is.

        Two agents with equal identity see each other's units; the same place gives the same identity after a restart.
        Short, printable. May ask the platform the first time.
        """

    @property
    def aliases(self) -> Sequence[str]:
        """Older identities of this very place, under which claims may have been made; none by default.

        A claim that names one of them is a claim on this place. May ask the platform the first time.
        """
        return ()

    @abc.abstractmethod
    def check(self) -> None:
        """Raise unless the platform answers and the agent may do its work there. Changes nothing.

        Raises:
            ConfigurationError: At the first call: no unit can be made with the platform's settings.
            CreateBlocked: The last :meth:`create` raised it, and it would do so again.
        """

    def checks(self, images: Callable[[], Collection[str]]) -> Sequence[Step]:  # noqa: ARG002 - optional
        """What a doctor looks at before an agent starts: steps in order, each name for one thing, none by default.

        Making the steps asks nothing; asking them changes nothing, not even on this machine's disk. A step raises no
        errors but those of the port.

        Args:
            images: Says which images the flows use; called by the step :data:`IMAGES` only.
        """
        return ()

    @property
    def fingerprint(self) -> str:
        """Everything of this platform's own settings that shapes units, as text; never a secret.

        Two agents on one place with equal fingerprints make equal units of one submission.
        """
        return ""

    @property
    def secrets(self) -> Collection[str]:
        """Secrets of the platform's own that this object has read so far (a registry's password): never to be shown.

        No request is made; nothing is raised.
        """
        return ()

    @property
    def exposures(self) -> Sequence[str]:
        """What leaves secrets unprotected on the way to the platform: a sentence each, for the operator.

        No request is made; nothing is raised.
        """
        return ()

    @property
    def skew(self) -> float:
        """Seconds that the platform's clock is ahead of this machine's, as far as its answers tell; 0.0 if unknown.

        Times of units (``created_at``, ``ended_at``, ``hopeless_at``) are the platform's: compare them with this
        machine's time of day plus the skew. Less than two seconds cannot be measured and is reported as 0.0.
        """
        return 0.0

    @property
    def presence(self) -> Presence | None:
        """How agents on this platform know each other's life, if the platform itself can tell; else None."""
        return None

    def demands(self, submission: Submission) -> Demands:
        """What the unit would be given because the run config asks for it, for the operator's policy to judge.

        What the platform's own options and template bring is no part of it. Changes nothing on the platform. By
        default: the image, the variables of the run config, and where its template is.

        Raises:
            SubmissionRefused: This flow run cannot run here.
        """
        return asked(submission, is_final=True)

    def prepare(self, submission: Submission) -> None:  # noqa: B027 - optional
        """Do what takes long before :meth:`create` (pull an image); leave nothing that counts as a unit. Repeatable.

        Raises:
            SubmissionRefused: This flow run cannot run here.
        """

    @abc.abstractmethod
    def create(self, submission: Submission) -> Unit:
        """Start one unit and return it once it has begun. **Idempotent by name**: promise P1.

        If a unit of that name exists - made by an earlier call, another thread or another agent, still alive or
        already ended - that one is returned and nothing is started. The check and the start are one atomic step of the
        platform itself. A unit that was created but never started (a crash in between) is started.

        Raises:
            SubmissionRefused: This flow run cannot run here (bad image, bad volume, bad resources). Nothing is left
                behind. The message is for the person who made the run.
            UnitNameTaken: Something foreign has the name.
        """

    @abc.abstractmethod
    def units(self) -> Sequence[Unit]:
        """All units of ours that the platform knows, ended ones included, in no particular order.

        It may lag a moment behind what others do there; never behind what this object did or read.
        """

    @abc.abstractmethod
    def unit(self, name: str) -> Unit | None:
        """The unit of that name, or None if there is none of ours."""

    @abc.abstractmethod
    def watch(self, *, seconds: float) -> Iterator[Unit]:
        """Yield units when their status changes, for at most about *seconds*.

        A hint, not a record: it may start late, miss changes, repeat itself and end early. Callers read :meth:`units`
        for the truth. Closing the iterator frees everything it holds.
        """

    @abc.abstractmethod
    def stop(self, name: str, *, grace: float) -> None:
        """End the unit: ask it, wait up to *grace* seconds, then kill it. Return when nothing of it executes any more.

        Every process that it has started is of it, however it was detached.

        A unit that has ended or does not exist is a success; what lingers of an ended one is ended, and its end stays
        what it was. It stays visible with its evidence until removed. One
        that was never started (``CREATED``) is removed: it cannot end.
        """

    @abc.abstractmethod
    def remove(self, name: str) -> None:
        """Forget an ended unit and free what it holds. Absent is a success.

        Raises:
            PlatformUnavailable: The unit still executes; it is left alone.
        """

    @abc.abstractmethod
    def logs_tail(self, name: str, *, lines: int = 50) -> str:
        """The last lines of the unit's output, for the run's log; empty if nothing is left of it. At most 64 KiB."""

    def account(self, name: str) -> str:  # noqa: ARG002 - optional
        """What the platform has to tell about the unit beyond its evidence, as a table for people; mostly empty.

        For the run's log: states of its parts, what happened to it and when. No secrets. At most 64 KiB.
        """
        return ""

    def close(self) -> None:  # noqa: B027 - optional
        """Let go of connections. Units go on. May be repeated."""
