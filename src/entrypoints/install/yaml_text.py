"""Writes YAML for people: with comments, and with quotes around each text that a reader could take for a number.

A text is written without quotes only if every reader of YAML 1.1 and 1.2 takes it for text: ``kubectl`` and PyYAML
differ about ``y`` and ``1e3``.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

_PLAIN: Final = re.compile(r"[A-Za-z][-A-Za-z0-9_./]*")
_WORDS: Final = frozenset({"y", "yes", "n", "no", "on", "off", "true", "false", "null", "nan", "inf"})
_NEVER: Final = 1_000_000
"""Width at which PyYAML would fold lines: they are never folded."""


class _Dumper(yaml.SafeDumper):
    """Writes texts with quotes where the rule above needs them, lists of texts on one line, and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Write an object twice if it occurs twice, without an alias."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


def _represent_list(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.SequenceNode:
    short = all(isinstance(value, str) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=short)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)


def dump(value: Any) -> str:
    """Return *value* as YAML, with its keys in their own order."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=_NEVER
    )
    return text


def document(comment: str, value: Any, remarks: Mapping[str, str] | None = None) -> str:
    """Return a document: ``---``, *comment*, and *value* with each of the *remarks* above its key."""
    return f"---\n# {comment}\n{remarked(dump(value), remarks or {})}"


def remarked(text: str, remarks: Mapping[str, str]) -> str:
    """Return *text* with a comment above each line that begins with a key of *remarks* (``livenessProbe:``)."""
    lines: list[str] = []
    for line in text.splitlines():
        bare = line.lstrip(" ")
        for start, remark in remarks.items():
            if bare.startswith(start):
                indent = " " * (len(line) - len(bare))
                lines += [f"{indent}# {part}" for part in remark.splitlines()]
        lines.append(line)
    return "\n".join(lines) + "\n"
