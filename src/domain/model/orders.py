"""Flow runs that a person orders: which flow, with what, when; and what a person reads of a run while it goes on."""

import json
import math
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.run_configs import frozen_mapping
from prefect.agent.domain.model.states import State
from prefect.agent.domain.times import read_time

_LATER: Final = re.compile(r"\+([0-9]{1,9})([smhd])")
_JUST_NOW: Final = timedelta(minutes=1)
"""A run that was due so long ago at most is not mentioned: a program may have taken its time."""

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@attrs.frozen
class FlowReference:
    """How a person names a flow: by id, or by name and, if several projects have one of that name, by project.

    An empty *project* stands for any; one that the backend does not have names no flow.
    """

    flow_id: str | None = None
    name: str = ""
    project: str = ""


@attrs.frozen(kw_only=True)
class FlowDraft:
    """A flow, and a run of it as it would be created now; nothing of the run is in the Cloud.

    Attributes:
        run: Its id is no run's; ``run.flow`` is the flow.
        project: Name of the flow's project; empty for a backend without projects.
        version: The flow's version; None for a backend without versions.
        parameters: Names of the flow's parameters; None if the backend does not say.
    """

    run: FlowRun
    project: str = ""
    version: int | None = None
    parameters: frozenset[str] | None = None


@attrs.frozen(kw_only=True)
class RunOrder:
    """A flow run to be created.

    Attributes:
        flow_id: From ``FlowDraft.run.flow.id``.
        parameters: Values that JSON can hold; those that are not named have the flow's defaults.
        labels: None leaves the labels to the flow; an empty tuple asks for a run without labels.
        name: None lets the Cloud choose one.
        due: When the run is to start (aware); None for now.
        key: Orders with the same key and flow create one run. Empty: each order creates a run.
    """

    flow_id: str
    parameters: Mapping[str, Any] = attrs.field(factory=dict, converter=frozen_mapping)
    labels: tuple[str, ...] | None = None
    name: str | None = None
    due: datetime | None = None
    key: str = ""


@attrs.frozen(kw_only=True)
class StoryEntry:
    """One entry of a run's story: a state, or a line of its log.

    Attributes:
        at: Aware, UTC; None if the Cloud does not say.
        level: Name of a level of Python's ``logging``; empty for a state.
        name: Of the state, or of the logger.
    """

    at: datetime | None
    name: str
    message: str
    level: str = ""

    @property
    def is_state(self) -> bool:
        """Whether this is a state."""
        return not self.level


@attrs.frozen(kw_only=True)
class RunStory:
    """What a run's history and log have that was not read before.

    Attributes:
        state: The run's state now.
        news: States and lines of the log, oldest first.
        mark: How far was read. The adapter's own object: give it back to read on.
    """

    state: State
    news: Sequence[StoryEntry] = ()
    mark: object = None


def flow_reference(text: str, project: str = "") -> FlowReference:
    """Read an id, a name, or ``PROJECT/NAME`` if no *project* is given."""
    text = text.strip()
    try:
        return FlowReference(flow_id=str(uuid.UUID(text)))
    except ValueError:
        pass
    before, slash, after = text.partition("/")
    if slash and before and after and not project:
        return FlowReference(name=after, project=before)
    return FlowReference(name=text, project=project)


def parameters(texts: Iterable[str]) -> dict[str, Any]:
    """Read several ``NAME=VALUE``.

    Raises:
        ValueError: One cannot be read, or two have the same name: which of them is meant?
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, value = parameter(text)
        if name in found:
            raise ValueError(f"{name!r:.80} is given twice: leave one out")
        found[name] = value
    return found


def unknown_parameters(draft: FlowDraft, given: Iterable[str]) -> str:
    """Return which *given* names are no parameters of the flow, and what it has; empty if all are.

    A flow of 1.x ignores what it does not know, and runs with its default instead.
    """
    if draft.parameters is None:
        return ""
    unknown = sorted(set(given) - draft.parameters)
    if not unknown:
        return ""
    has = f"it has: {', '.join(sorted(draft.parameters))}" if draft.parameters else "it has none"
    return f"the flow {draft.run.flow.name} has no parameter {', '.join(map(repr, unknown))}; {has}"


def parameter(text: str) -> tuple[str, Any]:
    """Read ``NAME=VALUE``: the value is JSON if it can be read as JSON, else text.

    Raises:
        ValueError: There is no name, or no ``=``.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ValueError(f"{text!r:.80} is not NAME=VALUE")
    try:
        return name.strip(), json.loads(value, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        return name.strip(), value


def due_time(text: str, now: datetime) -> datetime:
    """Read ``+10m`` (``s``, ``m``, ``h``, ``d`` after *now*), or a time in ISO 8601, UTC if it names no zone.

    Raises:
        ValueError: It is neither.
    """
    found = _LATER.fullmatch(text.strip())
    try:
        return now + timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else read_time(text)
    except (ValueError, OverflowError) as problem:
        raise ValueError(f"{text!r:.80} is no time: write 2030-01-31T08:00:00+01:00, or +10m") from problem


def said_of_past(due: datetime, now: datetime) -> str:
    """A sentence on a run that is due in the past, where a zone may have been forgotten; empty for another."""
    if now - due <= _JUST_NOW:
        return ""
    over, at = f"{due:%Y-%m-%dT%H:%M:%S} UTC", f"{now:%Y-%m-%dT%H:%M:%S} UTC"
    return f"{over} is in the past, so the run is due at once. It is {at} now, and a time without a zone is UTC"


def _finite(text: str) -> float:
    """Raises ValueError for a number that is too large for JSON."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(text)
    return number


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")
