"""The public home of the testing helpers: complete, lazy, and clear about what is missing; from an installed wheel."""

import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Final

import pytest

import prefect.agent.testing
from prefect.agent.adapters import fakes
from prefect.agent.adapters.fakes import contracts

ROOT: Final = Path(__file__).resolve().parents[3]
FAKES: Final = sorted(fakes.__all__)
SUITES: Final = sorted([*contracts.__all__, "eventually"])
SERVER: Final = ["Routine", "running_server"]
LIBRARIES: Final = ("graphql", "h11", "jinja2", "starlette", "uvicorn")
"""What the extra ``server`` brings."""


def test_every_fake_suite_and_helper_has_the_short_name() -> None:
    """A fake or suite that is added later needs its name here; each name is the object of the old path."""
    assert sorted(prefect.agent.testing.__all__) == sorted([*FAKES, *SUITES, *SERVER])
    for home in (fakes, contracts, import_module("prefect.agent.entrypoints.server.testing")):
        for name in {*prefect.agent.testing.__all__} & {*vars(home)}:
            assert getattr(prefect.agent.testing, name) is getattr(home, name)


def test_names_are_listed_and_others_are_refused() -> None:
    """Completion in an editor finds the names; a name that does not exist is an AttributeError, as in any module."""
    assert {*prefect.agent.testing.__all__} <= {*dir(prefect.agent.testing)}
    with pytest.raises(AttributeError, match="InMemoryCluod"):
        _ = prefect.agent.testing.InMemoryCluod


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the contents of the wheel, made as ``make wheel`` makes it, of a copy of the tree."""
    place = tmp_path_factory.mktemp("wheel")
    tree = place / "tree"
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    make = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*make, "--no-build-isolation", "--wheel-dir", place, tree], check=True, timeout=300)
    (made,) = place.glob("*.whl")
    shutil.unpack_archive(made, place / "installed", "zip")
    return place / "installed"


def imported(wheel: Path, name: str, *, without: tuple[str, ...] = ()) -> dict[str, str]:
    """What a fresh interpreter that has the wheel says of importing *name*: home, error and the libraries loaded.

    Args:
        without: Libraries that are not installed there.
    """
    text = f"""
import json, sys
sys.path.insert(0, {str(wheel)!r})
sys.modules.update(dict.fromkeys({without!r}))
said = {{"error": "", "home": ""}}
try:
    from prefect.agent.testing import {name}
except ImportError as problem:
    said["error"] = f"{{type(problem).__name__}}: {{problem}}"
import prefect.agent
said["home"] = prefect.agent.__file__
said["loaded"] = " ".join(sorted({{each.partition(".")[0] for each, found in sys.modules.items() if found}}))
print(json.dumps(said))
"""
    done = subprocess.run([sys.executable, "-I", "-c", text], capture_output=True, text=True, check=True, timeout=60)
    said: dict[str, str] = json.loads(done.stdout)
    assert said["home"].startswith(str(wheel)), "it is not the wheel that was imported"
    return said


@pytest.mark.parametrize("name", [*FAKES, *SUITES, *SERVER])
def test_every_name_can_be_imported_from_the_wheel_with_all_extras(wheel: Path, name: str) -> None:
    """With pytest and the server's libraries installed, each name alone can be imported in a fresh interpreter."""
    assert imported(wheel, name)["error"] == ""


def test_fakes_need_no_extra_and_load_none(wheel: Path) -> None:
    """Without any extra the fakes are there; with all of them, the fakes load neither pytest nor the server."""
    names = ", ".join(FAKES)

    assert imported(wheel, names, without=("pytest", *LIBRARIES))["error"] == ""
    loaded = imported(wheel, names)["loaded"].split()
    assert not {*loaded} & {"pytest", "docker", "kubernetes", "requests", *LIBRARIES}


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_without_pytest_names_the_extra(wheel: Path, name: str) -> None:
    """One sentence says what to install; suites need nothing of the server."""
    sentence = (
        f"prefect.agent.testing.{name} needs pytest, which is not installed: pip install 'prefect-agent[testing]'"
    )

    assert imported(wheel, name, without=("pytest", *LIBRARIES))["error"] == f"ImportError: {sentence}"
    assert imported(wheel, name, without=LIBRARIES)["error"] == ""


@pytest.mark.parametrize("library", ["graphql", "starlette", "uvicorn"])
def test_a_server_without_its_libraries_names_the_extra(wheel: Path, library: str) -> None:
    """One sentence says what to install; a server needs no pytest."""
    said = imported(wheel, "running_server", without=(library,))["error"]

    assert said.endswith("which is not installed: pip install 'prefect-agent[server]'")
    assert said.startswith("ImportError: prefect.agent.testing.running_server needs ")
    assert imported(wheel, "running_server", without=("pytest",))["error"] == ""


def test_old_paths_go_on_working_from_the_wheel(wheel: Path) -> None:
    """The paths that README and docs named before lead to the same helpers."""
    old = "InMemoryCloudApi\n    from prefect.agent.adapters.fakes import InMemoryCloudApi, ManualClock\n"
    old += "    from prefect.agent.adapters.fakes.contracts import CloudApiContract\n"
    old += "    from prefect.agent.entrypoints.server.testing import running_server"

    assert imported(wheel, old)["error"] == ""
