"""Attacks by run configs on real processes, under the policy ``restricted``: nothing is started.

Each docstring names the attack and the rule that stops it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect.agent.domain.errors import SubmissionRefused
from prefect.agent.domain.model.policy import OPEN, RESTRICTED, Policy
from prefect.agent.domain.model.run_configs import LocalRun
from support.authors import claimed
from support.process_harness import ProcessHarness, over


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ProcessHarness]:
    """A state directory."""
    harness = ProcessHarness(tmp_path)
    yield harness
    harness.clean()


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "LD_AUDIT", "PATH", "BASH_ENV", "BASH_FUNC_mv%%", "PYTHONHOME", "PREFECT_AGENT_UNIT"]
)
def test_variables_that_change_the_bookkeeping(harness: ProcessHarness, name: str) -> None:
    """Attack: a variable by which the author's code gets into the unit's own wrapper. Rule: environment."""
    agent = harness.agent()
    create, run = claimed(agent, LocalRun(env={name: "/nonexistent"}), RESTRICTED)
    with pytest.raises(SubmissionRefused, match="rule environment: the environment variable"):
        create(run)
    assert agent.units() == []


@pytest.mark.parametrize("policy", [OPEN, RESTRICTED], ids=["open", "restricted"])
def test_other_variables_are_the_authors(harness: ProcessHarness, policy: Policy) -> None:
    """No attack: settings of the flow."""
    agent = harness.agent()
    create, run = claimed(agent, LocalRun(env={"MY_SETTING": "1"}), policy)
    assert over(agent, create(run).name).status.has_ended


@pytest.mark.parametrize("folder", ["/" + "x" * 5000, "~a\0b", "~\ud800", "\0", "/x\ud800", "/dev/null/x"])
def test_a_folder_that_cannot_be(harness: ProcessHarness, folder: str) -> None:
    """Attack: a bug by a name that the system refuses. Rule: a run's fault is refused, in a sentence that is short."""
    agent = harness.agent()
    create, run = claimed(agent, LocalRun(working_dir=folder), RESTRICTED)
    with pytest.raises(SubmissionRefused, match=r"the run config's working_dir .* is not a directory") as refusal:
        create(run)
    assert len(str(refusal.value)) < 1000
    assert agent.units() == []
