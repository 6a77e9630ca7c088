"""The port of execution platforms: where flow runs execute. docs/how-to/write-a-platform.md shows a whole adapter.

Factory. An agent gets its platform as an object (``Agent(platform=...)``) or by name. For a name the agent looks into
the entry point group ``prefect.agent.platforms``. The entry point leads to a callable, the factory, that returns an
:class:`ExecutionPlatform`. The agent calls it once, in the main thread, with keywords only: those of
``Agent(platform_options={...})``, and the options that the platform declares, as far as the command line or their
variables set them (:class:`~prefect.agent.ports.PlatformOption`). So every option needs a default. A factory raises
``ConfigurationError`` with one sentence if an option cannot work, and ``TypeError`` for an option that it does not
have. It makes no request: whether the platform answers is for :meth:`ExecutionPlatform.check` to say.
"""

import abc
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from prefect.agent.domain.model.checks import Step
from prefect.agent.domain.model.demands import Demands, asked
from prefect.agent.domain.model.submissions import PlatformTraits, Submission
from prefect.agent.domain.model.units import Unit
from prefect.agent.domain.texts import from_a_whole_word
from prefect.agent.ports.events import EventSink
from prefect.agent.ports.presence import Presence

TEXT_LIMIT: Final = 64 * 1024
"""Bytes of UTF-8 that :meth:`ExecutionPlatform.logs_tail` and :meth:`ExecutionPlatform.account` return at most."""


def output_tail(output: bytes, lines: int, *, is_whole: bool = True) -> str:
    """Return the last *lines* lines of a unit's output as :meth:`ExecutionPlatform.logs_tail` does: cut and decoded.

    Args:
        output: The output, or the end of it: :data:`TEXT_LIMIT` bytes are enough.
        is_whole: Whether it begins where the output, or a line of it, begins; else its first word may be a part of one.
    """
    kept = output[-TEXT_LIMIT:]
    text = kept.decode(errors="replace")
    found = (text if is_whole and kept == output else from_a_whole_word(text)).splitlines()
    tail = "\n".join(found[-lines:]) if lines > 0 else ""
    cut = tail.encode()[-TEXT_LIMIT:].decode(errors="ignore")  # each replaced byte has become three
    return cut if cut == tail else from_a_whole_word(cut)


class ExecutionPlatform(abc.ABC):
    """A place where flow runs execute: a Docker engine, a Kubernetes namespace, the processes of a machine.

    A *unit of execution* is what one claim of a flow run becomes: one container, one Job, one process tree.

    Names. The agent makes the name of a unit from the flow run's id and its attempt: a DNS label of at most 63
    characters. Every agent makes the same name of the same claim. The platform itself must refuse a second unit of a
    name, in one atomic step: that, and nothing else, keeps a flow run from being executed twice.

    Marks. A platform shows, stops and removes only units that this product has made, which it knows by a mark of its
    own (a label, a registry). Everything else on the platform does not exist for it.

    Owners. Units of other agents, Clouds and tenants are shown too. ``Submission.owner`` holds two short marks. Keep
    them with the unit and return them as ``Unit.owner``; never interpret them. The agent judges, stops and removes
    only units of its own Cloud and tenant, and counts those of its own name and labels for ``--limit``. A unit without
    an owner is left alone.

    Run configs. ``traits.run_config`` names the type of run config that the platform takes. ``Submission.run_config``
    is always of that type. A flow run that fits every platform (``UniversalRun``) is converted by calling the type
    with the keyword ``env`` alone, so each of its other attributes needs a default. A flow run with another run config
    fails before the platform sees it. Variables are in ``Submission.env`` and ``Submission.secret_env``, merged
    already: give the command both, and do not read ``run_config.env``. If a run config of your own can bring variables
    in another way (a template), leave out those whose names are ``is_reserved(name, submission.reserved)``: they decide
    where the flow run's process sends its key.

    Units that wait. ``create`` may return a unit that the platform has accepted but does not execute yet: its status is
    ``PENDING``. While it waits, ``Unit.evidence`` names the reason, as far as the platform knows it; the agent writes
    that into the run's log. ``Evidence.wait_kind`` says what kind of wait it is: the agent never reads reasons and
    messages, and says what to do by the kind, or by ``Evidence.remedies`` where the platform has its own words or a
    command for it. Without a kind (``WaitKind.UNKNOWN``) people see reason and message alone. If the platform finds
    that the unit cannot start by itself any more, it sets ``Unit.hopeless_at``: from that time on the agent stops the
    unit and reports its run as Failed, with the evidence. A ``PENDING`` unit without ``hopeless_at`` is waited for
    without a limit. A unit that executes or has ended is never hopeless. ``CREATED`` is only for a unit that was made
    but not started, because its agent ended in between: creating it again starts it.

    "Cannot look" is never "is not there". A method says that a unit is absent, has ended or was never started only if
    the platform has said so. Without an answer, with an unreadable answer, or out of file descriptors it raises:
    the agent takes an absent unit for a deleted one, and reports its run as Failed.

    Errors. Nothing else may be raised; translate the exceptions of libraries, always ``from`` the original. Each
    message is one sentence for a person: no secrets, no ``repr`` of a library's object.

    - ``PlatformUnavailable``: no useful answer now, or out of something that comes back. While it starts, the agent
      tries again for ``--start-patience`` seconds, then exits with code 75. Later it claims no flow runs until
      :meth:`check` passes. A failed :meth:`create` is repeated within the create deadline (120 seconds), not before
      ``retry_after``; it may have taken effect, so a later sweep looks for the unit. A failed :meth:`stop` or
      :meth:`remove` is repeated by a later sweep. From :meth:`prepare` and :meth:`create` it may carry a ``wait_kind``:
      what the unit to be created waits for.
    - ``CreateBlocked``, a ``PlatformUnavailable`` that :meth:`create` and :meth:`check` may raise: the platform
      answers, nothing was created, and nothing will be until something comes back (room in a quota). The agent claims
      nothing meanwhile and hands the claim back, so that another agent may take it. After ``patience`` seconds the run
      fails. ``needs_room`` lets the agent remove ended units early.
    - ``PlatformForbidden``: the agent itself lacks a permission, which the message names. At start the agent exits
      with code 77. Later it is handled as unavailable, and a flow run that cannot be created until the deadline fails.
    - ``SubmissionRefused``, from :meth:`demands`, :meth:`prepare` and :meth:`create` only: this flow run can never
      run here. The run becomes Failed at once, with the message in its log.
    - ``ConfigurationError``, from :meth:`check` only: the agent exits with code 78 at start.

    Any other exception is a bug: in :meth:`create` it fails the flow run, elsewhere it is logged and the step is
    repeated; five in a row end the agent with code 70.

    Threads. Every method may be called from several threads at once. ``check``, ``identity``, ``aliases`` and
    ``fingerprint`` are called first, from the thread that starts the agent. Up to twice ``parallel`` threads
    (``AgentSettings.parallel``: for new claims, and for recovered ones) call ``demands``, ``prepare`` and ``create``;
    one thread calls ``units`` and ``remove``; one thread follows ``watch``; several call ``unit``, ``stop``,
    ``logs_tail`` and ``account``. ``close`` is called last, from the main
    thread, perhaps while another call still hangs. A method may block, but each call needs a deadline of its own: a
    loop that stands still for long ends the agent.

    Idempotence. Every method may be repeated with the same arguments, by this agent or by another one on the same
    place, and then changes nothing more.
    """

    @property
    @abc.abstractmethod
    def traits(self) -> PlatformTraits:
        """What can run here. The same value for as long as the object exists; makes no request."""

    @property
    @abc.abstractmethod
    def identity(self) -> str:
        """Name of this very place: which engine, which cluster and namespace, which machine.

        Two agents with equal identities see each other's units. The same place has the same identity after a restart.
        It is written into claims, so that an agent finds the claims made for this place. Printable, at most 200
        characters. The first call may ask the platform.
        """

    @property
    def aliases(self) -> Sequence[str]:
        """Older identities of this very place, under which claims may have been made; none by default.

        A claim that names one of them is a claim on this place. The first call may ask the platform.
        """
        return ()

    def listen(self, tell: EventSink) -> None:  # noqa: B027 - optional
        """Take the sink for events that only the platform knows of (``events.PULL_STARTED`` and the like).

        Called once, before :meth:`check`; a platform that has none ignores it. Any thread may call *tell*.
        """

    @abc.abstractmethod
    def check(self) -> None:
        """Raise unless the platform answers and the agent may do its work there. Changes nothing on the platform.

        Called at start, and every few seconds while the platform does not answer.

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
        """All settings of this platform that shape units, as a printable text of at most 2,000 characters; no secret.

        Two agents on one place with equal fingerprints make equal units of one submission. An agent creates the unit of
        another agent's expired claim only if the fingerprints are equal; otherwise it hands the claim back.
        """
        return ""

    @property
    def secrets(self) -> Collection[str]:
        """Secrets of the platform's own that this object has read so far, for example a registry's password.

        The agent removes them from all that it logs and reports. Makes no request and raises nothing.
        """
        return ()

    @property
    def exposures(self) -> Sequence[str]:
        """Sentences for the operator: what leaves secrets unprotected on the way to the platform; none by default.

        The agent logs them once, when it starts. Makes no request and raises nothing.
        """
        return ()

    @property
    def skew(self) -> float:
        """Seconds by which the platform's clock is ahead of this machine's clock; 0.0 if unknown.

        Times of units (``created_at``, ``ended_at``, ``hopeless_at``) are the platform's times: the agent compares
        them with this machine's time of day plus the skew. Below two seconds it cannot be measured: return 0.0.
        """
        return 0.0

    @property
    def presence(self) -> Presence | None:
        """How agents on this platform learn that another agent has ended, if the platform itself can say; else None."""
        return None

    def demands(self, submission: Submission) -> Demands:
        """What the unit would be given because the run config asks for it, for the operator's policy to judge.

        What the platform's own options and template bring is no part of it. Changes nothing on the platform. By
        default: the image, the variables of the run config, and where its template is. A platform whose run config
        can ask for more must say so here; otherwise the policy cannot forbid it. Called only if there is a policy.

        Raises:
            SubmissionRefused: This flow run cannot run here.
        """
        return asked(submission, is_final=True)

    def preview(self, submission: Submission) -> Sequence[Mapping[str, Any]]:
        """What :meth:`create` would make: documents that JSON can hold, in the order in which it would make them.

        Changes nothing on the platform. Secrets stand where they would stand; the caller masks them. By default: name,
        image, command and environment of the submission.

        Raises:
            SubmissionRefused: This flow run cannot run here.
        """
        image = {} if submission.image is None else {"image": submission.image}
        environment = {**submission.env, **submission.secret_env}
        return ({"name": submission.name, **image, "command": list(submission.command), "environment": environment},)

    def prepare(self, submission: Submission) -> None:  # noqa: B027 - optional
        """Do what takes long before :meth:`create`, for example pull an image. Nothing that counts as a unit remains.

        May be repeated; nothing by default.

        Raises:
            SubmissionRefused: This flow run cannot run here.
        """

    @abc.abstractmethod
    def create(self, submission: Submission) -> Unit:
        """Start one unit and return it once it has begun, or once it is ``PENDING``. Idempotent by name: promise P1.

        If a unit of that name exists - made by an earlier call, another thread or another agent, still alive or
        already ended - that one is returned and nothing is started. The check and the start are one atomic step of the
        platform itself. A unit that was created but never started (a crash in between) is started.

        Raises:
            SubmissionRefused: This flow run cannot run here (bad image, bad volume, bad resources). Nothing remains on
                the platform. The message is for the person who made the run.
            UnitNameTaken: Something foreign has the name.
        """

    @abc.abstractmethod
    def units(self) -> Sequence[Unit]:
        """All units of this product on the platform, whatever their owner, ended ones included, in any order.

        What other agents have just done may be missing for a moment. What this object has done or read is never
        missing.
        """

    @abc.abstractmethod
    def unit(self, name: str) -> Unit | None:
        """The unit of that name as it is now, or None if the platform has no such unit of this product."""

    @abc.abstractmethod
    def watch(self, *, seconds: float) -> Iterator[Unit]:
        """Yield units when their status changes, for at most about *seconds*.

        A hint, not a record: it may start late, miss changes, repeat itself and end early. The agent reads
        :meth:`units` for the truth; a watch only lets it look sooner. A platform that cannot watch waits for *seconds*
        or until it is closed, and yields nothing. The iterator has a method ``close``, as generators have, that frees
        all it holds.
        """

    @abc.abstractmethod
    def stop(self, name: str, *, grace: float) -> None:
        """Ask the unit to end, wait for at most *grace* seconds, then kill it. Return when nothing of it executes.

        All processes that it has started belong to it, however they were detached. A unit that has ended or does not
        exist is a success. Helpers of an ended unit that still execute (``Unit.lingers``) are ended; how the unit
        ended stays unchanged. A stopped unit stays visible, with evidence, until it is removed. A unit that was never
        started (``CREATED``) is removed, since it cannot end.
        """

    @abc.abstractmethod
    def remove(self, name: str) -> None:
        """Forget an ended unit and free what it holds, its output included. An absent unit is a success.

        Raises:
            PlatformUnavailable: The unit still executes; it is left alone.
        """

    @abc.abstractmethod
    def logs_tail(self, name: str, *, lines: int = 50) -> str:
        """The last *lines* lines of the unit's output, cut at the front to :data:`TEXT_LIMIT` bytes.

        For the log of a flow run whose unit ended without a report. Empty if there is no output or no unit. Bytes that
        are not UTF-8 are replaced. What is cut begins with a whole word: the agent would not recognise half of a
        secret. It does not end with a line end. :func:`output_tail` does all of that.
        """

    def account(self, name: str) -> str:  # noqa: ARG002 - optional
        """What the platform knows about the unit beyond its evidence, as a table for people; empty by default.

        For the run's log: the states of its parts, what happened to them and when. No secrets; at most
        :data:`TEXT_LIMIT` bytes. Empty if there is no such unit.
        """
        return ""

    def close(self) -> None:  # noqa: B027 - optional
        """Release connections and end watches. Units go on executing. May be repeated."""
