"""The composition root wires the parts of one agent. How adapters are made is in ``factories.py``."""

import threading
from typing import Any, Final, cast

import attrs
from dependency_injector import containers
from dependency_injector.providers import Callable, Dependency, List, Object, Provider, Singleton

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.desk import Desk
from prefect.agent.domain.services.claiming import ClaimFlowRuns
from prefect.agent.domain.services.claims_view import ClaimsView
from prefect.agent.domain.services.ending import ReportEnd
from prefect.agent.domain.services.gate import PlatformGate
from prefect.agent.domain.services.noticing import NoticeLateRuns
from prefect.agent.domain.services.outbox import Outbox
from prefect.agent.domain.services.recovering import RecoverClaims
from prefect.agent.domain.services.reporting import SendReports
from prefect.agent.domain.services.stopping import StopUnits
from prefect.agent.domain.services.submission import CreateUnit, StartFlowRun
from prefect.agent.domain.services.sweep import Sweep
from prefect.agent.domain.services.work_in_hand import WorkInHand
from prefect.agent.entrypoints import factories
from prefect.agent.entrypoints.factories import Options
from prefect.agent.entrypoints.runtime.announcer import Announcer
from prefect.agent.entrypoints.runtime.health import Health
from prefect.agent.entrypoints.runtime.loops import Loops
from prefect.agent.entrypoints.runtime.meter import Meter
from prefect.agent.entrypoints.runtime.polling import PollLoop
from prefect.agent.entrypoints.runtime.pools import Pools
from prefect.agent.entrypoints.runtime.recoveries import Recoveries
from prefect.agent.entrypoints.runtime.reporting import ReportLoop
from prefect.agent.entrypoints.runtime.startup import StartUp
from prefect.agent.entrypoints.runtime.status import StatusBoard
from prefect.agent.entrypoints.runtime.supervision import Supervisor
from prefect.agent.entrypoints.runtime.sweeping import SweepLoop, WatchLoop
from prefect.agent.entrypoints.runtime.systemd import Notifier
from prefect.agent.entrypoints.runtime.wakes import Wakes
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.cloud_api import CloudApi
from prefect.agent.ports.events import EventSink
from prefect.agent.ports.platform import ExecutionPlatform
from prefect.agent.ports.presence import Presence
from prefect.agent.ports.reports import ReportStore

PORTS: Final = ("cloud", "platform", "clock", "tell", "store", "presence")
"""Names of the ports that :func:`build` accepts in place of the defaults."""


class Container(containers.DeclarativeContainer):
    """The container makes the parts of one agent. A port is replaced by overriding its provider."""

    options: Dependency[Options] = Dependency(instance_of=Options)
    settings = options.provided.settings
    agent_name = Callable(lambda chosen: chosen.name, settings)  # not settings.name: providers have a name of their own

    # Ports, and the sinks of events
    clock: Provider[Clock] = Singleton(factories.system_clock)
    meter = Singleton(Meter, clock=clock)
    cloud: Provider[CloudApi] = Singleton(factories.graphql_cloud, options, clock, meter.provided.request)
    platform: Provider[ExecutionPlatform] = Singleton(factories.platform, options)
    presence: Provider[Presence] = Singleton(factories.presence, platform)
    marks = Singleton(factories.marks, settings, cloud)  # it names the tenant: for parts made after the connection
    store: Provider[ReportStore] = Singleton(factories.store, options, marks)
    tell: Provider[EventSink] = Object(events.ignore)
    health = Singleton(Health.of, clock, settings)
    notifier = Singleton(factories.notifier)
    sinks = List(health.provided.take, notifier.provided.take, meter.provided.take, tell)
    announcer = Singleton(Announcer, mask=options.provided.mask, sinks=sinks)
    time = {"clock": clock, "tell": announcer}
    sides = {"cloud": cloud, "platform": platform, **time}

    # What several parts share
    wakes = Singleton(Wakes)
    desk = Singleton(Desk.for_parallel, settings.parallel)
    work = Singleton(WorkInHand, desk=desk, limit=settings.limit, wake_sweep=wakes.provided.sweep.set)
    supervisor = Singleton(Supervisor, settings=settings, on_fatal=wakes.provided.stop, **time)
    pools = Singleton(Pools, parallel=settings.parallel, supervisor=supervisor, wakes=wakes)
    gate = Singleton(PlatformGate, platform=platform, **time)
    boxes = {"store": store, "guard": Singleton(threading.RLock), "clean": options.provided.mask}
    outbox = Singleton(Outbox, clock=clock, agent_name=agent_name, **boxes)
    shared = {"work": work, "wakes": wakes, "supervisor": supervisor}

    about = Callable(factories.about, options)
    known = {"settings": settings, "agent": about, "health": health, "work": work, "meter": meter}
    board = Singleton(StatusBoard, clock=clock, mask=options.provided.mask, **known)

    # From a claim to a unit
    claimant = Singleton(factories.claimant, options, platform, presence)
    deadline = settings.create_deadline
    claim = Singleton(ClaimFlowRuns, cloud=cloud, claimant=claimant, create_within=deadline, **time)
    marked = {"agent_name": agent_name, "labels": settings.labels, "env": settings.env}
    bounds = {"deadline": deadline, "policy": options.provided.policy, "note": outbox.provided.log}
    create_unit = Singleton(CreateUnit, gate=gate, work=work, **marked, **bounds, **sides)
    own = options.provided.own_deploy
    start_run = Singleton(StartFlowRun, create=create_unit, own=own, outbox=outbox, work=work, **time)
    recovers = {"recovers": options.provided.recovers, "platform": platform, "outbox": outbox, "work": work, **time}
    recover_claims = Singleton(RecoverClaims, claim=claim, gate=gate, presence=presence, **recovers)
    recoveries = Singleton(Recoveries, recover_claims=recover_claims, start_run=start_run, pools=pools, **shared)

    # From a unit to its run's end
    ending = {"platform": platform, "outbox": outbox, "tell": announcer}
    report = Singleton(ReportEnd, together=pools.provided.together, **ending)
    background = pools.provided.background
    stops = Singleton(StopUnits, clock=clock, settings=settings, report=report, background=background, **ending)
    read = {"platforms": claimant.provided.platforms, "on_read": announcer.provided.learn}
    view = Singleton(ClaimsView, cloud=cloud, clock=clock, **read)
    left = recover_claims.provided.is_left_to_claimant
    judges = {"owner": marks, "settings": settings, "view": view, "recover": recoveries, "is_left_to_claimant": left}
    sweep = Singleton(Sweep, cloud=cloud, report=report, stops=stops, **judges, **recovers)
    send_reports = Singleton(SendReports, cloud=cloud, outbox=outbox, tell=announcer)

    # Loops
    rests = {"rhythm": options.provided.rhythm}
    claims = {"claim": claim, "start_run": start_run, "gate": gate, "outbox": outbox, "pools": pools}
    poll_loop = Singleton(PollLoop, cloud=cloud, settings=settings, **claims, **shared, **time)
    describe = board.provided.describe
    notice = Singleton(NoticeLateRuns, cloud=cloud, labels=settings.labels, describe=describe, **time)
    sweep_loop = Singleton(SweepLoop, sweep=sweep, clock=clock, settings=settings, notice=notice, **shared, **rests)
    watch_loop = Singleton(WatchLoop, platform=platform, settings=settings, owner=marks, wakes=wakes, **time, **rests)
    sends = {"outbox": outbox, "send_reports": send_reports}
    report_loop = Singleton(ReportLoop, settings=settings, wakes=wakes, **sends, **time, **rests)
    all_loops = {"poll": poll_loop, "sweep": sweep_loop, "watch": watch_loop, "reports": report_loop}
    common = {"settings": settings, "supervisor": supervisor, "pools": pools, "wakes": wakes, "tell": announcer}
    loops = Singleton(Loops, **all_loops, **common)

    # The start
    identity = Singleton(factories.identity, options)
    stopping, patience = wakes.provided.stopping, settings.start_patience
    begins = {"agent": identity, "patience": patience, "stopping": stopping, "prepare": loops.provider}
    start_up = Singleton(StartUp, **begins, **sides)


@attrs.frozen
class Parts:
    """The parts that :func:`build` returns. Each is made when it is first asked for."""

    _container: Any

    @property
    def cloud(self) -> CloudApi:
        """Return the Cloud API port."""
        return cast("CloudApi", self._container.cloud())

    @property
    def platform(self) -> ExecutionPlatform:
        """Return the execution platform port."""
        return cast("ExecutionPlatform", self._container.platform())

    @property
    def clock(self) -> Clock:
        """Return the clock port."""
        return cast("Clock", self._container.clock())

    @property
    def announcer(self) -> Announcer:
        """Return the announcer, which takes every event of the agent."""
        return cast("Announcer", self._container.announcer())

    @property
    def health(self) -> Health:
        """Return the agent's health."""
        return cast("Health", self._container.health())

    @property
    def notifier(self) -> Notifier:
        """Return the notifier of the service manager, which does nothing without one."""
        return cast("Notifier", self._container.notifier())

    @property
    def meter(self) -> Meter:
        """Return the meter, which counts the agent's work."""
        return cast("Meter", self._container.meter())

    @property
    def board(self) -> StatusBoard:
        """Return the status board, which says what the agent is doing."""
        return cast("StatusBoard", self._container.board())

    @property
    def work(self) -> WorkInHand:
        """Return the flow runs and units that the agent is working on."""
        return cast("WorkInHand", self._container.work())

    @property
    def outbox(self) -> Outbox:
        """Return the outbox of reports that are not confirmed. Making it asks the Cloud for its identity."""
        return cast("Outbox", self._container.outbox())

    @property
    def wakes(self) -> Wakes:
        """Return the events that wake and end the loops."""
        return cast("Wakes", self._container.wakes())

    @property
    def supervisor(self) -> Supervisor:
        """Return the supervisor, which runs the loops."""
        return cast("Supervisor", self._container.supervisor())

    @property
    def create_unit(self) -> CreateUnit:
        """Return the service that plans and creates the unit of a claimed flow run."""
        return cast("CreateUnit", self._container.create_unit())

    @property
    def recover_claims(self) -> RecoverClaims:
        """Return the service that recovers claims without a unit."""
        return cast("RecoverClaims", self._container.recover_claims())

    @property
    def start_up(self) -> StartUp:
        """Return the start: everything that must have succeeded once before the first poll."""
        return cast("StartUp", self._container.start_up())

    @property
    def loops(self) -> Loops:
        """Return the loops. Making them asks the platform for its identity."""
        return cast("Loops", self._container.loops())


def build(options: Options, **ports: Any) -> Parts:
    """Wire one agent.

    Args:
        options: Everything that arguments, environment and files decide.
        ports: ``cloud``, ``platform``, ``clock``, ``tell``, ``store`` or ``presence``: an object of yours in place of
            the default.

    Raises:
        ConfigurationError: A keyword is not the name of a port.
    """
    container = Container(options=options)
    for name, port in ports.items():
        if name not in PORTS:
            raise ConfigurationError(f"there is no port {name!r}; there are {', '.join(PORTS)}")
        getattr(container, name).override(Object(port))
    return Parts(container)
