"""A unit on disk: a directory that has the unit's name, and whose lock the unit itself holds.

``lock``      flock(2), inherited by the unit's processes: while it is held, one of them still executes. The kernel
              releases it with the last of them, however they end. A child that closed it is found by other means.
``unit.json`` description and owner of the unit; created last at the start and removed first: without it there is no
              unit.
``pid``       process ids of the command and of its process group, written by the unit when it begins: if it is blank or
              absent, the unit never began, and may be started (again).
``exit``      exit code, written by the unit at its end: if it is blank and the lock is free, the unit was killed.
``unkept``    exists if the exit code could not be written.

The unit creates ``exit`` before it begins, with room for its content, and a number is valid only with the end of its
line: a full disk or a crash loses no exit code and leaves no partial number.
"""

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import attrs

from prefect.agent.adapters import state_files
from prefect.agent.adapters.process import processes
from prefect.agent.adapters.process.machine import Machine
from prefect.agent.domain.errors import PlatformUnavailable, UnitNameTaken
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Evidence, Owner, Unit, UnitStatus
from prefect.agent.domain.times import iso, read_time
from prefect.agent.ports.platform import TEXT_LIMIT, output_tail

LOOKED_AT: Final = 2.0
"""Seconds within which an agent that only examines a unit releases its lock."""

PAUSE: Final = 0.005
"""Seconds between two tries to take a lock."""

BLANK: Final = b" " * 31 + b"\n"
"""Initial content of ``exit``: room for an exit code or two process ids."""

NO_SPACE: Final = "the exit code could not be written: the disk of the agent's directory is full"

_NUMBERS: Final = re.compile(rb"(\d+(?: \d+)?)\n")
_UNFINISHED: Final = re.compile(rb"[\d\s]*")


@attrs.frozen
class UnitDir:
    """The directory of one unit. Methods raise OSError if it cannot be read, but not if it does not exist."""

    path: Path
    machine: Machine = Machine()

    def begin(self, submission: Submission) -> int | None:
        """Take the unit's lock in order to start it; None if it is being started, executes or has ended.

        Returns the locked descriptor, which the unit's process must inherit.

        Raises:
            UnitNameTaken: A file has the directory's name.
        """
        end = time.monotonic() + LOOKED_AT
        while True:
            lock = self._locked()
            if lock is not None and self._is_here(lock):
                return self._begun(lock, submission)
            if lock is not None:  # another agent has removed the directory meanwhile
                os.close(lock)
            elif self.has_begun() or time.monotonic() >= end:
                return None
            else:
                time.sleep(PAUSE)  # another agent starts the unit, or only examines it

    def restore(self, about: str, numbers: str) -> None:
        """Create the deleted directory of a unit that executes, with its description *about* and its ids *numbers*."""
        self._make()
        for name, content in (("lock", b""), ("exit", BLANK), ("pid", f"{numbers}\n".encode())):
            state_files.write(self.path / name, content)
        state_files.write(self.path / "unit.json", about.encode())

    def read(self) -> Unit | None:
        """Return the unit as its lock and files describe it; None if there is none, or it is another machine's.

        A unit that has ended by them may still have a living child that closed the lock.
        """
        about = self._about()
        if about is None or self.machine.is_elsewhere(_machine(about)):
            return None
        is_alive = self.is_alive()
        numbers, exit_code = self._numbers("pid"), (self._numbers("exit") or (None,))[0]
        began = numbers is not None or exit_code is not None or self._was_cut_off()
        if is_alive or not began:
            status = UnitStatus.RUNNING if began else UnitStatus.PENDING if is_alive else UnitStatus.CREATED
            evidence = None
        else:
            status = UnitStatus.FAILED if exit_code != 0 else UnitStatus.SUCCEEDED
            evidence = self._evidence(exit_code)
        pid = numbers[0] if numbers else 0
        return Unit(
            name=self.path.name,
            flow_run_id=FlowRunId(str(about["flow_run_id"])),
            attempt=str(about["attempt"]),
            status=status,
            id=str(pid) if pid > 0 else "",
            info=f"PID: {pid}" if pid > 0 else "",
            evidence=evidence,
            created_at=_moment(about["created_at"]),
            ended_at=self._ended_at() if status.has_ended else None,
            owner=_owner(about.get("owner")),
        )

    def is_alive(self) -> bool:
        """Return whether a process of the unit holds its lock."""
        try:
            lock = state_files.opened(self.lock, os.O_RDWR)
        except (FileNotFoundError, NotADirectoryError, state_files.NotAFile):
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def is_left_over(self) -> bool | None:
        """Return whether the unit's command failed, or was killed with its shell: what still executes was left behind.

        None if the command itself executes, perhaps while it is just being killed. Call it for a unit that executes and
        whose shell has ended.
        """
        code, numbers = self._numbers("exit"), self._numbers("pid")
        if code:
            return code[0] != 0
        return None if numbers is None or any(map(_exists, numbers)) else True

    def has_begun(self) -> bool:
        """Return whether the unit's process has ever begun."""
        return bool(self._numbers("pid") or self._numbers("exit")) or self._was_cut_off()

    @property
    def lock(self) -> Path:
        """The file whose lock the unit holds."""
        return self.path / "lock"

    def shell(self) -> int | None:
        """Return the id of the unit's first process and of its process group, alive or not; None if unknown."""
        numbers = self._numbers("pid")
        return numbers[-1] if numbers and numbers[-1] > 0 else None

    def tail(self, lines: int) -> str:
        """Return the last lines of the output, at most 64 KiB."""
        try:
            handle = state_files.opened(self.path / "output")
        except OSError:
            return ""
        with open(handle, "rb") as output:  # noqa: PTH123 - a descriptor
            start = max(0, output.seek(0, os.SEEK_END) - TEXT_LIMIT)
            output.seek(start)
            return output_tail(output.read(TEXT_LIMIT), lines, is_whole=start == 0)

    def remove(self) -> None:
        """Remove the unit's directory.

        Raises:
            PlatformUnavailable: The unit still executes: its lock is held.
        """
        if not self.path.is_dir():
            return
        if self.is_alive():
            raise PlatformUnavailable(f"{self.path.name} still executes")
        self._delete()

    def forget(self) -> None:
        """Remove the directory of a unit that was not started; this agent holds its lock."""
        self._delete()

    def discard(self) -> None:
        """Remove the unit's directory if it never began, and no agent is starting it."""
        try:
            lock = state_files.opened(self.lock, os.O_RDWR)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_here(lock) and not self.has_begun():
                self._delete()
        except BlockingIOError:
            return
        finally:
            os.close(lock)

    def written(self) -> str:
        """Return the content of ``unit.json``; empty if there is none."""
        return (state_files.read(self.path / "unit.json") or b"").decode(errors="replace")

    # --- inside ---

    def _locked(self) -> int | None:
        """Return a descriptor that holds the lock; None if another process holds it."""
        lock = -1
        while lock < 0:
            self._make()
            try:
                lock = state_files.opened(self.lock, os.O_RDWR | os.O_CREAT)
            except FileNotFoundError:  # the directory was removed in between
                continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def _begun(self, lock: int, submission: Submission) -> int | None:
        try:
            if self._about() is not None and self.has_begun():
                os.close(lock)
                return None
            for name in ("pid", "exit", "unkept"):  # left by a unit that was removed incompletely
                (self.path / name).unlink(missing_ok=True)
            state_files.put(self.path / "unit.json", self._described(submission).encode())  # invalid until complete
        except OSError:
            self._delete()
            os.close(lock)
            raise
        return lock

    def _described(self, submission: Submission) -> str:
        """Return the content of ``unit.json`` for a unit that starts now."""
        owner = submission.owner
        about = {
            "flow_run_id": submission.flow_run_id,
            "attempt": submission.attempt,
            "flow_id": submission.flow_id,
            "flow_name": submission.flow_name,
            "created_at": iso(datetime.now(timezone.utc)),
            "owner": {"cloud": owner.cloud, "agent": owner.agent} if owner else None,
            "machine": self.machine.id,
            "boot": self.machine.boot,
        }
        return json.dumps(about)

    def _make(self) -> None:
        try:
            self.path.mkdir(mode=state_files.PRIVATE_FOLDER, parents=True, exist_ok=True)
        except FileExistsError as problem:
            raise UnitNameTaken(self.path.name, f"the file {self.path}") from problem

    def _delete(self) -> None:
        """Remove the directory, ``unit.json`` first, so that the rest is not a unit after a crash or an error."""
        (self.path / "unit.json").unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def _about(self) -> Mapping[str, Any] | None:
        try:
            about = json.loads(state_files.read(self.path / "unit.json") or b"")
        except (state_files.NotAFile, ValueError, RecursionError):
            return None
        return about if isinstance(about, dict) and {"flow_run_id", "attempt", "created_at"} <= set(about) else None

    def _was_cut_off(self) -> bool:
        """Return whether the unit's process began before the last boot; the disk may have lost its files' content."""
        if not (self.path / "exit").exists():
            return False
        boot = _machine(self._about() or {}).boot
        return bool(boot and self.machine.boot and boot != self.machine.boot)

    def _numbers(self, name: str) -> tuple[int, ...] | None:
        """Return the numbers in a file; None if none is written yet, (-1,) if the file holds something else."""
        try:
            content = state_files.read(self.path / name) or b""
        except state_files.NotAFile:
            return (-1,)
        if found := _NUMBERS.match(content[: len(BLANK)]):
            return tuple(map(int, found[1].split()))
        return None if len(content) <= len(BLANK) and _UNFINISHED.fullmatch(content) else (-1,)

    def _evidence(self, exit_code: int | None) -> Evidence:
        if (exit_code is None or exit_code < 0) and (self.path / "unkept").exists():
            return Evidence(reason="Error", message=NO_SPACE)
        if exit_code is None:
            return Evidence(reason="Killed", message="the process ended without an exit code")
        if exit_code < 0:
            return Evidence(reason="Error", message="the exit code cannot be read")
        return Evidence.of_exit_code(exit_code)

    def _ended_at(self) -> datetime | None:
        """Return when the exit code was written; for a unit that was killed, when it last wrote anything."""
        stamps = []
        for name in ("exit", "output", "pid"):
            try:
                stamps.append((self.path / name).lstat().st_mtime)
            except FileNotFoundError:
                continue
            if name == "exit" and self._numbers("exit"):
                break
        return datetime.fromtimestamp(max(stamps), timezone.utc) if stamps else None

    def _is_here(self, lock: int) -> bool:
        try:
            return os.fstat(lock).st_ino == self.lock.lstat().st_ino
        except (FileNotFoundError, NotADirectoryError):
            return False


def _exists(pid: int) -> bool:
    """Return whether a process has that id, perhaps another one by now; True if the id cannot be one."""
    if pid <= 1:
        return True
    if processes.can_look():
        one = processes.process(pid)
        return one is not None and one.state not in "ZX"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _machine(about: Mapping[str, Any]) -> Machine:
    return Machine(id=str(about.get("machine") or ""), boot=str(about.get("boot") or ""))


def _owner(marks: Any) -> Owner | None:
    try:
        return Owner(cloud=marks["cloud"], agent=marks["agent"])
    except (TypeError, KeyError, ValueError):
        return None


def _moment(text: object) -> datetime | None:
    try:
        return read_time(text)
    except ValueError:
        return None
