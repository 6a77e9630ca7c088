"""Any port between an agent and its environment, with a fault point before and after each call of any method."""

import abc
import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

import attrs

from chaos.fibers import Killed, Process, Scheduler
from prefect.agent.adapters.fakes.failing import CLOUD_CHANGES, PLATFORM_CHANGES
from prefect.agent.domain.errors import CloudUnavailable, OutcomeUnknown, PlatformUnavailable
from prefect.agent.domain.model.ends import EndOutcome, EndVerdict
from prefect.agent.domain.model.units import Unit
from prefect.agent.ports.cloud_api import CloudApi
from prefect.agent.ports.platform import ExecutionPlatform

ASK_NOBODY: Final = frozenset({"close", "workload"})
"""Methods that ask nothing of anybody: no fault point."""

Watch = Callable[[str, Mapping[str, Any], Callable[[], Any]], Any]
"""Sees every call: port and method, arguments by name, and the call itself."""


@attrs.define
class Faults:
    """What goes wrong with calls, apart from death. Shares are of one; times are in virtual seconds.

    Attributes:
        cloud, platform: How often a call fails.
        lost: How many of the failures of a change come after its effect.
        late: How many of the unknown outcomes of a claim take effect after the answer was given up.
        slow: How often a call takes its time; *slowest* is how long at most.
        cloud_away, platform_away: Until when no call succeeds (virtual seconds).
    """

    cloud: float = 0.0
    platform: float = 0.0
    lost: float = 0.5
    late: float = 0.0
    slow: float = 0.0
    slowest: float = 20.0
    cloud_away: float = 0.0
    platform_away: float = 0.0


@attrs.define(eq=False)
class Points:
    """The fault points of one agent process, counted; it is killed at one of them.

    Attributes:
        passed: Names of the points passed so far, if they are recorded.
        kill_at: Number of the point at which the process dies.
    """

    process: Process
    scheduler: Scheduler
    kill_at: int | None = None
    count: int = 0
    passed: list[str] = attrs.field(factory=list)

    def reach(self, name: str) -> None:
        """One fault point: the process may die here, and others may have a turn.

        Raises:
            Killed: It does, or it had died before.
        """
        if self.process.killed:
            raise Killed
        self.passed.append(name)
        self.count += 1
        if self.kill_at is not None and self.count > self.kill_at:
            self.process.killed = True
            raise Killed
        self.scheduler.turn()


@attrs.define(eq=False)
class Line:
    """The way of the calls of one agent process to its two ports."""

    points: Points
    faults: Faults
    chance: random.Random
    watch: Watch

    def call(self, port: str, method: str, given: Mapping[str, Any], work: Callable[[], Any]) -> Any:
        """Pass one call on, as far as faults and death let it through."""
        name = f"{port}.{method}"
        is_change = method in (CLOUD_CHANGES if port == "cloud" else PLATFORM_CHANGES)
        seen = partial(self.watch, name, given, work)
        self.points.reach(f"before {name}")
        self._take_time()
        before, after = self._draw(port, is_change)
        if before:
            self._fail(name, port, is_change, seen)
        result = seen()
        self.points.reach(f"after {name}")
        if after:
            return self._lose(name, port, result)
        return result

    def _take_time(self) -> None:
        if self.faults.slow and self.chance.random() < self.faults.slow:
            self.points.scheduler.wait(None, self.chance.uniform(0, self.faults.slowest))

    def _draw(self, port: str, is_change: bool) -> tuple[bool, bool]:
        now = self.points.scheduler.now / 1_000_000
        share = self.faults.cloud if port == "cloud" else self.faults.platform
        if now < (self.faults.cloud_away if port == "cloud" else self.faults.platform_away):
            return True, False
        if not share or self.chance.random() >= share:
            return False, False
        after = is_change and self.chance.random() < self.faults.lost
        return not after, after

    def _fail(self, name: str, port: str, is_change: bool, seen: Callable[[], Any]) -> None:
        if port == "platform":
            raise PlatformUnavailable(f"chaos: no answer to {name}")
        if name in {"cloud.claim", "cloud.write_logs"} and self.chance.random() < 0.5:
            if name == "cloud.claim" and self.chance.random() < self.faults.late:
                self.points.scheduler.at(self.chance.uniform(0.1, 20), seen)
            raise OutcomeUnknown(f"chaos: the answer to {name} was lost")
        raise CloudUnavailable(f"chaos: no answer to {name}")

    def _lose(self, name: str, port: str, result: Any) -> Any:
        if port == "platform":
            raise PlatformUnavailable(f"chaos: the answer to {name} was lost")
        if name == "cloud.end":
            return [EndOutcome(verdict=EndVerdict.UNKNOWN, reason="chaos: the answer was lost") for _ in result]
        raise OutcomeUnknown(f"chaos: the answer to {name} was lost")


def cloud_port(inner: CloudApi, line: Line, skew: Callable[[], float]) -> CloudApi:
    """*inner* behind *line*: every method of the port, those that are added to it later included.

    Args:
        skew: How far the Cloud's clock is ahead of the agent's, as an adapter would have measured it.
    """
    changes = {"skew": property(lambda _self: skew())}
    return cast("CloudApi", _wrapped(CloudApi, inner, line, "cloud", changes))


def platform_port(
    inner: ExecutionPlatform, line: Line, presence: object, skew: Callable[[], float]
) -> ExecutionPlatform:
    """As :func:`cloud_port`, for a platform whose watch waits in virtual time."""

    def watch(_self: object, *, seconds: float) -> Iterator[Unit]:
        return _watched(inner, line, seconds)

    changes: dict[str, Any] = {
        "watch": watch,
        "presence": property(lambda _self: presence),
        "skew": property(lambda _self: skew()),
    }
    return cast("ExecutionPlatform", _wrapped(ExecutionPlatform, inner, line, "platform", changes))


def _wrapped(port: type[abc.ABC], inner: object, line: Line, kind: str, changes: Mapping[str, Any]) -> object:
    body: dict[str, Any] = {}
    for name, member in vars(port).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            body[name] = property(partial(_read, inner, name))
        elif callable(member):
            body[name] = _method(name, member, inner, line, kind)
    made = type(f"Chaos{port.__name__}", (port,), {**body, **changes})
    return made()


def _read(inner: object, name: str, _self: object) -> Any:
    return getattr(inner, name)


def _method(name: str, member: Callable[..., Any], inner: object, line: Line, kind: str) -> Callable[..., Any]:
    signature = inspect.signature(member)

    def method(self: object, *given: Any, **named: Any) -> Any:
        work = partial(getattr(inner, name), *given, **named)
        if name in ASK_NOBODY:
            return work()
        arguments = dict(signature.bind(self, *given, **named).arguments)
        arguments.pop("self")
        return line.call(kind, name, arguments, work)

    return method


def _is_longer(changes: Sequence[Unit], seen: int) -> bool:
    return len(changes) > seen


def _watched(inner: ExecutionPlatform, line: Line, seconds: float) -> Iterator[Unit]:
    """The changes of an in-memory place, as they happen in virtual time."""
    scheduler, changes = line.points.scheduler, inner._place.changes  # type: ignore[attr-defined]
    seen, end = len(changes), scheduler.now / 1_000_000 + seconds
    line.call("platform", "watch", {"seconds": seconds}, lambda: None)
    while (left := end - scheduler.now / 1_000_000) > 0:
        if not scheduler.wait(partial(_is_longer, changes, seen), left):
            return
        news, seen = changes[seen:], len(changes)
        yield from news
