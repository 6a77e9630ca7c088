"""An execution platform in memory: nothing executes, and units end when the test says so."""

import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final

import attrs

from prefect.agent.adapters.fakes.failing import FalliblePlatform
from prefect.agent.domain.errors import PlatformUnavailable, UnitNameTaken
from prefect.agent.domain.model.demands import Demands
from prefect.agent.domain.model.submissions import PlatformTraits, Submission
from prefect.agent.domain.model.units import Evidence, Unit, UnitStatus
from prefect.agent.domain.wait_kinds import WaitKind
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.platform import TEXT_LIMIT, output_tail

TRAITS: Final = PlatformTraits(kind="memory", default_image="memory/flow:latest")
STOPPED: Final = 143
"""Exit code of a unit that was stopped: 128 and SIGTERM, as a shell says it."""


@attrs.define
class _SharedPlace:
    """The state that all platform objects of one place share."""

    identity: str
    changed: threading.Condition = attrs.field(factory=threading.Condition)
    units: dict[str, Unit] = attrs.field(factory=dict)
    output: dict[str, str] = attrs.field(factory=dict)
    accounts: dict[str, str] = attrs.field(factory=dict)
    waits: dict[str, tuple[Evidence, datetime | None]] = attrs.field(factory=dict)
    foreign: dict[str, str] = attrs.field(factory=dict)
    created: list[Submission] = attrs.field(factory=list)
    changes: list[Unit] = attrs.field(factory=list)


class InMemoryPlatform(FalliblePlatform):
    """This platform keeps units in a dictionary.

    Back door for tests: :meth:`begin`, :meth:`wait`, :meth:`end`, :meth:`vanish`, :meth:`write`, :meth:`tell`,
    :meth:`take_name`, :meth:`leave_unstarted`, ``created``, ``fail_next``, ``lose_answers`` and ``calls``.

    Args:
        beside: A platform object whose place this one shares, as a second agent on the same machine would.
        identity: The place's name; a new place makes one up.
        traits: What can run here. The default takes universal run configs and makes up an image.
        clock: For the times that units carry; None for the real time.
        pending: Let new units wait for :meth:`begin` instead of running at once.
        aliases: Older identities of the place.
    """

    def __init__(
        self,
        *,
        beside: "InMemoryPlatform | None" = None,
        identity: str | None = None,
        traits: PlatformTraits = TRAITS,
        clock: Clock | None = None,
        pending: bool = False,
        aliases: Sequence[str] = (),
    ) -> None:
        super().__init__()
        new = _SharedPlace(identity or f"memory:{uuid.uuid4().hex[:8]}")
        self._place: _SharedPlace = beside._place if beside else new  # noqa: SLF001
        self._traits, self._clock, self._pending = traits, clock, pending
        self._aliases = tuple(aliases)

    @property
    def traits(self) -> PlatformTraits:
        return self._traits

    @property
    def identity(self) -> str:
        return self._place.identity

    @property
    def aliases(self) -> Sequence[str]:
        return self._aliases

    def check(self) -> None:
        with self._failures.call("check"):
            return

    def demands(self, submission: Submission) -> Demands:
        with self._failures.call("demands"):
            return super().demands(submission)

    def preview(self, submission: Submission) -> Sequence[Mapping[str, Any]]:
        with self._failures.call("preview"):
            return super().preview(submission)

    def prepare(self, submission: Submission) -> None:  # noqa: ARG002 - nothing here takes time
        with self._failures.call("prepare"):
            return

    def create(self, submission: Submission) -> Unit:
        name = submission.name
        with self._failures.call("create"), self._place.changed:
            if name in self._place.foreign:
                raise UnitNameTaken(name, self._place.foreign[name])
            found = self._place.units.get(name)
            if found is not None and found.status is not UnitStatus.CREATED:
                return found
            self._place.created.append(submission)
            return self._put(self._new(submission))

    def units(self) -> Sequence[Unit]:
        with self._failures.call("units"), self._place.changed:
            return list(self._place.units.values())

    def unit(self, name: str) -> Unit | None:
        with self._failures.call("unit"), self._place.changed:
            return self._place.units.get(name)

    def watch(self, *, seconds: float) -> Iterator[Unit]:
        with self._failures.call("watch"), self._place.changed:
            return self._watch(len(self._place.changes), time.monotonic() + seconds)

    def stop(self, name: str, *, grace: float) -> None:  # noqa: ARG002 - nothing here takes time
        with self._failures.call("stop"), self._place.changed:
            unit = self._place.units.get(name)
            if unit is not None and unit.status is UnitStatus.CREATED:
                self._forget(name)
            elif unit is not None and unit.lingers:
                self._put(attrs.evolve(unit, lingers=False))
            elif unit is not None and not unit.status.has_ended:
                began = unit.status is UnitStatus.RUNNING
                self._end(unit, Evidence(exit_code=STOPPED if began else None, reason="Stopped"))

    def remove(self, name: str) -> None:
        with self._failures.call("remove"), self._place.changed:
            unit = self._place.units.get(name)
            if unit is not None and not unit.status.has_ended:
                raise PlatformUnavailable(f"{name} still executes")
            self._forget(name)

    def logs_tail(self, name: str, *, lines: int = 50) -> str:
        with self._failures.call("logs_tail"), self._place.changed:
            return output_tail(self._place.output.get(name, "").encode(), lines)

    def account(self, name: str) -> str:
        with self._failures.call("account"), self._place.changed:
            return self._place.accounts.get(name, "").encode()[:TEXT_LIMIT].decode(errors="ignore")

    # --- back door ---

    @property
    def created(self) -> list[Submission]:
        """Return the submissions that started a unit, in order, without repeats of ``create`` that found one."""
        with self._place.changed:
            return list(self._place.created)

    def begin(self, name: str) -> None:
        """Let a pending unit execute.

        Raises:
            KeyError: There is no such unit.
        """
        with self._place.changed:
            unit = self._place.units[name]
            self._put(attrs.evolve(unit, status=UnitStatus.RUNNING, evidence=None, hopeless_at=None))

    def wait(
        self,
        name: str,
        reason: str,
        message: str = "",
        hopeless_at: datetime | None = None,
        *,
        kind: WaitKind = WaitKind.UNKNOWN,
        remedies: tuple[str, ...] = (),
    ) -> None:
        """Set what a pending unit waits for, and from when on its start is not expected any more.

        A name that has no unit yet gets one that waits like this.

        Raises:
            ValueError: The unit does not wait any more.
        """
        with self._place.changed:
            evidence = Evidence(reason=reason, message=message, wait_kind=kind, remedies=remedies)
            unit = self._place.units.get(name)
            if unit is None:
                self._place.waits[name] = (evidence, hopeless_at)
            elif unit.status is UnitStatus.PENDING:
                self._put(attrs.evolve(unit, evidence=evidence, hopeless_at=hopeless_at))
            else:
                raise ValueError(f"{name} is {unit.status.value}: only a pending unit waits for something")

    def threaten(self, name: str, reason: str, message: str = "") -> None:
        """Let a running unit show that it may not end by itself.

        Raises:
            KeyError: There is no such unit.
        """
        with self._place.changed:
            unit = self._place.units[name]
            self._put(attrs.evolve(unit, evidence=Evidence(reason=reason, message=message)))

    def end(self, name: str, exit_code: int = 0, *, reason: str = "", message: str = "", lingers: bool = False) -> None:
        """Let a unit end by itself; with *lingers* its helpers go on.

        Raises:
            KeyError: There is no such unit.
        """
        with self._place.changed:
            said = Evidence.of_exit_code(exit_code, message=message)
            evidence = attrs.evolve(said, reason=reason, message=message) if reason else said
            self._end(attrs.evolve(self._place.units[name], lingers=lingers), evidence)

    def vanish(self, name: str) -> None:
        """Delete a unit externally, executing or not.

        Raises:
            KeyError: There is no such unit.
        """
        with self._place.changed:
            unit = self._place.units[name]
            self._forget(name)
            self._announce(
                attrs.evolve(unit, status=UnitStatus.FAILED, evidence=Evidence(reason="Deleted"), hopeless_at=None)
            )

    def write(self, name: str, text: str) -> None:
        """Append *text* to a unit's output."""
        with self._place.changed:
            self._place.output[name] = self._place.output.get(name, "") + text

    def tell(self, name: str, text: str) -> None:
        """Make *text* the platform's account of a unit, until the unit is gone."""
        with self._place.changed:
            self._place.accounts[name] = text

    def take_name(self, name: str, owner: str = "something else") -> None:
        """Give a unit's name to an object that is not ours."""
        with self._place.changed:
            self._place.foreign[name] = owner

    def is_taken(self, name: str) -> bool:
        """Return whether an object that is not ours has the name."""
        with self._place.changed:
            return name in self._place.foreign

    def leave_unstarted(self, submission: Submission) -> None:
        """Leave a unit as a crash between creating and starting it would."""
        with self._place.changed:
            unit = self._new(submission)
            self._put(attrs.evolve(unit, status=UnitStatus.CREATED, evidence=None, hopeless_at=None))

    # --- inside; the place's condition is held ---

    def _new(self, submission: Submission) -> Unit:
        handle = uuid.uuid4().hex[:12]
        evidence, hopeless_at = self._place.waits.get(submission.name, (None, None))
        return Unit(
            name=submission.name,
            flow_run_id=submission.flow_run_id,
            attempt=submission.attempt,
            status=UnitStatus.PENDING if self._pending or evidence else UnitStatus.RUNNING,
            id=handle,
            info=f"Memory ID: {handle}",
            evidence=evidence,
            hopeless_at=hopeless_at,
            created_at=self._now(),
            owner=submission.owner,
        )

    def _end(self, unit: Unit, evidence: Evidence) -> None:
        status = UnitStatus.SUCCEEDED if evidence.exit_code == 0 else UnitStatus.FAILED
        self._put(attrs.evolve(unit, status=status, evidence=evidence, hopeless_at=None, ended_at=self._now()))

    def _put(self, unit: Unit) -> Unit:
        self._place.units[unit.name] = unit
        self._announce(unit)
        return unit

    def _announce(self, unit: Unit) -> None:
        self._place.changes.append(unit)
        self._place.changed.notify_all()

    def _forget(self, name: str) -> None:
        self._place.units.pop(name, None)
        self._place.output.pop(name, None)
        self._place.accounts.pop(name, None)

    def _now(self) -> datetime:
        return self._clock.now() if self._clock else datetime.now(timezone.utc)

    def _watch(self, seen: int, end: float) -> Iterator[Unit]:
        place = self._place
        while (left := end - time.monotonic()) > 0:
            with place.changed:
                if len(place.changes) == seen:
                    place.changed.wait(left)
                news = place.changes[seen:]
            seen += len(news)
            yield from news
