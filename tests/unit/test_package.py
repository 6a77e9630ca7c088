"""The package as people get it: nothing missing from the wheel, nothing heavy at import, everything described."""

import ast
import json
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import pytest

import prefect.agent

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MODULES = sorted(SOURCE.rglob("*.py"))
HEAVY = ("docker", "kubernetes", "requests", "graphql", "starlette", "uvicorn", "dependency_injector", "click", "rich")


def dotted(path: Path) -> str:
    """The import name of a file."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(("prefect", "agent", *(part for part in parts if part != "__init__")))


def test_every_package_is_listed() -> None:
    """A directory missing from pyproject.toml would work in the checkout and vanish from the wheel."""
    found = {dotted(path) for path in SOURCE.rglob("__init__.py")}

    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(found)


def test_every_folder_with_code_is_a_package() -> None:
    """Code in a folder without __init__.py would not be found by the test above."""
    assert {path.parent for path in MODULES} == {path.parent for path in SOURCE.rglob("__init__.py")}


def test_types_are_marked() -> None:
    """Type checkers believe a package only if it says so (PEP 561), and only if the marker gets into the wheel."""
    [marker] = PROJECT["tool"]["setuptools"]["package-data"]["prefect.agent"]

    assert (SOURCE / marker).is_file()


def test_every_file_that_is_no_code_gets_into_the_wheel() -> None:
    """Templates and static files that package data does not name would vanish from the wheel."""
    named = PROJECT["tool"]["setuptools"]["package-data"].items()
    packed = {path for package, patterns in named for pattern in patterns for path in folder_of(package).glob(pattern)}
    files = {path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}

    assert {path for path in files if path.suffix != ".py"} == packed


def folder_of(package: str) -> Path:
    """Where the code of a package is."""
    return SOURCE.joinpath(*package.split(".")[2:])


def loaded_by(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after *statement*."""
    text = (
        f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    )
    result = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    found: list[str] = json.loads(result.stdout)
    return set(found)


@pytest.mark.parametrize(
    "statement",
    [
        "import prefect.agent",
        "from prefect.agent import AgentError, AgentSettings, AgentExit",
        "import prefect.agent.ports.cloud_api, prefect.agent.ports.platform, prefect.agent.ports.clock",
        "import prefect.agent.domain.services.sweep, prefect.agent.domain.cloud.transitions",
    ],
    ids=["package", "names", "ports", "domain"],
)
def test_the_front_door_is_light(statement: str) -> None:
    """Everybody pays for what the package imports: no vendor's SDK, no framework."""
    assert not loaded_by(statement) & set(HEAVY)


def test_the_agent_does_not_load_what_its_platform_does_not_need() -> None:
    """Memory and time to the first poll: an agent of processes loads no Docker and no Kubernetes."""
    # Not "starlette": dependency-injector itself loads that wherever it is installed.
    loaded = loaded_by("from prefect.agent import ProcessAgent\nimport prefect.agent.adapters.process")

    assert not loaded & {"docker", "kubernetes", "graphql", "uvicorn", "rich"}


def test_the_version_is_that_of_the_metadata() -> None:
    """As programs expect it; it is looked up when it is asked for."""
    assert prefect.agent.__version__ == metadata.version("prefect-agent") == PROJECT["project"]["version"]


def test_no_address_of_the_project_is_made_up() -> None:
    """There is none before the project has a public home; then they all are there, so that one change moves them."""
    urls = PROJECT["project"].get("urls", {})
    names = {"Source", "Documentation", "Changelog", "Issues"} if urls else set()

    assert names <= urls.keys()
    assert all(url.startswith(urls["Source"]) and ".example" not in url for url in urls.values())


def test_public_names_are_there() -> None:
    """All of them are loaded when asked for, and listed; others are not there."""
    for name in prefect.agent.__all__:
        assert getattr(prefect.agent, name).__name__ in {name, "DockerAgent"}
    assert set(prefect.agent.__all__) <= set(dir(prefect.agent))
    with pytest.raises(AttributeError, match="Gone"):
        _ = prefect.agent.Gone


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_every_public_module_says_what_it_is(path: Path) -> None:
    """In a docstring; so does every public class and function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]

    assert ast.get_docstring(tree)
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_every_module_is_readable_in_one_sitting(path: Path) -> None:
    """At most 400 lines."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("group", ["console_scripts", "prefect.agent.platforms"])
def test_entry_points_lead_somewhere(group: str) -> None:
    """Commands and platforms that are announced can be loaded."""
    own = [entry for entry in metadata.entry_points(group=group) if entry.value.startswith("prefect.agent")]

    assert own
    for entry in own:
        assert callable(entry.load())


def test_announced_platforms_are_those_of_the_project() -> None:
    """The metadata of the installation is that of pyproject.toml."""
    announced = PROJECT["project"]["entry-points"]["prefect.agent.platforms"]

    for target in announced.values():
        module, _, attribute = target.partition(":")
        assert callable(getattr(import_module(module), attribute))


def test_a_later_prefect_can_be_installed_beside_it() -> None:
    """Prefect 3 wants ``python-dateutil`` below 3; the newest Kubernetes SDK alone would bring a later one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "python-dateutil<3" in project["project"]["dependencies"]
    for lock in ("dev.txt", "image.txt"):
        lines = (ROOT / "requirements" / lock).read_text(encoding="utf-8").splitlines()
        versions = [line.partition("==")[2] for line in lines if line.startswith("python-dateutil==")]
        assert versions
        assert all(version.startswith("2.") for version in versions)
