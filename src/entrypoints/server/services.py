"""The services of the Cloud (protocol section 13.5): they schedule runs and rescue runs whose process is lost.

Services run in the event loop, between requests. Each works in small steps of one transaction, and requests are
answered after every step.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import attrs

from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.domain.cloud.rescue import (
    LOST,
    RESURRECTED_FROM,
    Rescue,
    bury_flow_run,
    bury_task_run,
    lost_before,
    resurrect_flow_run,
)
from prefect.agent.domain.times import iso
from prefect.agent.entrypoints.server.mutations.registry import Request
from prefect.agent.entrypoints.server.mutations.schedules import plan_runs, usable_schedule
from prefect.agent.entrypoints.server.mutations.states import put_flow_run, set_task_run_states
from prefect.agent.entrypoints.server.storage.clock import utc_now
from prefect.agent.entrypoints.server.storage.database import Database, Tx, explain
from prefect.agent.entrypoints.server.storage.retention import PERIOD, Retention, prune

SCHEDULER: Final = "scheduler"
LAZARUS: Final = "lazarus"
ZOMBIE_KILLER: Final = "zombie-killer"
RETENTION: Final = "retention"
SERVICES: Final = frozenset({SCHEDULER, LAZARUS, ZOMBIE_KILLER})

PERIODS: Final[Mapping[str, float]] = {SCHEDULER: 150, LAZARUS: 600, ZOMBIE_KILLER: 120}
"""Seconds from one round of a service to the next."""

BATCH: Final = 25
"""How many rows one step examines at most."""

_TASK_RUNS: Final = 100
"""About how many task runs one step of the scheduler creates."""

RUN_RESCUED: Final = "run_rescued"
RUNS_SCHEDULED: Final = "runs_scheduled"
"""Names of events in the server's log."""

_log: Final = logging.getLogger(__name__)

Steps = Generator[int]
"""The steps of a round; each yields how many rows it has changed."""

Rescuer = Callable[[Request, dict[str, Any], str], str | None]
"""Examines one run whose last heartbeat is older than a limit; returns the text for the log if it changed the run."""


def _completed(periods: Mapping[str, float]) -> Mapping[str, float]:
    return {**PERIODS, **periods}


@attrs.frozen(kw_only=True)
class Routine:
    """Which services work, and when.

    Attributes:
        enabled: Names of the services that work.
        periods: Seconds from one round of a service to the next; services that are not named keep the default.
        lost: A process counts as lost if its last heartbeat is older than this.
        retention: How long finished runs and their logs are kept.
    """

    enabled: Collection[str] = SERVICES
    periods: Mapping[str, float] = attrs.field(default=PERIODS, converter=_completed)
    lost: timedelta = LOST
    retention: Retention = Retention()


@attrs.define
class Services:
    """The services of one Cloud.

    Attributes:
        now: The Cloud's clock.
        since: When the Cloud began to listen; it may have missed heartbeats before that.
    """

    database: Database
    routine: Routine = Routine()
    now: Callable[[], datetime] = utc_now
    since: datetime = attrs.field(default=attrs.Factory(lambda self: self.now(), takes_self=True))

    async def run(self) -> None:
        """Work until cancelled. The scheduler begins at once, to catch up; the others wait for heartbeats first."""
        clock = asyncio.get_running_loop().time
        rounds = {SCHEDULER: self.schedule, LAZARUS: self.resurrect, ZOMBIE_KILLER: self.bury}
        periods = {name: self.routine.periods[name] for name in rounds if name in self.routine.enabled}
        if self.routine.retention:
            rounds[RETENTION], periods[RETENTION] = self.prune, PERIOD
        due = {name: clock() + (0 if name in {SCHEDULER, RETENTION} else period) for name, period in periods.items()}
        while due:
            name = min(due, key=lambda name: due[name])
            await asyncio.sleep(max(0.0, due[name] - clock()))
            try:
                for _changed in rounds[name]():
                    await asyncio.sleep(0)
            except Exception as problem:  # noqa: BLE001 - logged; the disk may have space again in the next round
                why = explain(problem)
                _log.error("The %s gave up until its next round: %s", name, why, exc_info=why is None)
            due[name] = clock() + periods[name]

    def schedule(self) -> Steps:
        """Create the next runs of all active schedules."""
        last = ""
        while True:
            with self.database.read() as tx:
                rows = tx.all(
                    "SELECT id, name, (SELECT count(*) FROM task WHERE flow_id = flow.id) AS tasks FROM flow "
                    "WHERE id > ? AND is_schedule_active AND NOT archived ORDER BY id LIMIT ?",
                    [last, BATCH],
                )
            for row in rows:
                yield from self._schedule_flow(row)
                last = row["id"]
            if len(rows) < BATCH:
                return

    def _schedule_flow(self, flow: dict[str, Any]) -> Steps:
        """Create the next runs of one flow, a few in each step; log them as one batch."""
        total = 0
        while made := self._plan(flow["id"], max(1, _TASK_RUNS // (flow["tasks"] + 1))):
            total += made
            yield made
        yield 0
        if total:
            _log.info(
                "Scheduled %d run%s of flow %s (%s)", total, "" if total == 1 else "s", flow["name"], flow["id"],
                extra={"event": RUNS_SCHEDULED, "fields": {"flow_id": flow["id"], "runs": total}},
            )  # fmt: skip

    def resurrect(self) -> Steps:
        """Lazarus: schedule flow runs again whose process is lost."""
        marks = ", ".join("?" * len(RESURRECTED_FROM))
        where = f"run.state IN ({marks})"
        return self._rescue(_flow_runs_sql(where), RESURRECTED_FROM, self._resurrect)

    def bury(self) -> Steps:
        """The zombie killer: end task runs and cancellations whose process is lost."""
        yield from self._rescue(_TASK_RUNS_SQL, (), self._bury_task_run)
        yield from self._rescue(_flow_runs_sql("run.state = ?"), ("Cancelling",), self._bury_flow_run)

    def prune(self) -> Steps:
        """Delete finished runs and logs whose time is over."""
        return prune(self.database, self.routine.retention, self.now())

    def _plan(self, flow_id: str, limit: int) -> int:
        """Create at most *limit* runs of a flow, from rows read again: requests were answered since the last step."""
        with self._request() as request:
            flow = request.tx.row("flow", "id = ? AND is_schedule_active AND NOT archived", [flow_id])
            if flow is None:
                return 0
            try:
                with request.tx.savepoint():
                    schedule = usable_schedule(request, flow)
                    return plan_runs(request, flow, schedule, limit) if schedule else 0
            except CloudRefusal as problem:
                _log.warning("Flow %s (%s) is not scheduled: %s", flow["name"], flow["id"], problem.message)
                return 0

    def _rescue(self, sql: str, params: tuple[str, ...], rescue: Rescuer) -> Steps:
        """Examine all candidates, one batch in each step."""
        last = ""
        while (limit := lost_before(self.now(), self.since, self.routine.lost)) is not None:
            with self._request() as request:
                rows = request.tx.all(sql, [*params, limit, last, BATCH])
                done = {row["id"]: words for row in rows if (words := self._attempt(request, row, limit, rescue))}
            for run_id, words in done.items():
                _log.info("%s", words, extra={"event": RUN_RESCUED, "fields": {"run_id": run_id}})
            yield len(done)
            if len(rows) < BATCH:
                return
            last = rows[-1]["id"]

    def _attempt(self, request: Request, row: dict[str, Any], limit: str, rescue: Rescuer) -> str | None:
        try:
            with request.tx.savepoint():
                return rescue(request, row, limit)
        except CloudRefusal as problem:
            _log.warning("Run %s was left as it is: %s", row["id"], problem.message)
            return None

    def _resurrect(self, request: Request, row: dict[str, Any], limit: str) -> str | None:
        run = request.get("flow_run", row["id"])
        states = request.tx.all("SELECT DISTINCT state FROM task_run WHERE flow_run_id = ?", [run["id"]])
        found = resurrect_flow_run(
            run,
            [task_run["state"] for task_run in states],
            _settings(request.tx, run["flow_id"]),
            now=request.now,
            limit=limit,
        )
        return self._put(request, run, found, "Lazarus")

    def _bury_flow_run(self, request: Request, row: dict[str, Any], limit: str) -> str | None:
        run = request.get("flow_run", row["id"])
        found = bury_flow_run(run, _settings(request.tx, run["flow_id"]), limit=limit)
        return self._put(request, run, found, "ZombieKiller")

    def _bury_task_run(self, request: Request, row: dict[str, Any], limit: str) -> str | None:
        task_run = request.get("task_run", row["id"])
        run = request.get("flow_run", task_run["flow_run_id"])
        retries = "SELECT count(*) AS n FROM task_run_state WHERE task_run_id = ? AND state = 'Retrying'"
        tried = request.tx.all(retries, [task_run["id"]])[0]["n"] + 1
        found = bury_task_run(
            task_run,
            run,
            request.get("task", task_run["task_id"]),
            _settings(request.tx, run["flow_id"]),
            attempts=tried,
            now=request.now,
            limit=limit,
        )
        if found is None:
            return None
        set_task_run_states(request, {"states": [{"task_run_id": task_run["id"], "state": found.state.payload}]})
        _write_log(request, run, found, "ZombieKiller", task_run["id"])
        where = f"of flow run {run['name']} ({run['id']})"
        return f"Task run {task_run['id']} {where} is {found.state.type} now. {found.state.message}"

    def _put(self, request: Request, run: dict[str, Any], found: Rescue | None, name: str) -> str | None:
        if found is None:
            return None
        put_flow_run(request, run, found.state)
        if found.values:
            request.tx.update("flow_run", run["id"], found.values)
        _write_log(request, run, found, name)
        return f"Flow run {run['name']} ({run['id']}) is {found.state.type} now. {found.state.message}"

    @contextmanager
    def _request(self) -> Generator[Request]:
        with self.database.write() as tx:
            yield Request(tx=tx, now=self.now(), choose=random.choice)


class Worker(Protocol):
    """Something that works beside the requests."""

    async def run(self) -> None:
        """Work until cancelled."""


@contextmanager
def running(worker: Worker) -> Generator[None]:
    """Run *worker* in the running event loop until the block ends."""
    task = asyncio.get_running_loop().create_task(worker.run(), name=type(worker).__name__)
    try:
        yield
    finally:
        task.cancel()


def _flow_runs_sql(where: str) -> str:
    return f"SELECT run.id FROM flow_run run WHERE {where} AND run.heartbeat < ? AND run.id > ? ORDER BY run.id LIMIT ?"


_TASK_RUNS_SQL: Final = (
    "SELECT task_run.id FROM task_run JOIN flow_run run ON run.id = task_run.flow_run_id "
    "WHERE task_run.state = 'Running' AND run.heartbeat < ? AND task_run.id > ? ORDER BY task_run.id LIMIT ?"
)


def _settings(tx: Tx, flow_id: str) -> dict[str, Any]:
    """Return the settings of the flow's group."""
    group = tx.row("flow_group", "id = (SELECT flow_group_id FROM flow WHERE id = ?)", [flow_id])
    return (group["settings"] if group else None) or {}


def _write_log(request: Request, run: Mapping[str, Any], found: Rescue, name: str, task_run: str | None = None) -> None:
    row = {
        "tenant_id": run["tenant_id"],
        "flow_run_id": run["id"],
        "task_run_id": task_run,
        "timestamp": iso(request.now),
        "name": f"prefect-agent.{name}",
        "level": found.level,
        "message": found.state.message,
    }
    request.tx.insert("log", row)
