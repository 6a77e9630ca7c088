"""An agent whose health is looked at."""

import http.client
from typing import Any

import attrs

from prefect.agent.entrypoints.runtime.health import Health
from prefect.agent.ports.events import Event
from support.builders import HandClock


@attrs.define
class Watched:
    """An agent's health under a clock that is moved by hand."""

    clock: HandClock = attrs.field(factory=HandClock)
    health: Health = attrs.field(init=False)
    pokes: list[str] = attrs.field(factory=list)
    address: str = ""

    def __attrs_post_init__(self) -> None:
        self.health = Health(clock=self.clock)

    def hear(self, name: str, message: str = "m", **fields: Any) -> None:
        """Something happened."""
        self.health.take(Event(name=name, message=message, fields=fields))

    def ask(self, method: str, path: str) -> tuple[int, str]:
        """Status and body of one request."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def facts(self) -> dict[str, Any]:
        """The facts of the report."""
        return self.health.report()[1]
