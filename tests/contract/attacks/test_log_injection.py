"""Attack: a flow run's name writes lines of its own into the agent's log, or paints its terminal.

Rule: the formatter escapes control characters and cuts; names are cut once, in one function.
"""

import json
import re
from pathlib import Path
from typing import Final

import pytest

from prefect.agent.domain.texts import MAX_NAME
from support.commands import bare_environment
from support.secrets_harness import secrets_harness
from support.waiting import wait_until

EVIL: Final = "evil\n2026-01-01T00:00:00.000Z ERROR   agent | all is lost \x1b[2J\x9b31m\u202e"
LINE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) +\S+ \| ")


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("name", [EVIL, "x" * 900_000], ids=["evil", "long"])
def test_the_name_of_a_flow_run_writes_no_line_of_its_own(tmp_path: Path, form: str, name: str) -> None:
    """It is shown, cut, on the line that is about it."""
    with secrets_harness(tmp_path, bare_environment(tmp_path, "exit 0")) as harness:
        run_id = harness.flow_run({"type": "LocalRun"}, name=name)
        with harness.agent("process", "--log-format", form):
            started = f"prefect-{run_id}"
            wait_until(lambda: started in (tmp_path / "agent.log").read_text(encoding="utf-8"), 60, "it is started")
        lines = harness.found["log of the agent"].decode().splitlines()

    assert all(len(line) < 8 * MAX_NAME for line in lines)
    assert not any(set(line) & set("\x1b\x9b\u202e") for line in lines)
    if form == "text":
        assert [line for line in lines if not LINE.match(line)] == []
        assert any(name[:4] in line and "Started flow run" in line for line in lines)
    else:
        assert {json.loads(line)["agent"] for line in lines} == {"agent"}
