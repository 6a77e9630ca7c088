"""The controls by which an operator acts on a running agent."""

from collections.abc import Callable, Mapping

import attrs

from prefect.agent.domain.services.work_in_hand import WorkInHand
from prefect.agent.entrypoints.runtime.announcer import Announcer
from prefect.agent.entrypoints.runtime.exits import end_now
from prefect.agent.entrypoints.runtime.health import Health
from prefect.agent.entrypoints.runtime.site import Page, done
from prefect.agent.ports import events


@attrs.define(kw_only=True)
class Controls:
    """An operator can pause, resume, poke and stop the agent.

    Attributes:
        stop: Lets the agent finish begun work, and end.
        poke: Lets the agent poll now.
        end_process: Ends the process at once, with a code.
    """

    work: WorkInHand
    health: Health
    announcer: Announcer
    stop: Callable[[], None]
    poke: Callable[[], None]
    end_process: Callable[[int], None] = end_now

    def pause(self) -> None:
        """Claim and start nothing new; living units, reports and cancellations go on. May be repeated."""
        if not self.work.is_paused:
            self.work.is_paused = self.health.paused = True
            self.announcer.say(events.AGENT_PAUSED, "Paused: nothing new is claimed; flow runs that execute go on")

    def resume(self) -> None:
        """Claim again. May be repeated."""
        if self.work.is_paused:
            self.work.is_paused = self.health.paused = False
            self.announcer.say(events.AGENT_GOES_ON, "Resumed: flow runs are claimed again")
            self.poke()

    def stop_now(self) -> None:
        """End the process at once, as a second signal does; the next agent here recovers the unfinished work."""
        self.announcer.say(events.AGENT_STOPPED, "Stopping at once, as an operator wants", "WARNING")
        self.end_process(0)

    def actions(self) -> Mapping[str, Page]:
        """Return the actions by path."""
        acts = {"pause": self.pause, "resume": self.resume, "stop": self.stop, "stop-now": self.stop_now}
        return {f"/{name}": done(act) for name, act in acts.items()}
