"""What the pods of the tests' kubelet share: threads, and a stubborn way to ask."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import requests

from support.kubernetes.api import Api, ApiRefused
from support.kubernetes.guard import Guard

CALLERS: Final = 8
PROCESSES: Final = 1000
AGAIN_SECONDS: Final = 0.1
GONE: Final = {404, 409}


class PodGone(Exception):
    """The pod is not there any more."""


class Calls:
    """What the lives of pods share: threads that ask the API server until it answers, and wait for processes.

    Attributes:
        broken: Errors that nobody expected.
    """

    def __init__(self, api: Api, guard: Guard, loop: asyncio.AbstractEventLoop) -> None:
        self.api, self.guard = api, guard
        self.broken: list[BaseException] = []
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._callers = ThreadPoolExecutor(CALLERS, "kubelet-call")
        self._waiters = ThreadPoolExecutor(PROCESSES, "kubelet-wait")

    async def ask(self, call: Callable[..., Any], *arguments: object, **options: object) -> Any:
        """What the call returns once the API server lets it.

        Raises:
            PodGone: The object that it is about is not there, or is another one.
        """
        while True:
            try:
                return await self._loop.run_in_executor(self._callers, partial(call, *arguments, **options))
            except requests.RequestException:
                await asyncio.sleep(AGAIN_SECONDS)
            except ApiRefused as refused:
                if refused.status in GONE:
                    raise PodGone from refused
                if refused.status < 500 and refused.status != 429:
                    raise
                await asyncio.sleep(AGAIN_SECONDS)

    def end_of(self, process: "subprocess.Popen[bytes]", mark: str) -> "asyncio.Future[int]":
        """Its exit code, once nothing is left of its group, nor of what has the mark among its variables.

        Who gives up waiting leaves the waiting itself alone, even if its thread did not begin: nobody else reaps.
        """
        return asyncio.shield(self._loop.run_in_executor(self._waiters, self._wait, process, mark))

    def _wait(self, process: "subprocess.Popen[bytes]", mark: str) -> int:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its id stays taken until the rest is killed too
        kill_group(process)
        kill_marked(mark)
        code = process.wait()
        self.guard.remove(process.pid)
        return code

    def in_background(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Do it without waiting for it."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.broken.append(error)

    async def end_all(self) -> None:
        """Cancel everything."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        """End the threads; every process must have been killed."""
        self._callers.shutdown()
        self._waiters.shutdown()


def ask_to_end(process: "subprocess.Popen[bytes]") -> None:
    """Ask a process to end. Not by ``send_signal``, which takes its exit code from under whoever waits for it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its children at once, if it was not reaped yet."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def kill_marked(mark: str) -> None:
    """End all processes that have this variable: the end of a container's first process is the end of all in it."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), signal.SIGKILL)
