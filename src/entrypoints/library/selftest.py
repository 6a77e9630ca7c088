"""The self-test proves on the user's own platform that a crash loses and doubles nothing.

It uses harmless units and a Cloud in memory.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import attrs

from prefect.agent.adapters.fakes import InMemoryCloudApi
from prefect.agent.domain.errors import AgentError
from prefect.agent.domain.model.flow_runs import Claimed, FlowRun, FlowRunId
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.model.submissions import Workload
from prefect.agent.domain.model.units import Unit
from prefect.agent.entrypoints.container import Parts, build
from prefect.agent.entrypoints.factories import Options
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.platform import ExecutionPlatform

WITHIN: Final = 180.0
"""Seconds that each step of a proof may take: an image may have to be pulled."""

LOOK_EVERY: Final = 0.1
"""Seconds between two looks at what is waited for."""

SETTINGS: Final = AgentSettings(
    name="selftest",
    poll_first=0.1,
    poll_last=0.5,
    sweep_every=0.5,
    create_deadline=WITHIN,
    cancel_grace=0,
    stop_grace=2,
    keep_ended=None,
)
GONE: Final = attrs.evolve(SETTINGS, create_deadline=0)
"""Of an agent that is killed right after its claim: no time is left to it to create the unit."""

SAYS: Final = "prefect-agent selftest"
"""The output of a unit."""

SLEEPS: Final = ("sh", "-c", f"echo {SAYS}; sleep 600")
ENDS: Final = ("sh", "-c", f"echo {SAYS}; exit 7")


class NotProvenError(Exception):
    """A proof failed: the message says what happened instead of what was expected."""


class _Cloud(InMemoryCloudApi):
    """A Cloud in memory whose flow runs execute a harmless command, in an image of the user's choice."""

    def __init__(self, clock: Clock, image: str | None) -> None:
        super().__init__(clock)
        self.image = image
        self.commands: dict[FlowRunId, tuple[str, ...]] = {}

    def workload(self, run: FlowRun) -> Workload:
        """Return the command of this run."""
        return Workload(command=self.commands[run.id], default_image=self.image)

    def add(self, command: tuple[str, ...]) -> FlowRunId:
        """Add a flow run that is due."""
        run_id = self.add_flow_run(name="selftest")
        self.commands[run_id] = command
        return run_id


@attrs.define(kw_only=True)
class SelfTest:
    """A self-test kills and recovers agents with harmless units.

    Attributes:
        image: Where units are made from images: one that has ``sh``.
        within: Seconds that each step of a proof may take.
        say: Takes one line for each proof.
    """

    platform: ExecutionPlatform
    clock: Clock
    say: Callable[[str], None]
    image: str | None = None
    within: float = WITHIN
    _cloud: _Cloud = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._cloud = _Cloud(self.clock, self.image)

    def __call__(self) -> bool:
        """Execute all proofs and clean up; return whether all succeeded."""
        proofs = (
            ("the platform answers, and the agent may do its work there", self._check),
            ("an agent killed between claim and start: the next one starts the run, once", self._killed_before),
            ("an agent killed between start and report: the next one starts nothing twice", self._killed_after),
            ("a unit that dies is reported, with its exit code and last output", self._dies),
            ("a cancelled run's unit is stopped, with proof", self._cancelled),
        )
        try:
            results = [self._prove(words, proof) for words, proof in proofs]
        finally:
            self._clean_up()
        return all(results)

    def _prove(self, words: str, proof: Callable[[], str]) -> bool:
        try:
            detail = proof()
        except (NotProvenError, AgentError) as problem:
            self.say(f"x {words}: {problem}")
            return False
        self.say(f"ok {words}{f' ({detail})' if detail else ''}")
        return True

    # --- proofs ---

    def _check(self) -> str:
        self.platform.check()
        return self.platform.identity

    def _killed_before(self) -> str:
        run_id = self._cloud.add(SLEEPS)
        unit = self._claim(self._parts(GONE), run_id).record.unit
        with self._agent():
            self._wait(lambda: self._is_started(unit), f"{unit} is started")
        return unit

    def _killed_after(self) -> str:
        run_id = self._cloud.add(SLEEPS)
        dead = self._parts(SETTINGS)
        run = self._claim(dead, run_id).run
        unit = dead.create_unit(run)
        self._wait(lambda: self._is_started(unit.name), f"{unit.name} is started")
        before = self.platform.unit(unit.name)
        with self._agent():
            self._cloud.set_state(run_id, "Running")
            again = dead.create_unit(run)
        if before is None or again.id != before.id or len(self._units_of(run_id)) != 1:
            raise NotProvenError(f"{unit.name} was started twice")
        return unit.info

    def _dies(self) -> str:
        run_id = self._cloud.add(ENDS)
        with self._agent():
            self._wait(lambda: self._cloud.flow_run(run_id).state == "Failed", "the run is Failed")
        message = self._cloud.flow_run(run_id).message
        if "exit code 7" not in message:
            raise NotProvenError(f"its end is reported as: {message}")
        if not any(SAYS in line.message for line in self._cloud.logs(run_id)):
            raise NotProvenError("its last output is not in the flow run's log")
        return "exit code 7"

    def _cancelled(self) -> str:
        run_id = self._cloud.add(SLEEPS)
        with self._agent():
            self._wait(lambda: any(self._is_started(u.name) for u in self._units_of(run_id)), "its unit is started")
            self._cloud.set_state(run_id, "Running")
            self._cloud.cancel(run_id)
            self._wait(lambda: self._cloud.flow_run(run_id).state == "Cancelled", "the run is Cancelled")
        if any(not unit.status.has_ended for unit in self._units_of(run_id)):
            raise NotProvenError("it is Cancelled, and its unit still executes")
        return ""

    # --- parts ---

    def _parts(self, settings: AgentSettings) -> Parts:
        return build(Options(settings=settings), cloud=self._cloud, platform=self.platform, clock=self.clock)

    def _claim(self, parts: Parts, run_id: FlowRunId) -> Claimed:
        [outcome] = parts.loops.poll.claim(self._cloud.flow_runs([run_id]))
        if not isinstance(outcome, Claimed):
            raise NotProvenError(f"the claim came out as {type(outcome).__name__}")
        return outcome

    @contextmanager
    def _agent(self) -> Generator[None]:
        """Let an agent work until the block is left."""
        loops = self._parts(SETTINGS).loops
        thread = threading.Thread(target=loops.run, name="selftest", daemon=True)
        thread.start()
        try:
            yield
        finally:
            loops.stop()
            thread.join(self.within)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        end = self.clock.monotonic() + self.within
        while not condition():
            if self.clock.monotonic() >= end:
                raise NotProvenError(f"not within {self.within:g} s: {what}")
            self.clock.pause(LOOK_EVERY)

    def _is_started(self, name: str) -> bool:
        unit = self.platform.unit(name)
        return unit is not None and bool(unit.id)

    def _units_of(self, run_id: FlowRunId) -> list[Unit]:
        return [unit for unit in self.platform.units() if unit.flow_run_id == run_id]

    def _clean_up(self) -> None:
        """Stop and remove the units of this self-test. A unit that cannot be removed does not keep the others."""
        try:
            units = [unit for run_id in self._cloud.commands for unit in self._units_of(run_id)]
        except AgentError as problem:
            self.say(f"x the units of this self-test cannot be looked for; remove them by hand: {problem}")
            return
        for unit in units:
            try:
                self.platform.stop(unit.name, grace=1)
                self.platform.remove(unit.name)
            except AgentError as problem:
                self.say(f"x {unit.name} cannot be removed; remove it by hand: {problem}")
