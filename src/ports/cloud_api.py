"""What the agent asks of a Prefect Cloud, whatever protocol that Cloud speaks."""

import abc
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import attrs

from prefect.agent.domain.errors import RequestRejected
from prefect.agent.domain.model.checks import Step
from prefect.agent.domain.model.ends import End, EndOutcome
from prefect.agent.domain.model.explaining import Reference, RunFacts
from prefect.agent.domain.model.flow_runs import ClaimOutcome, ClaimRecord, FlowRun, FlowRunId
from prefect.agent.domain.model.submissions import Workload


@attrs.frozen(kw_only=True)
class Tenant:
    """Whose flow runs the key opens."""

    id: str
    name: str = ""


@attrs.frozen(kw_only=True)
class AgentIdentity:
    """How an agent presents itself to the Cloud.

    Attributes:
        type: Name of the kind of agent, for example ``DockerAgent``.
        config_id: Id of an agent configuration kept in the Cloud, if the person named one.
    """

    name: str
    type: str
    labels: tuple[str, ...] = ()
    config_id: str | None = None


@attrs.frozen(kw_only=True)
class ClaimRequest:
    """Ask for *run*; *record* is what the Cloud shall remember of the claimant."""

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
    """Claimed flow runs that have changed, and whether there is anything to poll for.

    Attributes:
        none_due: Whether the Cloud said in the same answer that no flow run is due; False if it was not asked.
    """

    runs: Sequence[FlowRun]
    none_due: bool = False


class CloudApi(abc.ABC):
    """A conversation with one Prefect Cloud on behalf of one tenant. Safe to use from several threads.

    Errors. Every method may raise

    - ``CloudUnavailable``: no useful answer (connection, timeout while connecting, 5xx, 429, not JSON), nothing was
      changed. Repeat later, not before ``retry_after``.
    - ``Unauthorised``: the key is not accepted.
    - ``RequestRejected``: the Cloud names the request itself as wrong (invalid, malformed). Only codes that say so
      count: every other error of a change is an ``OutcomeUnknown``, every other error of a read ``CloudUnavailable``.
    - ``OutcomeUnknown``: only from methods that change something: sent, but the answer was lost or tells of trouble
      inside the Cloud, so it may be committed. Every such method says how to find out.

    Every call returns or raises within a deadline for the whole of it, however slowly an answer drips in.

    No answer of any Cloud makes a method raise anything else: hostile or nonsensical data about one flow run is an
    ``UnusableRunConfig``/``Storage.problem`` on that flow run if the run can be named at all, and is left out with a
    warning in the agent's log if it cannot. An adapter does not retry by itself except where repeating is invisible
    to the Cloud; waiting is the caller's decision.
    """

    @abc.abstractmethod
    def connect(self) -> Tenant:
        """Check address and key, and learn whose key it is. Call it first. Changes nothing; may be repeated."""

    @abc.abstractmethod
    def register(self, agent: AgentIdentity) -> str:
        """Make the agent known and return its id; later calls are made in its name.

        May be repeated: the same identity gets the same id.
        """

    @property
    def identity(self) -> str:
        """Which Cloud and tenant this is; equal for two agents if they are offered the same flow runs.

        Printable; the same after a restart. Known once :meth:`connect` has returned.
        """
        return ""

    @property
    def compares(self) -> bool:
        """Whether a claim is a compare-and-set by its attempt; if not, the claimant reads its claims back."""
        return False

    @property
    def skew(self) -> float:
        """Seconds that the Cloud's clock is ahead of this machine's, as far as its answers tell; 0.0 if unknown."""
        return 0.0

    @property
    def waits(self) -> bool:
        """Whether :meth:`ready_flow_runs` keeps to its *wait*, as far as is known by now."""
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

        Runs to skip are left out before the cut: however many there are at the head of the queue, those behind them
        are offered.

        That is: Scheduled runs, and Running runs with task runs that are due again (``due_task_runs``). Nothing is
        reserved: the same run comes again until somebody claims it. *labels* are the agent's; the Cloud matches.
        *limit* of zero or less asks nothing and returns nothing.

        If there are none, a Cloud that can do so answers once there are some, or after *wait* seconds.
        """

    @abc.abstractmethod
    def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        """Try to take each run; return one outcome for each request, in order.

        Of any number of agents that ask for the same attempt at a run, exactly one gets ``Claimed`` if the Cloud
        :attr:`compares`. A Running run is claimed by claiming its due task runs. ``Claimed.run`` is the run as given,
        state aside; its attempt is unchanged, since the unit's name is made from it.

        A run that is claimed already (Submitted, or Running with ``claimed_task_runs``) as it was read is claimed over:
        its record is replaced, by one agent only, if it is still at the attempt given. A Cloud may refuse that for
        some time after the last claim (``Lost`` or ``Deferred``).

        One bad request never spoils the others. An attempt that this adapter did not make is ``Refused``, unsent.
        Raises ``OutcomeUnknown`` if it is not known of *any* of them: read back with :meth:`flow_runs` and compare
        ``claim.claimant``. Repeating a claim is safe: it is answered ``Lost`` if the first one was committed.
        """

    @abc.abstractmethod
    def flow_runs(self, ids: Collection[FlowRunId]) -> Sequence[FlowRun]:
        """Read runs as they are now. Ids that do not exist are left out. Any number of ids; pages are the adapter's."""

    @abc.abstractmethod
    def claimed_flow_runs(self, *, platform: str, changed_since: datetime | None = None) -> Sequence[FlowRun]:
        """Return runs whose latest claim names *platform*, whoever made it.

        Without *changed_since*: all that are Submitted, Running or Cancelling. With it: all whose state, or the state
        of a claimed task run of theirs, has changed at that time (the Cloud's) or later, finished and waiting ones
        included; it may return a few more.

        Enough to choose from, not to act on: ``flow``, ``run_config``, ``due_task_runs`` and ``source`` may be blank,
        and ``tasks_wait`` false. Read a run with :meth:`flow_runs` before anything is done to it.
        """

    def changes(self, *, platform: str, changed_since: datetime | None = None, due_before: datetime) -> Changes:  # noqa: ARG002
        """As :meth:`claimed_flow_runs`; a Cloud that can says in the same answer whether it has work.

        ``none_due`` only if no flow run of the tenant, whatever its labels, could be offered by
        :meth:`ready_flow_runs` with *due_before*: it saves an idle agent a poll.
        """
        return Changes(runs=self.claimed_flow_runs(platform=platform, changed_since=changed_since))

    @abc.abstractmethod
    def end(self, ends: Sequence[End]) -> Sequence[EndOutcome]:
        """Carry out each end as far as it is due; return one outcome for each, in order.

        The runs are read first, ``judge_end`` decides, what is due is changed, and the runs are read back: only what
        was read back as wanted is ``SETTLED``. An end never touches a run that belongs to another claim than its
        own, or that has finished; where the Cloud cannot compare and set, a run that changes at this very moment may
        be overwritten. A run that is handed back waits as it waited before its claim, for at least a minute, and
        remembers one recovery more (``FlowRun.recoveries``).

        One bad end never spoils the others. May be repeated. Never raises ``OutcomeUnknown`` or ``RequestRejected``:
        those are outcomes.
        """

    @abc.abstractmethod
    def write_logs(self, lines: Sequence[LogLine]) -> None:
        """Append to the logs of flow runs. Repeating after ``OutcomeUnknown`` may write a line twice.

        ``RequestRejected``: one or more lines cannot be taken; halve the batch to find them.
        """

    def facts(self, reference: Reference) -> RunFacts | None:  # noqa: ARG002 - optional
        """What there is to know of one flow run, the latest of that name; None if there is none.

        Changes nothing. For explanations: ``prefect agent why``.

        Raises:
            RequestRejected: Also if this Cloud cannot say.
        """
        raise RequestRejected("this Cloud does not tell why a flow run does not start")

    def late_flow_runs(self, *, by: timedelta) -> Sequence[FlowRunId]:  # noqa: ARG002 - optional
        """Some flow runs of the tenant, whatever their labels, that are due for longer than *by*, oldest first.

        None from a Cloud that cannot say.
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

    @abc.abstractmethod
    def workload(self, run: FlowRun) -> Workload:
        """What a process must know to execute *run*: command, variables, secrets. Asks nobody, raises nothing."""

    def close(self) -> None:  # noqa: B027 - optional
        """Let go of connections. May be repeated."""
