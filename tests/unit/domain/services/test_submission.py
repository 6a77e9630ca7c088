"""Turning a claimed flow run into a unit of execution, and saying what came of it."""

from collections.abc import Callable

import attrs
import pytest

from prefect.agent.adapters.fakes import ManualClock
from prefect.agent.domain.errors import (
    CloudUnavailable,
    PlatformError,
    PlatformForbidden,
    PlatformUnavailable,
    SubmissionRefused,
    UnitNameTaken,
)
from prefect.agent.domain.model.demands import Demands
from prefect.agent.domain.model.ends import End, EndKind
from prefect.agent.domain.model.flow_runs import Claimed, FlowRun
from prefect.agent.domain.model.policy import Policy
from prefect.agent.domain.model.run_configs import UniversalRun, UnusableRunConfig
from prefect.agent.domain.model.units import Unit, owner, unit_name
from prefect.agent.domain.services.reporting import Outbox
from prefect.agent.domain.services.submission import CreateUnit, NoLongerOurs, OwnDeploy, StartFlowRun
from prefect.agent.domain.services.work_in_hand import WorkInHand
from prefect.agent.domain.wait_kinds import WaitKind
from prefect.agent.ports import events
from support.builders import Heard, a_record, a_run
from support.submission_harness import SubmissionHarness


@pytest.fixture
def harness() -> SubmissionHarness:
    """An empty platform."""
    return SubmissionHarness()


def test_a_unit_is_created_as_planned(harness: SubmissionHarness) -> None:
    """By the name that was claimed, with the environment of the agent."""
    run = harness.claimed()

    unit = harness.create(run)

    [submission] = harness.platform.created
    assert unit.name == submission.name == unit_name(run.id, run.attempt)
    assert submission.env["A"] == "1"
    assert unit.owner == submission.owner == owner(harness.cloud.identity, "ann", ["x"])
    assert harness.heard.names() == [events.UNIT_CREATED]


def test_creating_again_finds_the_unit(harness: SubmissionHarness) -> None:
    """A second create is a success without a second unit: promise P1."""
    run = harness.claimed()

    assert harness.create(run) == harness.create(run)
    assert len(harness.platform.created) == 1


@pytest.mark.parametrize("trouble", [PlatformUnavailable("busy"), PlatformForbidden("no")], ids=["busy", "forbidden"])
def test_a_passing_failure_is_waited_out(harness: SubmissionHarness, trouble: PlatformError) -> None:
    """The platform is away for a while: the run starts when it is back."""
    harness.platform.fail_next("create", trouble, times=5)

    harness.create(harness.claimed())

    assert len(harness.platform.created) == 1
    assert harness.heard.names() == [events.UNIT_RETRIED] * 5 + [events.UNIT_CREATED]


def test_an_answer_that_was_lost_costs_no_second_unit(harness: SubmissionHarness) -> None:
    """The create took effect all the same."""
    harness.platform.lose_answers("create", 2)

    harness.create(harness.claimed())

    assert len(harness.platform.created) == 1


def test_a_lasting_failure_is_raised_at_the_deadline(harness: SubmissionHarness) -> None:
    """Neither before nor long after; the last try is at the deadline itself."""
    harness.platform.fail_next("create", PlatformUnavailable("busy"), times=1000)
    start = harness.clock.monotonic()

    with pytest.raises(PlatformUnavailable):
        harness.create(harness.claimed())

    assert harness.clock.monotonic() - start == pytest.approx(120)


def test_the_platform_may_ask_for_patience(harness: SubmissionHarness) -> None:
    """Retry-After is honoured, inside the deadline."""
    harness.platform.fail_next("create", PlatformUnavailable("busy", retry_after=30))
    start = harness.clock.monotonic()

    harness.create(harness.claimed())

    assert harness.clock.monotonic() - start == pytest.approx(30)


def test_patience_ends_at_the_deadline(harness: SubmissionHarness) -> None:
    """An hour is not waited for."""
    harness.platform.fail_next("create", PlatformUnavailable("busy", retry_after=3600), times=5)
    start = harness.clock.monotonic()

    with pytest.raises(PlatformUnavailable):
        harness.create(harness.claimed())

    assert harness.clock.monotonic() - start == pytest.approx(120)


def refusing(harness: SubmissionHarness, **rules: list[str]) -> CreateUnit:
    """The way to the harness's platform under a policy."""
    return attrs.evolve(harness.create, policy=Policy.read({"preset": "open", **rules}))


def test_the_policy_is_asked_before_the_platform(harness: SubmissionHarness) -> None:
    """Nothing is prepared, pulled or created, and no time passes."""
    run, start = harness.claimed(), harness.clock.monotonic()

    with pytest.raises(SubmissionRefused, match=r"policy does not allow .*rule images: the image 'docker\.io/memory"):
        refusing(harness, images=[])(run)

    assert not {"prepare", "create"} & set(harness.platform.calls)
    assert harness.clock.monotonic() == start


def test_a_platform_is_not_asked_about_a_run_whose_own_words_are_refused(harness: SubmissionHarness) -> None:
    """It may have to fetch a template to know what the run demands, from where the policy forbids."""
    config = UniversalRun(env={"LD_PRELOAD": "x"})
    run = harness.claimed(harness.cloud.add_flow_run(run_config=config))

    with pytest.raises(SubmissionRefused, match="LD_PRELOAD"):
        refusing(harness, environment=["!LD_*"])(run)

    assert not {"demands", "prepare", "create"} & set(harness.platform.calls)


def test_what_only_the_platform_knows_is_judged_before_it_prepares(
    harness: SubmissionHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform says what the unit would be given; a refusal leaves it untouched."""
    run = harness.claimed()
    monkeypatch.setattr(harness.platform, "demands", lambda _: Demands(privileges=frozenset({"privileged"})))

    with pytest.raises(SubmissionRefused, match="rule privileges"):
        refusing(harness, privileges=[])(run)

    assert not {"prepare", "create"} & set(harness.platform.calls)
    assert refusing(harness, images=["**"])(run).flow_run_id == run.id


def test_a_platform_that_cannot_say_what_is_asked_is_asked_again(harness: SubmissionHarness) -> None:
    """Nothing is created meanwhile: an error that passes is no permission."""
    harness.platform.fail_next("demands", PlatformUnavailable("busy"), times=3)

    refusing(harness, privileges=[])(harness.claimed())

    assert harness.platform.calls.count("demands") == 4
    assert harness.platform.calls.count("prepare") == harness.platform.calls.count("create") == 1


def test_an_open_policy_costs_the_platform_nothing(harness: SubmissionHarness) -> None:
    """Then there is nothing to ask."""
    harness.create(harness.claimed())
    assert "demands" not in harness.platform.calls


def test_a_refusal_of_the_policy_is_the_runs_reason(harness: SubmissionHarness) -> None:
    """The run is Failed with the rule's name, at once."""
    harness.create = refusing(harness, images=["registry.example.com/**"])
    start, outbox = harness.starting()

    assert not start(harness.claims())

    [reports] = outbox.due()
    end = reports.run.end
    assert end is not None
    assert end.kind is EndKind.FAILED
    assert "rule images" in end.message


@pytest.mark.parametrize("method", ["prepare", "create"])
def test_a_run_that_is_given_up_says_what_was_lacking(harness: SubmissionHarness, method: str) -> None:
    """The kind that the platform gave is in each event, and in the run's last message."""
    start, outbox = harness.starting()
    harness.platform.fail_next(method, PlatformUnavailable("no x:1", wait_kind=WaitKind.IMAGE), times=1000)

    assert not start(harness.claims())

    retried = [event for event in harness.heard.events if event.name == events.UNIT_RETRIED]
    assert {event.fields["wait_kind"] for event in retried} == {"image"}
    [reports] = outbox.due()
    end = reports.run.end
    assert end is not None
    assert end.message == "The flow run could not be started for lack of its image: no x:1"


def test_a_refusal_is_raised_at_once(harness: SubmissionHarness) -> None:
    """Trying again cannot help: what cannot be planned, and what the platform refuses."""
    run = attrs.evolve(harness.claimed(), run_config=UnusableRunConfig(reason="cheese"))
    with pytest.raises(SubmissionRefused, match="cheese"):
        harness.create(run)
    run = harness.claimed()
    harness.platform.take_name(unit_name(run.id, run.attempt), "a stranger")
    with pytest.raises(UnitNameTaken, match="a stranger"):
        harness.create(run)

    assert harness.clock.monotonic() == 0
    assert harness.platform.created == []


@pytest.mark.parametrize("state", ["Cancelled", "Cancelling", "Failed", "Scheduled"])
def test_a_run_that_moved_on_while_its_platform_was_away_is_not_started(harness: SubmissionHarness, state: str) -> None:
    """Cancelled, failed or taken back: nothing starts when the platform comes back."""
    run = harness.claimed()
    harness.cloud.set_state(run.id, state)
    harness.platform.fail_next("create", PlatformUnavailable("busy"), times=10)

    with pytest.raises(NoLongerOurs, match=state):
        harness.create(run)
    assert harness.platform.created == []


def test_a_deleted_run_is_not_started(harness: SubmissionHarness) -> None:
    """It is gone from the Cloud."""
    harness.platform.fail_next("create", PlatformUnavailable("busy"), times=10)

    with pytest.raises(NoLongerOurs, match="deleted"):
        harness.create(attrs.evolve(harness.claimed(), id=a_run(99).id))


@pytest.mark.parametrize("state", ["Cancelled", "Failed", "Success"])
def test_a_running_run_that_moved_on_is_not_started_either(harness: SubmissionHarness, state: str) -> None:
    """A run whose task runs were claimed may be cancelled meanwhile, too."""
    run_id = harness.cloud.add_flow_run(state="Running")
    harness.cloud.add_task_run(run_id)
    run = harness.claimed(run_id)
    harness.cloud.set_state(run.id, state)
    harness.platform.fail_next("create", PlatformUnavailable("busy"), times=10)

    with pytest.raises(NoLongerOurs, match=state):
        harness.create(run)


def test_a_run_that_was_claimed_again_meanwhile_is_not_started(harness: SubmissionHarness) -> None:
    """Taken back, then claimed anew: its unit is there; a second one would execute the run twice."""
    run = harness.claimed()
    harness.cloud.set_state(run.id, "Scheduled")
    harness.claimer("b")(harness.cloud.flow_runs([run.id]))
    harness.platform.fail_next("create", PlatformUnavailable("busy"), times=10)

    with pytest.raises(NoLongerOurs, match="no longer"):
        harness.create(run)
    assert harness.platform.created == []


def test_if_both_sides_are_away_nothing_is_given_up(harness: SubmissionHarness) -> None:
    """A Cloud that does not answer says nothing about the run."""
    run = harness.claimed()
    harness.platform.fail_next("create", PlatformUnavailable("busy"), times=6)
    harness.cloud.fail_next("flow_runs", CloudUnavailable("away"), times=6)

    harness.create(run)

    assert len(harness.platform.created) == 1


# --- saying what came of it ---


def never(run: FlowRun) -> Unit:
    """The platform's way, which nothing takes here."""
    raise AssertionError(run)


@attrs.define
class Start:
    """Starts a run in some way, and its outbox."""

    deploy: Callable[[FlowRun], str]
    outbox: Outbox = attrs.field(factory=lambda: Outbox(clock=ManualClock(auto=True)))
    heard: Heard = attrs.field(factory=Heard)
    run: FlowRun = attrs.field(factory=a_run)

    def __call__(self) -> bool:
        """Start it."""
        start = StartFlowRun(
            create=never,
            own=OwnDeploy(self.deploy),
            clock=ManualClock(auto=True),
            outbox=self.outbox,
            work=WorkInHand(),
            tell=self.heard,
        )
        return start(Claimed(self.run, a_record(self.run)))

    def log(self) -> list[tuple[str, str]]:
        """Messages and levels that will be on the run's log."""
        return [(line.message, line.level) for reports in self.outbox.due() for line in reports.lines]

    def end(self) -> End | None:
        """What will become of the run."""
        [reports] = self.outbox.due()
        return reports.run.end


@pytest.mark.parametrize(("info", "shown"), [("PID: 7", "PID: 7"), ("", a_record(a_run()).unit)])
def test_a_start_is_on_the_runs_log(info: str, shown: str) -> None:
    """With what the platform says about the unit, else with its name."""
    start = Start(lambda _run: info)

    assert start() is True
    assert start.log() == [(f"Submitted for execution: {shown}", "INFO")]
    assert start.end() is None


def raising(trouble: BaseException) -> Callable[[FlowRun], str]:
    """A way to start that fails."""

    def deploy(_run: FlowRun) -> str:
        raise trouble

    return deploy


@pytest.mark.parametrize(
    "trouble",
    [
        SubmissionRefused("no such image"),
        PlatformUnavailable("no such image"),
        PlatformForbidden("no such image"),
        ValueError("no such image"),
        KeyError("no such image"),
        OSError("no such image"),
        TimeoutError("no such image"),
        SystemExit("no such image"),
    ],
    ids=lambda trouble: type(trouble).__name__,
)
def test_whatever_goes_wrong_is_the_runs_end(trouble: BaseException) -> None:
    """A subclass's deploy_flow may raise anything: the run is Failed with the reason, and the agent goes on (P3)."""
    start = Start(raising(trouble))

    assert start() is False
    end = start.end()
    assert end is not None
    assert (end.kind, end.unit) == (EndKind.FAILED, a_record(a_run()).unit)
    assert "no such image" in end.message
    assert (end.message, "ERROR") in start.log()


def test_an_error_without_words_still_has_a_reason() -> None:
    """Its type is better than nothing."""
    start = Start(raising(ValueError()))
    start()

    assert "ValueError" in start.log()[0][0]


def test_a_run_that_moved_on_is_dropped_quietly() -> None:
    """It is not failed over its new state."""
    start = Start(raising(NoLongerOurs("it is Cancelled now")))

    assert start() is False
    assert len(start.outbox) == 0
    assert start.heard.names() == [events.RUN_DROPPED]
