"""A program: the real process or Docker agent, which kills itself at the fault point that ``CHAOS_KILL_AT`` numbers.

Fault points are before and after each call of a port, and before and after each change of a file or directory. The
product has no hook for this: its ports and the functions of ``os`` are wrapped from outside. ``CHAOS_POINTS`` names a
file that gets the names of the points passed. With ``CHAOS_FOLDER`` units are containers that see that folder, where
their program is. Arguments: the Cloud's address, and a label.
"""

import abc
import contextlib
import functools
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, cast

from prefect.agent import Agent
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.container import build
from prefect.agent.entrypoints.factories import Options
from prefect.agent.entrypoints.runtime.exits import AgentExit
from prefect.agent.entrypoints.settings.configuration import Configuration, connection
from prefect.agent.ports.cloud_api import CloudApi
from prefect.agent.ports.platform import ExecutionPlatform

FILES: Final = ("replace", "rename", "link", "symlink", "mkdir", "rmdir", "unlink", "remove", "fsync", "ftruncate")
ASK_NOBODY: Final = frozenset({"close", "workload", "watch"})


class Points:
    """Counts fault points of all threads, and dies at one."""

    def __init__(self) -> None:
        self._kill_at = int(os.environ.get("CHAOS_KILL_AT", "-1"))
        path = os.environ.get("CHAOS_POINTS")
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if path else None
        self._count = -1
        self._guard = threading.RLock()

    def reach(self, name: str) -> None:
        """One point."""
        with self._guard:
            self._count += 1
            if self._file is not None:
                os.write(self._file, f"{name}\n".encode())
            if self._count == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """*work* between two points."""

        @functools.wraps(work)
        def mortal(*given: Any, **named: Any) -> Any:
            self.reach(f"before {name}")
            result = work(*given, **named)
            self.reach(f"after {name}")
            return result

        return mortal


def mortal_port(port: type[abc.ABC], inner: object, kind: str, points: Points) -> object:
    """*inner* with points around every method of *port*."""
    body: dict[str, Any] = {}
    for name, member in vars(port).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            body[name] = property(functools.partial(_read, inner, name))
        elif callable(member):
            work = getattr(inner, name)
            body[name] = staticmethod(work if name in ASK_NOBODY else points.around(f"{kind}.{name}", work))
    return type(f"Mortal{port.__name__}", (port,), body)()


def _read(inner: object, name: str, _self: object) -> Any:
    return getattr(inner, name)


def main(url: str, label: str) -> int:
    """Work until a signal, or the fault point, comes."""
    if limit := os.environ.get("CHAOS_DESCRIPTORS"):
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit), int(limit)))
    folder = os.environ.get("CHAOS_FOLDER")
    settings = AgentSettings(
        name=label,
        labels=(label,),
        env={"PATH": f"{folder}:/usr/local/bin:/usr/bin:/bin"} if folder else {},
        poll_first=0.1,
        poll_last=0.5,
        sweep_every=1.0,
        cancel_grace=0.5,
        stop_grace=1.0,
    )
    login = connection(Configuration.load(os.environ), api=url, key=None, tenant_id=None)
    of_docker = {"no_pull": True, "volumes": [f"{folder}:{folder}"], "networks": ["host"]}
    parts = build(
        Options(
            connection=login,
            settings=settings,
            platform="docker" if folder else "process",
            platform_options=of_docker if folder else {},
        )
    )
    points = Points()
    for name in FILES:
        setattr(os, name, points.around(f"os.{name}", getattr(os, name)))
    agent = Agent(
        cloud=cast("CloudApi", mortal_port(CloudApi, parts.cloud, "cloud", points)),
        platform=cast("ExecutionPlatform", mortal_port(ExecutionPlatform, parts.platform, "platform", points)),
        settings=settings,
    )
    try:
        agent.start()
    except AgentExit as end:
        print(end, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(*sys.argv[1:]))
