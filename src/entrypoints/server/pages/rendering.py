"""Templates, and how values are written for people.

Everything is escaped; nothing is marked as safe. Texts are cut, and characters that do something or cannot be seen are
written out, wherever a template names a text: only what forms hand back stays as it is.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.ext import Extension

from prefect.agent.domain.state_names import PARENTS
from prefect.agent.domain.texts import cut, escaped_lines, readable_name
from prefect.agent.domain.times import read_time
from prefect.agent.entrypoints.server.pages.assets import asset_path

MAX_SHOWN: Final = 20_000
"""Characters of a JSON value or a message that a page shows."""

NOTHING: Final = "\N{EN DASH}"
"""What stands where there is no value."""

_FORM_VALUE: Final = re.compile(
    r'((?:(?<=\s)(?:value|name)="[^"{]*|>(?=[^<]*</textarea>))\{\{ )((?:(?!\}\}).)+)( \}\})'
)
_STEPS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@cache
def environment() -> Environment:
    """The templates, ready to be filled."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=_finished,
        extensions=[_FormValues],
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        short_time=short_time,
        ago=ago,
        length_of=length,
        state_class=state_class,
        pretty=pretty,
        plain=plain,
        named=named,
        as_it_is=Ready,
    )
    made.globals.update(asset=asset_path, seconds_between=seconds_between)
    return made


def render(template: str, context: Mapping[str, Any]) -> str:
    """Fill a template.

    Raises:
        jinja2.UndefinedError: A value is missing.
    """
    return environment().get_template(template).render(context)


def length(seconds: float | None) -> str:
    """A length of time: its two largest parts; a dash if there is none."""
    if seconds is None:
        return NOTHING
    if 0 < seconds < 0.1:
        return f"{max(1, round(seconds * 1000))} ms"
    if 0 < seconds < 10:
        return f"{seconds:.1f} s"
    left, parts = max(0, round(seconds)), []
    for size, unit in _STEPS:
        count, left = divmod(left, size)
        parts.append((count, unit))
    first = next((n for n, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def ago(stored: str | None, now: datetime) -> str:
    """A stored time as people say it, compared to *now*: ``5 min ago``, ``in 2 h``."""
    if not stored:
        return NOTHING
    seconds = (now - read_time(stored)).total_seconds()
    if abs(seconds) < 1:
        return "now"
    size, unit = next(step for step in _STEPS if abs(seconds) >= step[0])
    count = int(abs(seconds) // size)
    return f"{count} {unit} ago" if seconds > 0 else f"in {count} {unit}"


def short_time(stored: str | None) -> str:
    """A stored time to the second, in UTC."""
    return f"{stored[:19].replace('T', ' ')} UTC" if stored else ""


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Seconds from one stored time to another; None if one is missing."""
    return (read_time(end) - read_time(start)).total_seconds() if start and end else None


def state_class(state: str | None) -> str:
    """The class of a state's colour: one for each type that there is, ``state-other`` for anything else."""
    return f"state-{state}" if state in PARENTS else "state-other"


def pretty(value: object) -> str:
    """A JSON value with indentation."""
    return plain(json.dumps(value, indent=2, ensure_ascii=False, default=str))


class Ready(str):
    """A text that goes into a page as it is, but for the escaping of markup."""

    __slots__ = ()


class _FormValues(Extension):
    """Marks what forms hand back: expressions in ``value="..."``, in ``name="..."`` and in a textarea."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:  # noqa: ARG002 # as Jinja2
        """Return the template with a filter after each of these expressions."""
        return _FORM_VALUE.sub(r"\1(\2)|as_it_is\3", source)


def plain(text: str | None) -> Ready:
    """A text of others: long ones cut, control characters (ANSI, direction marks) made visible."""
    if text and len(text) <= MAX_SHOWN and text.isascii() and text.isprintable():
        return Ready(text)  # most are like this
    return Ready(escaped_lines(cut((text or "").replace("\r\n", "\n"), MAX_SHOWN)))


def _finished(value: object) -> object:
    """What an expression of a template comes to: a text that no filter has seen is treated by :func:`plain`."""
    return plain(value) if type(value) is str else value


def named(text: str | None) -> str:
    """A name of others on one line."""
    return readable_name(text or "") or "(no name)"
