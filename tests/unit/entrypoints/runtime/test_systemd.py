"""What systemd is told: over a real datagram socket, as it would listen."""

import socket
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from prefect.agent.entrypoints.runtime.systemd import LONGEST_STATUS, OFTEN, Notifier
from prefect.agent.ports import events
from prefect.agent.ports.events import Event


@attrs.define
class Systemd:
    """The other end."""

    address: str
    socket: socket.socket

    def heard(self) -> list[str]:
        """Messages since the last time."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    """A service manager, at a path and at an abstract address."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@prefect-agent-{tmp_path.name}-{id(request)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0", 1))
        listener.setblocking(False)
        yield Systemd(address, listener)


def event(name: str, message: str = "m") -> Event:
    """Something happened."""
    return Event(name=name, message=message)


def notifier(systemd: Systemd, **environ: str) -> Notifier:
    """As systemd starts it."""
    return Notifier.from_environ({"NOTIFY_SOCKET": systemd.address, **environ}, pid=7)


def test_ready_after_the_first_good_poll_and_once(systemd: Systemd) -> None:
    """What waits for the service waits for an agent that works."""
    told = notifier(systemd)

    told.take(event(events.AGENT_STARTED))
    told.take(event(events.SWEPT))
    assert systemd.heard() == []
    told.take(event(events.POLLED))
    told.take(event(events.POLLED))
    assert systemd.heard() == ["READY=1\nSTATUS=Waiting for flow runs"]


@pytest.mark.parametrize("name", [events.CLOUD_TROUBLE, events.PLATFORM_TROUBLE, events.BUG])
def test_a_problem_is_the_status_until_a_poll_succeeds(systemd: Systemd, name: str) -> None:
    """`systemctl status` shows what is wrong now, not what was."""
    told = notifier(systemd)
    told.take(event(events.POLLED))
    systemd.heard()

    told.take(event(name, "cannot reach\nthe API"))
    told.take(event(events.POLLED))
    told.take(event(events.POLLED))

    assert systemd.heard() == ["STATUS=cannot reach the API", "STATUS=Waiting for flow runs"]


def test_a_start_that_waits_asks_for_more_time(systemd: Systemd) -> None:
    """Systemd would end a service that is not ready in time."""
    told = notifier(systemd)

    told.take(event(events.STARTING, "the Cloud is away"))
    told.take(event(events.POLLED))

    assert systemd.heard() == [
        "EXTEND_TIMEOUT_USEC=120000000\nSTATUS=the Cloud is away",
        "READY=1\nSTATUS=Waiting for flow runs",
    ]


def test_a_problem_before_the_first_poll_is_not_ready(systemd: Systemd) -> None:
    """Ready comes when it is over."""
    told = notifier(systemd)

    told.take(event(events.CLOUD_TROUBLE, "x"))
    assert systemd.heard() == ["STATUS=x"]
    told.take(event(events.POLLED))
    assert systemd.heard() == ["READY=1\nSTATUS=Waiting for flow runs"]


def test_each_message_by_itself(systemd: Systemd) -> None:
    """For whoever has no events."""
    told = notifier(systemd)

    told.ready()
    told.status(f"é\tb {'x' * 999}")
    told.stopping()
    ready, status, stopping = systemd.heard()

    assert ready == "READY=1"
    assert status.startswith("STATUS=é b xxx")
    assert len(status) == len("STATUS=") + LONGEST_STATUS
    assert stopping == "STOPPING=1\nSTATUS=Stopping: finishing the flow runs that are being started"


def test_a_sign_of_life_only_with_reason(systemd: Systemd) -> None:
    """An agent that is unwell says nothing, and systemd starts another."""
    told = notifier(systemd)

    told.watchdog(healthy=False)
    assert systemd.heard() == []
    told.watchdog(healthy=True)
    assert systemd.heard() == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    ("environ", "period"),
    [
        ({"WATCHDOG_USEC": "10000000"}, 5.0),
        ({"WATCHDOG_USEC": "600000000"}, OFTEN),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "7"}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_how_often_there_must_be_a_sign_of_life(
    systemd: Systemd, environ: dict[str, str], period: float | None
) -> None:
    """Twice in the time that systemd gives, and so often that a moment of trouble costs nothing; if meant for us."""
    assert notifier(systemd, **environ).period == period


@pytest.mark.parametrize("address", ["", "vsock:2:1", "nowhere"])
def test_where_nobody_listens_nothing_is_done(address: str) -> None:
    """No socket, no error: the agent runs elsewhere too. No signs of life either."""
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "10000000"}
    told = Notifier.from_environ(environ)

    told.take(event(events.POLLED))
    told.ready()
    assert told.period is None
    assert environ == {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "10000000"}


def test_a_listener_that_is_gone_is_no_problem(tmp_path: Path) -> None:
    """How the agent is told must not change how it is."""
    told = Notifier.from_environ({"NOTIFY_SOCKET": str(tmp_path / "gone")})

    told.take(event(events.POLLED))
    told.watchdog(healthy=True)
