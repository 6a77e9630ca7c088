"""The public home of the testing helpers: complete, lazy, and clear about what is missing; from an installed wheel."""

import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Final, cast

import pytest

import prefect.agent.testing
from prefect.agent.adapters import fakes
from prefect.agent.adapters.fakes import contracts
from prefect.agent.adapters.fakes.contracts.platform_base import PlatformContractBase

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


def imported(wheel: Path, *statements: str, without: tuple[str, ...] = ()) -> tuple[list[str], set[str]]:
    """What comes of each import in one fresh interpreter that has the wheel: an error or "", and the libraries loaded.

    Args:
        without: Libraries that are not installed there.
    """
    text = f"""
import json, sys
sys.path.insert(0, {str(wheel)!r})
sys.modules.update(dict.fromkeys({without!r}))
errors = []
for statement in {statements!r}:
    try:
        exec(statement)
        errors.append("")
    except ImportError as problem:
        errors.append(f"{{type(problem).__name__}}: {{problem}}")
import prefect.agent
loaded = sorted({{name.partition(".")[0] for name, found in sys.modules.items() if found}})
print(json.dumps([prefect.agent.__file__, errors, loaded]))
"""
    done = subprocess.run([sys.executable, "-I", "-c", text], capture_output=True, text=True, check=True, timeout=60)
    home, errors, loaded = json.loads(done.stdout)
    assert home.startswith(str(wheel)), "it is not the wheel that was imported"
    return errors, set(loaded)


def of(*names: str) -> list[str]:
    """One statement for each name."""
    return [f"from prefect.agent.testing import {name}" for name in names]


@pytest.mark.parametrize("name", ["InMemoryCloudApi", "CloudApiContract", "eventually", "Routine", "running_server"])
def test_each_home_can_be_imported_first_from_the_wheel(wheel: Path, name: str) -> None:
    """With all extras installed, whichever name is imported first: no import depends on an earlier one."""
    assert imported(wheel, *of(name, *FAKES, *SUITES, *SERVER))[0] == [""] * (1 + len(FAKES + SUITES + SERVER))


def test_fakes_need_no_extra_and_load_none(wheel: Path) -> None:
    """Without any extra the fakes are there; with all of them, the fakes load neither pytest nor the server."""
    assert imported(wheel, *of(*FAKES), without=("pytest", *LIBRARIES))[0] == [""] * len(FAKES)
    assert not imported(wheel, *of(*FAKES))[1] & {"pytest", "docker", "kubernetes", "requests", *LIBRARIES}


def test_a_suite_without_pytest_names_the_extra(wheel: Path) -> None:
    """One sentence says what to install; suites need nothing of the server."""
    needs = "needs pytest, which is not installed: pip install 'prefect-agent[testing]'"

    errors, _ = imported(wheel, *of(*SUITES), without=("pytest", *LIBRARIES))

    assert errors == [f"ImportError: prefect.agent.testing.{name} {needs}" for name in SUITES]
    assert imported(wheel, *of(*SUITES), without=LIBRARIES)[0] == [""] * len(SUITES)


@pytest.mark.parametrize("library", ["graphql", "starlette", "uvicorn"])
def test_a_server_without_its_libraries_names_the_extra(wheel: Path, library: str) -> None:
    """One sentence says what to install."""
    [error], _ = imported(wheel, *of("running_server"), without=(library,))

    assert error.startswith(f"ImportError: prefect.agent.testing.running_server needs {library}")
    assert error.endswith(", which is not installed: pip install 'prefect-agent[server]'")


def test_a_server_needs_no_pytest(wheel: Path) -> None:
    """A demonstration may run one where no tests are."""
    assert imported(wheel, *of(*SERVER), without=("pytest",))[0] == ["", ""]


def test_old_paths_go_on_working_from_the_wheel(wheel: Path) -> None:
    """The paths that README and docs named before lead to the same helpers."""
    old = [
        "from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform, ManualClock",
        "from prefect.agent.adapters.fakes.contracts import CloudApiContract, ExecutionPlatformContract",
        "from prefect.agent.entrypoints.server.testing import running_server",
    ]

    assert imported(wheel, *old)[0] == ["", "", ""]


@pytest.mark.parametrize("name", ["Cloud", "LooseCloud", "Platform"])
def test_earlier_names_of_the_harnesses_go_on_working(name: str) -> None:
    """Contract tests that subclass a "World" subclass the harness of today."""
    assert getattr(contracts, f"{name}World") is getattr(contracts, f"{name}Harness")


class TestSuiteWithTheEarlierFixture(PlatformContractBase):
    """A suite that gives its harness as ``world``, as before the fixture was renamed."""

    @pytest.fixture
    def world(self) -> contracts.PlatformHarness:
        """Return any harness: nothing of it is used."""
        return cast("contracts.PlatformHarness", object())

    def test_the_earlier_fixture_is_the_harness(
        self, harness: contracts.PlatformHarness, world: contracts.PlatformHarness
    ) -> None:
        """Tests of the suite get what the earlier fixture returns."""
        assert harness is world
