"""One unit of execution on disk: a directory whose name is the unit's and whose lock is held by the unit itself.

``lock``   flock(2), inherited by the unit's processes: held means something of it still executes. The kernel lets go of
           it with the last of them, whatever killed them.
``pid``    written by the unit as its first act: absent means it never began, so it may be begun (again).
``exit``   exit code, written by the unit as its last act: absent with a free lock means it was killed.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import attrs

from prefect.agent.domain.errors import PlatformUnavailable, UnitNameTaken
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.units import Evidence, Submission, Unit, UnitStatus
from prefect.agent.domain.times import iso, read_time

TAIL_BYTES: Final = 64 * 1024

LOOKED_AT: Final = 2.0
"""Seconds in which whoever only looks at a unit lets go of its lock."""

PAUSE: Final = 0.005
"""Seconds between two tries to take a lock."""

SCRIPT: Final = """
trap : TERM INT HUP
echo $$ > "$0/pid.new" && mv "$0/pid.new" "$0/pid" || exit 70
"$@"
code=$?
echo $code > "$0/exit.new" && mv "$0/exit.new" "$0/exit"
exit $code
"""
"""Runs the unit's command (arguments) and keeps its directory (``$0``) up to date. Handlers are not inherited through
exec, so the command itself gets its signals with their usual meaning."""


@attrs.frozen
class UnitDir:
    """The directory of one unit."""

    path: Path

    def begin(self, submission: Submission) -> int | None:
        """Take the unit's lock to begin it; None if it is being begun, executes or has ended already.

        Returns the locked file descriptor; whoever inherits it is the unit.

        Raises:
            UnitNameTaken: Something else has the directory's name.
        """
        end = time.monotonic() + LOOKED_AT
        while True:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except FileExistsError as problem:
                raise UnitNameTaken(self.path.name, f"the file {self.path}") from problem
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                if (self.path / "pid").exists() or time.monotonic() >= end:
                    return None
                time.sleep(PAUSE)  # somebody begins it, or only looks at what was left unbegun
                continue
            if not self._is_here(lock):  # removed by another agent since it was made
                os.close(lock)
                continue
            if (self.path / "pid").exists():
                os.close(lock)
                return None
            self._write(submission)
            return lock

    def read(self) -> Unit | None:
        """The unit as it is now; None if there is none."""
        about = self._about()
        if about is None:
            return None
        pid = self._number("pid")
        exit_code = self._number("exit")
        status, evidence = UnitStatus.RUNNING if pid else UnitStatus.PENDING, None
        if exit_code is None and not self.is_alive():
            pid, exit_code = self._number("pid"), self._number("exit")  # it may have gone on between the looks
            if pid is None:
                status = UnitStatus.CREATED
            elif exit_code is None:
                status = UnitStatus.FAILED
                evidence = Evidence(reason="Killed", message="the process vanished without an exit code")
        if exit_code is not None:
            status = UnitStatus.FAILED if exit_code else UnitStatus.SUCCEEDED
            evidence = _evidence(exit_code)
        return Unit(
            name=self.path.name,
            flow_run_id=FlowRunId(str(about["flow_run_id"])),
            attempt=str(about["attempt"]),
            status=status,
            id=str(pid or ""),
            info=f"PID: {pid}" if pid else "",
            evidence=evidence,
            created_at=_moment(about["created_at"]),
            ended_at=self._ended_at() if status.has_ended else None,
        )

    def is_alive(self) -> bool:
        """Whether anything of the unit still executes."""
        try:
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def group(self) -> int | None:
        """Id of the unit's process group, while anything in it lives."""
        return self._number("pid") if self.is_alive() else None

    def tail(self, lines: int) -> str:
        """The last lines of the output."""
        try:
            with (self.path / "output").open("rb") as output:
                output.seek(0, os.SEEK_END)
                output.seek(max(0, output.tell() - TAIL_BYTES))
                text = output.read().decode(errors="replace")
        except OSError:
            return ""
        tail = "\n".join(text.splitlines()[-lines:]) if lines > 0 else ""
        return tail.encode()[-TAIL_BYTES:].decode(errors="ignore")  # each replaced byte has become three

    def remove(self) -> None:
        """Forget the unit.

        Raises:
            PlatformUnavailable: It still executes.
        """
        if self._number("exit") is None and self.is_alive():
            raise PlatformUnavailable(f"{self.path.name} still executes")
        shutil.rmtree(self.path, ignore_errors=True)

    def _write(self, submission: Submission) -> None:
        about = {
            "flow_run_id": submission.flow_run_id,
            "attempt": submission.attempt,
            "flow_id": submission.flow_id,
            "flow_name": submission.flow_name,
            "created_at": iso(datetime.now(timezone.utc)),
        }
        new = self.path / "unit.new"
        new.write_text(json.dumps(about), encoding="utf-8")
        new.replace(self.path / "unit.json")

    def _about(self) -> Mapping[str, Any] | None:
        try:
            about = json.loads((self.path / "unit.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return about if isinstance(about, dict) and {"flow_run_id", "attempt", "created_at"} <= set(about) else None

    def _number(self, name: str) -> int | None:
        try:
            return int((self.path / name).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def _ended_at(self) -> datetime | None:
        for name in ("exit", "output", "pid"):
            try:
                return datetime.fromtimestamp((self.path / name).stat().st_mtime, timezone.utc)
            except OSError:
                continue
        return None

    def _is_here(self, lock: int) -> bool:
        try:
            return os.fstat(lock).st_ino == (self.path / "lock").stat().st_ino
        except OSError:
            return False


def _moment(text: object) -> datetime | None:
    try:
        return read_time(text)
    except ValueError:
        return None


def _evidence(exit_code: int) -> Evidence:
    if exit_code > 128:
        return Evidence(exit_code=exit_code, reason="Killed", message=f"ended by signal {exit_code - 128}")
    return Evidence(exit_code=exit_code, reason="" if not exit_code else "Error")
