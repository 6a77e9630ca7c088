"""One table of platforms, and options that platforms of other distributions declare."""

import sys
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest
from click.testing import CliRunner

from prefect.agent.adapters.fakes import InMemoryCloudApi
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints import platforms
from prefect.agent.entrypoints.cli.start import start
from prefect.agent.entrypoints.library.kinds import agent_on
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
        for place in (platform.agent, *platform.spellings.values()):
            module, _, name = place.partition(":")
            assert getattr(import_module(module), name).platform_name == platform.name
        assert callable(platforms.platform_factory(platform.name))
        assert platforms.kind_of(platform.name) == platform.name
    assert platforms.kind_of("local") == "docker"
    assert platforms.agent_names() == ["local", "docker", "process", "kubernetes"]


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
