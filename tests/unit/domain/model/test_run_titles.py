"""Every line about a flow run says its flow, its name and its id."""

import pytest

from prefect.agent.domain.model.run_titles import MOST, RunTitles

ID = "01a22128-0000-4000-8000-000000000001"
WHOLE = f"etl/teal ({ID})"


@pytest.fixture
def titles() -> RunTitles:
    """One run is known."""
    known = RunTitles()
    known.learn(ID, "etl", "teal")
    return known


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"Flow run {ID} failed: it ended", f"Flow run {WHOLE} failed: it ended"),
        (f"Flow run {WHOLE} failed: it ended", f"Flow run {WHOLE} failed: it ended"),
        (f"Flow run teal ({ID}) ended as Success", f"Flow run {WHOLE} ended as Success"),
        (f"Stopped prefect-run-{ID}-1", f"Flow run {WHOLE}: Stopped prefect-run-{ID}-1"),
        (f"prefect-run-{ID} of {ID} ended", f"prefect-run-{ID} of {WHOLE} ended"),
        ("The unit u has ended", f"Flow run {WHOLE}: The unit u has ended"),
        (f"{ID}", WHOLE),
    ],
)
def test_a_message_gets_the_whole_title_once(titles: RunTitles, message: str, shown: str) -> None:
    """In place of the id, else before the message; the id inside of a unit's name is no mention of the run."""
    said, fields = titles.introduce(message, {"flow_run_id": ID, "unit": "u"})

    assert said == shown
    assert fields == {"flow_run_id": ID, "unit": "u", "flow_run_name": "teal", "flow_name": "etl"}


def test_names_are_learned_from_the_fields_of_events() -> None:
    """The claim names the run; what follows knows only its id."""
    titles = RunTitles()
    titles.introduce("Claimed", {"flow_run_id": "r", "flow_run_name": "n", "flow_name": "f"})

    assert titles.introduce("Ended", {"flow_run_id": "r"})[0] == "Flow run f/n (r): Ended"


def test_a_name_that_is_left_out_stays_known(titles: RunTitles) -> None:
    """A sweep reads runs without their flows."""
    _, fields = titles.introduce("It ended", {"flow_run_id": ID, "flow_run_name": "teal", "flow_name": ""})

    assert fields["flow_name"] == "etl"


def test_a_message_about_no_run_is_left() -> None:
    """The same object comes back."""
    fields = {"loop": "poll"}

    assert RunTitles().introduce("away", fields) == ("away", fields)


def test_few_runs_are_remembered() -> None:
    """The latest ones; of others the id is known."""
    titles = RunTitles()
    for number in range(MOST + 1):
        titles.learn(f"r{number}", "f", "n")

    assert titles.introduce("r0 ended", {"flow_run_id": "r0"})[0] == "r0 ended"
    assert titles.introduce("r1 ended", {"flow_run_id": "r1"})[0] == "f/n (r1) ended"
