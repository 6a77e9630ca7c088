"""What a platform lets a person set, as plain data: the command line and the agents read it."""

from typing import Final, Literal

import attrs

from prefect.agent.domain.errors import ConfigurationError

OptionKind = Literal["text", "whole", "number", "flag"]

KINDS: Final = ("text", "whole", "number", "flag")


@attrs.frozen(kw_only=True)
class PlatformOption:
    """One option of a platform.

    Attributes:
        name: The keyword of the platform's factory that takes the value.
        flags: How the command line spells it: ``--folder``, and maybe ``-f``. Each begins with a dash.
        help: One sentence that says what it does and what holds if it is not set.
        kind: ``text``, ``whole`` (a whole number), ``number``, or ``flag`` (given or not).
        variable: The environment variable that sets it; empty for none. An option wins over it.
        repeatable: Whether it can be given several times; the value is then a list. Its variable holds a list, too.
    """

    name: str
    flags: tuple[str, ...]
    help: str
    kind: OptionKind = attrs.field(default="text", validator=attrs.validators.in_(KINDS))
    variable: str = ""
    repeatable: bool = False

    def __attrs_post_init__(self) -> None:
        """Check the declaration.

        Raises:
            ConfigurationError: The name is no keyword, or no flag is a long option.
        """
        is_long = any(flag.startswith("--") for flag in self.flags)
        if not self.name.isidentifier() or not is_long or not all(flag.startswith("-") for flag in self.flags):
            raise ConfigurationError(f"the option {self.name!r} of a platform needs a keyword and a flag like --name")
