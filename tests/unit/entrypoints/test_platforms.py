"""One table of platforms, and options that platforms of other distributions declare."""

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from inspect import signature
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from prefect.agent.adapters.fakes import InMemoryCloudApi
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints import platforms
from prefect.agent.entrypoints.cli import options
from prefect.agent.entrypoints.cli.start import load, start
from prefect.agent.entrypoints.library.kinds import KUBERNETES_OPTIONS, agent_on
from prefect.agent.ports import PlatformOption

PAGE = """
from prefect.agent.ports import PlatformOption
from prefect.agent.testing import InMemoryPlatform

def option(name, **details):
    return PlatformOption(name=name, flags=("--" + name,), help="A help.", variable="ODD_" + name.upper(), **details)

OPTIONS = (option("size", kind="whole"), option("share", kind="number"), option("fast", kind="flag"),
           option("zone", repeatable=True), option("namespace"))
MADE = []

def factory(**given):
    MADE.append(given)
    return InMemoryPlatform()
"""


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The module of an installed platform ``odd``."""
    module = tmp_path / "odd_platform.py"
    module.write_text(PAGE)
    data = tmp_path / "odd_platform-1.dist-info"
    data.mkdir()
    (data / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-platform\nVersion: 1\n")
    (data / "entry_points.txt").write_text(f"[{platforms.ENTRY_POINTS}]\nodd = odd_platform:factory\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    invalidate_caches()
    yield module
    sys.modules.pop("odd_platform", None)


def test_the_table_leads_to_classes_and_factories_that_exist() -> None:
    """Each by its name; another spelling has the platform of its own row."""
    for platform in platforms.BUILT_IN:
        for place in filter(None, (platform.agent, platform.agent_1x, *platform.spellings.values())):
            module, _, name = place.partition(":")
            assert getattr(import_module(module), name).platform_name == platform.name
        assert callable(platforms.platform_factory(platform.name))
        assert platforms.kind_of(platform.name) == platform.name
    assert platforms.kind_of("local") == "docker"
    assert platforms.agent_names() == ["local", "docker", "process", "kubernetes"]


@pytest.mark.parametrize("name", [row.name for row in platforms.BUILT_IN])
def test_a_built_in_platform_takes_what_it_declares(name: str) -> None:
    """Each option is an argument of its agent, and all of them can be given to ``start``."""
    declared = platforms.options_of(name)
    module, _, attribute = platforms.class_of(name).partition(":")
    agent = getattr(import_module(module), attribute)
    taken = {*signature(agent.__init__).parameters, *(KUBERNETES_OPTIONS if name == "kubernetes" else ())}

    assert {option.name for option in declared} <= taken


@pytest.mark.parametrize("heavy", ["docker", "kubernetes", "requests", "urllib3"])
def test_reading_the_declared_options_imports_nothing_heavy(heavy: str) -> None:
    """Every command pays for it."""
    code = f"import sys; from prefect.agent.entrypoints.cli import options; sys.exit({heavy!r} in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_more_built_in_platform_needs_a_row_and_its_folder(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Agent, options, variables and help come from what the folder declares."""
    row = platforms.BuiltIn("odder", "odd_platform:factory", "odd_platform:OPTIONS", "odd units")
    monkeypatch.setattr(platforms, "BUILT_IN", (*platforms.BUILT_IN, row))
    monkeypatch.setitem(platforms._BY_NAME, row.name, row)
    command = options.of_platforms("odder")(click.command()(lambda **params: params))

    given = command.main(["--size", "3", "--zone", "a"], standalone_mode=False)
    agent = load(platforms.class_of("odder"))(cloud=InMemoryCloudApi(), environ={"ODD_SHARE": "0.5"}, size=3)

    assert (given["size"], given["zone"]) == (3, ("a",))
    assert dict(agent.options.platform_options) == {"size": 3, "share": 0.5}


def test_an_option_of_several_platforms_is_one_option() -> None:
    """``--show-flow-logs`` is of docker and of process."""
    [found] = [each for each in start.params if "--show-flow-logs" in each.opts]

    assert options.platforms_of(found) == ("docker", "process")


@pytest.mark.parametrize(
    ("details", "words", "said"),
    [
        ({"kind": "whole", "least": 1}, ("--a", "0"), "x>=1"),
        ({"kind": "number", "above": 0}, ("--a", "0"), "x>0"),
        ({"kind": "whole", "most": 5}, ("--a", "6"), "x<=5"),
        ({"choices": ("b", "c")}, ("--a", "d"), "'b', 'c'"),
        ({"kind": "whole"}, ("--a", "1.5"), "1.5"),
    ],
)
def test_a_value_out_of_what_is_declared_is_wrong_usage(
    details: dict[str, Any], words: tuple[str, ...], said: str
) -> None:
    """The command line refuses it before the platform sees it."""
    declared = PlatformOption(name="a", flags=("--a",), help="", **details)
    command = click.Command("c", params=[options.click_option(declared, ("odd",))])
    done = CliRunner().invoke(command, words)

    assert done.exit_code == 2
    assert said in done.output


@pytest.mark.parametrize(
    ("details", "said"),
    [({"kind": "flag", "choices": ("b",)}, "kind must be text"), ({"least": 1}, "kind must be a number")],
)
def test_choices_and_bounds_fit_the_kind(details: dict[str, Any], said: str) -> None:
    """The author learns it when the module is imported."""
    with pytest.raises(ConfigurationError, match=said):
        PlatformOption(name="a", flags=("--a",), help="", **details)


@pytest.mark.parametrize(
    ("environ", "given", "expected"),
    [
        ({}, {}, {}),
        (
            {"ODD_SIZE": "3", "ODD_SHARE": "0.5", "ODD_FAST": "yes", "ODD_ZONE": "a,b"},
            {},
            {"size": 3, "share": 0.5, "fast": True, "zone": ["a", "b"]},
        ),
        ({"ODD_SIZE": "3", "ODD_ZONE": "a"}, {"size": 4, "zone": ("c",)}, {"size": 4, "zone": ("c",)}),
        ({"ODD_FAST": "off", "ODD_SIZE": " "}, {}, {"fast": False}),
    ],
)
def test_an_agent_gives_the_factory_what_arguments_and_variables_say(
    odd: Path, environ: dict[str, str], given: dict[str, object], expected: dict[str, object]
) -> None:
    """Arguments win; what neither says is left to the factory."""
    agent = agent_on("odd")(cloud=InMemoryCloudApi(), environ=environ, **given)  # type: ignore[arg-type]

    assert agent.options.platform == "odd"
    assert agent.options.agent_type == "Agent"
    assert dict(agent.options.platform_options) == expected


@pytest.mark.parametrize(
    ("variable", "said"),
    [("ODD_SIZE", "give a whole number"), ("ODD_SHARE", "give a number"), ("ODD_FAST", "give true or false")],
)
def test_a_variable_of_a_wrong_kind_is_named(odd: Path, variable: str, said: str) -> None:
    """It is the operator's mistake, not the platform's."""
    with pytest.raises(ConfigurationError, match=f"{variable} is 'much'; {said}"):
        agent_on("odd")(cloud=InMemoryCloudApi(), environ={variable: "much"})


def test_an_option_called_like_one_of_a_built_in_platform_is_the_platforms_own(odd: Path) -> None:
    """``--namespace`` is of kubernetes, too."""
    context = start.make_context("start", ["odd", "--namespace", "n", "--zone", "a", "--zone", "b", "--fast"])

    assert (context.params["namespace"], context.params["zone"], context.params["fast"]) == ("n", ("a", "b"), True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ('OPTIONS = (option("labels"),)', "the platform declares the option labels, which every agent has"),
        ('OPTIONS = (option("a"), option("a"))', "declares 'a' twice"),
        ('OPTIONS = ("--a",)', "must be a sequence of PlatformOption"),
        ("OPTIONS = 3", "must be a sequence of PlatformOption"),
        ('OPTIONS = (PlatformOption(name="a b", flags=("--a",), help=""),)', "needs a keyword and a flag"),
        ("import not_installed", "No module named 'not_installed'"),
    ],
)
def test_a_platform_that_declares_its_options_wrongly_cannot_be_used(odd: Path, options: str, said: str) -> None:
    """One sentence and exit code 2; the help of all other platforms is still there."""
    odd.write_text(f"{PAGE}\n{options}\n")
    used, helped = CliRunner().invoke(start, ["odd"]), CliRunner().invoke(start, ["--help"])

    assert used.exit_code == 2
    assert said in used.output.replace("\n", " ")
    assert helped.exit_code == 0
    assert "Options for kubernetes" in helped.output


@pytest.mark.parametrize("flags", [(), ("a",), ("-a",), ("--a", "b")])
def test_an_option_needs_a_long_flag(flags: tuple[str, ...]) -> None:
    """And every flag begins with a dash."""
    with pytest.raises(ConfigurationError, match="needs a keyword and a flag"):
        PlatformOption(name="a", flags=flags, help="")
