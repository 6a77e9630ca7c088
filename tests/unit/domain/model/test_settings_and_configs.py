"""Settings, run configs and states are values that refuse nonsense at birth."""

from typing import Any

import pytest

from prefect.agent.domain.errors import ConfigurationError, UnitNameTaken
from prefect.agent.domain.model.run_configs import DockerRun, RunConfig, UniversalRun, frozen_mapping
from prefect.agent.domain.model.settings import AgentSettings, as_labels


def test_labels_are_stripped_unique_and_sorted() -> None:
    """Two agents with the same labels in another order are the same kind of agent."""
    assert as_labels([" b", "a", "b "]) == ("a", "b")


@pytest.mark.parametrize("wrong", ["gpu", ["a", ""], ["  "]])
def test_labels_that_are_a_mistake_are_refused(wrong: Any) -> None:
    """One string would become its letters, and an empty label matches nothing: both are typing errors."""
    with pytest.raises(ConfigurationError):
        as_labels(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefetch": -1},
        {"parallel": 0},
        {"limit": 0},
        {"poll_first": 0},
        {"poll_last": 0},
        {"create_deadline": -1},
        {"sweep_every": 0},
        {"cancel_grace": -0.1},
        {"stop_grace": -1},
        {"keep_ended": -1},
        {"max_polls": 0},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    """An agent that could never poll or start anything is refused before it starts."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AgentSettings(**wrong)


def test_zero_is_allowed_where_it_means_at_once() -> None:
    """No prefetch, no grace and no keeping are choices, not mistakes."""
    settings = AgentSettings(prefetch=0, cancel_grace=0, stop_grace=0, keep_ended=0, create_deadline=0)

    assert settings.keep_ended == 0


def test_ended_units_may_be_kept_for_ever() -> None:
    """For platforms where somebody else cleans up."""
    assert AgentSettings(keep_ended=None).keep_ended is None


def test_a_frozen_mapping_is_a_copy_that_cannot_be_changed() -> None:
    """Values are shared between threads: nobody may change one under another's hands."""
    original = {"A": "1"}
    frozen = frozen_mapping(original)
    original["A"] = "2"

    assert frozen["A"] == "1"
    with pytest.raises(TypeError):
        frozen["A"] = "3"  # type: ignore[index]


def test_run_configs_of_different_types_are_different() -> None:
    """A universal run config is no Docker run config, however empty both are."""
    configs: list[RunConfig] = [UniversalRun(), DockerRun(), UniversalRun()]

    assert len({type(config) for config in configs}) == 2
    assert configs[0] != configs[1]
    assert configs[0] == configs[2]


def test_a_taken_name_says_by_whom() -> None:
    """The person who has to mend it learns what is in the way."""
    problem = UnitNameTaken("prefect-x", "container 3f9c")

    assert "prefect-x" in str(problem)
    assert (problem.name, problem.owner) == ("prefect-x", "container 3f9c")
