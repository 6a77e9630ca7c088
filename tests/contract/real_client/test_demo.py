"""``make demo KEEP=1``: what a person is shown, and that an interruption is its usual end."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.real_prefect


def test_the_demo_stays_up_until_it_is_interrupted(prefect_python: Path, tmp_path: Path) -> None:
    """It prints the address of the pages, which show its runs; after Ctrl-C all is gone and the exit code is 0."""
    command = [sys.executable, str(ROOT / "tools" / "demo.py"), "--platform", "process", "--keep", "--python"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [*command, str(prefect_python)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    ) as demo:
        try:
            assert demo.stdout is not None
            said = ""
            for line in demo.stdout:  # the demo itself gives up after its own deadline
                said += line
                if "Everything stays up" in line:
                    break
            found = re.search(r"^Its pages, while this runs: (\S+)$", said, re.MULTILINE)
            assert found, said
            page = requests.get(found[1], timeout=30).text
            demo.send_signal(signal.SIGINT)
            rest, _ = demo.communicate(timeout=120)
        finally:
            demo.kill()

    assert demo.returncode == 0, said + rest
    assert "The flow runs succeeded" in rest
    assert all(name in page for name in ("GraphQL-1", "Python-1", "Python-2", "CLI-1", "UI-1"))
    with pytest.raises(requests.ConnectionError):
        requests.get(found[1], timeout=30)
    assert not list(tmp_path.glob("prefect-agent-demo-*"))
