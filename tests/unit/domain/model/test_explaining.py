"""Why a flow run does not start: each cause has its sentence and its remedy."""

from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from prefect.agent.adapters.phases import hold_of, named_state
from prefect.agent.domain.model.asked_agents import Start
from prefect.agent.domain.model.explaining import (
    AskedAgent,
    Finding,
    RunFacts,
    SeenAgent,
    UnitFacts,
    explain,
    reference,
    span,
    unknown_run,
)
from prefect.agent.domain.model.flow_runs import ClaimRecord, FlowRunId
from prefect.agent.domain.model.giving_up import not_started, unit_not_started
from prefect.agent.domain.model.units import Evidence, Unit, UnitStatus
from prefect.agent.domain.wait_kinds import WaitKind

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
RUN = FlowRunId("00000000-0000-4000-8000-000000000001")
CLAIM = ClaimRecord(
    claimant="a", platform="here", unit="unit-1", attempt="1", agent_name="vm-1", claimed_at=NOW - MINUTE
)


def seen(name: str = "agent", *labels: str, ago: timedelta = SECOND) -> SeenAgent:
    """An agent that asked a moment ago."""
    return SeenAgent(name=name, kind="docker", labels=frozenset(labels), last_seen=NOW - ago)


def facts(state: str = "Scheduled", message: str = "", due: timedelta = SECOND, **more: Any) -> RunFacts:
    """Of a run that is due for a second."""
    told = named_state(state, message, NOW - due)
    return RunFacts(
        id=RUN, name="crimson-dolphin", flow="f", state=told, hold=hold_of(state), since=NOW - due, at=NOW, **more
    )


def unit(status: UnitStatus, evidence: Evidence | None = None) -> UnitFacts:
    """What the claim's platform says of its unit."""
    found = Unit(name="unit-1", id="u", flow_run_id=RUN, attempt="1", status=status, evidence=evidence, info="PID: 7")
    return UnitFacts(platform="here", unit=found)


def causes(findings: list[Finding]) -> list[str]:
    """What stops the run, then what does not, with a plus."""
    return [finding.cause if finding.stops else f"+{finding.cause}" for finding in findings]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (facts(), ["no-agents"]),
        (facts(agents=(seen(),)), ["+agents"]),
        (facts(agents=(seen("gpu", "gpu"),)), ["no-agent"]),
        (facts(labels=frozenset({"vm"}), agents=(seen(), seen("gpu", "gpu"))), ["no-agent"]),
        (facts(labels=frozenset({"vm"}), agents=(seen("vm-1", "vm", "gpu"),)), ["+agents"]),
        (facts(agents=(seen(ago=2 * MINUTE),)), ["agents-gone"]),
        (facts(agents=(seen(ago=8 * 24 * 60 * MINUTE),)), ["no-agents"]),
        (facts(due=-3 * MINUTE, agents=(seen(),)), ["not-due", "+agents"]),
        (facts(due=5 * MINUTE, agents=(seen(),)), ["late", "+agents"]),
        (facts("Queued", due=5 * MINUTE, agents=(seen(),)), ["queued", "+agents"]),
        (facts("Paused", agents=(seen(),)), ["paused", "+agents"]),
        (facts(flow_is_archived=True, agents=(seen(),)), ["+archived", "+agents"]),
        (facts("Success"), ["+finished"]),
        (facts("Strange"), ["unknown-state"]),
        (facts("Submitted"), ["+foreign-claim"]),
        (facts("Submitted", due=5 * MINUTE), ["foreign-claim"]),
        (facts("Running", due=5 * MINUTE), ["+foreign-claim"]),
        (facts("Submitted", claim=CLAIM), ["+claimed", "+unit-unseen"]),
        (facts("Submitted", due=5 * MINUTE, claim=CLAIM), ["unit-unseen", "+claimed"]),
        (facts("Running", claim=attrs.evolve(CLAIM, recoveries=2)), ["+claimed", "+recovered", "+unit-unseen"]),
    ],
)
def test_each_cause_is_found(known: RunFacts, expected: list[str]) -> None:
    """Causes come first."""
    assert causes(explain(known)) == expected


@pytest.mark.parametrize(
    ("state", "due", "of_unit", "expected"),
    [
        ("Submitted", SECOND, UnitFacts(platform="here"), ["unit-absent", "+claimed"]),
        ("Submitted", 5 * MINUTE, UnitFacts(platform="elsewhere"), ["unit-unseen", "+claimed"]),
        ("Submitted", SECOND, unit(UnitStatus.PENDING), ["unit-pending", "+claimed"]),
        ("Running", SECOND, unit(UnitStatus.FAILED, Evidence(reason="OOMKilled")), ["unit-ended", "+claimed"]),
        ("Running", 5 * MINUTE, unit(UnitStatus.RUNNING), ["+claimed", "+unit-executes"]),
        ("Submitted", SECOND, unit(UnitStatus.RUNNING), ["+claimed", "+unit-executes"]),
        ("Submitted", 5 * MINUTE, unit(UnitStatus.RUNNING), ["unit-executes", "+claimed"]),
    ],
)
def test_the_unit_of_a_claim_says_how_far_it_is(
    state: str, due: timedelta, of_unit: UnitFacts, expected: list[str]
) -> None:
    """If its platform was asked."""
    assert causes(explain(facts(state, due=due, claim=CLAIM), of_unit)) == expected


def test_a_run_without_labels_needs_an_agent_without_any() -> None:
    """Of containers any, of processes one that leaves out the label which it has by itself."""
    (finding,) = explain(facts(agents=(seen("large", "gpu"),)))

    assert finding.text == "No agent takes runs without labels."
    assert finding.remedies[:2] == ("prefect agent start", "prefect agent start process --no-hostname-label")


def test_agents_that_do_not_fit_are_listed_with_what_they_lack() -> None:
    """The latest first, and the remedy has the labels."""
    known = facts(labels=frozenset({"vm"}), machine_label="vm", agents=(seen("gpu-1", "gpu", ago=2 * MINUTE), seen()))

    (finding,) = explain(known)

    assert finding.text.startswith("No agent takes its labels: vm. With Local storage")
    assert finding.rows == (
        ("agent", "kind", "labels", "last seen", "lacks"),
        ("agent", "docker", "(none)", "1 s ago", "vm"),
        ("gpu-1", "docker", "gpu", "2 min ago", "vm"),
    )
    assert finding.remedies[0] == "prefect agent start process --label vm"


def test_who_holds_the_places_of_a_limit_is_named() -> None:
    """With the Cloud's own word for the limit."""
    known = facts("Queued", "Queued by flow run label concurrency limit", limited=("teal-stork",), agents=(seen(),))

    assert explain(known)[0].text == (
        "A limit keeps it: Queued by flow run label concurrency limit. The places are held by teal-stork."
    )


def test_every_cause_that_stops_a_run_has_a_remedy() -> None:
    """Except a unit that waits: its platform's reason says what to do."""
    stopped = [
        facts(), facts(due=-MINUTE), facts("Queued"), facts("Paused"), facts("Submitted", due=5 * MINUTE),
        facts(due=5 * MINUTE, agents=(seen(),)), facts("Submitted", due=5 * MINUTE, claim=CLAIM),
    ]  # fmt: skip

    assert all(finding.remedies for known in stopped for finding in explain(known) if finding.stops)


@pytest.mark.parametrize(
    ("text", "run_id", "name"),
    [
        (str(RUN), RUN, ""),
        (str(RUN).upper(), RUN, ""),
        (f"http://localhost:8080/default/flow-run/{RUN}", RUN, ""),
        (f"https://cloud.prefect.io/t/flow-run/{RUN}?logs", RUN, ""),
        (f"flow-run/{RUN}", RUN, ""),
        (f"prefect-{RUN}-12", RUN, ""),
        (f"prefect-{RUN}-1-x7kq2", RUN, ""),
        (f"<{RUN}>,", RUN, ""),
        (f"`prefect-{RUN}-1`.", RUN, ""),
        (f"nightly-{RUN}-1", None, f"nightly-{RUN}-1"),
        (" crimson-dolphin ", None, "crimson-dolphin"),
    ],
)
def test_a_run_is_named_by_id_name_or_address(text: str, run_id: str | None, name: str) -> None:
    """As the client prints it."""
    found = reference(text)

    assert (found.run_id, found.name) == (run_id, name)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"http://localhost:8080/default/flow/{RUN}", "is the address of a flow: give that of a flow run"),
        (f"http://localhost:8080/default/task-run/{RUN}/", "is the address of a task run: give that of a flow run"),
        (f"http://localhost:8080/default/flow-run/{RUN}", "no flow run with the id or the name"),
        ("flow/etl", "no flow run with the id or the name 'flow/etl': check it and --tenant-id"),
    ],
)
def test_what_is_no_flow_run_is_called_what_it_is(text: str, says: str) -> None:
    """People copy the address of the page that they have before them."""
    assert says in unknown_run(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min"), (252, "4 min 12 s"), (3600, "1 h"), (90_061, "1 d 1 h"), (-5, "0 s")],
)
def test_a_length_of_time_has_its_two_largest_parts(seconds: float, text: str) -> None:
    """For people."""
    assert span(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize("status", [UnitStatus.PENDING, UnitStatus.CREATED])
@pytest.mark.parametrize("kind", [kind for kind in WaitKind if kind is not WaitKind.UNKNOWN])
def test_a_pending_unit_waits_for_something_that_can_be_mended(kind: WaitKind, status: UnitStatus) -> None:
    """The kind of wait is named, with its remedy, whatever the platform's words are."""
    evidence = Evidence(reason="Strange", message="no such word", wait_kind=kind)

    (found, *_) = explain(facts("Submitted", claim=CLAIM), unit(status, evidence))

    assert found.text == f"Its unit unit-1 waits for {kind.what}: Strange, no such word."
    assert found.remedies == kind.remedies


def test_a_platform_says_in_its_own_words_what_to_do() -> None:
    """They stand in place of those that fit every platform."""
    evidence = Evidence(reason="Held", wait_kind=WaitKind.RESUME, remedies=("queue resume 7",))

    (found, *_) = explain(facts("Submitted", claim=CLAIM), unit(UnitStatus.PENDING, evidence))

    assert (found.text, found.remedies) == ("Its unit unit-1 waits for a person: Held.", ("queue resume 7",))


@pytest.mark.parametrize("reason", ["Slow", "ErrImagePull", "exceeded quota"])
def test_a_wait_of_an_unknown_kind_has_its_evidence(reason: str) -> None:
    """No remedy is made up, and no word of a platform is read: its adapter says no kind."""
    (found, *_) = explain(facts("Submitted", claim=CLAIM), unit(UnitStatus.PENDING, Evidence(reason=reason)))

    assert (found.text, found.remedies) == (f"Its unit unit-1 waits to start: {reason}.", ())


def test_a_pending_unit_without_evidence_waits_all_the_same() -> None:
    """The platform may not know more."""
    (found, *_) = explain(facts("Submitted", claim=CLAIM), unit(UnitStatus.PENDING))

    assert found.text == "Its unit unit-1 waits to start: the platform does not say for what."


MENDED = "when that is mended, create the run again"


@pytest.mark.parametrize("kind", list(WaitKind))
@pytest.mark.parametrize("has_unit", [True, False])
def test_a_run_that_an_agent_gave_up_says_what_was_lacking(kind: WaitKind, has_unit: bool) -> None:
    """The state's message carries the kind from one agent to the next, in words for people."""
    evidence = Evidence(reason="a: b", message="(c)", wait_kind=kind)
    message = unit_not_started("unit-1", evidence) if has_unit else not_started("a: b", kind)

    (found, *_) = explain(facts("Failed", message))

    lack = f" for lack of {kind.what}" if kind.what else ""
    assert message in {
        f"The unit of execution unit-1 could not start{lack} (a: b, (c))",
        f"The flow run could not be started{lack}: a: b",
    }
    assert (found.cause, found.text) == ("gave-up", f"An agent gave up starting it. {message}")
    assert found.remedies == (*kind.remedies, MENDED)


@pytest.mark.parametrize(
    "message",
    [
        "The flow run could not be started: cannot pull the image 'x:1' now: no such host",
        "The flow run could not be started",
        "The flow run could not be started for lack of weather: it rains",
        "The flow run could not be started: for lack of its image: x",
        "The unit of execution unit-1 could not start (ImagePullBackOff, no such image)",
    ],
)
def test_a_run_that_an_agent_of_another_version_gave_up(message: str) -> None:
    """Its words are shown; what was lacking is not guessed from them."""
    (found, *_) = explain(facts("Failed", message))

    assert (found.cause, found.text) == ("gave-up", f"An agent gave up starting it. {message}")
    assert found.remedies == (MENDED,)


@pytest.mark.parametrize(
    ("skew", "words"),
    [(0, ""), (5, ""), (90, "1 min 30 s ahead of this machine's"), (-90, "1 min 30 s behind this machine's")],
)
def test_clocks_that_differ_are_named_for_a_run_that_is_not_due(skew: int, words: str) -> None:
    """A person's clock may say that it is due."""
    known = facts(due=-MINUTE, skew=timedelta(seconds=skew), agents=(seen(),))

    text = explain(known)[0].text

    assert text.startswith("It is not due: it starts in 1 min")
    assert ("The Cloud's clock is" in text) is bool(words)
    assert words in text


@pytest.mark.parametrize(
    ("state", "message", "archived", "expected"),
    [
        ("Failed", "The flow run cannot be started: this agent's policy does not allow x", False, "refused-by-policy"),
        ("Failed", "The flow run cannot be started: no image", False, "refused"),
        ("Failed", "Some reference tasks failed.", False, "+finished"),
        ("Success", "", True, "+finished"),
        ("Cancelled", "The flow was archived", True, "archived"),
        ("Cancelled", "", False, "+finished"),
    ],
)
def test_a_run_that_ended_before_it_began(state: str, message: str, archived: bool, expected: str) -> None:
    """What kept it from starting is a cause; another end is none."""
    assert causes(explain(facts(state, message, flow_is_archived=archived))) == [expected]


def test_a_platform_that_does_not_answer_is_the_first_cause() -> None:
    """The claim is shown; its unit is not said to be absent."""
    away = UnitFacts(platform="", problem="cannot reach it")

    assert causes(explain(facts("Submitted", claim=CLAIM), away)) == [
        "platform-unavailable",
        "+claimed",
        "+unit-unseen",
    ]


def test_retries_are_named_without_a_record_of_the_claim() -> None:
    """An agent of another product may have claimed the run."""
    found = explain(facts("Running", retries=(NOW + MINUTE, NOW + 2 * MINUTE)))

    assert causes(found) == ["+retries-wait", "+foreign-claim"]
    assert "2 of its task runs" in found[0].text
    assert "(in 1 min)" in found[0].text


NO_IMAGE = "cannot pull the image 'x:1' now: no such host"


@pytest.mark.parametrize("asked_platform", [None, UnitFacts(platform="here"), UnitFacts(platform="elsewhere")])
@pytest.mark.parametrize(
    ("start", "expected"),
    [(Start(), "+unit-starting"), (Start(problem=NO_IMAGE, wait_kind=WaitKind.IMAGE), "unit-pending")],
)
def test_an_agent_that_creates_the_unit_says_what_it_waits_for(
    asked_platform: UnitFacts | None, start: Start, expected: str
) -> None:
    """It knows more than a platform that has no unit yet."""
    agent = AskedAgent(where="process 7 of this machine", name="ann", starting={RUN: start})

    findings = explain(facts("Submitted", claim=CLAIM), asked_platform, [agent])

    assert set(causes(findings)) == {"+claimed", expected}
    if start.problem:
        assert findings[0].text == (
            "Its unit unit-1 waits for its image. The agent ann (process 7 of this machine) tries again: " + NO_IMAGE
        )
        assert findings[0].remedies[0] == "correct or push the image"


def test_an_agent_that_says_no_kind_has_its_own_words() -> None:
    """An agent of an earlier version, or a problem that fits no kind."""
    agent = AskedAgent(where="here", name="ann", starting={RUN: Start(problem=NO_IMAGE)})

    (found, *_) = explain(facts("Submitted", claim=CLAIM), None, [agent])

    assert found.text == "Its unit unit-1 waits to be created. The agent ann (here) tries again: " + NO_IMAGE
    assert found.remedies == ()


def test_a_unit_that_is_there_is_asked_and_not_its_agent() -> None:
    """The agent may not have seen yet that it is there."""
    agent = AskedAgent(where="here", name="ann", starting={RUN: Start()})

    assert "+unit-executes" in causes(explain(facts("Submitted", claim=CLAIM), unit(UnitStatus.RUNNING), [agent]))


def test_an_agent_that_creates_units_of_other_runs_says_nothing_of_this_one() -> None:
    """The platform's word counts."""
    agent = AskedAgent(where="here", name="ann", starting={"another": Start()})

    assert "unit-absent" in causes(explain(facts("Submitted", claim=CLAIM), UnitFacts(platform="here"), [agent]))
