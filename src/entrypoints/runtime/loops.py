"""All loops of one agent, from the first sweep to the last report."""

import threading
from typing import Final

import attrs

from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.runtime.polling import PollLoop
from prefect.agent.entrypoints.runtime.pools import Pools
from prefect.agent.entrypoints.runtime.reporting import ReportLoop
from prefect.agent.entrypoints.runtime.supervision import Supervisor
from prefect.agent.entrypoints.runtime.sweeping import SweepLoop, WatchLoop
from prefect.agent.entrypoints.runtime.wakes import Wakes
from prefect.agent.ports import events
from prefect.agent.ports.events import Event, EventSink

LAST_REPORTS: Final = 15.0
"""How long a stopping agent tries to get its last reports out."""


@attrs.define(kw_only=True)
class Loops:
    """The loops do everything that happens between start and stop of one agent."""

    settings: AgentSettings
    supervisor: Supervisor
    pools: Pools
    wakes: Wakes
    poll: PollLoop
    sweep: SweepLoop
    watch: WatchLoop
    reports: ReportLoop
    tell: EventSink = events.ignore

    def run(self) -> None:
        """Work until :meth:`stop`, ``max_polls`` or a fatal error; then finish begun work.

        Raises:
            AgentExit: The agent cannot go on; it carries the exit code.
        """
        self.reports.load()
        self.sweep.first()
        self.supervisor.thread("sweep", self.sweep.step, self.wakes.stopping)
        self.supervisor.thread("watch", self.watch.step, self.wakes.stopping)
        given_up = threading.Event()
        reports = self.supervisor.thread("report", self.reports.step, given_up)
        self.supervisor.run("poll", self.poll.step, self.wakes.stopping)
        self.stop()
        self._end_workers()
        self.reports.hurry()
        reports.join(LAST_REPORTS)
        given_up.set()
        self.reports.close()
        if self.supervisor.fatal is not None:
            raise self.supervisor.fatal

    def stop(self) -> None:
        """Stop polling, start what is claimed, and let :meth:`run` return.

        May be called from any thread or signal handler.
        """
        self.wakes.stop()

    def poke(self) -> None:
        """Poll the Cloud now."""
        self.poll.hurry()

    def _end_workers(self) -> None:
        """Wait for the starts that have begun; a platform that hangs does not hold the agent up for ever."""
        if not self.pools.close(self.settings.stop_patience):
            message = "The platform does not answer; what was being started is left to the next agent here"
            self.tell(Event(name=events.PLATFORM_TROUBLE, level="ERROR", message=message))
