"""The report loop sends the reports in the outbox."""

import attrs

from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.domain.services.outbox import Outbox
from prefect.agent.domain.services.reporting import SendReports
from prefect.agent.entrypoints.runtime.rhythm import Rhythm
from prefect.agent.entrypoints.runtime.wakes import Wakes
from prefect.agent.ports import events
from prefect.agent.ports.clock import Clock
from prefect.agent.ports.events import Event, EventSink


@attrs.define(kw_only=True)
class ReportLoop:
    """The loop sends reports soon after they arrive, and again until the Cloud has confirmed them."""

    outbox: Outbox
    send_reports: SendReports
    clock: Clock
    settings: AgentSettings
    wakes: Wakes
    tell: EventSink = events.ignore
    rhythm: Rhythm = Rhythm()

    def __attrs_post_init__(self) -> None:
        self.outbox.on_news = self.wakes.report.set

    def load(self) -> None:
        """Load the reports that an earlier agent left."""
        found = self.outbox.load()
        where, why = self.outbox.store.where, self.outbox.store.problem
        message = f"Reports that the Cloud has not confirmed are kept in {where}{f' ({why})' if why else ''}"
        if found:
            message += f"; an earlier agent left some of {found} flow runs"
        level = "WARNING" if why else "INFO"
        self.tell(Event(name=events.AGENT_STARTED, level=level, message=message))

    def step(self) -> bool:
        """Wait for reports and send them; return False once the last ones are sent."""
        due, longest = self.outbox.next_due(), self.settings.sweep_every
        self.clock.pause(longest if due is None else min(due, longest), self.wakes.report)
        self.clock.pause(self.rhythm.report_gap, self.wakes.last_reports)
        self.wakes.report.clear()
        sent = self.send_reports()
        if sent:
            self.tell(Event(name=events.REPORTED, level="DEBUG", message=f"Sent {sent} reports", fields={"sent": sent}))
        return bool(self.outbox) or not self.wakes.last_reports.is_set()

    def hurry(self) -> None:
        """Send the present reports now, because the agent ends."""
        self.wakes.last_reports.set()
        self.outbox.hurry()
        self.wakes.report.set()

    def close(self) -> None:
        """Say which reports could not be sent, and close the store."""
        if self.outbox:
            kept = self.outbox.store.where
            message = (
                f"{len(self.outbox)} reports could not be sent; they are kept in {kept}, and the next sweep of an "
                "agent here sees to their runs"
            )
            self.tell(Event(name=events.CLOUD_TROUBLE, level="ERROR", message=message))
        self.outbox.store.close()
