"""Flow runs as processes of this machine. POSIX: needs flock(2), process groups and a Bourne shell.

A unit's memory is a directory (see ``unit_dir``), so every agent that is given the same ``directory`` on the same
machine sees the same units, and units outlive the agent.
"""

import errno
import os
import queue
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from prefect.agent.adapters.process import interpreters
from prefect.agent.adapters.process.reaper import Reaper
from prefect.agent.adapters.process.unit_dir import SCRIPT, UnitDir
from prefect.agent.domain.errors import PlatformForbidden, PlatformUnavailable, SubmissionRefused
from prefect.agent.domain.model.run_configs import LocalRun
from prefect.agent.domain.model.units import Submission, Unit, UnitStatus
from prefect.agent.domain.model.workloads import PlatformTraits
from prefect.agent.ports.platform import ExecutionPlatform

DEFAULT_DIRECTORY: Final = "~/.prefect-agent/units"

LOOK_EVERY: Final = 0.02
"""Seconds between two looks at a unit that is about to begin or to end."""

BEGIN_WITHIN: Final = 10.0
"""Seconds in which a unit that another thread or agent begins must become visible."""

PASSING: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT})
"""What the system may have again later."""


class ProcessPlatform(ExecutionPlatform):
    """Executes flow runs as process groups of their own.

    Args:
        directory: Where units are kept.
        interpreter: A Python with Prefect; None for the ``prefect`` command that PATH finds.
        import_paths: For the flow runs' ``PYTHONPATH``.
        show_flow_logs: Let output through to the agent's own stdout instead of keeping it with the unit.
        environ: The environment that units get a few variables of.

    Raises:
        ConfigurationError: The interpreter does not exist.
    """

    def __init__(
        self,
        directory: Path,
        *,
        interpreter: str | None = None,
        import_paths: Sequence[str] = (),
        show_flow_logs: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._directory = directory
        self._environ = dict(os.environ if environ is None else environ)
        self._interpreter = interpreters.resolve(interpreter, self._environ)
        self._import_paths = [str(Path(path).expanduser()) for path in import_paths]
        self._show = show_flow_logs
        self._reaper = Reaper()
        self._identity: str | None = None
        self._guard = threading.Lock()

    @property
    def traits(self) -> PlatformTraits:
        return PlatformTraits(kind="process", run_config=LocalRun, runs_images=False)

    @property
    def identity(self) -> str:
        with self._guard:
            if self._identity is None:
                self._identity = f"process:{socket.gethostname()}:{self._own_id()}"
            return self._identity

    def check(self) -> None:
        interpreters.check(self._interpreter, self._environ)
        _ = self.identity  # makes the directory, or says why not

    def create(self, submission: Submission) -> Unit:
        words = interpreters.command_line(submission.command, self._interpreter, self._environ)
        cwd = _working_dir(submission)
        unit = UnitDir(self._directory / submission.name)
        try:
            lock = unit.begin(submission)
            if lock is not None:
                self._start(submission, unit, lock, words, cwd)
        except OSError as problem:
            raise _translated(problem, self._directory) from problem
        return self._wait_visible(unit)

    def units(self) -> Sequence[Unit]:
        try:
            paths = [path for path in self._directory.iterdir() if path.is_dir()]
        except FileNotFoundError:
            return []
        except OSError as problem:
            raise _translated(problem, self._directory) from problem
        return [unit for unit in (UnitDir(path).read() for path in paths) if unit is not None]

    def unit(self, name: str) -> Unit | None:
        return UnitDir(self._directory / name).read()

    def watch(self, *, seconds: float) -> Iterator[Unit]:
        end = time.monotonic() + seconds
        with self._reaper.ended() as names:
            while (left := end - time.monotonic()) > 0:
                try:
                    name = names.get(timeout=left)
                except queue.Empty:
                    return
                if name is None:
                    return
                unit = self.unit(name)
                if unit is not None:
                    yield unit

    def stop(self, name: str, *, grace: float) -> None:
        unit = UnitDir(self._directory / name)
        found = unit.read()
        if found is not None and found.status is UnitStatus.CREATED:
            unit.remove()  # it cannot end, and nothing of it is worth keeping
            return
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, BEGIN_WITHIN)):
            group = unit.group()
            if group is None:
                break
            try:
                os.killpg(group, number)
            except ProcessLookupError:
                pass
            except PermissionError as problem:
                raise PlatformForbidden(f"not allowed to signal the process group {group} of {name}") from problem
            if _wait(lambda: not unit.is_alive(), patience):
                return
        if unit.is_alive():
            raise PlatformUnavailable(f"{name} does not end")

    def remove(self, name: str) -> None:
        UnitDir(self._directory / name).remove()

    def logs_tail(self, name: str, *, lines: int = 50) -> str:
        return UnitDir(self._directory / name).tail(lines)

    def close(self) -> None:
        self._reaper.close()

    # --- inside ---

    def _start(self, submission: Submission, unit: UnitDir, lock: int, words: list[str], cwd: str) -> None:
        output: IO[bytes] | None = None
        try:
            output = None if self._show else (unit.path / "output").open("wb")
            child = subprocess.Popen(
                ["/bin/sh", "-c", SCRIPT, str(unit.path), *words],
                cwd=cwd,
                env=self._env(submission, cwd),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(lock,),
            )
        except OSError as problem:
            os.close(lock)
            lock = -1
            unit.remove()
            if problem.errno == errno.E2BIG:
                raise SubmissionRefused("its environment is larger than this system takes") from problem
            raise
        finally:
            if output is not None:
                output.close()
            if lock >= 0:
                os.close(lock)
        self._reaper.add(submission.name, child)

    def _env(self, submission: Submission, cwd: str) -> dict[str, str]:
        env = interpreters.base_environment(self._environ)
        env["PYTHONPATH"] = os.pathsep.join([cwd, *self._import_paths])
        env["PYTHONUNBUFFERED"] = "1"
        return {**env, **submission.env, **submission.secret_env}

    def _wait_visible(self, unit: UnitDir) -> Unit:
        """The unit once its process has begun, so that what is returned says its PID."""
        _wait(lambda: (unit.path / "pid").exists() or not unit.is_alive(), BEGIN_WITHIN)
        found = unit.read()
        if found is None:
            raise PlatformUnavailable(f"{unit.path.name} is being begun by somebody else and is not visible yet")
        return found

    def _own_id(self) -> str:
        """A name for the directory, kept in it."""
        path = self._directory / "id"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("x", encoding="ascii") as new:
                    new.write(uuid.uuid4().hex[:12])
            except FileExistsError:
                pass
            return path.read_text(encoding="ascii").strip()
        except OSError as problem:
            raise _translated(problem, self._directory) from problem


def factory(
    *,
    import_paths: Sequence[str] = (),
    show_flow_logs: bool = False,
    interpreter: str | None = None,
    directory: str | None = None,
    **unknown: Any,
) -> ExecutionPlatform:
    """Make the platform from options; the entry point ``process`` of ``prefect.agent.platforms``.

    Raises:
        TypeError: An option that this platform does not have.
    """
    if unknown:
        raise TypeError(f"the process platform has no option {', '.join(sorted(unknown))}")
    return ProcessPlatform(
        Path(directory or DEFAULT_DIRECTORY).expanduser(),
        interpreter=interpreter,
        import_paths=import_paths,
        show_flow_logs=show_flow_logs,
    )


def _working_dir(submission: Submission) -> str:
    config = submission.run_config
    wanted = config.working_dir if isinstance(config, LocalRun) else None
    if wanted is None:
        return str(Path.cwd())
    path = Path(wanted).expanduser()
    if not path.is_dir():
        raise SubmissionRefused(f"the run config's working_dir {wanted!r} is not a directory on {socket.gethostname()}")
    return str(path.absolute())


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= end:
            return False
        time.sleep(LOOK_EVERY)
    return True


def _translated(problem: OSError, directory: Path) -> Exception:
    if problem.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return PlatformForbidden(f"the agent may not write to {directory}: {problem.strerror}")
    if problem.errno in PASSING:
        return PlatformUnavailable(f"this machine is out of something: {problem.strerror}")
    return PlatformUnavailable(f"cannot start a process: {problem}")
