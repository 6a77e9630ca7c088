"""The life of a pod on the tests' kubelet, from its first sight until it is deleted.

The annotation ``lab.test/ending`` of a pod has it play instead of execute:

========================= ==========================================================================================
``complete``              succeeds at once, without a start
``exit:CODE``             starts and ends with this exit code
``oom``                   starts, is killed for its memory
``evict``                 starts, is evicted by its node
``hang``                  starts and runs until it is deleted
``creating``              stays Pending, ContainerCreating; ``ProcessKubelet.play`` may go on from there
``image-error:R:MESSAGE`` stays Pending with reason R: ErrImagePull, ImagePullBackOff, InvalidImageName and so on
``config-error:MESSAGE``  stays Pending with reason CreateContainerConfigError
========================= ==========================================================================================
"""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from support.kubernetes import pods
from support.kubernetes.api import STRATEGIC, Object
from support.kubernetes.kubelet_calls import AGAIN_SECONDS, Calls, PodGone, ask_to_end, kill_group

ENDING: Final = "lab.test/ending"
EVICTED: Final = "The node was low on resource: memory."


class PodLife:
    """A pod of this node.

    Attributes:
        environment: What its process was given.
        log: File of its output.
    """

    def __init__(self, pod: Object, calls: Calls, log: Path, started: "Callable[[PodLife], None]") -> None:
        about = pod["metadata"]
        self.name, self.namespace, self.uid = str(about["name"]), str(about["namespace"]), str(about["uid"])
        self.labels: dict[str, str] = about.get("labels", {})
        self.path: Final = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        self.log = log
        self.environment: dict[str, str] = {}
        self._pod, self._calls, self._started = pod, calls, started
        self._ending: str = about.get("annotations", {}).get(ENDING, "")
        self._process: subprocess.Popen[bytes] | None = None
        self._first_seen = pods.now()
        self._told: list[Object] = []
        self._since: str | None = None
        self._killed_for = ""
        self._has_ended = False
        self._deleted = asyncio.Event()
        self._grace = 0

    # --- what others do to it; all but kill and output in the loop's thread ---

    def begin(self) -> None:
        """Let it live."""
        self._task = self._calls.in_background(self._live())

    def see(self, pod: Object) -> None:
        """Look at its present state."""
        self._told = pod.get("status", {}).get("containerStatuses", [])
        if "deletionTimestamp" in pod["metadata"]:
            self._grace = pod["metadata"].get("deletionGracePeriodSeconds", 0)
            self._deleted.set()

    def vanish(self) -> None:
        """It was deleted without this node being asked."""
        self._task.cancel()

    def kill(self, reason: str) -> None:
        """End its processes at once."""
        self._killed_for = reason
        if self._process is not None:
            kill_group(self._process)

    @property
    def is_executing(self) -> bool:
        """Whether its process, or a child of it, goes on."""
        return self._process is not None and self._process.returncode is None

    def output(self, container: str) -> Iterator[bytes]:
        """See :class:`support.kubernetes.container_logs.HasLog`; a test may write the output of one container."""
        own = self.log.with_suffix(f".{container}")
        if own.exists():
            yield from own.read_bytes().splitlines(keepends=True)
            return
        if self._since is None:
            raise LookupError(f'container "{container}" in pod "{self.name}" is waiting to start: ContainerCreating')
        with contextlib.suppress(FileNotFoundError), self.log.open("rb") as file:
            yield from file

    # --- its life ---

    async def _live(self) -> None:
        playing = asyncio.ensure_future(self._play())
        deleted = asyncio.ensure_future(self._deleted.wait())
        try:
            await asyncio.wait({playing, deleted}, return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                await self._stop(playing)
            if not playing.cancelled():
                playing.result()
            await deleted
            await self._leave()
        except PodGone:
            return
        finally:
            playing.cancel()
            deleted.cancel()
            if self._process is not None:
                kill_group(self._process)
            await asyncio.gather(playing, deleted, return_exceptions=True)

    async def _stop(self, playing: "asyncio.Future[None]") -> None:
        """Ask its process to end, as a container's first process is asked; make it."""
        if self._process is None:
            playing.cancel()
        else:
            ask_to_end(self._process)
            await asyncio.wait({playing}, timeout=self._grace)
            kill_group(self._process)
        await asyncio.wait({playing})

    async def _leave(self) -> None:
        if not self._has_ended:
            reason = "Error" if self._since else "ContainerStatusUnknown"
            await self._end(pods.KILLED, reason=reason, before=self._told)
        await self._calls.ask(self._calls.api.delete, self.path, gracePeriodSeconds=0, preconditions={"uid": self.uid})

    async def _play(self) -> None:
        kind, _, rest = self._ending.partition(":")
        if not kind:
            await self._execute()
        elif kind == "complete":
            await self._end(0)
        elif kind == "creating":
            await self._wait_for("ContainerCreating")
        elif kind == "image-error":
            reason, _, message = rest.partition(":")
            await self._wait_for(reason, message)
        elif kind == "config-error":
            await self._wait_for("CreateContainerConfigError", rest)
        else:
            await self._run()
            await self._act(kind, rest)

    async def _act(self, kind: str, rest: str) -> None:
        """Play what happens to a pod that runs."""
        if kind == "exit":
            await self._end(int(rest))
        elif kind == "oom":
            await self._end(pods.KILLED, reason="OOMKilled")
        elif kind == "evict":
            await self._end(pods.KILLED, pod={"reason": "Evicted", "message": EVICTED})
        elif kind != "hang":
            raise ValueError(f"{self.name} has an unknown ending: {self._ending}")

    async def _execute(self) -> None:
        self.environment = {"PATH": os.environ.get("PATH", os.defpath), **await self._find_environment()}
        mark = f"LAB_CONTAINER={self.uid}"
        container = self._pod["spec"]["containers"][0]
        words = pods.words(container, self.environment)
        try:
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(
                    words,
                    env={**self.environment, **dict([mark.split("=")])},
                    cwd=container.get("workingDir", self.log.parent),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            await self._end(128, reason="StartError", message=f"failed to create containerd task: {error}")
            return
        self._calls.guard.add(self._process.pid)
        self._started(self)
        over = self._calls.end_of(self._process, mark)
        await self._run()
        await self._end(await over, reason=self._killed_for)

    async def _find_environment(self) -> dict[str, str]:
        await self._wait_for("ContainerCreating")
        said = ""
        while True:
            try:
                found: dict[str, str] = await self._calls.ask(pods.environment, self._calls.api, self._pod)
            except pods.ConfigError as error:
                if said != str(error):
                    said = str(error)
                    await self._wait_for("CreateContainerConfigError", said)
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return found

    # --- what it reports ---

    async def _wait_for(self, reason: str, message: str = "") -> None:
        await self._report("Pending", pods.waiting(reason, message))

    async def _run(self) -> None:
        self._since = pods.now()
        await self._report("Running", pods.running(self._since))

    async def _end(
        self,
        code: int,
        *,
        reason: str = "",
        message: str = "",
        pod: Object | None = None,
        before: Sequence[Object] = (),
    ) -> None:
        state = pods.terminated(code, self._since, reason=reason, message=message)
        await self._report("Failed" if code else "Succeeded", state, before, **(pod or {}))
        self._has_ended = True

    async def _report(self, phase: str, state: Object, before: Sequence[Object] = (), **more: object) -> None:
        status = pods.status(self._pod, phase, state, before, startTime=self._first_seen, **more)
        body = {"metadata": {"uid": self.uid}, "status": status}
        await self._calls.ask(self._calls.api.patch, f"{self.path}/status", body, kind=STRATEGIC)
