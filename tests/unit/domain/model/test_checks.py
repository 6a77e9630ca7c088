"""What a doctor makes of facts, and of checks that fail."""

from collections.abc import Iterator

import pytest

from prefect.agent.domain.errors import (
    AgentError,
    CloudMisconfigured,
    CloudUnavailable,
    ConfigurationError,
    PlatformForbidden,
    PlatformUnavailable,
    Unauthorised,
)
from prefect.agent.domain.model.checks import (
    LITTLE_SPACE,
    NO_SPACE,
    Answered,
    Blame,
    Check,
    ClockReading,
    Fact,
    Feature,
    Folder,
    Image,
    Noted,
    Program,
    Severity,
    Step,
    examine,
    judge,
    worst,
)

FEATURE = Feature(name="logs", use="show output", lacks=("get pods/log",), grants=("pods/log: get",))
FOLDER = Folder(use="units", path="/var/units", free=LITTLE_SPACE)


@pytest.mark.parametrize(
    ("fact", "severity", "blame"),
    [
        (Noted(text="well"), Severity.OK, None),
        (Answered(what="it", seconds=0.1), Severity.OK, None),
        (Answered(what="it", seconds=0.1, version="20.10.24+dfsg1", least="20.10"), Severity.OK, None),
        (Answered(what="it", seconds=0.1, version="28.0.1", least="20.10"), Severity.OK, None),
        (Answered(what="it", seconds=0.1, version="19.03.5", least="20.10"), Severity.FAIL, Blame.PLATFORM),
        (Answered(what="it", seconds=2.0), Severity.WARN, None),
        (ClockReading(what="it", skew=-5.0), Severity.OK, None),
        (ClockReading(what="it", skew=-6.0), Severity.WARN, None),
        (Feature(name="logs", use="show output"), Severity.OK, None),
        (FEATURE, Severity.FAIL, Blame.PERMISSION),
        (Feature(name="logs", use="", lacks=("x",), grants=("x",), is_optional=True), Severity.WARN, None),
        (Program(path="python", version="1.4.1", below="2"), Severity.OK, None),
        (Program(path="python", version="0.15.13", below="2"), Severity.OK, None),
        (Program(path="python", version="2.0.0", below="2"), Severity.FAIL, Blame.PLATFORM),
        (Program(path="prefect", version=None), Severity.WARN, None),
        (Program(path="python", version=""), Severity.FAIL, Blame.PLATFORM),
        (Image(name="i", is_here=True), Severity.OK, None),
        (Image(name="i", can_be_had=True), Severity.OK, None),
        (Image(name="i", can_be_had=False), Severity.WARN, None),
        (Image(name="i"), Severity.UNCHECKED, None),
        (FOLDER, Severity.OK, None),
        (Folder(use="units", path="/var/units", free=LITTLE_SPACE - 1), Severity.WARN, None),
        (Folder(use="units", path="/var/units", free=NO_SPACE - 1), Severity.FAIL, Blame.PLATFORM),
        (Folder(use="units", path="/var/units", problem="no"), Severity.FAIL, Blame.CONFIGURATION),
        (Folder(use="units", path="/var/units", problem="no", is_needed=False), Severity.WARN, None),
        (
            Folder(use="units", path="/var/units", problem="no", is_needed=False, is_open=True),
            Severity.FAIL,
            Blame.CONFIGURATION,
        ),
    ],
)
def test_what_a_fact_means(fact: Fact, severity: Severity, blame: Blame | None) -> None:
    """How bad it is and what to mend; what is not well has a remedy, unless it is not known."""
    found = judge("x", fact)

    assert (found.name, found.severity, found.blame) == ("x", severity, blame)
    assert bool(found.remedies) == (severity in {Severity.WARN, Severity.FAIL})


def test_a_feature_that_lacks_permissions_names_them() -> None:
    """What is missing, and the rule to add."""
    found = judge("permissions", FEATURE)

    assert "get pods/log" in found.text
    assert "pods/log: get" in found.remedies[0]


def failing(problem: AgentError) -> Step:
    """A step that cannot be asked."""

    def ask() -> Iterator[Fact]:
        yield Noted(text="so far")
        raise problem

    return Step(name="bad", ask=ask, remedy="mend it")


@pytest.mark.parametrize(
    ("problem", "blame"),
    [
        (ConfigurationError("x"), Blame.CONFIGURATION),
        (CloudMisconfigured("x"), Blame.CONFIGURATION),
        (CloudUnavailable("x"), Blame.CLOUD),
        (Unauthorised("x"), Blame.PERMISSION),
        (PlatformForbidden("x"), Blame.PERMISSION),
        (PlatformUnavailable("x"), Blame.PLATFORM),
    ],
)
def test_an_error_says_what_to_mend(problem: AgentError, blame: Blame) -> None:
    """By its kind; the step's remedy is added."""
    (found,) = examine([failing(problem)])

    assert found == Check(name="bad", severity=Severity.FAIL, text="X", remedies=("mend it",), blame=blame)


def test_what_needs_a_failed_step_is_not_checked() -> None:
    """Also if it needs it by way of another one; what does not need it is checked."""
    well = Step(name="well", ask=lambda: [Noted(text="w")])
    second = Step(name="second", ask=lambda: [Noted(text="s")], needs=("well", "bad"))
    third = Step(name="third", ask=lambda: [Noted(text="t")], needs=("second",))

    found = list(examine([failing(CloudUnavailable("x")), second, third, well]))

    assert [(check.name, check.severity.value) for check in found] == [
        ("bad", "fail"),
        ("second", "unchecked"),
        ("third", "unchecked"),
        ("well", "ok"),
    ]
    assert "the check bad" in found[1].text


def test_the_first_failure_decides() -> None:
    """What comes later may follow from it; warnings do not count."""
    warned = Check(name="w", severity=Severity.WARN, text="w")
    cloud = Check(name="c", severity=Severity.FAIL, text="c", blame=Blame.CLOUD)
    platform = Check(name="p", severity=Severity.FAIL, text="p", blame=Blame.PLATFORM)

    assert worst([warned, cloud, platform]) is Blame.CLOUD
    assert worst([warned]) is None
