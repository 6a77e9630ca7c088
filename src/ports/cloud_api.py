"""What the agent asks of a Prefect Cloud, whatever protocol that Cloud speaks."""

import abc
from collections.abc import Collection, Sequence
from datetime import datetime

import attrs

from prefect.agent.domain.model.flow_runs import ClaimOutcome, ClaimRecord, FlowRun, FlowRunId
from prefect.agent.domain.model.workloads import Workload


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


class CloudApi(abc.ABC):
    """A conversation with one Prefect Cloud on behalf of one tenant. Safe to use from several threads.

    Errors. Every method may raise

    - ``CloudUnavailable``: no useful answer (connection, timeout while connecting, 5xx, 429, not JSON), nothing was
      changed. Repeat later, not before ``retry_after``.
    - ``Unauthorised``: the key is not accepted. The caller gives up after a few of these.
    - ``RequestRejected``: the Cloud understood the request and refuses all of it. Repeating cannot help.
    - ``OutcomeUnknown``: only from methods that change something: sent, but the answer was lost, so it may be
      committed. Every such method says how to find out.

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
    def waits(self) -> bool:
        """Whether :meth:`ready_flow_runs` keeps to its *wait*, as far as is known by now."""
        return False

    @abc.abstractmethod
    def ready_flow_runs(
        self, *, labels: Collection[str], before: datetime, limit: int, wait: float = 0.0
    ) -> Sequence[FlowRun]:
        """Return at most *limit* flow runs that are due before *before*, oldest first, each id once.

        That is: Scheduled runs, and Running runs with task runs that are due again (``due_task_runs``). Nothing is
        reserved: the same run comes again until somebody claims it. *labels* are the agent's; the Cloud matches.
        *limit* of zero or less asks nothing and returns nothing.

        If there are none, a Cloud that can do so answers once there are some, or after *wait* seconds.
        """

    @abc.abstractmethod
    def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        """Try to take each run; return one outcome for each request, in order.

        Of any number of agents that ask for the same attempt at a run, exactly one gets ``Claimed`` (as far as the
        backend can compare and set; an adapter's documentation says where it cannot). A Running run is claimed by
        claiming its due task runs. ``Claimed.run`` is the run as given, state aside; its attempt is unchanged, since
        the unit's name is made from it.

        One bad request never spoils the others. Raises ``OutcomeUnknown`` if it is not known of *any* of them:
        read back with :meth:`flow_runs` and compare ``claim.claimant``. Repeating a claim is safe: it is
        answered ``Lost`` if the first one was committed.
        """

    @abc.abstractmethod
    def flow_runs(self, ids: Collection[FlowRunId]) -> Sequence[FlowRun]:
        """Read runs as they are now. Ids that do not exist are left out. Any number of ids; pages are the adapter's."""

    @abc.abstractmethod
    def claimed_flow_runs(self, *, platform: str) -> Sequence[FlowRun]:
        """Return all Submitted runs whose claim record names *platform*, whoever claimed them."""

    @abc.abstractmethod
    def cancelled_flow_runs(self, among: Collection[FlowRunId]) -> Sequence[FlowRun]:
        """Of the runs named, return those that are Cancelling or Cancelled."""

    @abc.abstractmethod
    def fail(self, run_id: FlowRunId, reason: str) -> None:
        """Make the run Failed with *reason* as its message, whatever version it has now; but never if it has finished.

        As far as the backend can compare and set: where it cannot, a run that ends at this very moment may be
        overwritten. A run that does not exist is a success.
        May be repeated (a finished run stays as it is and that is a success), so ``OutcomeUnknown`` is simply tried
        again.
        """

    @abc.abstractmethod
    def cancelled(self, run_id: FlowRunId, message: str) -> None:
        """Make a Cancelling run Cancelled: its unit is proven gone. A finished run stays as it is. May be repeated."""

    @abc.abstractmethod
    def write_logs(self, lines: Sequence[LogLine]) -> None:
        """Append to the logs of flow runs. Repeating after ``OutcomeUnknown`` may write a line twice."""

    @abc.abstractmethod
    def workload(self, run: FlowRun) -> Workload:
        """What a process must know to execute *run*: command, variables, secrets. Asks nobody, raises nothing."""

    def close(self) -> None:  # noqa: B027 - optional
        """Let go of connections. May be repeated."""
