"""Keys of ``config.toml`` that do nothing."""

from typing import Any

import pytest

from prefect.agent.entrypoints.settings.unknown_keys import unknown_keys


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cloud": {"agent": {"labels": ["a"], "env_vars": {"X": "1"}}, "api": "x"}, "backend": "server"}, []),
        ({"cloud": {"heartbeat_mode": "thread"}, "flows": {"checkpointing": True}, "context": {"secrets": {}}}, []),
        (
            {"cloud": {"agent": {"lables": ["a"]}}},
            ["cloud.agent.lables is no setting of the agent: is cloud.agent.labels meant?"],
        ),
        (
            {"cloud": {"agent": {"qqqqqqqqqqqqqqq": 1}}},
            ["cloud.agent.qqqqqqqqqqqqqqq is no setting of the agent, it does nothing"],
        ),
        (
            {"cloud": {"api_kee": "x"}},
            ["cloud.api_kee is no setting of the agent: is cloud.api_key meant?"],
        ),
        ({"cloud": "text", "cloud2": 1}, []),
    ],
)
def test_only_keys_that_look_like_the_agents_are_named(files: dict[str, Any], expected: list[str]) -> None:
    """The client of 1.x reads the same file and has keys of its own."""
    assert list(unknown_keys(files)) == expected
