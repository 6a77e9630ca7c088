"""Concurrency limits as flow processes see them: Queued, and then their turn (protocol sections 12.5 and 13.2)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.real_prefect import RealPrefect
from support.waiting import wait_until

pytestmark = pytest.mark.real_prefect

HERE = Path(__file__).parent
A_WHILE = 300
QUEUE_INTERVAL = ("--env", "PREFECT__CLOUD__QUEUE_INTERVAL=1", "--env", "PREFECT__CLOUD__HEARTBEAT_MODE=thread")


@pytest.fixture(scope="module")
def flow_id(real: RealPrefect) -> Iterator[str]:
    """The flow "holding", with an agent of ours that serves the label "narrow"."""
    given = {"project": "limits", "paths": [str(HERE / "flows" / "holding.py")]}
    ids = real.program(HERE / "programs" / "register.py", given)
    words = ("start", "process", "--interpreter", str(real.python), "--label", "narrow", "--label", "wide")
    with real.agent(*words, *QUEUE_INTERVAL):
        try:
            yield ids["holding"]
        finally:
            for name in ("flow.go", "task.go"):  # nothing holds on after a test that failed
                (real.home / name).touch()


def test_flow_runs_wait_for_a_label(real: RealPrefect, flow_id: str) -> None:
    """The second run is Queued while the first one runs, and ends Success after it."""
    go = real.home / "flow.go"
    document = "mutation($i: update_flow_concurrency_limit_input!) { update_flow_concurrency_limit(input: $i) { id } }"
    real.graphql(document, {"i": {"label": "narrow", "limit": 1}})
    given = {"labels": ["narrow"], "parameters": {"path": str(go)}}
    first = real.create_run(flow_id, **given)
    wait_until(lambda: real.states([first]) == ["Running"], A_WHILE, "the first run at work")
    second = real.create_run(flow_id, **given)
    wait_until(lambda: real.states([second]) == ["Queued"], A_WHILE, "the second run Queued")
    assert real.states([first]) == ["Running"]
    go.touch()
    wait_until(lambda: real.states([first, second]) == ["Success"] * 2, A_WHILE, "both ended")
    history = real.history(second)
    assert history[:3] == ["Scheduled", "Submitted", "Queued"]
    assert history[-2:] == ["Running", "Success"]


def test_task_runs_wait_for_a_tag(real: RealPrefect, flow_id: str) -> None:
    """Both flow runs run; only one task run with the tag does."""
    go = real.home / "task.go"
    real.script("import prefect; prefect.Client().graphql('mutation { update_task_tag_limit(input: "
                "{ tag: \"narrow\", limit: 1 }) { id } }')")  # fmt: skip
    runs = [real.create_run(flow_id, labels=["wide"], parameters={"path": str(go)}) for _ in range(2)]

    def tasks() -> list[str]:
        return sorted(str(real.task_runs(run_id)["hold-narrow-1", -1]["state"]) for run_id in runs)

    wait_until(lambda: tasks() == ["Queued", "Running"], A_WHILE, "one task run at work, one Queued")
    assert real.states(runs) == ["Running", "Running"]
    go.touch()
    wait_until(lambda: real.states(runs) == ["Success"] * 2, A_WHILE, "both ended")
    histories = [real.task_runs(run_id)["hold-narrow-1", -1]["history"] for run_id in runs]
    assert sorted("Queued" in history for history in histories) == [False, True]
