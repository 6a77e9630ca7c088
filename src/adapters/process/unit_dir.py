"""One unit of execution on disk: a directory whose name is the unit's and whose lock is held by the unit itself.

``lock``      flock(2), inherited by the unit's processes: held means something of it still executes. The kernel lets go
              of it with the last of them, whatever killed them. A child that closed it is found by other means.
``unit.json`` whose unit it is; made last when a unit is begun, removed first: without it there is no unit.
``pid``       the command's process id and its process group's, written by the unit as its first act: blank or absent
              means it never began, so it may be begun (again).
``exit``      exit code, written by the unit as its last act: blank with a free lock means it was killed.
``unkept``    there instead if the exit code could not be written.

The unit makes ``exit`` before it begins, with room for what is written into it, and a number counts only with the end
of its line: a full disk or a crash loses no exit code, and leaves no half of a number.
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
from prefect.agent.adapters.process.machine import Machine
from prefect.agent.domain.errors import PlatformUnavailable, UnitNameTaken
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Evidence, Owner, Unit, UnitStatus
from prefect.agent.domain.texts import from_a_whole_word
from prefect.agent.domain.times import iso, read_time
from prefect.agent.ports.platform import TEXT_LIMIT

LOOKED_AT: Final = 2.0
"""Seconds in which an agent that only looks at a unit lets go of its lock."""

PAUSE: Final = 0.005
"""Seconds between two tries to take a lock."""

BLANK: Final = b" " * 31 + b"\n"
"""Room for an exit code, and as much as two process ids need."""

NO_SPACE: Final = "the exit code could not be kept: no space is left in the agent's directory"

_NUMBERS: Final = re.compile(rb"(\d+(?: \d+)?)\n")
_UNFINISHED: Final = re.compile(rb"[\d\s]*")


@attrs.frozen
class UnitDir:
    """The directory of one unit. Methods raise OSError if it cannot be looked at; an absent one raises nothing."""

    path: Path
    machine: Machine = Machine()

    def begin(self, submission: Submission) -> int | None:
        """Take the unit's lock to begin it; None if it is being begun, executes or has ended already.

        Returns the locked file descriptor; the process that inherits it is the unit.

        Raises:
            UnitNameTaken: Something else has the directory's name.
        """
        end = time.monotonic() + LOOKED_AT
        while True:
            lock = self._locked()
            if lock is not None and self._is_here(lock):
                return self._begun(lock, submission)
            if lock is not None:  # removed by another agent since it was made
                os.close(lock)
            elif self.has_begun() or time.monotonic() >= end:
                return None
            else:
                time.sleep(PAUSE)  # another agent begins it, or only looks at what was left unbegun

    def restore(self, about: str, numbers: str) -> None:
        """Make the directory again that was lost while its unit executes."""
        self._make()
        for name, content in (("lock", b""), ("exit", BLANK), ("pid", f"{numbers}\n".encode())):
            state_files.write(self.path / name, content)
        state_files.write(self.path / "unit.json", about.encode())

    def read(self) -> Unit | None:
        """The unit as lock and files say; None if there is none, or it is another machine's.

        One that has ended by them may live on in a child that closed the lock.
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
        """Whether a process of the unit holds its lock."""
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

    def has_begun(self) -> bool:
        """Whether the unit's process has ever been there."""
        return bool(self._numbers("pid") or self._numbers("exit")) or self._was_cut_off()

    @property
    def lock(self) -> Path:
        """The file whose lock the unit holds."""
        return self.path / "lock"

    def shell(self) -> int | None:
        """Id of the unit's first process and of its process group, whether they live or not."""
        numbers = self._numbers("pid")
        return numbers[-1] if numbers and numbers[-1] > 0 else None

    def tail(self, lines: int) -> str:
        """The last lines of the output."""
        try:
            handle = state_files.opened(self.path / "output")
        except OSError:
            return ""
        with open(handle, "rb") as output:  # noqa: PTH123 - a descriptor
            start = max(0, output.seek(0, os.SEEK_END) - TEXT_LIMIT)
            output.seek(start)
            text = output.read(TEXT_LIMIT).decode(errors="replace")
        whole = (from_a_whole_word(text) if start else text).splitlines()
        tail = "\n".join(whole[-lines:]) if lines > 0 else ""
        kept = tail.encode()[-TEXT_LIMIT:].decode(errors="ignore")  # each replaced byte has become three
        return kept if kept == tail else from_a_whole_word(kept)

    def remove(self) -> None:
        """Forget the unit.

        Raises:
            PlatformUnavailable: Its lock is held: it still executes.
        """
        if not self.path.is_dir():
            return
        if self.is_alive():
            raise PlatformUnavailable(f"{self.path.name} still executes")
        self._delete()

    def forget(self) -> None:
        """Forget the unit that this agent holds the lock of: it was not begun after all."""
        self._delete()

    def discard(self) -> None:
        """Forget the unit if it never began, and nothing begins it at this moment."""
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
        """What ``unit.json`` says; empty if there is none."""
        return (state_files.read(self.path / "unit.json") or b"").decode(errors="replace")

    # --- inside ---

    def _locked(self) -> int | None:
        """A descriptor that has the lock; None if another has it."""
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
            for name in ("pid", "exit", "unkept"):  # of a unit that was not removed as a whole
                (self.path / name).unlink(missing_ok=True)
            state_files.put(self.path / "unit.json", self._said_of(submission).encode())  # half of it is no unit
        except OSError:
            self._delete()
            os.close(lock)
            raise
        return lock

    def _said_of(self, submission: Submission) -> str:
        """What ``unit.json`` says of a unit that is begun now."""
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
        """Remove ``unit.json`` first: what is left by a crash, or by an error, is no unit."""
        (self.path / "unit.json").unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def _about(self) -> Mapping[str, Any] | None:
        try:
            about = json.loads(state_files.read(self.path / "unit.json") or b"")
        except (state_files.NotAFile, ValueError, RecursionError):
            return None
        return about if isinstance(about, dict) and {"flow_run_id", "attempt", "created_at"} <= set(about) else None

    def _was_cut_off(self) -> bool:
        """Whether its process was there before the machine was started anew: the disk may have lost what it wrote."""
        if not (self.path / "exit").exists():
            return False
        boot = _machine(self._about() or {}).boot
        return bool(boot and self.machine.boot and boot != self.machine.boot)

    def _numbers(self, name: str) -> tuple[int, ...] | None:
        """The numbers in a file; None if none is written yet, (-1,) if there is something else."""
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
            return Evidence(reason="Killed", message="the process vanished without an exit code")
        if exit_code < 0:
            return Evidence(reason="Error", message="its exit code cannot be read")
        return Evidence.of_exit_code(exit_code)

    def _ended_at(self) -> datetime | None:
        """When the exit code was written; of a unit that was killed, when it was last heard."""
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
