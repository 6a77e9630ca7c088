"""Attack: the key is read on its way, or where it lies, because of a setting.

Rule: one WARNING at start for each secret that goes unprotected.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from prefect.agent.entrypoints.server.testing import running_server
from support.commands import bare_environment, run

KEY: Final = "pak_SECRET-that-must-never-be-seen"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[str]:
    """Address of an embedded Cloud that asks for the key."""
    with running_server(tmp_path / "cloud.db", keys=frozenset({KEY})) as url:
        yield url


@pytest.mark.parametrize(
    ("key_mode", "config_mode", "said"),
    [(0o600, 0o600, []), (0o644, 0o600, ["Others can read"]), (0o600, 0o666, ["Others can write"])],
)
def test_the_agent_says_what_is_unprotected(
    tmp_path: Path, cloud: str, key_mode: int, config_mode: int, said: list[str]
) -> None:
    """Once, as a WARNING, before it works as usual."""
    env = bare_environment(tmp_path)
    key, config = tmp_path / "key", tmp_path / ".prefect" / "config.toml"
    key.write_text(KEY, encoding="utf-8")
    key.chmod(key_mode)
    config.parent.mkdir()
    config.write_text('[logging]\nlevel = "INFO"\n', encoding="utf-8")
    config.chmod(config_mode)

    words = ("agent", "start", "process", "--no-wait", "--max-polls", "1", "--api", cloud, "--token-file", str(key))
    done = run(env, *words)

    assert done.returncode == 0, done.stderr
    warnings = [line.partition("| ")[2] for line in done.stderr.splitlines() if " WARNING " in line]
    assert [" ".join(line.split()[:3]) for line in warnings if line.startswith("Others")] == said


def test_a_key_to_another_machine_without_tls_is_said(tmp_path: Path) -> None:
    """Also if that machine does not answer; the sentence has no password of the address."""
    env = bare_environment(tmp_path)
    words = ("agent", "start", "process", "--no-wait", "--api", "http://user:pak_SECRET@agent.invalid:4200")
    done = run({**env, "PREFECT__CLOUD__API_KEY": KEY}, *words)
    assert done.returncode == 69
    assert done.stderr.count("The API key is sent to http://agent.invalid:4200 without TLS") == 1
    assert "pak_SECRET" not in done.stderr
