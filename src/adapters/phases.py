"""Phases of the states of Prefect 0.x and 1.x, for every adapter that reads them. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from prefect.agent.domain import state_names
from prefect.agent.domain.model.explaining import Hold
from prefect.agent.domain.model.states import Outcome, Phase, State

_PHASES: Final[Mapping[str, Phase]] = {
    **dict.fromkeys(state_names.SCHEDULED, Phase.WAITING),
    **dict.fromkeys(state_names.FINISHED, Phase.FINISHED),
    state_names.SUBMITTED: Phase.CLAIMED,
    state_names.RUNNING: Phase.RUNNING,
    state_names.CANCELLING: Phase.CANCELLING,
}
_OUTCOMES: Final[Mapping[str, Outcome]] = {
    **dict.fromkeys(state_names.FINISHED, Outcome.FAILURE),
    **dict.fromkeys(state_names.SUCCESSFUL, Outcome.SUCCESS),
    state_names.CANCELLED: Outcome.CANCELLED,
}
_HOLDS: Final[Mapping[str, Hold]] = {state_names.QUEUED: Hold.LIMIT, state_names.PAUSED: Hold.PAUSE}


def named_state(name: str, message: str = "", start_time: datetime | None = None) -> State:
    """Return the state of that name; a name that the table does not know is ``Phase.OTHER``."""
    return State(
        phase=_PHASES.get(name, Phase.OTHER),
        name=name,
        message=message,
        start_time=start_time,
        outcome=_OUTCOMES.get(name),
    )


def hold_of(name: str) -> Hold | None:
    """Return what keeps a run in the waiting state of that name from being started once it is due, if anything."""
    return _HOLDS.get(name)
