"""Clouds, a platform, units that live and die, an official agent and people: everything outside of our agents."""

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import attrs

from chaos.fibers import Scheduler, VirtualClock
from chaos.ledger import OFFICIAL, Claim, Ledger
from chaos.making import memory_cloud
from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform
from prefect.agent.adapters.fakes.cloud_store import StoredFlowRun
from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.units import Unit
from prefect.agent.domain.state_names import FINISHED, SCHEDULED

FATES: Final = ("well", "well", "well", "dies", "fails", "quiet", "stillborn", "long", "deaf", "retries")
"""How a unit ends. *quiet*: with exit code 0 and without a report; *long*: when its run is cancelled; *deaf*: never.

*retries*: well, but a task is to be tried again later, in another unit.
"""

GONE: Final = "Deleted"
"""What we call the state of a run that was deleted in the Cloud."""

OVER: Final = FINISHED | {GONE}


@attrs.define(eq=False)
class Environment:
    """One engine, any number of Clouds.

    Attributes:
        chance: Draws how long things take and how they end.
        fates: What units may come to.
        lives: Longest life of a unit, in virtual seconds.
    """

    scheduler: Scheduler
    chance: random.Random
    fates: Sequence[str] = FATES
    lives: float = 60.0
    loose: bool = False
    clock: VirtualClock = attrs.field(init=False)
    place: InMemoryPlatform = attrs.field(init=False)
    clouds: dict[str, InMemoryCloudApi] = attrs.field(factory=dict)
    cloud_of: dict[FlowRunId, str] = attrs.field(factory=dict)
    labels_of: dict[FlowRunId, tuple[str, ...]] = attrs.field(factory=dict)
    official_alive: set[FlowRunId] = attrs.field(factory=set)
    ledger: Ledger = attrs.field(init=False)
    _fate_of: dict[FlowRunId, str] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.clock = VirtualClock(self.scheduler)
        self.place = InMemoryPlatform(clock=self.clock, identity="memory:chaos")
        self.ledger = Ledger(lambda: self.scheduler.now / 1_000_000)

    # --- people ---

    def cloud(self, name: str) -> InMemoryCloudApi:
        """The Cloud of that name."""
        if name not in self.clouds:
            self.clouds[name] = memory_cloud(self.clock, loose=self.loose)
        return self.clouds[name]

    def add_run(self, cloud: str = "one", labels: tuple[str, ...] = (), fate: str = "") -> FlowRunId:
        """A person schedules a new run for now."""
        run_id = f"00000000-0000-4000-8000-{len(self.cloud_of) + 1:012d}"
        run = self.cloud(cloud).add_flow_run(run_id=run_id, labels=labels)
        self.cloud_of[run], self.labels_of[run] = cloud, labels
        self.ledger.allowed[run] += 1
        self._fate_of[run] = fate or self.chance.choice(self.fates)
        self.ledger.note(f"run {run[-4:]} is scheduled in {cloud}, labels {labels}, fate {self._fate_of[run]}")
        return run

    def state(self, run: FlowRunId) -> str:
        """The run's state."""
        row = self._row(run)
        return GONE if row is None else row.state

    def _row(self, run: FlowRunId) -> StoredFlowRun | None:
        return self.clouds[self.cloud_of[run]]._store.runs.get(run)

    def tasks_wait(self, run: FlowRunId) -> bool:
        """Whether a task of the run waits to be tried again."""
        row = self._row(run)
        return row is not None and any(task.state in SCHEDULED for task in row.task_runs.values())

    def change_fate(self, run: FlowRunId, fate: str) -> None:
        """What the next unit of the run comes to."""
        self._fate_of[run] = fate

    def delete_run(self, run: FlowRunId) -> None:
        """A person deletes a run in the Cloud."""
        self.clouds[self.cloud_of[run]]._store.runs.pop(run, None)
        self.ledger.note(f"a person deletes {run[-4:]}")

    def cancel(self, run: FlowRunId) -> None:
        """A person cancels a run; its process obeys after a while, unless it hangs."""
        if self.state(run) == GONE:
            return
        self.clouds[self.cloud_of[run]].cancel(run)
        self.ledger.note(f"a person cancels {run[-4:]}: {self.state(run)}")

    def reschedule(self, run: FlowRunId) -> None:
        """A person schedules a run again that nothing executes."""
        if self.units_of(run) or run in self.official_alive or self.state(run) == GONE:
            return
        if self._set(run, "Scheduled"):
            self.ledger.owners[run] = None
            self.ledger.allowed[run] += 1
            self.ledger.note(f"a person schedules {run[-4:]} again")

    def delete_unit(self, name: str) -> None:
        """A unit is deleted externally."""
        if self._unit(name) is not None:
            self.place.vanish(name)
            self.ledger.deletions[name] += 1
            self.ledger.note(f"{name} is deleted externally")

    def official(self, run: FlowRunId) -> None:
        """An official agent takes a waiting run and executes it elsewhere."""
        if self.state(run) not in SCHEDULED or run in self.official_alive or not self._set(run, "Submitted"):
            return
        self.ledger.owners[run] = Claim(OFFICIAL, "")
        self.ledger.note(f"{OFFICIAL} claims {run[-4:]}")
        self.scheduler.at(self.chance.uniform(1, 8), lambda: self._official_begins(run))

    def _official_begins(self, run: FlowRunId) -> None:
        owner = self.ledger.owners.get(run)
        if self.state(run) != "Submitted" or owner is None or owner.agent != OFFICIAL or not self._set(run, "Running"):
            return
        self.ledger.executed(run, OFFICIAL)
        self._take_tasks(run)
        self.official_alive.add(run)
        self.scheduler.at(self.chance.uniform(5, 2 * self.lives), lambda: self._official_ends(run))

    def _official_ends(self, run: FlowRunId) -> None:
        self.official_alive.discard(run)
        kind = "Cancelled" if self.state(run) == "Cancelling" else "Success"
        owner = self.ledger.owners.get(run)
        if owner is None or owner.agent != OFFICIAL or self.state(run) in FINISHED:
            text = f"{run[-4:]} is {self.state(run)}, owner {owner}, while {OFFICIAL} executed it"
            self.ledger.violate("healthy runs of others are left alone", text)
        self._set(run, kind)
        self.ledger.note(f"{OFFICIAL} ends {run[-4:]}: {self.state(run)}")

    # --- units ---

    def units_of(self, run: FlowRunId) -> list[Unit]:
        """The units of a run that execute."""
        return [unit for unit in self._all() if unit.flow_run_id == run and not unit.status.has_ended]

    def alive(self) -> list[Unit]:
        """All units that execute."""
        return [unit for unit in self._all() if not unit.status.has_ended]

    def _all(self) -> list[Unit]:
        return list(self.place._place.units.values())  # past the fake's own faults

    def _unit(self, name: str) -> Unit | None:
        return self.place._place.units.get(name)

    def _born(self, unit: Unit) -> None:
        """The life of a unit, from here on by itself."""
        fate, run = self._fate_of[unit.flow_run_id], unit.flow_run_id
        wait = self.chance.uniform(0.2, 6)
        if fate == "stillborn":
            self._fate_of[run] = "well"
            self.scheduler.at(wait, lambda: self._die(unit, 137))
        else:
            self.scheduler.at(wait, lambda: self._begins(unit, fate))

    def _lives(self, unit: Unit) -> bool:
        now = self._unit(unit.name)
        return now is not None and now.id == unit.id and not now.status.has_ended

    def _begins(self, unit: Unit, fate: str) -> None:
        run = unit.flow_run_id
        if not self._lives(unit):
            return
        state = self.state(run)
        if state in OVER or state == "Cancelling":
            if state == "Cancelling":
                self._set(run, "Cancelled")
            self._die(unit, 0)
            return
        row = self._row(run)
        assert row is not None
        resumes = state == "Running" and any(task.state == "Submitted" for task in row.task_runs.values())
        if not resumes and not self._set(run, "Running"):
            self._die(unit, 0)
            return
        self._take_tasks(run)
        self.ledger.executed(run, unit.name)
        if fate not in {"long", "deaf"}:
            self.scheduler.at(self.chance.uniform(0.1, self.lives), lambda: self._ends(unit, fate))
        self._obeys(unit, fate)

    def _take_tasks(self, run: FlowRunId) -> None:
        """A process that executes a run sees to all of its tasks."""
        row, cloud = self._row(run), self.clouds[self.cloud_of[run]]
        for task in [task for task, each in row.task_runs.items() if each.state not in FINISHED] if row else []:
            cloud.set_task_state(run, task, "Running")
            cloud.set_task_state(run, task, "Success")

    def _obeys(self, unit: Unit, fate: str) -> None:
        """A process looks after its run every now and then, and ends itself if it is cancelled."""
        if not self._lives(unit) or fate == "deaf":
            return
        if self.state(unit.flow_run_id) == "Cancelling":
            self._set(unit.flow_run_id, "Cancelled")
            self._die(unit, 0)
        elif fate != "long" or self.state(unit.flow_run_id) not in OVER:
            self.scheduler.at(15, lambda: self._obeys(unit, fate))

    def _ends(self, unit: Unit, fate: str) -> None:
        if not self._lives(unit):
            return
        if fate == "retries":
            self._retry_later(unit.flow_run_id)
        if fate in {"well", "fails"}:
            self._set(unit.flow_run_id, "Success" if fate == "well" else "Failed")
        self._die(unit, {"well": 0, "quiet": 0, "retries": 0, "fails": 1}.get(fate, 137))

    def _retry_later(self, run: FlowRunId) -> None:
        self._fate_of[run] = "well"
        if self.state(run) == "Running":
            start = self.clock.now() + timedelta(seconds=self.chance.choice((0, 5, 60, 300)))
            self.clouds[self.cloud_of[run]].add_task_run(run, "Retrying", start)
            self.ledger.allowed[run] += 1
            self.ledger.note(f"a task of {run[-4:]} is to be tried again at {start:%H:%M:%S}")

    def _die(self, unit: Unit, code: int) -> None:
        if self._lives(unit):
            self.place.end(unit.name, code)
            self.ledger.note(f"{unit.name} ends with {code}; {unit.flow_run_id[-4:]} is {self.state(unit.flow_run_id)}")

    def _set(self, run: FlowRunId, state: str) -> bool:
        try:
            self.clouds[self.cloud_of[run]].set_state(run, state)
        except CloudRefusal as problem:
            self.ledger.note(f"{run[-4:]} does not become {state}: {problem}")
            return False
        return True

    # --- what agents do, as the environment sees it ---

    def watch(self, agent: str, cloud: str) -> Callable[[str, Mapping[str, Any], Callable[[], Any]], Any]:
        """See every call of an agent of *cloud*."""
        seers = {
            "cloud.claim": self._see_claim,
            "cloud.end": self._see_end,
            "platform.create": self._see_create,
            "platform.stop": self._see_stop,
            "platform.remove": self._see_remove,
        }

        def see(name: str, given: Mapping[str, Any], work: Callable[[], Any]) -> Any:
            seer = seers.get(name)
            return work() if seer is None else seer(agent, cloud, given, work)

        return see

    def _mark(self, run: FlowRunId) -> object:
        """Differs once anything about the run has changed."""
        row = self._row(run)
        return None if row is None else (len(row.history), row.claim, [task.state for task in row.task_runs.values()])

    def _see_claim(self, agent: str, _cloud: str, given: Mapping[str, Any], work: Callable[[], Any]) -> Any:
        before = {request.run.id: self._mark(request.run.id) for request in given["requests"]}
        answer = work()
        for request in given["requests"]:
            run = request.run.id
            if self._mark(run) != before[run]:
                self.ledger.owners[run] = Claim(agent, request.record.unit)
                kind = "again" if request.record.recoveries else "first"
                self.ledger.note(f"{agent} claims {run[-4:]} as {request.record.unit} ({kind})")
        return answer

    def _see_end(self, agent: str, _cloud: str, given: Mapping[str, Any], work: Callable[[], Any]) -> Any:
        before = {end.run_id: self._mark(end.run_id) for end in given["ends"] if end.run_id in self.cloud_of}
        alive = {run: [unit.name for unit in self.units_of(run)] for run in before}
        answer = work()
        for end in given["ends"]:
            run = end.run_id
            if run in before and self._mark(run) != before[run]:
                names = alive[run] if end.kind.value == "cancelled" else [n for n in alive[run] if n == end.unit]
                self.ledger.ended(agent, run, end.unit, f"{end.kind.value} ({end.message[:90]})", names)
                if end.kind.value == "handed_back":
                    self.ledger.owners[run] = None
        return answer

    def _see_create(self, agent: str, _cloud: str, given: Mapping[str, Any], work: Callable[[], Any]) -> Any:
        submission, before = given["submission"], len(self.place.created)
        others = [unit.name for unit in self.units_of(submission.flow_run_id)]
        others += [OFFICIAL] if submission.flow_run_id in self.official_alive else []
        answer = work()
        if len(self.place.created) > before:
            self.ledger.created(agent, submission.flow_run_id, submission.name, others)
            self._born(answer)
        return answer

    def _see_stop(self, agent: str, cloud: str, given: Mapping[str, Any], work: Callable[[], Any]) -> Any:
        unit = self._unit(given["name"])
        if unit is not None and not unit.status.has_ended:
            self._touch(agent, cloud, unit, "stops")
            run = unit.flow_run_id
            owner = self.ledger.owners.get(run)
            if self.state(run) in {"Submitted", "Running"} and owner is not None and owner.unit == unit.name:
                self.ledger.violate("healthy units are left alone", f"{agent} stops {unit.name}: {self.state(run)}")
        return work()

    def _see_remove(self, agent: str, cloud: str, given: Mapping[str, Any], work: Callable[[], Any]) -> Any:
        unit = self._unit(given["name"])
        if unit is not None:
            self._touch(agent, cloud, unit, "removes")
            owner = self.ledger.owners.get(unit.flow_run_id)
            waits = self.state(unit.flow_run_id) in {"Submitted", "Running", "Cancelling"}
            if unit.status.has_ended and waits and owner is not None and owner.unit == unit.name:
                self.ledger.violate("no end is lost", f"{agent} removes {unit.name} while its run is not finished")
        return work()

    def _touch(self, agent: str, cloud: str, unit: Unit, what: str) -> None:
        self.ledger.note(f"{agent} {what} {unit.name}")
        if self.cloud_of.get(unit.flow_run_id) != cloud:
            text = f"{agent} of {cloud} {what} {unit.name} of {self.cloud_of.get(unit.flow_run_id)}"
            self.ledger.violate("units of other tenants are left alone", text)
