"""How the agent is, and how that is served over HTTP (promise P4)."""

import json

import pytest

from prefect.agent.domain.model.pipeline import LEAST
from prefect.agent.entrypoints.runtime.health import SUCCESSES
from prefect.agent.ports import events
from prefect.agent.ports.events import Event
from support.watched import Watched


@pytest.fixture
def agent() -> Watched:
    """An agent that has just started."""
    return Watched()


def test_an_agent_that_just_started_is_well(agent: Watched) -> None:
    """It has its time to come to a first poll; nothing has happened yet."""
    healthy, facts = agent.health.report()

    assert healthy
    assert facts["status"] == "healthy"
    assert {facts[f"last_{step}"] for step in SUCCESSES.values()} == {None}
    assert facts["trouble"] is None


def test_an_agent_that_never_polls_gets_unwell(agent: Watched) -> None:
    """Never silently idle."""
    agent.clock.seconds += LEAST
    assert agent.health.report()[0]

    agent.clock.seconds += 0.1
    assert not agent.health.report()[0]
    assert agent.facts()["status"] == "unhealthy"


def test_a_good_poll_makes_it_well_again(agent: Watched) -> None:
    """Age counts from the last good poll, and earlier trouble is over."""
    agent.clock.seconds += LEAST * 2
    agent.hear(events.CLOUD_TROUBLE, "the Cloud is away")
    assert agent.facts()["trouble"] == "the Cloud is away"

    for name in (events.SWEPT, events.WATCHED, events.POLLED):
        agent.hear(name)

    assert agent.health.report()[0]
    assert agent.facts()["trouble"] is None
    assert agent.facts()["seconds_since_good_poll"] == 0


@pytest.mark.parametrize("name", [events.CLAIMED, events.SWEPT, events.REPORTED, events.UNIT_CREATED])
def test_other_good_news_do_not_stand_for_polls(agent: Watched, name: str) -> None:
    """An agent that sweeps but does not poll is unwell."""
    agent.clock.seconds += LEAST + 1
    agent.hear(name)

    assert not agent.health.report()[0]
    assert agent.facts()[f"last_{SUCCESSES[name]}"] is not None


def work_for(agent: Watched, seconds: float, *names: str) -> None:
    """Let time pass in which these events go on happening."""
    for _ in range(int(seconds // 10)):
        agent.clock.seconds += 10
        for name in names:
            agent.hear(name)


@pytest.mark.parametrize(
    ("step", "others"),
    [
        ("watch", [events.POLLED, events.SWEPT]),
        ("sweep", [events.POLLED, events.WATCHED]),
        ("poll", [events.SWEPT, events.WATCHED]),
    ],
)
def test_a_step_that_stays_away_makes_the_agent_unwell(agent: Watched, step: str, others: list[str]) -> None:
    """However well the others go. Before, an agent without a watch for 18 minutes was healthy."""
    work_for(agent, 50, *others)
    assert agent.health.report()[0]

    work_for(agent, 200, *others)

    healthy, facts = agent.health.report()
    assert not healthy
    assert facts["reason"].startswith(f"no {step} has gone well for ")


@pytest.mark.parametrize(
    ("step", "failure", "success"),
    [
        ("claim", Event(name=events.CLOUD_TROUBLE, message="503", fields={"loop": "claim"}), events.CLAIMED),
        ("create", Event(name=events.UNIT_RETRIED, message="quota"), events.UNIT_CREATED),
        ("report", Event(name=events.CLOUD_TROUBLE, message="503", fields={"loop": "report"}), events.REPORTED),
    ],
)
def test_a_step_that_goes_on_failing_makes_the_agent_unwell(
    agent: Watched, step: str, failure: Event, success: str
) -> None:
    """With what was said last; a success mends it."""
    well = [events.POLLED, events.SWEPT, events.WATCHED]
    for _ in range(32):
        work_for(agent, 10, *well)
        agent.health.take(failure)

    assert agent.facts()["reason"].startswith(f"no {step} has gone well for ")
    assert agent.facts()["reason"].endswith(failure.message)
    agent.hear(success)
    assert agent.health.report()[0]


def test_a_step_that_is_not_tried_any_more_does_not_fail(agent: Watched) -> None:
    """Another agent may have started the flow run meanwhile."""
    well = [events.POLLED, events.SWEPT, events.WATCHED]
    work_for(agent, 10, *well)
    agent.hear(events.UNIT_RETRIED)

    work_for(agent, 400, *well)

    assert agent.health.report()[0]


@pytest.mark.parametrize("failing", [False, True])
def test_a_stopping_agent_polls_and_sweeps_no_more(agent: Watched, *, failing: bool) -> None:
    """It is well unless what it finishes goes on failing; it is not ready, and a restart would not help."""
    agent.health.stopping = True
    for _ in range(800):
        agent.clock.seconds += 1
        if failing:
            agent.hear(events.UNIT_RETRIED, "no image")

    healthy, facts = agent.health.report()

    assert (healthy, facts["status"]) == ((False, "unhealthy") if failing else (True, "stopping"))
    assert not agent.health.is_ready
    assert agent.health.lives


def test_a_paused_agent_is_well_and_not_ready(agent: Watched) -> None:
    """It does not poll, on purpose."""
    agent.health.paused = True
    work_for(agent, 120, events.SWEPT, events.WATCHED)

    healthy, facts = agent.health.report()

    assert (healthy, facts["status"], agent.health.is_ready) == (True, "paused", False)


@pytest.mark.parametrize("name", [events.CLOUD_TROUBLE, events.PLATFORM_TROUBLE, events.BUG])
def test_a_problem_is_shown(agent: Watched, name: str) -> None:
    """The last thing that went wrong, in words; it is no ill health by itself."""
    agent.hear(name, "something")

    healthy, facts = agent.health.report()
    assert (healthy, facts["trouble"]) == (True, "something")


def test_the_facts_are_json(agent: Watched) -> None:
    """Times as text, with their zone."""
    agent.hear(events.POLLED)

    assert json.loads(json.dumps(agent.facts()))["last_poll"].endswith("+00:00")


def test_an_agent_that_starts_is_unwell_with_the_reason(agent: Watched) -> None:
    """503 "starting" until it has started; then it has its time to come to a first poll."""
    agent.health.start_up("the agent starts")
    assert (agent.health.report()[0], agent.facts()["status"]) == (False, "starting")

    agent.hear(events.STARTING, "the Cloud is away")
    agent.clock.seconds += LEAST * 2
    assert agent.facts()["trouble"] == "the Cloud is away"
    assert agent.health.lives

    agent.hear(events.AGENT_STARTED)
    assert (agent.health.report()[0], agent.facts()["status"]) == (True, "healthy")


@pytest.mark.parametrize("good", [events.KEY_ACCEPTED, events.POLLED])
def test_a_refused_key_makes_it_unwell_at_once(agent: Watched, good: str) -> None:
    """With the reason, until the key is accepted; a service manager is not to restart it for that."""
    agent.hear(events.POLLED)
    agent.hear(events.KEY_REFUSED, "no such key")

    assert not agent.health.report()[0]
    assert agent.facts()["trouble"] == "no such key"
    agent.clock.seconds += LEAST * 2
    assert agent.health.lives

    agent.hear(good)
    agent.hear(events.POLLED)
    assert agent.health.report()[0]


def test_an_agent_at_its_limit_is_busy_not_unwell(agent: Watched) -> None:
    """It does not ask, since there is no room."""
    for _ in range(10):
        agent.clock.seconds += LEAST / 2
        agent.hear(events.POLLED, busy=True)
        agent.hear(events.SWEPT)
        agent.hear(events.WATCHED)

    assert agent.health.report()[0]
    assert agent.facts()["busy"] is True

    agent.hear(events.POLLED)
    assert agent.facts()["busy"] is False


def test_a_busy_agent_still_shows_its_problem(agent: Watched) -> None:
    """A poll that did not ask proves nothing about the Cloud."""
    agent.hear(events.KEY_REFUSED, "no such key")
    agent.hear(events.POLLED, busy=True)

    assert not agent.health.report()[0]
    assert agent.facts()["trouble"] == "no such key"


def test_one_loop_that_goes_on_does_not_hide_another(agent: Watched) -> None:
    """Each stall has its own end."""
    agent.hear(events.STALLED, "sweep stands", loop="sweep")
    agent.hear(events.STALLED, "report stands", loop="report")
    agent.hear(events.RESUMED, loop="sweep")

    assert agent.facts()["trouble"] == "report stands"
    assert not agent.health.report()[0]
    assert not agent.health.lives
