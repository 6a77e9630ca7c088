"""Install the wheel, and the source distribution, into clean environments and use them; `make smoke` runs it.

Every Python from 3.10 to 3.13 that is found (on PATH, or made by pyenv) gets an environment of its own with the wheel
and what requirements/image.txt locks; the first one also gets the source distribution. Fails with what went wrong.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
VERSIONS: Final = tuple(f"3.{minor}" for minor in range(10, 14))
NO_CLOUD: Final = "http://127.0.0.1:1"
NEEDED: Final = ("tests/unit/test_package.py", "docs/tutorial.md", "Makefile", "requirements/dev.txt", "tools/smoke.py")
"""Files that a source distribution must have, beside the package."""
UNAVAILABLE: Final = 69
EVERY_MODULE: Final = """
import pkgutil, importlib, prefect.agent as package
optional = ("prefect.agent.entrypoints.server.", "prefect.agent.adapters.fakes.contracts", "prefect.agent.__main__")
for module in pkgutil.walk_packages(package.__path__, "prefect.agent."):
    if not module.name.startswith(optional):
        importlib.import_module(module.name)
"""
"""Imports all modules that need no extra; what a version of Python does not have shows then."""


class Broken(Exception):
    """The package does not work as it should; the message says what was done and what was seen."""


def main(versions: Sequence[str]) -> int:
    """Build both distributions, try them out with these versions of Python, and return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        try:
            wheel, source = _build(home)
            _complete(wheel, source)
            found = [each for version in versions for each in pythons(version)[:1]]
            distributions = [(wheel, source) if index == 0 else (wheel,) for index in range(len(found))]
            with ThreadPoolExecutor(2) as pool:
                for line in pool.map(lambda python, given: _try_out(home, python, given), found, distributions):
                    print(line, flush=True)
            if not found:
                raise Broken(f"there is no Python {', '.join(versions)} here")
        except Broken as problem:
            print(f"Error: {problem}", file=sys.stderr)
            return 1
    return 0


def _build(home: Path) -> tuple[Path, Path]:
    """The wheel and the source distribution, made by the build backend; the wheel from the unpacked source."""
    backend = "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"
    _run([sys.executable, "-c", backend.format("sdist"), home], cwd=_copy(home))
    (source,) = home.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(home / "unpacked", filter="data")
    (tree,) = (home / "unpacked").iterdir()
    _run([sys.executable, "-c", backend.format("wheel"), home], cwd=tree)
    (wheel,) = home.glob("*.whl")
    return wheel, source


def _copy(home: Path) -> Path:
    """The files that Git knows, elsewhere: the backend writes into the folder that it builds."""
    tree = home / "tree"
    tree.mkdir()
    names = _run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT).encode()
    subprocess.run(
        ["tar", "--create", "--null", "--files-from=-", f"--file={home / 'tree.tar'}"],
        input=names,
        cwd=ROOT,
        check=True,
    )
    _run(["tar", "--extract", f"--file={home / 'tree.tar'}"], cwd=tree)
    return tree


def _complete(wheel: Path, source: Path) -> None:
    """Every module is in the wheel, and what tests and pages need is in the source distribution."""
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    modules = {f"prefect/agent/{path.relative_to(ROOT / 'src')}" for path in (ROOT / "src").rglob("*.py")}
    with tarfile.open(source) as tarred:
        names = {name.partition("/")[2] for name in tarred.getnames()}
    missing = [*sorted(modules - packed), *(name for name in NEEDED if name not in names)]
    if missing:
        raise Broken(f"not packed: {', '.join(missing)}")


def pythons(version: str) -> list[str]:
    """Programs of that version of Python; the shim of a version manager may be none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    made = sorted(map(str, pyenv.glob(f"{version}.*/bin/python")))
    return [python for python in (f"python{version}", *made) if _runs(python)]


def _runs(python: str) -> bool:
    """Whether the program starts and can make an environment."""
    try:
        return subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _try_out(home: Path, python: str, distributions: Sequence[Path]) -> str:
    """Install distributions into an environment of that Python, one after the other; use each; return a line."""
    version = _run([python, "-c", "import platform; print(platform.python_version())"]).strip()
    place = home / version
    _run([python, "-m", "venv", "--without-pip", place])
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", f"--python={place / 'bin' / 'python'}"]
    add = [*pip, "install", "--quiet", "--no-compile"]
    _run([*add, "--require-hashes", "--requirement", ROOT / "requirements" / "image.txt"])
    for distribution in distributions:
        _run([*add, "--force-reinstall", "--no-deps", "--no-build-isolation", distribution])
        _run([*pip, "check"])
        _use(place, home)
    return f"Python {version}: {' and '.join(path.name for path in distributions)}: installed and used"


def _use(place: Path, home: Path) -> None:
    """Ask the installed package for its version in three ways, and start an agent that finds no Cloud."""
    version = _run(
        [place / "bin" / "python", "-c", "import prefect.agent as a; print(a.__version__)"], cwd=home
    ).strip()
    for program in ("prefect", "prefect-agent"):
        said = _run([place / "bin" / program, "version"], cwd=home)
        if not said.startswith(f"prefect-agent {version}\n"):
            raise Broken(f"{place.name}: {program} version prints {said!r}")
    _run([place / "bin" / "python", "-c", EVERY_MODULE], cwd=home)
    start = ["agent", "start", "process", "--api", NO_CLOUD, "--no-wait", "--interpreter", sys.executable]
    _run([place / "bin" / "prefect", *start], cwd=home, status=UNAVAILABLE)


def _run(words: Sequence[str | Path], *, cwd: Path | None = None, status: int = 0) -> str:
    """Run a program to its end, which must have that exit status; return what it prints."""
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != status:
        raise Broken(f"{' '.join(map(str, words))} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or VERSIONS))
