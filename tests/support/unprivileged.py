"""Processes of a user without rights, also where the tests themselves have some: root may read everything."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import prefect.agent

SOMEONE: Final = 65534


def as_someone() -> dict[str, Any]:
    """Keywords of ``subprocess`` for a process of that user; none if the tests have no rights themselves."""
    return {"user": SOMEONE, "group": SOMEONE, "extra_groups": []} if os.geteuid() == 0 else {}


@cache
def python_path() -> Mapping[str, str]:
    """Variables by which another Python finds what this one has."""
    root = Path(tempfile.mkdtemp(prefix="prefect-agent-path-"))
    atexit.register(shutil.rmtree, root)
    root.chmod(0o755)
    (root / "prefect").mkdir()
    (root / "prefect" / "agent").symlink_to(Path(str(prefect.agent.__file__)).parent)
    return {"PYTHONPATH": os.pathsep.join([str(root), *(path for path in sys.path if path.endswith("site-packages"))])}


@cache
def python() -> str:
    """A Python that this user may start, of the same version: this one, or the system's.

    Raises:
        AssertionError: There is none.
    """
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    candidates = (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}", "/usr/bin/python3")
    for candidate in candidates:
        try:
            done = subprocess.run(
                [candidate, "-c", "import dependency_injector.containers, prefect.agent"],
                env=python_path(), capture_output=True, timeout=60, check=False, cwd="/", **as_someone(),
            )  # fmt: skip
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    raise AssertionError(f"a user without rights can start none of {', '.join(candidates)}")
