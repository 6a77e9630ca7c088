"""Values read in short: a list of many rows must stay readable, whatever one of them holds.

A state's message, a label or a value of the key-value store may have a million characters, and a page reads hundreds.
"""

from typing import Final

from prefect.agent.entrypoints.server.storage.tables import JSON, TEXT

LONGEST_TEXT: Final = 4_000
"""Characters of a text in a list."""

LONGEST_JSON: Final = 20_000
"""Characters of a JSON value in a list; a longer one is not cut, for it would be none any more."""

TOO_LONG: Final = "(too long for a list)"
"""What stands for it: in an array or an object, if it is one."""


def short_sql(kind: str, column: str) -> str:
    """The expression that reads *column*, of type *kind*, in short."""
    if kind == TEXT:
        return f"substr({column}, 1, {LONGEST_TEXT})"
    if kind == JSON:
        instead = (
            f"CASE substr({column}, 1, 1) WHEN '[' THEN '[\"{TOO_LONG}\"]' "
            f"WHEN '{{' THEN '{{\"\": \"{TOO_LONG}\"}}' ELSE '\"{TOO_LONG}\"' END"
        )
        return f"CASE WHEN length({column}) > {LONGEST_JSON} THEN {instead} ELSE {column} END"
    return column
