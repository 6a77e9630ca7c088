"""What is said while an image is pulled."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.adapters.docker.pull_progress import PullProgress
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.ports import events
from support.builders import Heard
from support.waiting import wait_until

IMAGE = "registry.example/flows/etl:1"
RUN = FlowRunId("01a22128-0000-4000-8000-000000000001")
LINES: list[dict[str, Any]] = [
    {"status": "Pulling from flows/etl", "id": "1"},
    {"status": "Already exists", "id": "aaa"},
    {"status": "Pulling fs layer", "id": "bbb", "progressDetail": {}},
    {"status": "Downloading", "id": "bbb", "progressDetail": {"current": 1_500_000, "total": 4_000_000}},
    {"status": "Pulling fs layer", "id": "ccc", "progressDetail": {}},
    {"status": "Downloading", "id": "ccc", "progressDetail": {"current": 1_000_000, "total": 1_000_000}},
    {"status": "Download complete", "id": "ccc", "progressDetail": {}},
    {"status": "Pull complete", "id": "ccc", "progressDetail": {}},
]


def test_a_pull_is_logged_from_its_start_to_its_end() -> None:
    """Layers and megabytes while it goes on, the duration at its end."""
    heard = Heard()
    progress = PullProgress(image=IMAGE, flow_run_id=RUN, tell=heard, every=0.01)
    for line in LINES:
        progress.take(line)
    with progress.told():
        wait_until(lambda: heard.names().count(events.PULL_GOES_ON) >= 2, what="two reports of progress")
        progress.take({"status": "Pull complete", "id": "bbb"})

    assert heard.names()[0] == events.PULL_STARTED
    assert heard.names()[-1] == events.PULL_ENDED
    assert set(heard.names()[1:-1]) == {events.PULL_GOES_ON}
    assert heard.events[1].message.endswith("s: 2 of 3 layers, 2.5 of 5.0 MB")
    assert heard.events[-1].message.endswith("s: 3 of 3 layers, 5.0 of 5.0 MB")
    assert heard.events[-1].fields["outcome"] == "ok"
    assert {event.level for event in heard.events} == {"INFO"}
    assert {(event.fields["image"], event.fields["flow_run_id"]) for event in heard.events} == {(IMAGE, RUN)}


def test_a_pull_that_fails_says_so_and_raises() -> None:
    """With its duration; the error itself is reported by who asked for the image."""
    heard = Heard()
    with (
        pytest.raises(ValueError, match="no such image"),
        PullProgress(image=IMAGE, flow_run_id=RUN, tell=heard).told(),
    ):
        raise ValueError("no such image")

    assert [(event.name, event.level) for event in heard.events][-1] == (events.PULL_ENDED, "WARNING")
    assert heard.events[-1].fields["outcome"] == "failed"


def test_a_pull_that_fails_again_is_no_news() -> None:
    """Who asked for the image says that it still cannot be had."""
    heard = Heard()
    progress = PullProgress(image=IMAGE, flow_run_id=RUN, tell=heard, is_retry=True)
    with pytest.raises(ValueError, match="no such image"), progress.told():
        raise ValueError("no such image")

    assert [(event.name, event.level) for event in heard.events] == [
        (events.PULL_STARTED, "DEBUG"),
        (events.PULL_ENDED, "DEBUG"),
    ]
    assert heard.events[-1].fields["outcome"] == "failed"


def test_an_image_that_is_here_is_up_to_date() -> None:
    """Nothing was downloaded."""
    heard = Heard()
    progress = PullProgress(image=IMAGE, flow_run_id=RUN, tell=heard)
    with progress.told():
        progress.take({"status": f"Status: Image is up to date for {IMAGE}"})

    assert heard.events[-1].message.startswith(f"The image {IMAGE} is up to date (")


ANY = st.recursive(
    st.none() | st.booleans() | st.floats(allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(status=ANY, layer=ANY, detail=ANY, number=ANY)
def test_whatever_the_engine_writes_the_pull_goes_on(status: Any, layer: Any, detail: Any, number: Any) -> None:
    """Progress is for people: nothing in it is an error."""
    heard = Heard()
    progress = PullProgress(image=IMAGE, flow_run_id=RUN, tell=heard)
    with progress.told():
        for each in (status, "Downloading"):
            progress.take({"status": each, "id": layer, "progressDetail": detail})
            progress.take({"status": each, "id": "a", "progressDetail": {"current": number, "total": number}})

    assert json.dumps(dict(heard.events[-1].fields))
