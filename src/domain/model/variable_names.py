"""Names of variables as the 1.x client reads them: one setting has many, and what is reserved is so in all. Pure.

The names of other variables mean what they say.
"""

import re
from collections.abc import Collection
from typing import Final

_SETTING: Final = "PREFECT__"
"""Begins the variable of each of Prefect's settings; ``__`` stands between sections."""

_COPY: Final = re.compile(r"(?<=^PREFECT__)(?:CONTEXT__CONFIG(?:__|$))+")
"""A copy of all settings, in a section of the settings."""


def plain_name(name: str) -> str:
    """Return the *name* of a variable as Prefect reads it: in the names of its settings case does not count.

    ``PREFECT__CONTEXT__CONFIG__X`` is another way to say ``PREFECT__X``, and the one that its client reads first.
    """
    upper = name.lower().upper()  # Prefect lowers: some letters outside ASCII become others by that
    return _COPY.sub("", upper) if upper.startswith("PREFECT") else name


def is_reserved(name: str, reserved: Collection[str]) -> bool:
    """Return whether the variable *name* sets something of *reserved*: it, a section that holds it, or a part of it.

    Args:
        reserved: As :func:`plain_name` writes them.
    """
    plain = plain_name(name)
    if plain in reserved:
        return True
    section = f"{plain.removesuffix('__')}__"
    return plain.startswith(_SETTING) and any(
        each.startswith(section) or section.startswith(f"{each}__") for each in reserved
    )
