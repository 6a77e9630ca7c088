"""Tests of what keeps one test's log from the next: tests/support/loggers.py."""

import io
import logging

import pytest

from prefect.agent.entrypoints.runtime import logs as agent_logs
from prefect.agent.entrypoints.server.cli import logs as server_logs
from support import loggers

NAMES = ("prefect.agent", "prefect.agent.cloud", "prefect.agent.flow_output", "asyncio", "uvicorn", "uvicorn.error")


def test_a_log_that_was_set_up_takes_no_record_of_the_next_test(caplog: pytest.LogCaptureFixture) -> None:
    """After a reset, all that the agent's and the server's log had set up is undone."""
    agent, server = io.StringIO(), io.StringIO()
    agent_logs.set_up(level="ERROR", stream=agent)
    server_logs.set_up("text", [], server)

    loggers.reset()
    for name in NAMES:
        logging.getLogger(name).warning("of the next test")

    assert [record.name for record in caplog.records] == list(NAMES)
    assert (agent.getvalue(), server.getvalue()) == ("", "")
