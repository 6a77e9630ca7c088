"""What a dry run says of a flow run, by the rules of the poll loop."""

from datetime import datetime, timedelta, timezone

import attrs
import pytest

from prefect.agent.domain.model.flow_runs import Flow, FlowRun, FlowRunId, SimpleAttempt
from prefect.agent.domain.model.forecasts import Chance, Fate, forecast
from prefect.agent.domain.model.states import Phase, State

NOW = datetime(2030, 1, 31, 8, 0, tzinfo=timezone.utc)
WELL = Chance(unit="prefect-1")


def run(late: float = 0.0) -> FlowRun:
    """A run that is due since so many seconds."""
    state = State(phase=Phase.WAITING, name="Scheduled", start_time=NOW - timedelta(seconds=late))
    return FlowRun(id=FlowRunId("1"), attempt=SimpleAttempt("1"), state=state, flow=Flow(id="f", name="f"), name="blue")


@pytest.mark.parametrize(
    ("late", "chance", "fate", "words"),
    [
        (0, WELL, Fate.START, "would claim it and start prefect-1"),
        (-5, WELL, Fate.WAIT, "would wait until it is due at 08:00:05 UTC"),
        (0, attrs.evolve(WELL, room=1, limit=1), Fate.START, "start prefect-1"),
        (0, attrs.evolve(WELL, room=0, limit=2), Fate.WAIT, "runs 2 at the same time"),
        (9, attrs.evolve(WELL, max_lateness=5), Fate.IGNORE, "overdue by more than 5 s (--max-lateness)"),
        (5, attrs.evolve(WELL, max_lateness=5), Fate.START, "start prefect-1"),
        (0, Chance(refusal="no image"), Fate.FAIL, "let it fail: no image"),
        (0, Chance(doubt="no answer"), Fate.WAIT, "would wait for the platform: no answer"),
        (-5, Chance(refusal="no image"), Fate.WAIT, "until it is due"),
        (9, Chance(refusal="no image", room=0, limit=1, max_lateness=5), Fate.WAIT, "would wait for room"),
        (9, Chance(refusal="no image", max_lateness=5), Fate.IGNORE, "--max-lateness"),
    ],
)
def test_time_comes_before_room_lateness_and_refusal(late: float, chance: Chance, fate: Fate, words: str) -> None:
    """As in the poll loop: what is not claimed is not refused either."""
    found = forecast(run(late), chance, NOW)

    assert found.fate is fate
    assert words in found.text
    assert found.sentence.startswith("Flow run f/blue (1): would ")


def test_a_forecast_is_the_same_as_long_as_nothing_changes() -> None:
    """A dry run says each sentence once; a run that becomes later is no news."""
    chance = Chance(max_lateness=5)

    assert forecast(run(6), chance, NOW).text == forecast(run(600), chance, NOW).text
