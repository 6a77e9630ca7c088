"""Variables set the options that a platform declares, by the rules of the command line."""

from typing import Any

import pytest

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.library.declared_options import options_in
from prefect.agent.ports.platform_options import PlatformOption


def option(name: str, **more: Any) -> PlatformOption:
    """An option whose variable has its name."""
    return PlatformOption(name=name, flags=(f"--{name}",), help="-", variable=name.upper(), **more)


DECLARED = (
    option("text"),
    option("colour", choices=("red", "green")),
    option("tags", repeatable=True, choices=("a", "b")),
    option("count", kind="whole", least=0, most=10),
    option("rate", kind="number", above=0),
    option("fast", kind="flag"),
    PlatformOption(name="silent", flags=("--silent",), help="-"),
)


def test_values_have_the_kind_of_their_option() -> None:
    """Quotes and brackets are those of all settings; an option without a variable is set by nothing."""
    environ = {
        "TEXT": " 'x' ", "COLOUR": "red", "TAGS": "[a, b]", "COUNT": "10", "RATE": "0.5", "FAST": "yes", "SILENT": "1",
    }  # fmt: skip

    assert options_in(environ, DECLARED) == {
        "text": "x", "colour": "red", "tags": ["a", "b"], "count": 10, "rate": 0.5, "fast": True,
    }  # fmt: skip


def test_what_is_empty_or_not_set_sets_nothing() -> None:
    """A manifest may write every variable."""
    assert options_in({"TEXT": "", "COUNT": "  "}, DECLARED) == {}


@pytest.mark.parametrize(
    ("variable", "text", "why"),
    [
        ("COLOUR", "blue", "choose from red, green"),
        ("TAGS", "a, c", "choose from a, b"),
        ("COUNT", "-1", "at least 0"),
        ("COUNT", "11", "at most 10"),
        ("COUNT", "1.5", "a whole number"),
        ("COUNT", "1e1", "a whole number"),
        ("RATE", "0", "more than 0"),
        ("RATE", "fast", "a number"),
        ("RATE", "nan", "more than 0"),
        ("FAST", "perhaps", "true or false"),
    ],
)
def test_what_the_command_line_would_refuse_is_refused_with_the_variables_name(
    variable: str, text: str, why: str
) -> None:
    """Choices and bounds are declared once, for both."""
    with pytest.raises(ConfigurationError, match=f"{variable}.*{why}"):
        options_in({variable: text}, DECLARED)
