"""The port of Clouds: what the agent asks of a backend that schedules flow runs, in whatever protocol.

An adapter is given to the agent as an object: ``Agent(cloud=...)``. docs/how-to/write-a-cloud-adapter.md shows a whole
one.
"""

import abc
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import attrs

from prefect.agent.domain.errors import RequestRejected
from prefect.agent.domain.model.checks import Step
from prefect.agent.domain.model.ends import End, EndOutcome
from prefect.agent.domain.model.explaining import Reference, RunFacts
from prefect.agent.domain.model.flow_runs import ClaimOutcome, ClaimRecord, FlowRun, FlowRunId
from prefect.agent.domain.model.known_names import KnownNames
from prefect.agent.domain.model.orders import FlowDraft, FlowReference, RunOrder, RunStory
from prefect.agent.domain.model.submissions import Workload


@attrs.frozen(kw_only=True)
class Tenant:
    """The tenant whose flow runs the key gives access to.

    Attributes:
        id: The backend's id of it; a constant for a backend without tenants.
        name: For people.
    """

    id: str
    name: str = ""


@attrs.frozen(kw_only=True)
class AgentIdentity:
    """How an agent presents itself to the Cloud.

    Attributes:
        name: For people; several agents may have the same name.
        labels: Sorted; see :meth:`CloudApi.ready_flow_runs`.
        type: Name of the kind of agent, for example ``DockerAgent``.
        config_id: Id of an agent configuration kept in the Cloud, if the operator named one.
    """

    name: str
    type: str
    labels: tuple[str, ...] = ()
    config_id: str | None = None


@attrs.frozen(kw_only=True)
class ClaimRequest:
    """A request for one flow run.

    Attributes:
        run: As it was read last; its attempt is what the Cloud compares with.
        record: Who claims it, for which unit, until when. The Cloud keeps the record with the claim and returns it
            unchanged as ``FlowRun.claim``.
    """

    run: FlowRun
    record: ClaimRecord


@attrs.frozen(kw_only=True)
class LogLine:
    """One entry of a flow run's log.

    Attributes:
        level: A Python level name (``INFO``).
        timestamp: Aware, UTC; None lets the Cloud take its own time.
    """

    flow_run_id: FlowRunId
    message: str
    level: str = "INFO"
    name: str = "agent"
    timestamp: datetime | None = None


@attrs.frozen(kw_only=True)
class Changes:
    """Claimed flow runs that have changed, and whether the Cloud has work.

    Attributes:
        runs: As :meth:`CloudApi.claimed_flow_runs` returns them.
        none_due: Whether the same answer of the Cloud says that no flow run is due; False if it does not say.
    """

    runs: Sequence[FlowRun]
    none_due: bool = False


class CloudApi(abc.ABC):
    """A connection to one Cloud on behalf of one tenant.

    States. The agent decides by the phase that the adapter gives to a state (``State.phase``), and by the outcome of a
    finished one; the backend's own name (``State.name``) is for people. A run in a state that the adapter does not
    know (``Phase.OTHER``) is left alone.

    Attempts. ``FlowRun.attempt`` says which try at a flow run this is, and ``str()`` of it becomes part of the unit's
    name. It changes when a flow run is scheduled again, and it is equal for all agents that read the same try. An
    adapter has a subclass of ``Attempt`` of its own, which holds what its backend compares a claim with (a version, an
    id): by the type it knows the attempts that it has made.

    Claims. The agent takes a flow run by :meth:`claim`. The record of the claim (``ClaimRecord``) is kept by the Cloud
    for as long as the run belongs to that claim, and must survive a restart of everything: by it an agent finds the
    runs of its own platform again, starts what was never started, and reports units that ended without a report.

    Run configs. Give each flow run as a ``RunConfig`` of this package: ``UniversalRun`` fits every platform. What the
    adapter cannot understand is an ``UnusableRunConfig`` with one sentence, which becomes the reason why the run fails.

    Errors. Every method may raise the first three, and nothing else than these four; translate the exceptions of
    libraries, always ``from`` the original. Messages are sentences for people, without secrets.

    - ``CloudUnavailable``: no useful answer (connection, timeout while connecting, 5xx, 429, not JSON), nothing was
      changed. The agent tries again, not before ``retry_after``: at start for ``--start-patience`` seconds, then it
      exits with code 69; later without end, with growing pauses. Units go on, and reports are kept meanwhile.
      ``CloudMisconfigured`` is the same for what only the operator can mend (a file that is not there, an address that
      cannot be one): at start the agent exits at once, with code 78.
    - ``Unauthorised``: the key is not accepted. At start the agent exits with code 77; a key that was accepted before
      may be refused for ``--auth-patience`` seconds.
    - ``RequestRejected``: the Cloud names the request itself as wrong (invalid, malformed). Repeating it cannot help.
      Only codes that say so count: every other error of a change is an ``OutcomeUnknown``, every other error of a read
      ``CloudUnavailable``.
    - ``OutcomeUnknown``: only from methods that change something: the request was sent, but its answer was lost or
      reports a failure inside the Cloud, so the change may be committed. Each such method says how to find out. The
      agent reads the runs back and never assumes either.

    No answer of a Cloud makes a method raise anything else. Hostile or nonsensical data about one flow run becomes an
    ``UnusableRunConfig`` or a ``Storage.problem`` of that run if the run can be identified; otherwise it is left out,
    with a warning in the agent's log. Any other exception is a bug: it is logged, the step is repeated, and five in a
    row end the agent with code 70.

    Deadlines. Each call returns or raises within a deadline for the whole of it, however slowly an answer arrives.

    Retries. An adapter repeats a request by itself only where the Cloud cannot notice. Waiting is the agent's decision.

    Threads. Every method may be called from several threads at once. :meth:`connect` and :meth:`register` are called
    first, from the thread that starts the agent. The main thread calls :meth:`ready_flow_runs`, :meth:`claim` and
    :meth:`flow_runs`; where :attr:`waits` is true, a thread of its own waits in :meth:`ready_flow_runs`. One thread
    calls :meth:`changes` and :meth:`flow_runs`, one :meth:`end` and :meth:`write_logs`; the threads that start and
    recover units call :meth:`flow_runs`, :meth:`claim` and :meth:`workload`. :meth:`close` is called last, from the
    main thread, perhaps while another call still hangs.

    Idempotence. Every read may be repeated. Of the changes, :meth:`register`, :meth:`claim` and :meth:`end` may be
    repeated with the same arguments and then change nothing more; :meth:`write_logs` may write a line twice.

    Times are aware and in UTC; durations are in seconds.
    """

    @abc.abstractmethod
    def connect(self) -> Tenant:
        """Check address and key, and return the tenant that the key belongs to.

        Called before everything else. Changes nothing in the Cloud; may be repeated.
        """

    @abc.abstractmethod
    def register(self, agent: AgentIdentity) -> str:
        """Register the agent with the Cloud and return its id; later calls are made in its name.

        May be repeated: the same identity gets the same id, another identity another one. An adapter for a backend
        that keeps no list of agents makes the id from the identity.
        """

    @property
    def identity(self) -> str:
        """Name of this Cloud and tenant; equal for two agents if, and only if, they ask the same tenant of one Cloud.

        Printable, and the same after a restart: units carry a mark made from it (``Unit.owner``), and an agent judges
        only units with the mark of its own Cloud. Known once :meth:`connect` has returned.
        """
        return ""

    @property
    def compares(self) -> bool:
        """Whether the Cloud grants a claim only if the run is still at the attempt given, in one atomic step.

        If not, the agent reads each claim back before it starts anything, which narrows the race but cannot end it.
        """
        return False

    @property
    def skew(self) -> float:
        """Seconds by which the Cloud's clock is ahead of this machine's clock; 0.0 if unknown."""
        return 0.0

    @property
    def waits(self) -> bool:
        """Whether :meth:`ready_flow_runs` is known to wait for runs as its *wait* asks; False until that is known."""
        return False

    @abc.abstractmethod
    def ready_flow_runs(
        self,
        *,
        labels: Collection[str],
        before: datetime,
        limit: int,
        wait: float = 0.0,
        skip: Collection[FlowRunId] = (),
    ) -> Sequence[FlowRun]:
        """Return at most *limit* flow runs that are due before *before*, oldest first, each id once, none of *skip*.

        Due are runs that wait for an agent to start them, and Running runs with task runs that are due again
        (``due_task_runs``). A run that waits for something else is not offered: for a person (it is paused), a free
        place of a limit, or its own process that is to try it again. Nothing is reserved: the same run is returned
        again until it is claimed.

        Args:
            labels: The agent's labels. The Cloud, or the adapter, returns only runs all of whose labels are among them;
                runs without labels are for agents without labels (``labels_match``).
            before: A little ahead of now, so that a run is known before its time.
            limit: At most so many; zero or less makes no request and returns nothing.
            wait: If no run is due, a Cloud that can do so answers as soon as one is, or after so many seconds.
            skip: Runs that the agent does not want again. They are left out before the result is cut to *limit*:
                however many of them are at the head of the queue, the runs behind them are offered.
        """

    @abc.abstractmethod
    def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        """Try to take each run; return one outcome for each request, in order.

        - ``Claimed``: the run belongs to this claim, and the Cloud has its record. ``Claimed.run`` is the run as given
          but for its state; its attempt is unchanged, since the unit's name is made from it. The agent starts the unit.
        - ``Lost``: another agent was first, or the run has moved on. The agent forgets the run.
        - ``Deferred``: not now, for example because of a concurrency limit. The run is offered again.
        - ``Refused``: this very claim is invalid. The agent leaves the run alone and logs the reason.

        Of any number of agents that ask for the same attempt at a run, exactly one gets ``Claimed`` if the Cloud
        :attr:`compares`. A Running run is claimed by claiming its task runs: ``FlowRun.claimable_task_runs``.

        A run that was read as claimed (or as Running with ``claimed_task_runs``) is claimed over: its record is
        replaced, by one agent only, if the run is still at the attempt given. So an attempt that is claimed over must
        compare unequal in the backend afterwards. A Cloud may refuse that for some time after the last claim
        (``Lost`` or ``Deferred``).

        One invalid request never spoils the others. An attempt that this adapter did not read together with this very
        run, or task run, is ``Refused`` and not sent: no claim goes without its fence. A repeated claim is answered
        ``Lost`` if the first one was committed.

        Raises:
            OutcomeUnknown: It is not known of any of the requests. The agent reads the runs back with
                :meth:`flow_runs` and compares ``claim.claimant``.
        """

    @abc.abstractmethod
    def flow_runs(self, ids: Collection[FlowRunId]) -> Sequence[FlowRun]:
        """Read runs as they are now; ids that do not exist are left out.

        Takes any number of ids: the adapter splits them into as many requests as its backend needs.
        """

    @abc.abstractmethod
    def claimed_flow_runs(self, *, platform: str, changed_since: datetime | None = None) -> Sequence[FlowRun]:
        """Return runs whose latest claim names *platform*, made by any agent.

        The agent compares them with the units of its platform, at start and every 30 seconds. It chooses from them
        and reads each run with :meth:`flow_runs` before it acts: ``flow``, ``run_config``, ``due_task_runs`` and
        ``source`` may be blank, and ``tasks_wait`` false.

        Args:
            platform: As ``ClaimRecord.platform``.
            changed_since: None for all runs that are claimed, Running or Cancelling. Otherwise all runs whose state,
                or the state of a claimed task run of theirs, has changed at that time (the Cloud's clock) or later,
                finished and waiting ones included; a few more do no harm.
        """

    def changes(self, *, platform: str, changed_since: datetime | None = None, due_before: datetime) -> Changes:  # noqa: ARG002
        """Return what :meth:`claimed_flow_runs` returns, and whether the Cloud has work, if one answer says both.

        ``none_due`` is true only if no flow run of the tenant, whatever its labels, could be offered by
        :meth:`ready_flow_runs` with *due_before*. It saves an idle agent a poll. By default it is never true.
        """
        return Changes(runs=self.claimed_flow_runs(platform=platform, changed_since=changed_since))

    @abc.abstractmethod
    def end(self, ends: Sequence[End]) -> Sequence[EndOutcome]:
        """Carry out each end that is still due; return one outcome for each, in order.

        An end says what becomes of a run whose unit ended without a report: Failed, Cancelled, or handed back to wait
        again. Read the runs first; ``judge_end(end, run)`` returns the verdict of each end that needs no change, and
        None for one that is due. Change those, and read the runs back: only an end that was read back as wanted is
        ``SETTLED``. An end never changes a run that belongs to another claim than its own, or that has finished; where
        the Cloud cannot compare and set, a run that changes at this very moment may be overwritten.

        A run that is handed back (``EndKind.HANDED_BACK``) waits as it waited before its claim, for at least a minute
        (``waits_until``). Its claim is void (``FlowRun.claim`` is None), and ``FlowRun.recoveries`` is one more than
        the claim's if ``End.counts``, else the same (``recoveries_after``).

        One invalid end never spoils the others. May be repeated: the agent keeps each end, over restarts if it can,
        until it is ``SETTLED`` or ``NOT_OURS``. ``OutcomeUnknown`` and ``RequestRejected`` are outcomes here
        (``UNKNOWN``, ``REFUSED``) and never raised.
        """

    @abc.abstractmethod
    def write_logs(self, lines: Sequence[LogLine]) -> None:
        """Append lines to the logs of flow runs; the order within one run is kept.

        Raises:
            OutcomeUnknown: The agent sends the lines again; some may then be there twice.
            RequestRejected: One or more lines cannot be taken, and none was written. The agent halves the batch until
                it has found them, and drops them.
        """

    def facts(self, reference: Reference) -> RunFacts | None:  # noqa: ARG002 - optional
        """What the Cloud knows about one flow run, the latest of that name; None if there is none.

        By name it says which earlier runs have that name, too. Changes nothing. ``prefect agent why`` and warnings
        about late runs are made from it.

        Raises:
            RequestRejected: Also if this Cloud cannot say; the default.
        """
        raise RequestRejected("this Cloud does not tell why a flow run does not start")

    def late_flow_runs(self, *, by: timedelta) -> Sequence[FlowRunId]:  # noqa: ARG002 - optional
        """Some flow runs of the tenant, whatever their labels, that have been due for longer than *by*, oldest first.

        Empty if this Cloud cannot say; the default.
        """
        return ()

    def checks(self) -> Sequence[Step]:
        """What a doctor looks at before an agent starts: steps in order, none by default.

        Making the steps asks nothing; asking them changes nothing. A step raises no errors but those of the port. The
        last step that has to succeed before anything else can be asked is called ``key``.
        """
        return ()

    def drafts(self, *, labels: Collection[str], limit: int) -> Sequence[FlowRun]:  # noqa: ARG002 - optional
        """For each flow that is not archived, a run as it would be created now: nothing of it is in the Cloud.

        Only those whose runs the Cloud would offer to an agent with *labels*, the latest *limit* flows at most. For a
        doctor: image, run config, name of the flow. None from a Cloud that cannot say.
        """
        return ()

    def flow_drafts(self, reference: FlowReference) -> Sequence[FlowDraft]:  # noqa: ARG002 - optional
        """The flow that *reference* names, in its latest version that is not archived: one draft for each project.

        An id names one version, archived or not. Empty if there is none. Changes nothing.

        Raises:
            RequestRejected: Also if this Cloud cannot say; the default.
        """
        raise RequestRejected("this Cloud does not tell which flows it has")

    def known_names(self, *, limit: int) -> KnownNames:  # noqa: ARG002 - optional
        """What flows and runs are called, the latest *limit* of each: for a person who has mistyped one.

        Empty if this Cloud cannot say; the default.
        """
        return KnownNames()

    def create_flow_run(self, order: RunOrder) -> FlowRunId:  # noqa: ARG002 - optional
        """Create a flow run that waits to be started, and return its id. An order with a key may be repeated.

        Raises:
            RequestRejected: The Cloud refuses the order and says why (an unknown flow, a missing parameter); also if
                runs cannot be created in this Cloud: the default.
            OutcomeUnknown: The run may exist. Repeat an order with a key to find out.
        """
        raise RequestRejected("this Cloud does not let the agent create flow runs")

    def run_story(self, run_id: FlowRunId, *, after: object = None) -> RunStory | None:  # noqa: ARG002 - optional
        """The states and the log of a run, as far as they were not read yet; None if there is no such run.

        Changes nothing.

        Args:
            after: ``RunStory.mark`` of the last answer; None reads from the beginning.

        Raises:
            RequestRejected: Also if this Cloud cannot say; the default.
        """
        raise RequestRejected("this Cloud does not show the states and the log of a flow run")

    def run_address(self, run_id: FlowRunId) -> str:  # noqa: ARG002 - optional
        """The address at which a person looks at a run; empty if there is none, or if it is not known."""
        return ""

    @abc.abstractmethod
    def workload(self, run: FlowRun) -> Workload:
        """What a process must know to execute *run*: command, variables, secrets. Makes no request, raises nothing.

        The process reports its own states and logs to the Cloud; so its address, the run's id and the key belong into
        ``fixed`` and ``secrets``, which neither the run config nor ``--env`` can change.
        """

    def close(self) -> None:  # noqa: B027 - optional
        """Release connections. May be repeated."""
