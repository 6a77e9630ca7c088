"""What a doctor checks before an agent starts: facts in, findings out. Pure: asking is the steps' own business."""

import enum
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import attrs

from prefect.agent.domain.errors import (
    AgentError,
    CloudError,
    ConfigurationError,
    PlatformError,
    PlatformForbidden,
    Unauthorised,
)
from prefect.agent.domain.skew import is_tolerated, skew_sentence

SLOW: Final = 1.0
"""Seconds for an answer, beyond which an agent is slow."""

LITTLE_SPACE: Final = 512 * 1024 * 1024
"""Bytes below which a disk is said to be nearly full."""

NO_SPACE: Final = 16 * 1024 * 1024
"""Bytes below which nothing can be kept safely."""

IMAGES: Final = "images"
"""Name of the step that looks for images: it needs the Cloud, which knows the flows."""


class Severity(enum.Enum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    """The agent starts; something is worse than it could be, or some flow runs fail."""

    FAIL = "fail"
    """The agent does not start, or starts no flow run."""

    UNCHECKED = "unchecked"
    """It could not be looked at."""


class Blame(enum.Enum):
    """What has to be mended, for the exit code."""

    CONFIGURATION = "configuration"
    PERMISSION = "permission"
    CLOUD = "cloud"
    PLATFORM = "platform"


@attrs.frozen(kw_only=True)
class Check:
    """One finding.

    Attributes:
        name: What was checked; short and stable, for programs.
        text: A sentence.
        remedies: What to do; one of them is enough.
        blame: What has to be mended; None unless it failed.
    """

    name: str
    severity: Severity
    text: str
    remedies: tuple[str, ...] = ()
    blame: Blame | None = None


# --- facts ---


@attrs.frozen(kw_only=True)
class Noted:
    """Something that an adapter or the wiring judges itself."""

    text: str
    severity: Severity = Severity.OK
    remedies: tuple[str, ...] = ()
    blame: Blame | None = None


@attrs.frozen(kw_only=True)
class Answered:
    """A server that answers.

    Attributes:
        what: Which one, for people: ``the Docker engine at unix:///var/run/docker.sock``.
        version: As it states it; empty if it does not.
        least: The oldest version that will do; empty for any.
        seconds: How long an answer takes.
    """

    what: str
    seconds: float
    version: str = ""
    least: str = ""


@attrs.frozen(kw_only=True)
class ClockReading:
    """The clock of another place; *skew* is the seconds that it is ahead of this machine's."""

    what: str
    skew: float


@attrs.frozen(kw_only=True)
class Feature:
    """A feature of the agent, and the permissions that it lacks.

    Attributes:
        use: What it is for.
        lacks: Missing permissions, for people.
        grants: The rules to add.
        remedies: What to do if it lacks any; one of them is enough. Empty: to grant them.
    """

    name: str
    use: str
    lacks: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()
    is_optional: bool = False
    remedies: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Program:
    """The program that executes flow runs.

    Attributes:
        version: Of its Prefect; empty if it has none, None if it does not say.
        below: The first version that is too new for the flow runs; empty for none.
        remedy: What to do if it cannot execute them.
    """

    path: str
    version: str | None
    below: str = ""
    remedy: str = "install Prefect for this program, or name another one"


@attrs.frozen(kw_only=True)
class Image:
    """An image that flows use.

    Attributes:
        is_here: Whether the platform has it already.
        can_be_had: Whether a registry gives it out; None if that is not known.
        note: Why not, or why it is not known.
    """

    name: str
    is_here: bool = False
    can_be_had: bool | None = None
    note: str = ""


@attrs.frozen(kw_only=True)
class Folder:
    """A folder in which the agent keeps something.

    Attributes:
        use: What is kept there.
        exists: False if the agent makes it.
        problem: Why it cannot be used; empty if it can.
        free: Bytes that its disk has left; None if that is not known.
        is_needed: Whether the agent cannot do without.
        is_open: Whether the problem is that others can write there, which the agent refuses in any case.
    """

    use: str
    path: str
    exists: bool = True
    problem: str = ""
    free: int | None = None
    is_needed: bool = True
    is_open: bool = False


Fact = Noted | Answered | ClockReading | Feature | Program | Image | Folder


@attrs.frozen(kw_only=True)
class Step:
    """One thing to look at.

    Attributes:
        name: Of its findings.
        ask: Asks for the facts. Changes nothing, and raises errors of this package only.
        needs: Names of steps without which it cannot be asked.
        remedy: What to do if asking fails and the error does not say it.
    """

    name: str
    ask: Callable[[], Iterable[Fact]]
    needs: tuple[str, ...] = ()
    remedy: str = ""


def examine(steps: Iterable[Step]) -> Iterator[Check]:
    """Take the steps in order, and yield the findings of each as they come. One that fails spoils those that need it.

    A step that yields no fact yields no finding. The next step is taken from *steps* when the last one was asked.
    """
    spoilt: set[str] = set()
    for step in steps:
        missing = next((name for name in step.needs if name in spoilt), None)
        found = [_unchecked(step, missing)] if missing else _asked(step)
        if missing or any(check.severity is Severity.FAIL for check in found):
            spoilt.add(step.name)
        yield from found


def worst(checks: Iterable[Check]) -> Blame | None:
    """What has to be mended first: the blame of the first check that failed, since later ones may follow from it."""
    return next((check.blame for check in checks if check.severity is Severity.FAIL), None)


def _unchecked(step: Step, missing: str) -> Check:
    return Check(
        name=step.name, severity=Severity.UNCHECKED, text=f"Not checked, because the check {missing} did not succeed."
    )


def _asked(step: Step) -> list[Check]:
    try:
        return [judge(step.name, fact) for fact in step.ask()]
    except AgentError as problem:
        text = f"{str(problem)[:1].upper()}{str(problem)[1:]}"
        remedies = (step.remedy,) if step.remedy else ()
        blame = blame_of(problem)
        return [Check(name=step.name, severity=Severity.FAIL, text=text, remedies=remedies, blame=blame)]


def blame_of(problem: AgentError) -> Blame:
    """What has to be mended if *problem* was raised."""
    if isinstance(problem, (Unauthorised, PlatformForbidden)):
        return Blame.PERMISSION
    if isinstance(problem, ConfigurationError):
        return Blame.CONFIGURATION
    return Blame.CLOUD if isinstance(problem, CloudError) and not isinstance(problem, PlatformError) else Blame.PLATFORM


def judge(name: str, fact: Fact) -> Check:
    """What a fact means."""
    match fact:
        case Noted():
            found = fact
        case Answered():
            found = _answered(fact)
        case ClockReading():
            found = _clock(fact)
        case Feature():
            found = _feature(fact)
        case Program():
            found = _program(fact)
        case Image():
            found = _image(fact)
        case Folder():
            found = _folder(fact)
    return Check(name=name, severity=found.severity, text=found.text, remedies=found.remedies, blame=found.blame)


# --- rules ---


def _answered(fact: Answered) -> Noted:
    version = f" Its version is {fact.version}." if fact.version else ""
    text = f"{fact.what} answers within {fact.seconds * 1000:.0f} ms.{version}"
    if fact.least and _numbers(fact.version) < _numbers(fact.least):
        text = f"{text} The agent needs {fact.least} or newer."
        return _failed(text, Blame.PLATFORM, f"update it to {fact.least} or newer, or name another one")
    if fact.seconds > SLOW:
        remedy = "place the agent nearer to it, or look what its machine is busy with"
        return _warned(f"{text} That is slow.", remedy)
    return Noted(text=text)


def _clock(fact: ClockReading) -> Noted:
    if is_tolerated(fact.skew):
        return Noted(text=f"The clock of {fact.what} agrees with this machine's.")
    return _warned(f"{skew_sentence(fact.what, fact.skew)}.", "synchronise both clocks (NTP)")


def _feature(fact: Feature) -> Noted:
    if not fact.lacks:
        return Noted(text=f"{fact.name}: granted ({fact.use}).")
    text = f"{fact.name} ({fact.use}): the agent may not {'; '.join(fact.lacks)}."
    remedies = fact.remedies or (f"grant {', '.join(fact.grants or fact.lacks)}",)
    if fact.is_optional:
        return _warned(f"{text} It goes on without.", *remedies)
    return _failed(text, Blame.PERMISSION, *remedies)


def _program(fact: Program) -> Noted:
    if fact.version is None:
        return _warned(f"{fact.path} does not say which version of Prefect it is.", fact.remedy)
    if not fact.version:
        return _failed(f"{fact.path} has no Prefect.", Blame.PLATFORM, fact.remedy)
    if fact.below and _numbers(fact.version) >= _numbers(fact.below):
        text = f"{fact.path} has Prefect {fact.version}; flow runs of this Cloud need a version below {fact.below}."
        return _failed(text, Blame.PLATFORM, fact.remedy)
    return Noted(text=f"{fact.path} has Prefect {fact.version}.")


def _image(fact: Image) -> Noted:
    note = f": {fact.note}" if fact.note else ""
    if fact.is_here:
        return Noted(text=f"{fact.name} is on the platform.")
    if fact.can_be_had:
        return Noted(text=f"{fact.name} is not on the platform yet; it can be pulled.")
    if fact.can_be_had is None:
        return Noted(severity=Severity.UNCHECKED, text=f"Whether {fact.name} can be pulled is not known{note}.")
    text = f"{fact.name} is not on the platform and cannot be pulled{note}."
    return _warned(text, f"push {fact.name}, or change the image in the run configs of the flows that use it")


def _folder(fact: Folder) -> Noted:
    where = f"{fact.path} ({fact.use})"
    if fact.problem and (fact.is_needed or fact.is_open):
        return _failed(f"{where} cannot be used: {fact.problem}.", Blame.CONFIGURATION, "name another folder")
    if fact.problem:
        text = f"{where} cannot be used: {fact.problem}. The agent goes on without it."
        return _warned(text, "name another folder")
    free = "" if fact.free is None else f"; {fact.free / 1024**3:.1f} GiB are free"
    if fact.free is not None and fact.free < NO_SPACE:
        return _failed(f"{where} is on a disk that is full{free}.", Blame.PLATFORM, "free space on that disk")
    if fact.free is not None and fact.free < LITTLE_SPACE:
        return _warned(f"{where} is on a disk that is nearly full{free}.", "free space on that disk")
    return Noted(text=f"{where} {'can be used' if fact.exists else 'does not exist yet and can be made'}{free}.")


def _failed(text: str, blame: Blame, *remedies: str) -> Noted:
    return Noted(severity=Severity.FAIL, text=text, blame=blame, remedies=remedies)


def _warned(text: str, *remedies: str) -> Noted:
    return Noted(severity=Severity.WARN, text=text, remedies=remedies)


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers at the front of a version, to be compared; none for a text without any."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in found[1].split(".")) if found else ()
