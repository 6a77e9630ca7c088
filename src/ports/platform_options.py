"""What a platform lets a person set, as plain data: the command line and the agents read it."""

from typing import Any, Final, Literal

import attrs

from prefect.agent.domain.errors import ConfigurationError

OptionKind = Literal["text", "whole", "number", "flag"]

KINDS: Final = ("text", "whole", "number", "flag")


@attrs.frozen(kw_only=True)
class PlatformOption:
    """One option of a platform.

    Attributes:
        name: The keyword of the platform's factory that takes the value; for a built-in platform with an agent class
            of its own, a keyword of that class.
        flags: How the command line spells it: ``--folder``, and maybe ``-f``. Each begins with a dash. A flag may have
            an opposite: ``--label/--no-label``.
        help: One sentence that says what it does and what holds if it is not set.
        kind: ``text``, ``whole`` (a whole number), ``number``, or ``flag`` (given or not).
        variable: The environment variable that sets it; empty for none. An option wins over it.
        repeatable: Whether it can be given several times; the value is then a list. Its variable holds a list, too.
        placeholder: What the help shows in place of a value, as ``PATH``; empty for the kind.
        choices: The only texts that it takes; empty for any.
        least, above, most: Bounds of a number: at least, more than, at most; None for none.
        given: The value of a flag that is given.
        default: The value on the command line if the option is not given; None leaves that to the platform.
    """

    name: str
    flags: tuple[str, ...]
    help: str
    kind: OptionKind = attrs.field(default="text", validator=attrs.validators.in_(KINDS))
    variable: str = ""
    repeatable: bool = False
    placeholder: str = ""
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None
    most: float | None = None
    given: bool = True
    default: Any = None

    def __attrs_post_init__(self) -> None:
        """Check the declaration.

        Raises:
            ConfigurationError: The name is no keyword, no flag is a long option, or choices or bounds do not fit the
                kind.
        """
        is_long = any(flag.startswith("--") for flag in self.flags)
        if not self.name.isidentifier() or not is_long or not all(flag.startswith("-") for flag in self.flags):
            raise ConfigurationError(f"the option {self.name!r} of a platform needs a keyword and a flag like --name")
        if self.choices and self.kind != "text":
            raise ConfigurationError(f"the option {self.name!r} of a platform has choices: its kind must be text")
        bounds = {self.least, self.above, self.most} - {None}
        if bounds and self.kind not in {"whole", "number"}:
            raise ConfigurationError(f"the option {self.name!r} of a platform has bounds: its kind must be a number")
