"""The process that a submission would become: what would be executed, where, and with which environment."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect.agent.adapters.process.processes import MARK
from prefect.agent.domain.model.submissions import Submission


def described(submission: Submission, words: Sequence[str], env: Mapping[str, str], cwd: str) -> Mapping[str, Any]:
    """The unit's name, command, working directory and whole environment."""
    return {
        "name": submission.name,
        "command": list(words),
        "working_directory": cwd,
        "environment": {**env, MARK: submission.name},
    }
