"""Commands that ``prefect agent why`` names as remedies are commands that exist, with options that they take."""

import shlex
from datetime import datetime, timezone

import pytest
from click.testing import CliRunner

from prefect.agent.domain.waiting import SeenAgent, WaitFacts, start_an_agent
from prefect.agent.entrypoints.cli import prefect

NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)
GPU = SeenAgent(name="gpu-1", labels=frozenset({"gpu"}), last_seen=NOW)
NOWHERE = ("--api", "http://127.0.0.1:1", "--dry-run")


@pytest.mark.parametrize(
    "facts",
    [
        WaitFacts(at=NOW),
        WaitFacts(at=NOW, agents=(GPU,)),
        WaitFacts(at=NOW, labels=frozenset({"vm", "a b"})),
        WaitFacts(at=NOW, labels=frozenset({"vm"}), machine_label="vm"),
    ],
    ids=["without labels", "without labels, among agents", "with labels", "with a machine's label"],
)
def test_the_commands_that_start_an_agent_are_taken(facts: WaitFacts) -> None:
    """They get as far as the Cloud, which is not there: exit code 69, and not 2 for wrong usage."""
    commands = [remedy for remedy in start_an_agent(facts) if remedy.startswith("prefect ")]

    codes = {command: CliRunner().invoke(prefect, [*shlex.split(command)[1:], *NOWHERE]) for command in commands}

    assert commands
    assert {command: done.exit_code for command, done in codes.items()} == dict.fromkeys(commands, 69)
