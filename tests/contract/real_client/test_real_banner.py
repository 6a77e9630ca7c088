"""The lines that ``prefect server start`` prints, executed as text by the real client."""

import subprocess
from pathlib import Path

import pytest

from support.real_prefect import found
from support.server_command import Started, started

pytestmark = pytest.mark.real_prefect

FLOW = Path(__file__).parent / "flows" / "standard.py"


def execute(server: Started, prefect_python: Path, home: Path, commands: str) -> str:
    """Execute the banner's exports and then *commands* in a shell; return the output, which must be a success."""
    exports = server.said.splitlines()[3].strip()
    assert exports.startswith("export ")
    env = {"HOME": str(home), "PATH": f"{prefect_python.parent}:/usr/bin:/bin", "LANG": "C.UTF-8"}
    done = subprocess.run(["sh", "-ec", f"{exports}\n{commands}"], env=env, cwd=home, capture_output=True, text=True,
                          check=False, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("words", [[], ["--require-key"]], ids=["open", "with keys"])
def test_links_of_the_real_client_lead_to_this_server(tmp_path: Path, prefect_python: Path, words: list[str]) -> None:
    """The client prints ``<server>/<tenant slug>/flow-run/<id>``, with the address from the banner."""
    with started(tmp_path, "--database", str(tmp_path / "cloud.db"), *words) as server:
        commands = f"prefect create project demo; prefect register --project demo -p {FLOW}; "
        printed = execute(server, prefect_python, tmp_path, f"{commands} prefect run --name first --project demo")

    run_id = found(r"UUID: (\S+)", printed)
    assert found(r"URL: (\S+)", printed) == f"{server.url}/default/flow-run/{run_id}"
