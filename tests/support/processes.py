"""Processes that are nobody's children here."""

from pathlib import Path


def has_ended(pid: int | str) -> bool:
    """Whether it executes nothing any more; also if nobody has asked how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter if it goes between opening and reading
        return True
