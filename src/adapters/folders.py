"""What a folder is good for, looked at without making or changing anything: for a doctor."""

import os
import shutil
import stat
from pathlib import Path

import attrs

from prefect.agent.adapters.state_files import WRITABLE_FOR_OTHERS, open_to_others
from prefect.agent.domain.model.checks import Folder


def look_at(path: Path, use: str, *, forbidden: int = WRITABLE_FOR_OTHERS, is_needed: bool = True) -> Folder:
    """Facts about *path*, which may not exist yet. Raises nothing.

    Args:
        use: What is kept there.
        forbidden: Mode bits with which the agent refuses the folder: others could write in it.
        is_needed: Whether the agent cannot do without.
    """
    facts = Folder(use=use, path=str(path), is_needed=is_needed)
    try:
        place = path.expanduser().absolute()
        nearest = next(each for each in (place, *place.parents) if each.exists())
        facts = attrs.evolve(facts, path=str(place), exists=nearest == place, free=shutil.disk_usage(nearest).free)
        is_open = nearest == place and _is_open(place, forbidden)
        problem = open_to_others(place) if is_open else _problem(nearest)
    except (OSError, RuntimeError, ValueError) as failure:
        return attrs.evolve(facts, problem=getattr(failure, "strerror", None) or str(failure))
    return attrs.evolve(facts, problem=problem, is_open=is_open)


def _is_open(folder: Path, forbidden: int) -> bool:
    about = folder.stat()
    return stat.S_ISDIR(about.st_mode) and (about.st_uid not in {0, os.geteuid()} or bool(about.st_mode & forbidden))


def _problem(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder} is no folder"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"this user cannot write in {folder}"
