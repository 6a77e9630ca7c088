"""The platform that runs flows as processes of this machine. It needs flock(2), process groups and a Bourne shell.

Each unit has a directory (see ``unit_dir``), so all agents with the same ``directory`` on the same machine see the same
units, and units outlive the agent.
"""

import errno
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from prefect.agent.adapters import state_files
from prefect.agent.adapters.flow_output import fields_of
from prefect.agent.adapters.process import checkup, descriptors, interpreters, launcher, places, sole_start
from prefect.agent.adapters.process.ending import UnitEnding
from prefect.agent.adapters.process.home import Home
from prefect.agent.adapters.process.output import DEFAULT_LIMIT, MIB, Outputs
from prefect.agent.adapters.process.previews import described
from prefect.agent.adapters.process.reaper import Reaper
from prefect.agent.adapters.process.showing import OutputFollower
from prefect.agent.adapters.process.unit_dir import UnitDir
from prefect.agent.domain.errors import PlatformForbidden, PlatformUnavailable, SubmissionRefused
from prefect.agent.domain.model.checks import Step
from prefect.agent.domain.model.run_configs import LocalRun
from prefect.agent.domain.model.submissions import PlatformTraits, Submission
from prefect.agent.domain.model.units import Unit, UnitStatus
from prefect.agent.domain.texts import MAX_NAME, cut
from prefect.agent.ports.platform import ExecutionPlatform

TRAITS: Final = PlatformTraits(
    kind="process",
    run_config=LocalRun,
    runs_images=False,
    units_are="processes of this machine",
    rights="they may do what the agent's user may do on this machine",
)

DEFAULT_DIRECTORY: Final = "~/.prefect-agent/units"

LOOK_EVERY: Final = 0.02
"""Seconds between two looks at a unit that is about to begin."""

BEGIN_WITHIN: Final = 10.0
"""Seconds within which a unit that another thread or agent starts must become visible."""

HELD_WITHIN: Final = 1.0
"""Seconds within which the processes of a unit that has ended release its name."""

GATHER: Final = 0.01
"""Seconds for which ends of units are collected, since one look at processes costs the same for any number."""

PASSING: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT})
"""Error numbers for resources that the system may have again later."""


class ProcessPlatform(ExecutionPlatform):
    """Runs each flow run as a process group of its own.

    Args:
        directory: Folder of the units' directories.
        interpreter: A Python with Prefect; None for the ``prefect`` command on PATH.
        import_paths: Folders for the flow runs' ``PYTHONPATH``.
        show_flow_logs: Show the units' output in the agent's stdout, too.
        output_limit: MiB that a unit's output may take on disk; 0 for no limit.
        environ: The environment from which units inherit a few variables.

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
        output_limit: int = DEFAULT_LIMIT,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._directory = directory
        self._environ = dict(os.environ if environ is None else environ)
        self._interpreter = interpreters.resolve(interpreter, self._environ)
        self._import_paths = [str(places.expanded(path)) for path in import_paths]
        self._show = show_flow_logs
        self._follower = OutputFollower() if show_flow_logs else None
        self._reaper = Reaper()
        self._ending = UnitEnding(self._reaper)
        self._home = Home(directory)
        self._outputs = Outputs(directory, output_limit * MIB or None)
        self._elsewhere: set[str] = set()
        self._guard = threading.Lock()
        descriptors.raise_limit()

    @property
    def traits(self) -> PlatformTraits:
        return TRAITS

    @property
    def identity(self) -> str:
        with self._guard, self._looking():
            return self._home.identity()

    @property
    def aliases(self) -> Sequence[str]:
        with self._guard, self._looking():
            return self._home.aliases()

    @property
    def fingerprint(self) -> str:
        paths = [*self._own_paths(), *self._import_paths]
        return interpreters.fingerprint(self._interpreter, paths, self._environ, show=self._show)

    def check(self) -> None:
        interpreters.check(self._interpreter, self._environ)
        _ = self.identity  # creates the directory, or raises

    def checks(self, images: Callable[[], Collection[str]]) -> Sequence[Step]:  # noqa: ARG002 - it runs none
        return checkup.steps(self._interpreter, self._environ, self._directory)

    def preview(self, submission: Submission) -> Sequence[Mapping[str, Any]]:
        words, cwd = self._words(submission), _working_dir(submission)
        return (described(submission, words, self._env(submission, cwd), cwd),)

    def create(self, submission: Submission) -> Unit:
        words, cwd = self._words(submission), _working_dir(submission)
        unit = self._dir(submission.name)
        with self._looking():
            with self._guard:
                self._home.ensure()
            lock = unit.begin(submission)
            if lock is not None:
                try:
                    self._start(submission, unit, lock, words, cwd)
                finally:
                    os.close(lock)
            return self._begun(unit)

    def units(self) -> Sequence[Unit]:
        with self._looking():
            held = sole_start.held()
            self._elsewhere &= held
            for name in held:
                self._restored(name)
            try:
                with os.scandir(self._directory) as entries:
                    names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            except FileNotFoundError:
                return []
            found = [unit for name in names if (unit := self._read(name)) is not None]
            return self._ending.judged(found, self._read, forget=True)

    def unit(self, name: str) -> Unit | None:
        with self._looking():
            found = self._read(name)
            if found is None and name in sole_start.held() and self._restored(name):
                found = self._read(name)
            return self._ending.judged([found], self._read)[0] if found else None

    def watch(self, *, seconds: float) -> Iterator[Unit]:
        end = time.monotonic() + seconds
        with self._reaper.ended() as names:
            while (left := end - time.monotonic()) > 0:
                try:
                    batch = [names.get(timeout=min(left, self._outputs.look()))]
                except queue.Empty:
                    continue
                time.sleep(GATHER)
                while not names.empty():
                    batch.append(names.get())
                with self._looking():
                    found = [self._read(name) for name in batch if name is not None]
                    news = self._ending.judged([unit for unit in found if unit is not None], self._read)
                    news = [self._without_rest(unit) for unit in news]
                yield from news
                if None in batch:
                    return

    def _without_rest(self, unit: Unit) -> Unit:
        """The unit, whose shell has ended; what a command that failed has left behind ends, too."""
        if unit.status is not UnitStatus.RUNNING:
            return unit
        self._ending.end_left_over(self._dir(unit.name))
        again = self._read(unit.name)
        return self._ending.judged([again], self._read)[0] if again else unit

    def stop(self, name: str, *, grace: float) -> None:
        unit = self._dir(name)
        with self._looking():
            found = self.unit(name)
            if found is not None and found.status is UnitStatus.CREATED:
                _wait(lambda: _discarded(unit), BEGIN_WITHIN)  # it cannot end, and holds nothing worth keeping
            elif found is not None and not found.status.has_ended:
                self._ending.end(unit, grace)
                unit.discard()  # if it was stopped before it began

    def remove(self, name: str) -> None:
        with self._looking():
            found = self.unit(name)
            if found is not None and found.status in {UnitStatus.RUNNING, UnitStatus.PENDING}:
                raise PlatformUnavailable(f"{name} still executes")
            if found is not None:
                self._dir(name).remove()

    def logs_tail(self, name: str, *, lines: int = 50) -> str:
        with self._looking():
            return self._dir(name).tail(lines)

    def close(self) -> None:
        if self._follower is not None:
            self._follower.close()
        self._reaper.close()

    # --- inside ---

    def _dir(self, name: str) -> UnitDir:
        return UnitDir(self._directory / name, self._home.machine)

    def _read(self, name: str) -> Unit | None:
        return self._dir(name).read()

    def _start(self, submission: Submission, unit: UnitDir, lock: int, words: list[str], cwd: str) -> None:
        """Start the unit's process unless one already lives; on an error, remove the unit's directory."""
        output: IO[bytes] | None = None
        holder = None
        try:
            holder = _bound(submission.name)
            if holder is None:
                self._adopt(unit)
                return
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            output = open(state_files.opened(unit.path / "output", flags), "wb")  # noqa: PTH123, SIM115 - a descriptor
            child = launcher.start(
                unit.path,
                words,
                self._env(submission, cwd),
                cwd=cwd,
                output=output,
                keep=(lock, holder.fileno()),
                about=unit.written(),
            )
        except OSError as problem:
            unit.forget()
            if problem.errno == errno.E2BIG:
                raise SubmissionRefused("its environment is too large for this system") from problem
            raise
        except SubmissionRefused:
            unit.forget()
            raise
        finally:
            if output is not None:
                output.close()
            if holder is not None:
                holder.close()
        self._ending.began(submission.name, child)
        if self._follower is not None:
            self._follower.follow(unit.path / "output", fields_of(submission), unit.is_alive)

    def _words(self, submission: Submission) -> list[str]:
        return interpreters.command_line(submission.command, self._interpreter, self._environ)

    def _env(self, submission: Submission, cwd: str) -> dict[str, str]:
        env = interpreters.base_environment(self._environ)
        env["PYTHONPATH"] = os.pathsep.join([*self._own_paths(), cwd, *self._import_paths])
        env["PYTHONUNBUFFERED"] = "1"
        return {**env, **submission.env, **submission.secret_env}

    def _own_paths(self) -> list[str]:
        """Return the agent's own ``PYTHONPATH``, which comes first for flow runs, as in 1.x."""
        own = self._environ.get("PYTHONPATH")
        return [own] if own else []

    def _begun(self, unit: UnitDir) -> Unit:
        """Wait until the unit's process has begun, and return the unit with its PID."""
        _wait(lambda: unit.has_begun() or not unit.is_alive(), BEGIN_WITHIN)
        found = unit.read()
        if found is not None and found.status not in {UnitStatus.CREATED, UnitStatus.PENDING}:
            return self._ending.judged([found], self._read)[0]
        if found is not None and found.status is UnitStatus.CREATED:
            said = unit.tail(3)
            unit.discard()
            raise PlatformUnavailable(f"{unit.path.name} did not start: {said or 'its process ended at once'}")
        raise PlatformUnavailable(f"{unit.path.name} belongs to another machine, or another agent is just starting it")

    def _adopt(self, unit: UnitDir) -> None:
        """Restore the deleted directory of a unit that executes.

        Raises:
            PlatformUnavailable: The unit belongs to another state directory, or is about to end.
        """
        unit.forget()
        if not self._restored(unit.path.name):
            raise PlatformUnavailable(f"{unit.path.name} already executes, but not as a unit of {self._directory}")

    def _restored(self, name: str) -> bool:
        """Restore the directory of a unit that executes if it was deleted; return whether it exists now."""
        unit = self._dir(name)
        if unit.path.is_dir():
            return True
        if name in self._elsewhere:
            return False
        found = launcher.started(name)
        if found is None:
            return False
        if found.folder != str(unit.path):
            self._elsewhere.add(name)
            return False
        unit.restore(found.about, found.numbers)
        return True

    @contextmanager
    def _looking(self) -> Generator[None]:
        try:
            yield
        except OSError as problem:
            raise _translated(problem, self._directory) from problem


def factory(
    *,
    import_paths: Sequence[str] = (),
    show_flow_logs: bool = False,
    interpreter: str | None = None,
    directory: str | None = None,
    output_limit: int | None = None,
    **unknown: Any,
) -> ExecutionPlatform:
    """Create the process platform from options: the entry point ``process`` of ``prefect.agent.platforms``.

    Raises:
        TypeError: This platform does not have one of the options.
    """
    if unknown:
        raise TypeError(f"the process platform has no option {', '.join(sorted(unknown))}")
    return ProcessPlatform(
        places.expanded(directory) if directory else places.default(DEFAULT_DIRECTORY),
        interpreter=interpreter,
        import_paths=import_paths,
        show_flow_logs=show_flow_logs,
        output_limit=DEFAULT_LIMIT if output_limit is None else output_limit,
    )


def _working_dir(submission: Submission) -> str:
    config = submission.run_config
    wanted = config.working_dir if isinstance(config, LocalRun) else None
    if wanted is None:
        return str(Path.cwd())
    try:
        path = Path(os.path.expanduser(wanted))  # noqa: PTH111 - pathlib raises if there is no home
        if path.is_dir():
            return str(path.absolute())
    except (OSError, ValueError):  # not a possible name of a folder, or too long
        pass
    where = f"is not a directory on {socket.gethostname()}"
    raise SubmissionRefused(f"the run config's working_dir {cut(wanted, MAX_NAME)!r} {where}")


def _bound(name: str) -> socket.socket | None:
    """Bind the unit's name in the kernel; wait a moment for processes that are just ending. None if it stays bound."""
    end = time.monotonic() + HELD_WITHIN
    while (made := sole_start.bind(name)) is None and time.monotonic() < end:
        time.sleep(LOOK_EVERY)
    return made


def _discarded(unit: UnitDir) -> bool:
    """Remove a unit that never began; return whether it is removed, or has begun meanwhile."""
    unit.discard()
    found = unit.read()
    return found is None or found.status is not UnitStatus.CREATED


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= end:
            return False
        time.sleep(LOOK_EVERY)
    return True


def _translated(problem: OSError, directory: Path) -> Exception:
    if problem.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return PlatformForbidden(f"the agent has no access to {problem.filename or directory}: {problem.strerror}")
    if problem.errno in PASSING:
        return PlatformUnavailable(f"this machine has too few resources for {directory}: {problem.strerror}")
    words = problem.strerror or type(problem).__name__
    return PlatformUnavailable(f"cannot use processes and {directory}: {words}")
